"""--dry-run: it tells what the run then takes, names what stands in its way, and leaves nothing."""
import collections
import os
import re

import pytest
import torch
from tiny import ALONE, ARMS, PROGRAMS, TINY, contents, log_of, one_line

from pruning import device, dry_run, runlog, training

ONE = ALONE["driver.py"]


def told(out):
    """What a dry run says: {word: the rest of its line}."""
    return dict(re.findall(r"^(data|network|arms|epochs|work|time|disk) +(.*)$", out, re.M))


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_tells_what_the_run_then_takes_and_leaves_nothing(program, small, drive):
    before = contents(small)
    status, out, err = drive(*TINY[program], "--dry-run", program=program)
    assert (status, err) == (0, "") and contents(small) == before
    assert drive(*TINY[program], program=program)[0] == 0

    says, logs = told(out), [runlog.parse_log(log_of(small, arm, program)) for arm in ARMS]
    shared = logs[0].header["initial_iterations"]
    epochs = shared + sum(len(log.epochs) - shared for log in logs)
    pruned = logs[1]
    assert says["data"] == "MNIST, 110 training and 20 test images"
    assert says["arms"] == "none, contribution, random; seed 30"
    assert says["work"] == f"{epochs} epochs in all, {len(pruned.rounds)} rounds per arm"
    assert says["epochs"].endswith("rounds after epochs " + ", ".join(str(line.epoch) for line in pruned.rounds))
    assert says["network"].split("neurons ")[1].split(" => ") == [runlog.format_value("widths", sizes) for sizes in (
        pruned.header["hidden_widths"], pruned.summary["widths"])]
    assert re.fullmatch(r"about \d+ seconds \(\S+ s per epoch, \S+ s per round\)", says["time"])
    size = sum(len(content) for path, content in contents(small / "logs").items() if not path.endswith(".png"))
    found = float(re.match(r"about (\S+) MB in logs, \S+ [GM]B free", says["disk"]).group(1)) * 1e6
    assert 0.5 < found / size < 2


def test_it_makes_no_folder_and_shortens_long_lists(small, drive):
    flags = ["--log-folder", str(small / "new" / "a" / "b"), "--total-epochs", "100000"]
    status, out, _ = drive(*TINY["driver.py"], "--dry-run", *flags)
    assert status == 0 and os.listdir(str(small)) == ["datasets"]
    assert told(out)["epochs"] == "100000, rounds after epochs 3, 5, 7, ..., 99999"


def test_it_does_two_batches_and_a_round_of_every_arm(small, drive, monkeypatch):
    calls = collections.Counter()

    def counted(name):
        function = getattr(training, name)

        def call(*arguments):
            calls[name] += 1
            return function(*arguments)
        monkeypatch.setattr(training, name, call)
    for name in ("step", "prune", "train_epoch"):
        counted(name)
    assert drive(*TINY["driver.py"], "--batch-size", "60", "--dry-run")[0] == 0
    assert calls == {"step": 2, "prune": 2}


@pytest.mark.parametrize("given, count, epochs", [
    ([], "1", 3 + 3 * 3), ([], "2", 3 + 2 * 3), ([], "3", 3 + 3), (["--seeds", "2"], "2", 3 + 3 * 3),
    (["--initial-iterations", "5"], "3", 5 + 1)])
def test_it_knows_that_shared_epochs_come_first_and_arms_are_not_split(small, drive, monkeypatch, given, count, epochs):
    monkeypatch.setattr(dry_run, "THREADS", 4)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    monkeypatch.setattr(dry_run, "timed", lambda function, *arguments: (0, function(*arguments)))
    monkeypatch.setattr(training, "try_batches", lambda *arguments: ({"loss": 1.0, "accuracy": 5.0}, 60 / 22))
    status, out, _ = drive(*TINY["driver.py"], *given, "--jobs", count, "--dry-run")
    assert status == 0 and told(out)["time"].startswith(f"about {epochs}.0 minutes")  # an epoch takes one


@pytest.mark.parametrize("asked, widths, work", [
    (["--pruning", "none"], "10-6", "6 epochs in all, 0 rounds per arm"),
    (["--pruning", "scratch"], "8-4", "6 epochs in all, 0 rounds per arm"),
    (["--compare", "none,scratch"], "10-6 => 8-4", "12 epochs in all, 0 rounds per arm"),
    # Of every seed 6 epochs from scratch, 3 shared ones and 3 of each of the two arms.
    (["--seeds", "2", "--compare", "scratch,random,contribution"], "10-6 => 8-4",
     "30 epochs in all, 2 rounds per arm")])
def test_it_knows_what_each_arm_and_seed_adds(small, drive, asked, widths, work):
    status, out, _ = drive(*ONE, *asked, "--dry-run")
    assert status == 0 and told(out)["work"] == work and told(out)["network"].endswith(f"hidden neurons {widths}")


@pytest.mark.parametrize("flags, message", [
    (["--learning-rate", "1e30"], "the loss is not finite at epoch 1, batch [12];"),
    (["--dataset", "2"], "FashionMNIST could not be read"),
    (["--resume", "logs/MNIST/training_logwithPruning.txt"], "not allowed with"),
    (["--hidden-widths", "0"], "hidden_widths")])
def test_it_names_what_stands_in_the_way(small, drive, flags, message):
    before = contents(small)
    status, _, err = drive(*TINY["driver.py"], "--dry-run", *flags)
    assert status == 2 and re.search(message, err.splitlines()[-1]) and contents(small) == before


def test_it_refuses_a_disk_without_room(small, drive, monkeypatch):
    usage = collections.namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(200 * 1000))
    status, out, err = drive(*TINY["driver.py"], "--dry-run")
    assert status == 2 and re.fullmatch(r"logs: the run needs about \S+ MB, the disk has 0.2 MB; .*", one_line(err))
    assert "dry run" not in out


@pytest.mark.parametrize("choice", ["True", "False"])
def test_deterministic_reaches_torch(small, drive, choice):
    try:
        assert drive(*ONE, "--dry-run", "--deterministic", choice)[0] == 0
        assert torch.are_deterministic_algorithms_enabled() == (choice == "True")
        assert torch.backends.cudnn.deterministic == (choice == "True") != torch.backends.cudnn.benchmark
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        device.repeat_exactly(True)
