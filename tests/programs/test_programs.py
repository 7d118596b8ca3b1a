"""driver.py and vae.py as whole programs: the logs, networks and pictures they leave, and how they end."""
import os
import platform
import re
import signal
from types import SimpleNamespace

import pytest
import torch
from processes import Program, wait_for_epoch
from tiny import ALONE, ARMS, PROGRAMS, TINY, log_of, one_line, without_times

import driver
import models
import vae
from pruning import datasets, errors, files, runlog, settings, terminal, training
from pruning.measures import count_parameters, evaluate

ENDINGS = [".checkpoint", ".pt", ".txt"]  # what a run leaves, beside pictures
PRUNED = ["before_round_1", "after_round_1", "before_round_2", "after_round_2", "end"]
PICTURES = {"driver.py": {arm: [] for arm in [*ARMS, "all"]},
            "vae.py": {"none": ["before_round_1", "before_round_2", "end"], "contribution": PRUNED, "random": PRUNED,
                       "all": ["strip"]}}


def files_in(folder, dataset="MNIST"):
    return sorted(os.listdir(os.path.join(str(folder), "logs", dataset)))


def files_of(program, arm, number="", moments=None):
    """The files that an arm leaves, or with a number like ".1" those of an earlier one."""
    stem = os.path.basename(log_of("", arm, program))[:-len(".txt")] + number
    moments = PICTURES[program][arm] if moments is None else moments
    return [stem + ending for ending in ENDINGS] + [f"{stem}_{moment}.png" for moment in moments]


# ---- the comparison on data set 0, run twice with the same seed: two rounds, batch lines 0, 10 and more ----

COMPARE = ["--dataset", "0", "--compare", "--device", "cpu", "--total-epochs", "4", "--initial-iterations", "2",
           "--increment", "1", "--prune-percent", "10", "--seed", "7"]
OF_ITS_OWN = {
    "driver.py": ["--hidden-widths", "50-30", "--batch-size", "20"],
    "vae.py": ["--lambda-average", "1", "--lambda-max", "0", "--hidden-widths", "12-16-16-12", "--conv-widths", "4",
               "--latent", "3", "--batch-size", "50", "--learning-rate", "0.01", "--kld-weight", "0.5"]}
WIDTHS = {"driver.py": [[50, 30], [45, 27], [40, 24]],
          "vae.py": [[12, 16, 16, 12], [10, 14, 14, 10], [9, 12, 12, 9]]}


@pytest.fixture(scope="module", params=PROGRAMS)
def compared(request, tmp_path_factory):
    """The program, its folder, what its two processes said, and {arm: log}; the second keeps the first one's files."""
    program, folder = request.param, tmp_path_factory.mktemp("compared")
    said = [Program(folder, *COMPARE, *OF_ITS_OWN[program], program=program, fewer_digits=20,
                    words_and_pixels=True).end() for _ in range(2)]
    logs = {arm: runlog.parse_log(log_of(folder, arm, program, dataset="Digits")) for arm in ARMS}
    return SimpleNamespace(program=program, folder=folder, said=said, logs=logs)


def test_a_comparison_ends_well_draws_no_bar_into_a_file_and_keeps_earlier_files(compared):
    for status, out, err in compared.said:
        assert (status, err) == (0, "") and "|" not in out and max(map(len, out.splitlines())) <= terminal.COLUMNS
        heads = next(number for number, line in enumerate(out.splitlines()) if line.startswith("arm  "))
        assert [line.split()[0] for line in out.splitlines()[heads + 1:heads + 4]] == ARMS
        assert len(re.findall(r"^(?:contribution|random): round [12] of 2, ", out, re.MULTILINE)) == 4
    wanted = [name for arm in ARMS for number in ("", ".1") for name in files_of(compared.program, arm, number)]
    strips = [f"vae_logwithoutPruning{number}_strip.png" for number in ("", ".1")] * (compared.program == "vae.py")
    assert files_in(compared.folder, "Digits") == sorted(wanted + strips)  # no start is left


def test_a_header_says_what_was_run(compared):
    table = {"driver.py": settings.CLASSIFIER_TABLE, "vae.py": settings.VAE_TABLE}[compared.program]
    for arm, log in compared.logs.items():
        header = log.header
        assert (header["pruning"], header["compare"], header["dataset"], header["seed"]) == (arm, ARMS, "Digits", 7)
        assert (header["torch"], header["python"]) == (torch.__version__, platform.python_version())
        assert set(settings.SETTINGS) | set(table) <= set(header)
        assert (header["total_epochs"], header["increment"], header["hidden_widths"]) == (4, 1, WIDTHS[
            compared.program][0])


def test_a_log_holds_every_epoch_and_every_round(compared):
    first, second, third = WIDTHS[compared.program]
    for arm, log in compared.logs.items():
        batches = -(-600 // log.header["batch_size"])
        assert [(line.epoch, line.batch) for line in log.batches] == [
            (epoch, batch) for epoch in (1, 2, 3, 4) for batch in range(0, batches, 10)]
        assert [line.epoch for line in log.epochs] == [1, 2, 3, 4]
        assert [(line.number, line.epoch, line.before["widths"], line.after["widths"]) for line in log.rounds] == (
            [] if arm == "none" else [(1, 2, first, second), (2, 3, second, third)])
        assert (log.summary["epochs"], log.summary["rounds"]) == (4, len(log.rounds))
        assert log.summary["widths"] == (first if arm == "none" else third)


def test_every_measure_is_logged(compared):
    of_loss = ["loss", "accuracy"] if compared.program == "driver.py" else ["loss", "BCE", "KLD"]
    parts = [f"{split} {part}" for split in ("training", "test") for part in of_loss]
    quality = [] if compared.program == "driver.py" else ["test MSE", "test PSNR", "active units"]
    described = ["widths", "neurons", "parameters", "multiply-adds", *parts, *quality]
    for log in compared.logs.values():
        assert all(list(line.measures) == of_loss for line in log.batches)
        assert all(list(line.measures) == [*parts, "time"] for line in log.epochs)
        assert all(list(moment) == described for line in log.rounds for moment in (line.before, line.after))
        assert list(log.summary) == ["epochs", "rounds", *described, "time"]
        assert log.epochs[-1].measures["test loss"] == log.summary["test loss"]
        assert log.summary["test loss"] < 0.9 * log.epochs[0].measures["test loss"]


def test_the_arms_share_their_start_and_part_at_the_first_round(compared):
    batches = [log.batches for log in compared.logs.values()]
    shared = [[line for line in lines if line.epoch <= 2] for lines in batches]
    assert shared[0] == shared[1] == shared[2] and shared[0]
    assert len({str([line for line in lines if line.epoch == 3]) for lines in batches}) == 3


def test_a_script_that_splits_at_commas_reads_a_classifiers_accuracies(compared):
    for log in compared.logs.values():
        with open(log.path) as file:
            accuracies = [float(line.split(",")[-1].split(":")[1].strip().rstrip("%"))
                          for line in file if "Accuracy" in line]
        assert accuracies == [line.measures["accuracy"] for line in log.batches if compared.program == "driver.py"]


def test_a_saved_network_is_the_one_of_the_summary(compared, few_digits):
    for log in compared.logs.values():
        saved = torch.load(files.network_path(log.path), weights_only=True)
        of_driver = compared.program == "driver.py"
        model = (models.build if of_driver else models.VAE)(**saved["network"])
        model.load_state_dict(saved["weights"])
        assert models.load(files.network_path(log.path))[1]["widths"] == log.summary["widths"]
        assert count_parameters(model) == log.summary["parameters"]
        mean, std = (log.header["mean"], log.header["std"]) if of_driver else (0, 1)
        test = datasets.load(SimpleNamespace(**log.header), torch.device("cpu"), mean, std).test
        objective = driver.classify if of_driver else lambda *batch: vae.negative_elbo(*batch[:2], 0.5)
        measures = {**evaluate(model, test, objective, "test "), **({} if of_driver else vae.quality(model, test))}
        assert measures == pytest.approx({name: log.summary[name] for name in measures}, rel=1e-4)


def test_the_same_seed_gives_the_same_log_but_for_times(compared):
    for log in compared.logs.values():
        paths = [log.path, log.path.replace(".txt", ".1.txt")]
        one, two = (without_times(open(path).read()) for path in paths)
        assert one == two
        one, two = (torch.load(files.network_path(path), weights_only=True)["weights"] for path in paths)
        assert all(torch.equal(one[name], two[name]) for name in one)


# ---- tiny runs in this process ----

@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("blocked", ["logs", "logs/MNIST"])
def test_a_log_folder_that_cannot_be_made_stops_the_run_before_training(drive, small, monkeypatch, blocked, program):
    (small / blocked).parent.mkdir(exist_ok=True)
    (small / blocked).write_text("a file")
    monkeypatch.setattr(training, "train", lambda *arguments: pytest.fail("trained"))
    status, _, err = drive("--dataset", "1", program=program)
    assert status == 2 and blocked in one_line(err, program)
    assert (small / blocked).read_text() == "a file"


@pytest.mark.parametrize("program, flags", [
    ("driver.py", ["--learning-rate", "1e30"]),
    ("driver.py", ["--learning-rate", "1e37", "--batch-size", "110"]),  # at its last step
    ("vae.py", ["--learning-rate", "1e30"]), ("vae.py", ["--learning-rate", "1e37", "--batch-size", "110"])])
def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_its_log(drive, small, program, flags):
    status, _, err = drive(*ALONE[program], *flags, "--total-epochs", "1", program=program)
    named = re.search(r"not finite at epoch 1, batch (\d+)", one_line(err, program))
    assert status == 2 and named and "learning_rate" in err
    assert files_in(small) == files_of(program, "none", moments=[])[::2]  # no network
    log = runlog.parse_log(log_of(small, "none", program))
    assert int(named.group(1)) in (0, 1, 2) and [line[:2] for line in log.batches] == [(1, 0)] and not log.summary


@pytest.mark.parametrize("evenly, sides, times, fit", [
    (False, (28, 28), 4, True), (False, (15, 28), 4, False), (False, (28, 15), 4, False), (True, (28, 28), 0, True),
    (True, (28, 28), 2, True), (True, (28, 28), 3, False), (True, (32, 32), 4, True), (True, (64, 60), 3, False),
    (True, (60, 64), 3, False)])
def test_convolutions_must_be_able_to_halve_the_image(evenly, sides, times, fit):
    if fit:
        assert models.halved((3, *sides), times, evenly) == (sides[0] // 2 ** times, sides[1] // 2 ** times)
    else:
        with pytest.raises(errors.UserError, match=f"{times} convolutions .* {sides[0]} x {sides[1]} pixels"):
            models.halved((3, *sides), times, evenly)


def test_as_many_convolutions_as_fit_train_and_more_are_one_line(drive, small):
    assert drive(*ALONE["driver.py"], "--conv-widths", "2-2-2-2", "--total-epochs", "1")[0] == 0
    status, out, err = drive(*ALONE["vae.py"], "--conv-widths", "4-4-4", program="vae.py")
    assert (status, out) == (2, "") and "28 x 28" in one_line(err, "vae.py")


@pytest.mark.parametrize("program", PROGRAMS)
def test_ctrl_c_in_training_keeps_every_finished_epoch(program, small):
    running = Program(small, *TINY[program], "--total-epochs", "100000", program=program, words_and_pixels=True)
    path = log_of(small, "none", program)
    wait_for_epoch(path, 5)
    os.kill(running.process.pid, signal.SIGINT)
    status, _, err = running.end()
    assert status == 130 and "interrupted" in one_line(err, program)
    log = runlog.parse_log(path)
    finished = len(log.epochs)
    assert finished >= 5 and [line.epoch for line in log.epochs] == list(range(1, finished + 1))
    assert [line[:2] for line in log.batches if line.epoch <= finished] == [
        (epoch, batch) for epoch in range(1, finished + 1)
        for batch in ((0, 10, 20) if program == "driver.py" else (0,))]
    assert not [name for name in files_in(small) if name.endswith(".part")]
