"""The arms that can be trained, and the names that a criterion may have."""
import pytest
from unit_helpers import ARMS, refusal

import ranking
from pruning import arms


def test_every_criterion_has_an_arm_and_its_function():
    assert list(ARMS) == ["none", *ranking.CRITERIA, "scratch"]
    assert {name: arm.criterion for name, arm in ARMS.items() if arm.criterion} == ranking.CRITERIA
    assert len({arm.log_word.lower() for arm in ARMS.values()}) == len(ARMS)
    assert [ARMS[name].log_word for name in arms.COMPARED] == ["withoutPruning", "withPruning", "worstPruning"]


@pytest.mark.parametrize("name", ["L1 norm", "mine", "l1", "a-b.c+d_e", "\u00e4"])
def test_a_criterion_of_ones_own_is_called_by_its_name(name):
    arm = arms.with_criteria({**ranking.CRITERIA, name: ranking.magnitude})[name]
    assert (arm.name, arm.words, arm.log_word, arm.criterion) == (name, name, f"{name}Pruning", ranking.magnitude)


@pytest.mark.parametrize("names, refused", [
    *((name, name) for name in (["worst"], ["with"], ["without"], ["none"], ["scratch"], ["a/b"], ["x%"], [""], ["a,b"],
                                [" a"], ["-a"], ["a\nb"], ["Reversed"])),
    (["mine", "Mine"], ["Mine"])])
def test_a_name_that_no_flag_or_no_log_can_have_is_refused(names, refused):
    message = refusal(arms.with_criteria, {**ranking.CRITERIA, **dict.fromkeys(names, ranking.magnitude)})
    assert message.startswith(f"ranking.py, CRITERIA: {refused[0]!r} ")
