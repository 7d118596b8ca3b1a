"""What README says of the committed logs and network is true."""
import os
import re

import pytest
import torch

import models
import plot

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


def test_the_final_network_loads_in_the_three_lines(readme):
    names = {"torch": torch, "models": models}
    block, = re.findall("```python\n(.*?)```", readme, re.DOTALL)
    exec(block, names)
    assert len(block.splitlines()) == 3
    log = plot.runlog.parse_log(os.path.join("logs", "example", "MNIST", "training_logwithPruning.txt"))
    assert models.widths(names["network"]) == log.summary["widths"]
    assert names["network"](torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_every_file_it_links_to_is_there(readme):
    for target in re.findall(r"\]\(([^)#]+)\)", readme):
        assert os.path.exists(target), target
