"""The table over seeds: its numbers by hand, and what it refuses."""
import os
import sys

import pytest

import files
import runlog

WORDS = {"none": "without pruning", "contribution": "contribution-based pruning", "random": "randomised pruning"}


def log_text(arm, seed, test, **header):
    """A run of two epochs that ends at `test`, with a round in which it lost `seed` points."""
    text = runlog.format_header({"dataset": "MNIST", "total_epochs": 2, "initial_iterations": 1, "increment": 1,
                                 "prune_percent": 10.0, "pruning": arm, "seed": seed, **header})
    text += runlog.format_batch(1, 0, {"loss": 0.5, "accuracy": 50.0})
    text += runlog.format_epoch(1, {"test accuracy": 80.0, "time": 10.0})
    if arm != "none":
        text += runlog.format_round(1, 1, {"test accuracy": 80.0}, {"test accuracy": 80.0 - seed}, 2.0 + seed)
    return text + runlog.format_summary({"epochs": 2, "neurons": 8, "parameters": 99, "training accuracy": 99.5,
                                         "test accuracy": test, "time": 99.0})


ENDS = {"none": (95.0, 96.0, 97.0), "contribution": (90.0, 92.0, 94.0), "random": (89.0, 91.5, 92.0)}


@pytest.fixture
def write(tmp_path):
    """Write logs as folders of seeds, {arm: ends of the seeds 1, 2 ...}; returns the folders."""
    def write(ends, **header):
        for arm, values in ends.items():
            for seed, test in enumerate(values, 1):
                path = files.log_path(str(tmp_path), str(seed), arm)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w") as file:
                    file.write(log_text(arm, seed, test, **header))
        return sorted(str(folder) for folder in tmp_path.iterdir())
    return write


@pytest.fixture
def run(drive):
    """The exit status, the tables as lists of rows, and stderr of plot.py --table; `run.titles` grows."""
    def run(*paths):
        status, out, err = drive("--table", *paths, program="plot.py")
        lines = [line for line in out.splitlines() if "left out" not in line]
        texts = "\n".join(lines).split("MNIST, ")[1:]
        titles.extend("MNIST, " + text.splitlines()[0] for text in texts)
        return status, [[[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines()
                         if line.startswith("|")] for text in texts], err
    titles = run.titles = []
    return run


def test_means_intervals_and_paired_differences_are_those_by_hand(write, run):
    pytest.importorskip("scipy")
    status, (table,), err = run(*write(ENDS))
    assert (status, err) == (0, "")
    head, _, none, contribution, random = (row for row in table)
    assert head == ["arm", "n", "neurons", "parameters", "test accuracy", "training accuracy",
                    "change of test accuracy in a round", "test accuracy minus that without pruning",
                    "test accuracy minus that randomised pruning", "seconds"]
    # t(0.975) with 2 degrees of freedom is 4.3027: +- 4.3027 s / sqrt(3), with s = 1 for none and for the rounds, and
    # s = 2 for contribution.
    assert none == [WORDS["none"], "3", "8", "99", "96.00 ± 2.48", "99.50 ± 0.00", "", "", "", "10"]
    assert contribution[:7] == [WORDS["contribution"], "3", "8", "99", "92.00 ± 4.97", "99.50 ± 0.00", "-2.00 ± 2.48"]
    # Against none: -5, -4, -3, so t = -4 sqrt(3). Against random: 1, 0.5, 2, so t = sqrt(7). With 2 degrees of freedom
    # p = 1 - |t| / sqrt(2 + t^2).
    assert contribution[7:] == ["-4.00 ± 2.48 (p = 0.02)", "1.17 ± 1.90 (p = 0.12)", "14"]
    assert random[8] == ""


def test_one_seed_has_no_interval_and_needs_no_scipy(write, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    status, (table,), err = run(*write({arm: ends[:1] for arm, ends in ENDS.items()}))
    assert (status, err) == (0, "")
    assert table[3] == [WORDS["contribution"], "1", "8", "99", "90.00", "99.50", "-1.00", "-5.00", "1.00", "13"]


def test_a_difference_takes_the_seeds_that_both_arms_have(write, run):
    pytest.importorskip("scipy")
    _, (table,), _ = run(*write({"contribution": (90.0, 92.0, 94.0), "random": (89.0,)}))
    assert table[2][1] == "3" and table[2][7] == "1.00"


def test_runs_of_other_settings_have_a_table_of_their_own(write, run):
    folders = write({"none": (95.0,)})
    assert [len(table) for table in run(*folders)[1]] == [3]
    other = os.path.join(os.path.dirname(folders[0]), "other", "log.txt")
    os.makedirs(os.path.dirname(other))
    with open(other, "w") as file:
        file.write(log_text("none", 1, 80.0, momentum=0.9, holdout=5))
    folders = write({"none": (95.0,)}, momentum=0.5, holdout=0)[:1]
    _, tables, _ = run(*folders, other)
    assert [(table[0][4], table[2][4]) for table in tables] == [("test accuracy", "95.00"),
                                                                ("held-out accuracy", "80.00")]
    assert run.titles[-2:] == [
        f"MNIST, driver.py, 2 epochs; after epoch 1 and every 1 epochs a round of 10.0 %; momentum {momentum}; "
        f"holdout {holdout}" for momentum, holdout in ((0.5, 0), (0.9, 5))]


def test_two_logs_of_one_arm_and_seed_are_refused(write, run, tmp_path):
    folders = write({"none": (95.0,)})
    (tmp_path / "log.txt").write_text(log_text("none", 1, 80.0))
    status, tables, err = run(*folders, str(tmp_path / "log.txt"))
    assert (status, tables, err.count("\n")) == (2, [], 1)
    assert "log.txt" in err and "withoutPruning.txt" in err and "leave one out" in err


@pytest.mark.parametrize("text, missing", [
    (log_text("none", 2, 80.0).split("Summary")[0], "neurons"),
    (log_text("none", 2, 80.0).replace("test accuracy 80%, time 99", "time 99"), "test accuracy"),
    (log_text("none", 2, 80.0).replace("# pruning", "# Pruning"), "pruning"),
    (log_text("none", 2, 80.0).replace("# seed = 2", "# seed = [2]"), "seed"),
    (log_text("random", 2, 80.0).replace("test accuracy 80% => 78%", "test loss 80 => 78"), "test accuracy"),
    ("Epoch: 1, Batch: 0, Loss: 2.5, Accuracy: 11.5%\n", "dataset"),
])
def test_what_is_no_finished_run_is_named_and_left_out(write, run, tmp_path, text, missing):
    folders = write({"none": (95.0,)})
    (tmp_path / "log.txt").write_text(text)
    status, (table,), err = run(*folders, str(tmp_path / "log.txt"))
    assert (status, table[2][1], err.count("\n")) == (2, "1", 1)
    assert "log.txt is left out" in err and err.endswith(f"it has no {missing}\n")


def test_without_scipy_one_line_says_so(write, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    status, tables, err = run(*write({"none": (95.0, 96.0)}))
    assert (status, tables, err.count("\n")) == (2, [], 1) and "pip install scipy" in err
