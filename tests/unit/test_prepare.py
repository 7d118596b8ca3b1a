"""comparison.prepare: what a command line asks for, checked before anything is asked or loaded."""
import builtins
import functools
import sys
from types import SimpleNamespace

import pytest
import torch
from unit_helpers import ARMS, CONSTANTS, refusal

import constants
import ranking
from pruning import comparison
from pruning.settings import CLASSIFIER, VAE

DIGITS = ("--dataset", "0", "--device", "cpu")


@pytest.fixture
def prepare(monkeypatch):
    monkeypatch.setattr(builtins, "input", lambda prompt: pytest.fail("asked"))

    def call(*arguments, program=CLASSIFIER, changes=(), switch=True, criteria=ranking.CRITERIA, edited=None):
        monkeypatch.setattr(sys, "argv", ["driver.py", *arguments])
        values = SimpleNamespace(__file__=constants.__file__, **{**CONSTANTS, **dict(changes)})
        switches = {} if switch is None else {"contribBasedPruning": switch}
        edited = edited or SimpleNamespace(CRITERIA=criteria, **switches)
        return comparison.prepare(program, "a test", values, edited, None)
    return call


@pytest.mark.parametrize("program", [CLASSIFIER, VAE], ids=["driver", "vae"])
@pytest.mark.parametrize("switch, pruning", [(True, "contribution"), (False, "random")])
def test_the_switch_in_ranking_chooses_the_arm(prepare, program, switch, pruning):
    command = prepare(*DIGITS, program=program, switch=switch)
    assert command.settings.pruning == pruning and command.arms == ARMS and command.device == torch.device("cpu")
    assert (command.settings.device, command.settings.precision in ("float32", "bfloat16")) == ("cpu", True)
    assert command.provenance["threads"] >= 1 and not command.request.dry_run
    assert prepare(*DIGITS, "--pruning", "taylor", program=program, switch=switch).settings.pruning == "taylor"


@pytest.mark.parametrize("switch, words", [
    ("False", "'False'; legal: True or False"), (2, "2; legal: True or False"),
    (None, "missing; put back contribBasedPruning = True or False")])
def test_a_switch_that_is_not_true_or_false_is_refused(prepare, switch, words):
    assert refusal(prepare, *DIGITS, switch=switch) == (
        f"ranking.py: contribBasedPruning is {words}")


def test_a_misspelt_switch_gets_a_hint(monkeypatch, prepare):
    monkeypatch.delattr(ranking, "contribBasedPruning")
    for name, hint in ((None, "put back contribBasedPruning = True or False"),
                       ("contribbasedPruning", "did you misspell it as contribbasedPruning?")):
        edited = SimpleNamespace(**{**vars(ranking), **({name: True} if name else {})})
        assert refusal(prepare, *DIGITS, edited=edited) == f"ranking.py: contribBasedPruning is missing; {hint}"


def test_the_parameters_of_a_criterion_are_settings_of_the_runs_that_use_it(prepare):
    def norm(groups, passes, options, power):
        return [group.incoming().norm(p=power, dim=1) for group in groups]

    criteria = {**ranking.CRITERIA, "cubic": functools.partial(norm, power=3)}
    compared = prepare(*DIGITS, "--compare", "none,cubic", criteria=criteria).settings
    assert compared.criterion_options == {"cubic": "{'power': 3}"}
    assert not hasattr(prepare(*DIGITS, "--compare", "none,taylor", criteria=criteria).settings, "criterion_options")


def test_constants_and_criteria_are_checked_before_anything_is_asked(prepare):
    assert refusal(prepare, changes={"momentun": 0.9}).startswith("constants.py: unknown name momentun;")
    assert "CRITERIA: 'worst'" in refusal(prepare, criteria={**ranking.CRITERIA, "worst": ranking.magnitude})
