"""The experiments of the report: what is run, kept, gone on with and left alone; and what the report says of them."""
import collections
import os
import re
import sys

import pytest
import torch
from conftest import ROOT
from tiny import StopAt, contents, without_times

sys.path.insert(0, os.path.join(ROOT, "reports"))
import dead_neurons  # noqa: E402
import experiments  # noqa: E402
import findings  # noqa: E402
import report  # noqa: E402
import tables  # noqa: E402

import constants  # noqa: E402
import models  # noqa: E402
from pruning import datasets, menu, runlog, settings, signals  # noqa: E402
from pruning.errors import UserError  # noqa: E402
from pruning.plots.runs import Run  # noqa: E402

TINY = ("--dataset MNIST --device cpu --batch-size 5 --hidden-widths 10-6 --total-epochs 3 --initial-iterations 1 "
        "--increment 1 --seeds 2 --compare none,random --jobs 1")


@pytest.fixture
def run(tmp_path, tiny_mnist, monkeypatch, capsys):
    """Run the tiny experiments main/MNIST and sweep/1/MNIST as the program does: the exit status, what it printed."""
    tiny_mnist(tmp_path / "datasets")
    monkeypatch.setattr(experiments, "ROOT", str(tmp_path))
    monkeypatch.setattr(constants, "__file__", str(tmp_path / "constants.py"))
    monkeypatch.setattr(experiments, "experiments", lambda: [
        experiments.classifier(name, TINY, 1) for name in ("main/MNIST", "sweep/1/MNIST")])
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["experiments.py", *arguments])
        try:
            experiments.errors.run_command(experiments.main)
        except SystemExit as end:
            return (end.code, *capsys.readouterr())
        return (0, *capsys.readouterr())
    return run


def results(folder, name):
    where = os.path.join(str(folder), "reports", "results", name)
    return {file: open(os.path.join(where, file)).read() for file in sorted(os.listdir(where))}


def test_finished_experiments_are_kept_compactly_and_not_run_again(run, tmp_path, monkeypatch):
    assert run("--list") == (0, "main/MNIST: to do\nsweep/1/MNIST: to do\n", "")
    assert run()[0] == 0
    kept = results(tmp_path, "main/MNIST")
    assert sorted(kept) == [f"training_log{word}-seed{seed}.txt" for word in ("withoutPruning", "worstPruning")
                            for seed in (30, 31)]
    for name, text in kept.items():
        full = runlog.parse_log(str(tmp_path / "logs" / "experiments" / "main" / "MNIST" / name))
        log = runlog.parse_log(str(tmp_path / "reports" / "results" / "main" / "MNIST" / name))
        assert log._replace(path="", batches=[]) == full._replace(path="", batches=[])
        assert log.batches == full.batches[:1] and text.count("Epoch:") == 1
    sweep = results(tmp_path, "sweep/1/MNIST")
    assert all(text.count("After epoch") == 1 and "After epoch 3:" in text for text in sweep.values())
    monkeypatch.setattr(experiments.driver, "main", lambda: pytest.fail("it was finished"))
    assert run("--list") == (0, "main/MNIST: finished\nsweep/1/MNIST: finished\n", "")
    assert run()[0] == 0
    monkeypatch.setattr(experiments, "experiments", lambda: [
        experiments.classifier("main/MNIST", TINY.replace("none", "taylor"), 1)])
    assert run("--list")[1] == (
        f"main/MNIST: to do; {experiments.RESULTS} has it with other arms or flags\n")


@pytest.mark.parametrize("look", [10, 60])  # in the start that the arms share, and in the first arm
def test_an_interrupted_experiment_goes_on_where_it_was(run, tmp_path, monkeypatch, look):
    assert run("main")[0] == 0
    expected = {name: without_times(text) for name, text in results(tmp_path, "main/MNIST").items()}
    os.rename(str(tmp_path / "logs"), str(tmp_path / "earlier"))
    os.rename(str(tmp_path / "reports"), str(tmp_path / "earlier reports"))
    with monkeypatch.context() as patched:
        patched.setattr(signals, "Stop", StopAt(look))
        status, _, err = run("main")
    assert status == 130 and "interrupted; the same command goes on" in err
    assert run("main")[0] == 0
    assert {name: without_times(text) for name, text in results(tmp_path, "main/MNIST").items()} == expected


def test_an_experiment_that_cannot_run_is_named_and_the_others_go_on(run, tmp_path, monkeypatch):
    listed = [experiments.classifier("main/FashionMNIST", TINY.replace("MNIST", "FashionMNIST"), 1),
              experiments.classifier("main/MNIST", TINY, 1)]
    monkeypatch.setattr(experiments, "experiments", lambda: listed)
    status, _, err = run()
    assert status == 2 and re.search(r"^main/FashionMNIST: not run \(FashionMNIST could not be read", err, re.M)
    assert len(results(tmp_path, "main/MNIST")) == 4


def test_an_experiment_with_a_run_that_diverges_keeps_nothing_for_the_report_and_the_others_go_on(
        run, tmp_path, monkeypatch):
    listed = [experiments.classifier("published/MNIST", f"{TINY} --learning-rate 1e30", 1),
              experiments.classifier("main/MNIST", TINY, 1)]
    monkeypatch.setattr(experiments, "experiments", lambda: listed)
    status, _, err = run()
    assert status == 2 and "the loss is not finite" in err
    assert re.search(r"^published/MNIST: not finished, .* logs/experiments/published/MNIST,", err, re.M)
    assert os.listdir(str(tmp_path / "reports" / "results")) == ["main"]


def test_an_unknown_name_is_one_line(run):
    status, _, err = run("other")
    assert status == 2 and err == "experiments.py: no experiment's name begins with other; --list names them\n"


def test_every_experiment_is_a_command_that_the_programs_take():
    for experiment in experiments.experiments():
        flags, program = experiments.flags_of(experiment), experiments.PROGRAMS[experiment.program]
        for name, value in flags.items():
            table = {**settings.SETTINGS, **program.table}
            assert name not in table or settings.check_value(name, value, table[name], name) == value
        assert menu.find_dataset(flags["dataset"], program.datasets) in experiment.name


# ---- the report ----

def test_holm_corrects_by_the_rank_and_never_below_an_earlier_one():
    # By hand: 0.01 x 3; 0.03 x 2; 0.04 x 1, but no less than the one before. No p ends above 1.
    assert findings.holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert findings.holm({"a": 0.9, "b": 0.6}) == {"a": 1, "b": 1}


def test_an_asterisk_is_for_what_is_significant_after_the_correction():
    versus = collections.namedtuple("versus", "p")
    rows = {arm: {"minus randomised pruning": p and versus(p)}
            for arm, p in {"random": None, "contribution": 0.03, "magnitude": 0.01, "taylor": 0.2}.items()}
    assert tables.significant(rows) == {"magnitude"}  # 0.01 x 3 < 0.05 < 0.03 x 2


def test_a_criterion_wins_if_the_difference_is_larger_than_its_interval(monkeypatch):
    class End(float):
        def at_the_end(self):
            return self

    def part(**ends):
        return {arm: {seed: End(value + seed % 2 / 100) for seed, value in enumerate(values)}
                for arm, values in ends.items()}
    parts = [part(contribution=[90, 91, 92], random=[80, 81, 82.1], magnitude=[91, 92.1, 93]),
             part(contribution=[90, 91, 92], random=[80, 99, 91], magnitude=[90, 91.1, 91.8])]
    monkeypatch.setattr(findings, "parts_removed", lambda dataset: parts)
    monkeypatch.setattr(Run, "at_the_end", End.at_the_end)
    monkeypatch.setattr(Run, "lost_in_a_round", End.at_the_end)
    found = {key.split("/")[2]: count for key, count in findings.wins().items() if "/MNIST/" in key}
    assert found == {"parts": "2", "above random": "1", "below random": "0", "above magnitude": "0",
                     "below magnitude": "1", "shares of random's loss": "112, 101"}


def test_the_last_three_epochs_are_compared_by_their_mean(tmp_path):
    (tmp_path / "log.txt").write_text(runlog.format_batch(1, 0, {"loss": 1.0, "accuracy": 1.0}) + "".join(
        runlog.format_epoch(epoch, {"test accuracy": value, "time": 1.0})
        for epoch, value in ((1, 10.0), (2, 90.0), (3, 92.0), (4, 97.0))))
    assert findings.of_the_last_three(Run(runlog.parse_log(str(tmp_path / "log.txt")))) == 93


def test_an_epochs_cost_is_the_median_before_the_first_round_and_after_the_last_one(monkeypatch):
    def log(*seconds):
        epochs = [runlog.Epoch(epoch, {"time": time}) for epoch, time in enumerate(seconds, 1)]
        rounds = [runlog.Round(number, epoch, {"parameters": 100 - 20 * number, "multiply-adds": 10 * epoch},
                               {"parameters": 80 - 20 * number, "multiply-adds": 5 * epoch}, 0.1 * number)
                  for number, epoch in ((1, 3), (2, 4))]
        return runlog.RunLog("", {"total_epochs": 6}, [], epochs, rounds, {})
    logs = {"cost/MNIST": [log(90, 4, 6, 70, 2, 1), log(80, 5, 7, 60, 3, 2)]}
    monkeypatch.setattr(findings, "runs_of", logs.get)
    # Before: 4, 5, 6, 7; after: 1, 2, 2, 3. Parameters 80 => 40, multiply-adds 30 => 20.
    assert findings.costs("MNIST") == {"before": "5.50", "after": "2.00", "time": "2.75", "parameters": "2.00",
                                       "multiply-adds": "1.50", "a round": "0.15"}


def read(*path):
    with open(os.path.join(findings.ROOT, *path), encoding="utf-8") as file:
        return file.read()


def test_the_committed_numbers_and_tables_are_what_the_committed_results_give(tmp_path, monkeypatch):
    pytest.importorskip("scipy")
    monkeypatch.setattr(sys, "argv", ["report.py", str(tmp_path)])
    report.main()
    made = contents(tmp_path)
    generated = os.path.join(findings.ROOT, "reports", "generated")
    assert sorted(os.path.relpath(path, str(tmp_path)) for path in made) == sorted([
        *tables.PAGES, *(name for name in os.listdir(generated) if name.endswith(".tex"))])
    for path, content in made.items():
        name = os.path.relpath(path, str(tmp_path))
        with open(os.path.join(findings.ROOT if name in tables.PAGES else generated, name), "rb") as committed:
            assert content == committed.read(), f"{name}: make report makes it anew"


def test_the_arms_of_every_committed_experiment_share_their_start():
    found = {tuple(key.rsplit("/", 2)[:2]): count for key, count in findings.starts().items()}
    plain = [(name, arm) for name, arm in found if "," not in arm]
    assert len(plain) > 50
    assert all(found[name, arm] == found[name, "contribution"] != "0" for name, arm in plain)


def test_of_the_published_rate_on_cifar10_the_results_hold_what_the_report_says():
    variants = findings.variants_of("diverged/published/CIFAR10")
    broken = variants["contribution"].pop(32)
    assert len(broken.epochs) == 36 and broken.batches[-1].epoch == 37 and not broken.summary
    assert [entry.epoch for entry in broken.rounds] == [30]
    ahead = findings.difference(variants["contribution"], variants["random"], Run.at_the_end).pairs
    assert len(ahead) == 2 and min(ahead) < 0 < max(ahead)
    assert findings.why_missing("published/CIFAR10") == "1 of 3 diverged"
    assert findings.why_missing("published/CIFAR100") == "not run"


def test_the_report_quotes_numbers_and_sources_that_there_are():
    text = " ".join(read("reports", "report.tex").split())
    quoted = set(re.findall(r"\\val{([^}]*)}", text))
    assert len(quoted) > 50 and quoted <= set(re.findall(r"csname val:(.*?)\\endcsname",
                                                         read("reports", "generated", "numbers.tex")))
    cited = {key for keys in re.findall(r"\\cite[pt]?(?:\[[^]]*\])*{([^}]*)}", text) for key in keys.split(",")}
    assert len(cited) >= 15 and cited <= set(re.findall(r"@\w+{(.*),", read("reports", "references.bib")))


def test_the_docs_say_of_the_precisions_what_the_results_do():
    page, numbers = " ".join(read("docs", "performance.md").split()), findings.numbers()
    for key in ("bfloat16/none/test accuracy", "float32/none/test accuracy", "bfloat16 - float32/none, 40 epochs"):
        assert numbers[f"precision/{key}"].replace("\\pm", "±") in page


def test_neurons_that_no_training_image_activates_are_counted():
    white_and_black = torch.tensor([255, 0], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 2, 2, 1)
    split = datasets.Split(white_and_black, torch.tensor([0, 1]), "cpu", 0.5, 0.5)  # as 1 and -1
    model = models.FeedForward(4, [3, 2], 10)
    with torch.no_grad():
        model.layers[0].weight.copy_(torch.tensor([[1.0] * 4, [-1.0] * 4, [0.0] * 4]))
        model.layers[1].weight.copy_(torch.tensor([[-1.0, -1.0, 1.0], [-1.0, 1.0, 1.0]]))
    assert dead_neurons.describe(model, datasets.Dataset(split, split, 10), False) == "never active: 1 of 3, 1 of 2"


def test_a_saved_networks_neurons_are_counted_on_the_data_of_its_log(small, drive, capsys, monkeypatch):
    assert drive("--dataset", "1", "--device", "cpu", "--pruning", "none", "--total-epochs", "1")[0] == 0
    path = os.path.join("logs", "MNIST", "training_logwithoutPruning.pt")
    monkeypatch.setattr(sys, "argv", ["dead_neurons.py", path])
    dead_neurons.main()
    assert re.fullmatch(rf"{path}: never active: \d+ of 50, \d+ of 30\n", capsys.readouterr().out)


@pytest.mark.parametrize("name", ["missing.pt", "log.txt"])
def test_what_is_no_saved_network_is_named_as_it_was_given(name, tmp_path, monkeypatch):
    (tmp_path / "log.txt").write_text("# seed = 30\n")
    monkeypatch.setattr(sys, "argv", ["dead_neurons.py", str(tmp_path / name)])
    with pytest.raises(UserError, match=f"{name}: no network; give .pt files"):
        dead_neurons.main()
