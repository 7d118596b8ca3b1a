"""What README says of the committed logs and network is true."""
import os
import re

import pytest
import torch
from conftest import ROOT

import models
import ranking
from pruning import runlog
from pruning.arms import with_criteria
from pruning.groups import widths_of
from pruning.passes import Passes
from pruning.plots.curves import lines_of
from pruning.plots.find import logs_at, read
from pruning.selection import survivors


@pytest.fixture
def readme(monkeypatch):
    monkeypatch.chdir(ROOT)
    with open("README.md", encoding="utf-8") as file:
        return file.read()


def test_the_table_of_the_example_is_what_its_logs_say(readme):
    runs = read(logs_at(os.path.join("logs", "example", "MNIST")))[""]
    assert len(runs) == 3
    for line in lines_of(runs):
        training, test = (list(line.measures["accuracy"][split].values())[-1].mean for split in ("training", "test"))
        assert f"| {line.words} | {line.neurons[-1][1]} | {training:.2f}% | {test:.2f}% |" in readme


@pytest.fixture
def blocks(readme):
    """The pieces of Python in README: a further criterion, and how a network is loaded."""
    return re.findall("```python\n(.*?)```", readme, re.DOTALL)


def test_the_further_criterion_ranks(blocks, monkeypatch):
    monkeypatch.setattr(ranking, "CRITERIA", dict(ranking.CRITERIA))
    criterion, _ = blocks
    exec(criterion, {"CRITERIA": ranking.CRITERIA})
    model = models.FeedForward(4, [3], 2)
    with torch.no_grad():
        model.layers[0].weight.copy_(torch.tensor([[1.0, 2, 3, 4], [9, 9, 9, 9], [0, 9, 0, 9]]))
    arm = with_criteria(ranking.CRITERIA)["variance"]
    keep, = survivors(Passes(model, None, None), arm, None, 33)
    assert keep.tolist() == [0, 2]


def test_the_final_network_loads_in_the_three_lines(blocks):
    names = {"torch": torch, "models": models}
    _, loading = blocks
    exec(loading, names)
    assert len(loading.splitlines()) == 3
    log = runlog.parse_log(os.path.join("logs", "example", "MNIST", "training_logwithPruning.txt"))
    assert widths_of(names["network"]) == log.summary["widths"]
    assert names["network"](torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("page", ["README.md", *(os.path.join("docs", name) for name in sorted(
    os.listdir(os.path.join(ROOT, "docs"))) if name.endswith(".md"))])
def test_every_file_that_a_page_links_to_is_there(page):
    with open(os.path.join(ROOT, page), encoding="utf-8") as file:
        targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", file.read())
    for target in targets:
        assert os.path.exists(os.path.join(ROOT, os.path.dirname(page), target)), target
