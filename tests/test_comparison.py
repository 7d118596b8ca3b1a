"""What a run is told before it begins: --dry-run, and how exactly it is to repeat itself."""
import collections
import os
import re

import pytest
import torch
from test_checkpoint import ARMS, TINY, log_of

import machine
import runlog
import training

PROGRAMS = ["driver.py", "vae.py"]


@pytest.fixture
def small(tmp_path, tiny_mnist):
    tiny_mnist(tmp_path / "datasets")
    return tmp_path


def everything(folder):
    return sorted(os.path.join(where, name) for where, folders, names in os.walk(str(folder)) for name in names)


def told(out):
    """What a dry run says: {word: the rest of its line}."""
    return dict(re.findall(r"^(data|arms|rounds after epochs|widths|time|disk): (.*)$", out, re.M))


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_dry_run_tells_what_the_run_then_takes_and_leaves_nothing(program, small, drive):
    before = everything(small)
    status, out, err = drive(*TINY[program], "--dry-run", program=program)
    assert (status, err) == (0, "") and everything(small) == before
    assert drive(*TINY[program], program=program)[0] == 0

    says, logs = told(out), [runlog.parse_log(log_of(small, arm, program)) for arm in ARMS]
    shared = logs[0].header["initial_iterations"]
    epochs = shared + sum(len(log.epochs) - shared for log in logs)
    pruned = logs[1]
    assert says["data"] == "MNIST, 110 training and 20 test images"
    assert says["arms"] == f"none, contribution, random; {epochs} epochs in all, {len(pruned.rounds)} rounds an arm"
    assert says["rounds after epochs"] == ", ".join(str(line.epoch) for line in pruned.rounds)
    assert says["widths"].split(" => ") == [runlog.format_value("widths", sizes) for sizes in (
        pruned.header["hidden_widths"], pruned.summary["widths"])]
    assert re.fullmatch(r"about \d+\.\d minutes \(\S+ s an epoch, \S+ s a round\)", says["time"])
    size = sum(os.path.getsize(path) for path in everything(small / "logs") if not path.endswith(".png"))
    found = float(re.match(r"about (\S+) MB in logs, \S+ [GM]B free", says["disk"]).group(1)) * 1e6
    assert 0.5 < found / size < 2


def test_a_dry_run_makes_no_folder_and_shortens_long_lists(small, drive):
    flags = ["--log-folder", str(small / "new" / "a" / "b"), "--total-epochs", "100000"]
    status, out, _ = drive(*TINY["driver.py"], "--dry-run", *flags)
    assert status == 0 and sorted(os.listdir(str(small))) == ["datasets"]
    assert told(out)["rounds after epochs"] == "3, 5, 7, ..., 99999"


def test_a_dry_run_does_two_batches_and_a_round(small, drive, monkeypatch):
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
    assert calls == {"step": 2, "prune": 1}


def test_a_dry_run_without_pruning_has_no_round(small, drive):
    status, out, _ = drive(*TINY["driver.py"][:-1], "--pruning", "none", "--dry-run")
    says = told(out)
    assert status == 0 and says["arms"] == "none; 6 epochs in all, 0 rounds an arm"
    assert (says["rounds after epochs"], says["widths"]) == ("none", "10-6 => 10-6")


@pytest.mark.parametrize("flags, message", [
    (["--learning-rate", "1e30"], "the loss is not finite at epoch 1, batch [12];"),
    (["--dataset", "2"], "FashionMNIST could not be read"),
    (["--resume", "logs/MNIST/training_logwithPruning.txt"], "not allowed with"),
    (["--hidden-widths", "0"], "hidden_widths")])
def test_a_dry_run_names_what_stands_in_the_way(small, drive, flags, message):
    before = everything(small)
    status, _, err = drive(*TINY["driver.py"], "--dry-run", *flags)
    assert status == 2 and re.search(message, err.splitlines()[-1]) and everything(small) == before


def test_a_dry_run_refuses_a_disk_without_room(small, drive, monkeypatch):
    usage = collections.namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(200 * 1000))
    status, out, err = drive(*TINY["driver.py"], "--dry-run")
    assert status == 2 and re.fullmatch(r"driver.py: logs: the run needs about \S+ MB, the disk has 0.2 MB; .*\n", err)
    assert "dry run" not in out


# ---- determinism ----

@pytest.mark.parametrize("choice", ["True", "False"])
def test_deterministic_reaches_torch(small, drive, choice):
    try:
        assert drive(*TINY["driver.py"], "--dry-run", "--deterministic", choice)[0] == 0
        assert torch.are_deterministic_algorithms_enabled() == (choice == "True")
        assert torch.backends.cudnn.deterministic == (choice == "True") != torch.backends.cudnn.benchmark
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        machine.repeat_exactly(True)


def test_the_state_of_chance_comes_back():
    torch.manual_seed(5)
    torch.rand(3)
    states = machine.random_states(torch.device("cpu"))
    first = torch.randn(9)
    machine.set_random_states({})
    machine.set_random_states(states)
    assert torch.equal(torch.randn(9), first)
