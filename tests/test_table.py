"""The table over seeds: its numbers by hand, and what it refuses."""
import csv
import os
import re
import sys

import pytest

import files
import runlog
import table
from errors import UserError

WORDS = {"none": "without pruning", "contribution": "contribution-based pruning", "random": "randomised pruning"}


def log_text(arm, seed, test, **header):
    """A run of three epochs that ends at `test`, with a round in which it lost `seed` points."""
    text = runlog.format_header({"dataset": "MNIST", "total_epochs": 3, "initial_iterations": 1, "increment": 2,
                                 "prune_percent": 10.0, "pruning": arm, "seed": seed, "hidden_widths": [6, 4],
                                 **header})
    text += runlog.format_batch(1, 0, {"loss": 0.5, "accuracy": 50.0})
    text += runlog.format_epoch(1, {"test accuracy": 80.0, "time": 8.0})
    if arm != "none":
        text += runlog.format_round(1, 1, {"neurons": 10, "test accuracy": 80.0},
                                    {"neurons": 8, "test accuracy": 80.0 - seed}, 2.0 + seed)
    for epoch in (2, 3):  # the third seed takes two epochs to come back
        text += runlog.format_epoch(epoch, {"test accuracy": 79.0 if (seed, epoch) == (3, 2) else 80.0, "time": 1.0})
    pruned = arm not in ("none",)
    return text + runlog.format_summary({"epochs": 3, "neurons": 8 if pruned else 10, "parameters": 99,
                                         "multiply-adds": 77, "training accuracy": 99.5, "test accuracy": test,
                                         "time": 12.0 + seed if pruned else 10.0})


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
    """Of plot.py --table the exit status, tables as lists of rows {column: cell}, and stderr; `run.titles` grows."""
    def run(*paths):
        status, out, err = drive("--table", *paths, program="plot.py")
        lines = [line for line in out.splitlines() if "left out" not in line]
        texts = "\n".join(lines).split("MNIST, ")[1:]
        titles.extend("MNIST, " + text.splitlines()[0] for text in texts)
        return status, [read(text) for text in texts], err
    titles = run.titles = []
    return run


def read(text):
    """A Markdown table."""
    head, _, *rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines()
                      if line.startswith("|")]
    assert all(len(row) == len(head) for row in rows)
    return [dict(zip(head, row)) for row in rows]


WITHOUT, RANDOM = f"minus {WORDS['none']}", f"minus {WORDS['random']}"


def test_means_intervals_and_paired_differences_are_those_by_hand(write, run):
    pytest.importorskip("scipy")
    status, (table,), err = run(*write(ENDS))
    assert (status, err) == (0, "")
    none, contribution, random = table
    assert [row["arm"] for row in table] == [WORDS[arm] for arm in ENDS]
    # t(0.975) with 2 degrees of freedom is 4.3027: +- 4.3027 s / sqrt(3), with s = 1 for none and for the rounds, and
    # s = 2 for contribution.
    assert none == {"arm": WORDS["none"], "n": "3", "neurons removed (%)": "0.0", "parameters": "99",
                    "multiply-adds": "77", "test accuracy": "96.00 ± 2.48", "training accuracy": "99.50 ± 0.00",
                    WITHOUT: "", RANDOM: "", "lost in a round": "", "epochs to regain it": "",
                    "rounds that regain it (%)": "", "seconds": "10.0"}
    # Against none: -5, -4, -3, so t = -4 sqrt(3). Against random: 1, 0.5, 2, so t = sqrt(7). With 2 degrees of freedom
    # p = 1 - |t| / sqrt(2 + t^2). Seed 3 loses 3 points in its round and takes 2 epochs to regain them, 1 takes 1.
    assert contribution == {
        **none, "arm": WORDS["contribution"], "neurons removed (%)": "20.0", "test accuracy": "92.00 ± 4.97",
        WITHOUT: "-4.00 ± 2.48 (p = 0.02)", RANDOM: "1.17 ± 1.90 (p = 0.12)", "lost in a round": "2.00 ± 2.48",
        "epochs to regain it": "1.3", "rounds that regain it (%)": "100.0", "seconds": "14.0"}
    assert random[RANDOM] == ""


def test_wilcoxon_stands_beside_from_six_seeds_on(write, run):
    pytest.importorskip("scipy")
    none = (95.0, 96.0, 97.0, 95.5, 96.5, 97.5)
    random = [value - 1 - number / 8 for number, value in enumerate(none)]
    _, (table,), _ = run(*write({"none": none, "random": random}))
    # All six differences have one sign: p = 2 / 2^6.
    assert table[1][WITHOUT].endswith("Wilcoxon 0.031)") and table[1][WITHOUT].startswith("-1.31 ± ")
    _, (table,), _ = run(*write({"none": none[:5], "random": [90.0] * 5})[:5])
    assert "Wilcoxon" not in table[1][WITHOUT]


def test_one_seed_has_no_interval_and_needs_no_scipy(write, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    status, (table,), err = run(*write({arm: ends[:1] for arm, ends in ENDS.items()}))
    assert (status, err) == (0, "")
    assert [table[1][name] for name in ("test accuracy", "training accuracy", "lost in a round", WITHOUT, RANDOM)] == [
        "90.00", "99.50", "1.00", "-5.00", "1.00"]


def test_ways_of_ranking_are_rows_of_one_table_against_the_same_controls(write, run, tmp_path):
    pytest.importorskip("scipy")
    folders = write({"none": (95.0, 96.0), "random": (90.0, 91.0), "contribution": (92.0, 93.0)})
    more = [{"compensate": True}, {"lambda_average": 0.5, "lambda_max": 0.5}, {"ranking_images": 100}]
    for number, header in enumerate(more):
        for arm in ("contribution", "random"):
            for seed in (1, 2):
                path = tmp_path / f"{number}{arm}{seed}.txt"
                path.write_text(log_text(arm, seed, 93.0 + number + seed, **header))
                if arm == "contribution" or number == 0:  # the other settings are nothing to random pruning
                    folders.append(str(path))
    _, (table,), _ = run(*folders)
    assert {row["arm"]: row[RANDOM] for row in table} == {
        WORDS["none"]: "", WORDS["random"]: "", WORDS["random"] + ", compensated": "4.00 ± 0.00",
        WORDS["contribution"]: "2.00 ± 0.00", WORDS["contribution"] + ", compensated": "4.00 ± 0.00",
        WORDS["contribution"] + ", C_avg : C_max = 0.5 : 0.5": "5.00 ± 0.00",
        WORDS["contribution"] + ", by 100 images": "6.00 ± 0.00"}


def test_a_network_from_scratch_is_a_row_beside_the_others(write, run, tmp_path):
    (tmp_path / "scratch.txt").write_text(log_text("scratch", 1, 93.0, initial_widths=[5, 3]))
    _, (table,), _ = run(*write({"none": (95.0,)})[:1], str(tmp_path / "scratch.txt"))
    assert table[1]["arm"] == "small network from scratch" and table[1][WITHOUT] == "-2.00"
    assert table[1]["neurons removed (%)"] == "20.0"


def test_the_other_forms_hold_the_same_numbers(write, run):
    pytest.importorskip("scipy")
    folders = write(ENDS)
    _, (table,), _ = run(*folders)
    with open(os.path.join(folders[0], "comparison.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    with open(os.path.join(folders[0], "comparison.tex")) as file:
        text = file.read()
    assert [row["arm"] for row in rows] == [row["arm"] for row in table]
    for row, shown in zip(rows, table):
        assert f"{float(row['test accuracy']):.2f} ± {float(row['test accuracy, half']):.2f}" == shown["test accuracy"]
        assert shown["test accuracy"].replace("±", r"$\pm$") in text
    assert float(rows[1][WITHOUT + ", p"]) == pytest.approx(1 - 48 ** 0.5 / 50 ** 0.5)
    assert rows[1][RANDOM + ", n"] == "3" and rows[0][RANDOM] == ""
    assert text.count(r"\\") == 4 and r"neurons removed (\%)" in text and r"\toprule" in text
    with open(os.path.join(folders[0], "comparison.md")) as file:
        assert read(file.read()) == table


@pytest.mark.parametrize("after, wanted", [
    ({3: 79.0, 4: 81.0}, [2, None]), ({3: 80.0, 4: 70.0, 5: 89.0}, [1, 1]), ({}, [None, None]), ({6: 99.0}, [None, 2])])
def test_epochs_to_regain_what_a_round_lost_are_counted_up_to_the_next_round(after, wanted):
    rounds = [runlog.Round(number, epoch, {"test accuracy": before}, {}, 0.1)
              for number, epoch, before in ((1, 2, 80.0), (2, 4, 85.0))]
    epochs = [runlog.Epoch(epoch, {"test accuracy": value}) for epoch, value in {1: 99.0, 2: 80.0, **after}.items()]
    log = runlog.RunLog("", {"total_epochs": 6}, [], epochs, rounds, {})
    assert list(table.epochs_to_regain(log, "test accuracy")) == wanted


def test_a_loss_is_regained_from_above_and_what_a_round_adds_is_positive():
    before, after = {"test loss": 5.0, "test accuracy": 90.0}, {"test loss": 7.5, "test accuracy": 80.0}
    entry = runlog.Round(1, 1, before, after, 0.1)
    epochs = [runlog.Epoch(2, {"test loss": 5.5}), runlog.Epoch(3, {"test loss": 4.5})]
    log = runlog.RunLog("", {"total_epochs": 3}, [], epochs, [entry], {})
    assert list(table.epochs_to_regain(log, "test loss")) == [2]
    assert (table.lost(entry, "test loss"), table.lost(entry, "test accuracy")) == (2.5, 10.0)


def test_a_difference_that_is_nearly_nothing_has_no_sign():
    assert [table.cell_text(table.Estimate(mean, 0.2)) for mean in (-0.004, -0.006)] == ["0.00 ± 0.20", "-0.01 ± 0.20"]


def test_the_quantiles_of_the_figures_are_those_of_scipy():
    t = pytest.importorskip("scipy.stats").t
    for count in [*range(2, 40), 60, 121, 1000]:
        values = [0.0] * (count - 1) + [1.0]
        by_scipy = t.ppf(0.975, count - 1) * (1 / count * (1 - 1 / count) / (count - 1)) ** 0.5
        assert table.half_width(values) == pytest.approx(by_scipy, rel=2e-3), count


def test_a_difference_takes_the_seeds_that_both_arms_have(write, run):
    pytest.importorskip("scipy")
    _, (table,), _ = run(*write({"contribution": (90.0, 92.0, 94.0), "random": (89.0,)}))
    assert table[0]["n"] == "3" and table[0][RANDOM] == "1.00 (n = 1)"


def test_runs_of_other_settings_have_a_table_of_their_own(write, run):
    folders = write({"none": (95.0,)})
    assert [len(table) for table in run(*folders)[1]] == [1]
    other = os.path.join(os.path.dirname(folders[0]), "other", "log.txt")
    os.makedirs(os.path.dirname(other))
    with open(other, "w") as file:
        file.write(log_text("none", 1, 80.0, momentum=0.9, holdout=5))
    folders = write({"none": (95.0,)}, momentum=0.5, holdout=0)[:1]
    _, tables, _ = run(*folders, other)
    assert [table[0].get("test accuracy", table[0].get("held-out accuracy")) for table in tables] == ["95.00", "80.00"]
    assert [name for table in tables for name in table[0] if "held-out" in name] == ["held-out accuracy"]
    assert run.titles[-2:] == [
        f"MNIST, driver.py, 3 epochs; after epoch 1 and every 2 epochs a round of 10.0 %; holdout {holdout}; "
        f"momentum {momentum}" for momentum, holdout in ((0.5, 0), (0.9, 5))]


def test_the_title_says_in_what_experiments_differ_that_lack_it_or_have_no_round(write, run):
    folders = write({"none": (95.0,)})
    for name, header in (("a", {"hidden_widths": [6, 4, 2]}), ("b", {"initial_iterations": 3})):
        folders.append(os.path.join(os.path.dirname(folders[0]), name + ".txt"))
        with open(folders[-1], "w") as file:
            file.write(log_text("none", 1, 80.0, **{"precision": "float32", **header}))
    run(*folders)
    rounds = "after epoch 1 and every 2 epochs a round of 10.0 %"
    assert run.titles == [
        f"MNIST, driver.py, 3 epochs; {rounds}; hidden_widths [6, 4]; precision not recorded",
        f"MNIST, driver.py, 3 epochs; {rounds}; hidden_widths [6, 4, 2]; precision 'float32'",
        "MNIST, driver.py, 3 epochs; no round; hidden_widths [6, 4]; precision 'float32'"]


def test_of_two_logs_of_one_arm_and_seed_the_second_is_named_and_left_out(write, run, tmp_path):
    folders = write({"none": (95.0,)})
    (tmp_path / "log.txt").write_text(log_text("none", 1, 80.0))
    status, (table,), err = run(*folders, str(tmp_path / "log.txt"))
    assert (status, [row["test accuracy"] for row in table], err.count("\n")) == (2, ["95.00"], 1)
    assert re.search(r"log\.txt is left out, of the same arm and seed as .*withoutPruning\.txt", err)


@pytest.mark.parametrize("edit, missing", [
    (("= 3\n# initial", "= 'six'\n# initial"), "total_epochs"), (("= 2\n# hidden", "= 'x'\n# hidden"), "seed"),
    (("'MNIST'", "3"), "dataset"), (("# hidden_widths", "# hidden"), "hidden_widths"),
    (("parameters 99", "parameters nan"), "parameters"), (("multiply-adds 77", "multiply-adds nan"), "multiply-adds"),
    (("# hidden", "# lambda_average = 'a'\n# hidden"), "lambda_average"),
    (("test accuracy 80%, time 1 s", "test accuracy 80%, time nan s"), "time"),
    (("99.5%", "1e+200%"), "training accuracy"), (("neurons 10 => 8, ", ""), "neurons")])
@pytest.mark.parametrize("what", [["--table"], ["--figure", "removed"], ["--figure", "rounds"], ["--figure", "seconds"],
                                  ["--figure", "variants"], ["--figure", "differences"]], ids=lambda what: what[-1])
def test_a_log_with_a_value_of_another_kind_is_left_out(write, drive, tmp_path, monkeypatch, edit, missing, what):
    monkeypatch.setattr("figures.save", lambda stem, **options: None)
    text = log_text("random", 2, 80.0)
    assert edit[0] in text
    (tmp_path / "log.txt").write_text(text.replace(*edit))
    status, _, err = drive(*write({"contribution": (95.0,), "random": (90.0,)})[:1], str(tmp_path / "log.txt"), *what,
                           program="plot.py")
    assert status == 2 and err.count("\n") == 1 and err.endswith(f"it has no {missing}\n")


def test_equal_differences_are_equal_for_the_tests(write, run):
    stats = pytest.importorskip("scipy.stats")
    none = [95.1, 10.3, 3.3, 97.7, 64.4, 0.7]
    losses = [0.1, -0.1, 0.1, 0.1, 0.1, 0.1]
    assert len({value - (value - loss) for value, loss in zip(none, losses)}) > 2  # in floating point
    _, (table,), _ = run(*write({"none": none, "random": [value - loss for value, loss in zip(none, losses)]}))
    # Six ties of rank 3.5, one of the other sign: of the 2^6 signs 7 have as few, p = 2 * 7 / 64 = 0.22; an older scipy
    # does not know of ties.
    p = stats.wilcoxon([-1, 1, -1, -1, -1, -1]).pvalue
    assert f"Wilcoxon {p:.2g})" in table[1][WITHOUT]


@pytest.mark.parametrize("text, missing", [
    (log_text("none", 2, 80.0).split("Summary")[0], "summary; a run that was interrupted goes on with --resume"),
    (log_text("none", 2, 80.0).replace("test accuracy 80%, time 10", "time 10"), "test accuracy"),
    (log_text("none", 2, 80.0).replace("# pruning", "# Pruning"), "pruning"),
    (log_text("none", 2, 80.0).replace("# seed = 2", "# seed = [2]"), "seed"),
    (log_text("random", 2, 80.0).replace("test accuracy 80% => 78%", "test loss 80 => 78"), "test accuracy"),
    ("Epoch: 1, Batch: 0, Loss: 2.5, Accuracy: 11.5%\n", "dataset"),
])
def test_what_is_no_finished_run_is_named_and_left_out(write, run, tmp_path, text, missing):
    folders = write({"none": (95.0,)})
    (tmp_path / "log.txt").write_text(text)
    status, (table,), err = run(*folders, str(tmp_path / "log.txt"))
    assert (status, table[0]["n"], err.count("\n")) == (2, "1", 1)
    assert "log.txt is left out" in err and err.endswith(f"it has no {missing}\n")


def test_without_scipy_one_line_says_so(write, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    status, tables, err = run(*write({"none": (95.0, 96.0)}))
    assert (status, tables, err.count("\n")) == (2, [], 1) and "pip install scipy" in err


def test_a_part_of_a_text_stands_between_its_two_lines():
    text = "head\n<!-- a -->\nold\n<!-- a -->\ntail <!-- b -->\n"
    new = table.with_part(text, "a", "new")
    assert new == "head\n<!-- a -->\n\nnew\n\n<!-- a -->\ntail <!-- b -->\n" == table.with_part(new, "a", "new")
    with pytest.raises(UserError, match="README.md has 1 lines `<!-- b -->`; expected two"):
        table.with_part(text, "b", "new")
