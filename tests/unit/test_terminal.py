"""The terminal: short lines, one bar, and a table at the end."""
import io
import sys
from types import SimpleNamespace

import pytest
import torch
from unit_helpers import ARMS, run_settings

import models
from pruning import runlog, terminal
from pruning.groups import groups_of, widths_of
from pruning.plots.runs import Run
from pruning.settings import frozen


class Screen(io.StringIO):
    def __init__(self, is_terminal):
        super().__init__()
        self.isatty = lambda: is_terminal


@pytest.fixture
def said(monkeypatch):
    """Make a Terminal on a screen or in a file, and read what it has said."""
    def make(on_screen=False, quiet=False, verbose=False, size=1, **values):
        monkeypatch.setattr(sys, "stdout", Screen(on_screen))
        given = frozen(vars(run_settings(**{"total_epochs": 100, "initial_iterations": 30, "increment": 10,
                                            "holdout": 0, **values})))
        request = SimpleNamespace(quiet=quiet, verbose=verbose, tensorboard=False)
        team = SimpleNamespace(size=size)
        return terminal.Terminal(given, request, team), lambda: sys.stdout.getvalue().splitlines()
    return make


@pytest.mark.parametrize("name, value, text", [
    ("test accuracy", 97.5312, "97.53%"), ("test accuracy", 0.1, "0.1%"), ("test loss", 12345.678, "12350"),
    ("time", 0.123456, "0.1235 s"), ("neurons", 1234, "1,234")])
def test_a_value_has_four_digits_and_its_unit(name, value, text):
    assert terminal.short(name, value) == text


def described(widths, accuracy):
    return {"widths": widths, "test accuracy": accuracy, "test loss": 1.0}


def test_a_round_is_one_line(said):
    speaking, lines = said()
    speaking.after_round("contribution", 3, described([41, 24], 94.123), described([37, 22], 85.2))
    assert lines() == ["contribution: round 3 of 7, 41-24 => 37-22, test accuracy 94.12% => 85.2%"]


@pytest.mark.parametrize("widths", [[4096] * 5, [8192] * 9])
def test_a_rounds_line_fits_100_columns(said, widths):
    speaking, lines = said(seeds=2)
    speaking.after_round("contribution, seed 31", 1, described(widths, 12.3456), described([1111] * len(widths), 12.3))
    assert len(lines()[0]) <= terminal.COLUMNS
    assert lines()[0].endswith(f", neurons {sum(widths)} => {1111 * len(widths)}, test accuracy 12.35% => 12.3%")


@pytest.mark.parametrize("total, shown", [(5, [1, 2, 3, 4, 5]), (100, list(range(5, 101, 5)))])
def test_a_file_shows_life_every_few_epochs(said, total, shown):
    speaking, lines = said(total_epochs=total)
    for epoch in range(1, total + 1):
        speaking.after_epoch("none", epoch, {"training loss": 1.0, "test accuracy": 50.0})
    assert lines() == [f"none: epoch {epoch} of {total}, test accuracy 50%" for epoch in shown]


@pytest.mark.parametrize("options", [{"on_screen": True}, {"quiet": True}])
def test_a_terminal_has_a_bar_and_a_quiet_run_says_nothing_in_the_place_of_these_lines(said, options):
    speaking, lines = said(**options)
    speaking.after_epoch("none", 100, {"test loss": 50.0})
    assert lines() == []


def test_a_quiet_run_and_one_beside_others_have_no_bar(said):
    assert all(said(**options)[0].bar(total=3).disable for options in ({"quiet": True}, {"size": 2}))


def start(speaking, names=("none", "contribution"), filters=False):
    dataset = SimpleNamespace(train=range(60000), test=range(10000))
    provenance = {"machine": "a machine", "threads": 2}
    model = models.build((1, 4, 4), [4] if filters else [], [50, 30], 3)
    state = SimpleNamespace(model=model, groups=groups_of(model, torch.rand(4, 1, 4, 4), filters)[0])
    speaking.start(SimpleNamespace(provenance=provenance), dataset, [ARMS[name] for name in names], state,
                   widths_of(state.groups))


@pytest.mark.parametrize("names, widths", [(["none", "contribution"], "50-30 => 22-12"), (["none"], "50-30"),
                                           (["none", "scratch"], "50-30 => 22-12")])
def test_the_start_says_what_matters_in_ten_short_lines(said, names, widths):
    speaking, lines = said(log_folder="logs", dataset="MNIST", device="cpu", hidden_widths=[50, 30], seeds=3)
    start(speaking, names)
    words = {line.split()[0]: line[9:] for line in lines()}
    assert len(lines()) <= 10 and max(map(len, lines())) <= terminal.COLUMNS
    assert words["data"] == "MNIST, 60,000 training and 10,000 test images"
    assert words["network"] == f"FeedForward, 2,390 parameters, hidden neurons {widths}"
    assert words["arms"] == f"{', '.join(names)}; seeds 30 to 32"
    assert words["epochs"].endswith("30, 40, 50, 60, 70, 80, 90" if "contribution" in names else ", no rounds")
    assert words["logs"].replace("\\", "/") == "logs/MNIST"


def test_filters_are_said_beside_the_hidden_neurons(said):
    speaking, lines = said(log_folder="logs", dataset="MNIST", device="cpu", prune_filters=True)
    start(speaking, filters=True)
    assert any(line.endswith("filters and hidden neurons 4-50-30 => 1-22-12") for line in lines())


def test_a_verbose_start_says_all_values_and_the_network(said):
    speaking, lines = said(verbose=True, log_folder="logs", dataset="MNIST", device="cpu", hidden_widths=[50, 30])
    start(speaking)
    assert "# learning_rate = 0.1" in lines() and any("out_features=30" in line for line in lines())


def log_at(path, seed, accuracy, finished=True):
    before, after = described([50, 30], 90.0), described([45, 27], 80.0)
    summary = {"neurons": 72, "parameters": 17632, "test accuracy": accuracy, "training accuracy": 99.0, "time": 45.678}
    path.write_text(runlog.format_header({"pruning": "contribution", "seed": seed})
                    + runlog.format_batch(1, 0, {"loss": 2.0, "accuracy": 10.0})
                    + runlog.format_round(1, 1, before, after, 0.1)
                    + (runlog.format_summary(summary) if finished else ""))
    return str(path)


def test_the_end_is_a_table_of_the_finished_runs_and_the_command_for_the_figure(said, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["driver.py"])
    speaking, lines = said(seeds=2, log_folder="my logs", dataset="MNIST", quiet=True)
    paths = {ARMS["contribution"]: [log_at(tmp_path / "a.txt", 30, 95.0), log_at(tmp_path / "b.txt", 31, 96.0)],
             ARMS["random"]: [log_at(tmp_path / "c.txt", 30, 95.0, finished=False)],
             ARMS["none"]: [str(tmp_path / "one that has not begun.txt")]}
    speaking.end(paths)
    heads, row, blank, hint = lines()
    assert heads.split("  ")[0] == "arm" and row.split() == [
        "contribution", "2", "72", "17,632", "95.50%", "±", "6.35", "10.00", "points", "45.7"]
    assert (blank, hint) == ("", "for a figure: python plot.py 'my logs/MNIST'")
    assert max(map(len, lines())) <= terminal.COLUMNS


def test_a_single_run_has_no_interval(tmp_path):
    run = Run(runlog.parse_log(log_at(tmp_path / "a.txt", 30, 95.0)))
    row = terminal.row_of(ARMS["contribution"], [run], False)
    assert "seeds" not in row and row["test accuracy"] == "95.00%"
