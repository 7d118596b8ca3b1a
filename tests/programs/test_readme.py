"""What README and docs say of the committed logs and networks is true, and their pieces of Python run."""
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

PAGES = ["README.md", *(os.path.join("docs", name) for name in sorted(os.listdir(os.path.join(ROOT, "docs"))))]


@pytest.fixture
def pages(monkeypatch):
    """{page: its text}; the current folder is the suite's."""
    monkeypatch.chdir(ROOT)
    return {page: open(page, encoding="utf-8").read() for page in PAGES}


def code(text):
    """The one piece of Python in a page."""
    piece, = re.findall("```python\n(.*?)```", text, re.DOTALL)
    return piece


def test_the_table_of_the_example_is_what_its_logs_say(pages):
    runs = read(logs_at(os.path.join("logs", "example", "MNIST")))[""]
    assert len(runs) == 3
    for line in lines_of(runs):
        training, test = (list(line.measures["accuracy"][split].values())[-1].mean for split in ("training", "test"))
        row = f"| {line.words} | {line.neurons[-1][1]} | {training:.2f}% | {test:.2f}% |"
        assert row in pages[os.path.join("docs", "results.md")]


@pytest.mark.parametrize("page, name, kept", [("README.md", "variance", [0, 2]),
                                              (os.path.join("docs", "criteria.md"), "deviation", [0, 1])])
def test_the_further_criteria_rank(pages, monkeypatch, page, name, kept):
    monkeypatch.setattr(ranking, "CRITERIA", dict(ranking.CRITERIA))
    exec(code(pages[page]), vars(ranking).copy())
    model = models.FeedForward(4, [3], 2)
    with torch.no_grad():
        model.layers[0].weight.copy_(torch.tensor([[1.0, 2, 3, 4], [9, 9, 9, 9], [0, 9, 0, 9]]))
        model.layers[1].weight.copy_(torch.tensor([[3.0, 4, 0], [4, 3, 1]]))
    images = torch.rand(20, 4, generator=torch.Generator().manual_seed(1))
    passes = Passes(model, lambda: [(images[:12], None), (images[12:], None)], None)
    keep, = survivors(passes, with_criteria(ranking.CRITERIA)[name], None, 33)
    assert keep.tolist() == kept


def test_the_final_network_loads_in_the_three_lines(pages):
    names, loading = {"torch": torch, "models": models}, code(pages[os.path.join("docs", "logs-and-plots.md")])
    exec(loading, names)
    assert len(loading.splitlines()) == 3
    log = runlog.parse_log(os.path.join("logs", "example", "MNIST", "training_logwithPruning.txt"))
    assert widths_of(names["network"]) == log.summary["widths"]
    assert names["network"](torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_links_to_is_there(pages, page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", pages[page]):
        assert os.path.exists(os.path.join(os.path.dirname(page), target)), target
