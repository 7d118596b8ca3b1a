"""What README says of the committed logs and network is true."""
import os
import re

import pytest
import torch

import models
import plot
import ranking

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture
def readme(monkeypatch):
    monkeypatch.chdir(ROOT)
    with open("README.md", encoding="utf-8") as file:
        return file.read()


def test_the_table_of_the_example_is_what_its_logs_say(readme):
    logs = plot.read_logs(plot.find_logs(os.path.join("logs", "example", "MNIST")))[""]
    assert len(logs) == 3
    for line in plot.lines_of(logs):
        training, test = (line.curves.measures["accuracy"][name][-1][1] for name in ("training", "test"))
        assert f"| {line.words} | {line.curves.neurons[-1][1]} | {training:.2f}% | {test:.2f}% |" in readme


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
    keep, = ranking.survivors(ranking.Passes(model, None, None, False), "variance", None, 33)
    assert keep.tolist() == [0, 2]


def test_the_final_network_loads_in_the_three_lines(blocks):
    names = {"torch": torch, "models": models}
    _, loading = blocks
    exec(loading, names)
    assert len(loading.splitlines()) == 3
    log = plot.runlog.parse_log(os.path.join("logs", "example", "MNIST", "training_logwithPruning.txt"))
    assert models.widths(names["network"]) == log.summary["widths"]
    assert names["network"](torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_every_file_it_links_to_is_there(readme):
    for target in re.findall(r"\]\(([^)#]+)\)", readme):
        assert os.path.exists(target), target
