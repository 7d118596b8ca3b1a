"""What README says of the committed logs and network is true."""
import glob
import os
import re

import pytest
import torch

import models
import plot
import table

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture
def readme(monkeypatch):
    monkeypatch.chdir(ROOT)
    with open("README.md", encoding="utf-8") as file:
        return file.read()


def test_the_table_is_what_the_logs_say(readme):
    lines = plot.read_logs(plot.find_logs(os.path.join("logs", "MNIST")))[""]
    assert len(lines) == 3
    for line in lines:
        training, test = (line.curves.measures["accuracy"][name][-1][1] for name in ("training", "test"))
        assert f"| {line.words} | {line.curves.neurons[-1][1]} | {training:.2f}% | {test:.2f}% |" in readme


def test_the_final_network_loads_in_the_three_lines(readme):
    names = {"torch": torch, "models": models}
    block, = re.findall("```python\n(.*?)```", readme, re.DOTALL)
    exec(block, names)
    assert len(block.splitlines()) == 3
    log = plot.runlog.parse_log(os.path.join("logs", "MNIST", "training_logwithPruning.txt"))
    assert models.widths(names["network"]) == log.summary["widths"]
    assert names["network"](torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_every_file_it_links_to_is_there(readme):
    for target in re.findall(r"\]\(([^)#]+)\)", readme):
        assert os.path.exists(target), target


@pytest.mark.parametrize("dataset", ["FashionMNIST", "CIFAR10"])
def test_the_tables_of_the_vae_are_what_the_logs_of_three_seeds_say(readme, dataset):
    pytest.importorskip("scipy")
    paths = [path for folder in glob.glob(os.path.join("reports", "results", "vae", "*", dataset))
             for path in plot.find_logs(folder)]
    logs = [line.log for line in plot.read_logs(paths)["vae_"]]
    assert len(logs) == 9 and not any(map(table.lacks, logs))
    text, = table.tables(logs)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    shown = [rows[0].index(name) for name in (
        "arm", "neurons", "test loss", "change of test loss in a round", "test loss minus that without pruning",
        "test loss minus that randomised pruning")]
    for row in rows[2:]:
        assert f"| {dataset}, {' | '.join(row[place] for place in shown)} |" in readme
