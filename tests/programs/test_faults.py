"""Faults that end a run: what was on disk before is still there and loads, and the next start works.

Every fault is counted in a table that pytest prints at its end: how often it was made, after how many of them something
that had been on disk was lost, and how often the next start did its work.
"""
import contextlib
import glob
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import ROOT, write_tiny_mnist
from processes import Program, wait_for_epoch
from tiny import ALONE, ARMS, TINY, log_of, one_line, remains, start_of, stem_of

from pruning import checkpoint, errors, files, runlog, signals

TRIES = 8
# {what is run: its arguments}; up to a comma the program.
COMMANDS = {**TINY,
            "driver.py, seeds": [*ALONE["driver.py"], "--total-epochs", "4", "--initial-iterations", "2",
                                 "--seeds", "2", "--compare", "scratch,contribution"],
            "driver.py, side by side": [*ALONE["driver.py"], "--seeds", "2", "--compare", "--jobs", "2"]}
ENDLESS = ["--total-epochs", "1000000", "--initial-iterations", "1000000"]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "datasets"
    write_tiny_mnist(folder)
    return str(folder)


@pytest.fixture
def place(datasets, tmp_path):
    os.symlink(datasets, str(tmp_path / "datasets"))
    return tmp_path


@pytest.fixture(scope="module")
def undisturbed(datasets, tmp_path_factory):
    """{command: (what a run leaves that nothing disturbs, how long it takes)}, made on demand."""
    known = {}

    def of(command):
        if command not in known:
            folder = tmp_path_factory.mktemp("undisturbed")
            os.symlink(datasets, str(folder / "datasets"))
            running, started = start_or_go_on(folder, command), time.monotonic()
            assert running.end()[0] == 0
            known[command] = remains(folder), time.monotonic() - started
        return known[command]
    return of


@pytest.fixture
def count(record_property):
    """Put a fault's counts into the table after the tests. Nothing may be lost, and every try must recover."""
    def check(fault, tries, lost, recovered):
        record_property("fault", (fault, tries, lost, recovered))
        assert (lost, recovered) == (0, tries)
    return check


def progress(folder):
    """{log: how far the checkpoint is from which it goes on}. Fails if a file does not load or a log is not whole."""
    found = {}
    for path in sorted(glob.glob(os.path.join(str(folder), "logs", "MNIST", "*.*"))):  # checkpoints before starts
        if path.endswith((".checkpoint", ".start")):
            saved = checkpoint.read(path)
            for name, (length, _) in saved["extents"].items():
                log = os.path.join(os.path.dirname(path), name)
                assert os.path.getsize(log) >= length
                moment = saved["epoch"], saved["batches"]
                found[log] = max(moment, found.get(log, moment))
        elif path.endswith(".pt"):
            torch.load(path, weights_only=True)
    return found


def start_or_go_on(folder, command, **conditions):
    """The process of a run that is new in this folder, or goes on with what one of the logs, any of them, names."""
    left = sorted(progress(folder))
    if not left:
        shutil.rmtree(str(folder / "logs"), ignore_errors=True)
    return Program(folder, *(["--resume", random.choice(left)] if left else COMMANDS[command]),
                   program=command.split(",")[0], words_and_pixels=True, **conditions)


def disturb(folder, command, undisturbed, disturbed_start, statuses, tries=TRIES):
    """Disturb a run again and again on its way, begin anew if it ends all the same, and let the last one end.

    disturbed_start: () -> the Program. Returns how often it lost something and how often the next start went on.
    """
    expected, made, lost, recovered, before = undisturbed(command)[0], 0, 0, 0, {}
    while made < tries:
        status, _, err = disturbed_start().end()
        assert status in (0, *statuses) and "Traceback" not in err, (status, err)
        recovered += made > recovered  # what came before did not keep this one from its work
        wait_for_lock(folder)
        now = progress(folder)
        lost += any(now.get(arm, (-1, 0)) < then for arm, then in before.items())
        if status:
            made, before = made + 1, now
        else:
            assert remains(folder) == expected
            shutil.rmtree(str(folder / "logs"))
            before = {}
    recovered += start_or_go_on(folder, command).end()[0] == 0
    assert remains(folder) == expected
    return lost, recovered


def wait_for_lock(folder, seconds=30):
    """Wait until no process holds a log any more: those that have lost their parent stop by themselves."""
    paths, end = glob.glob(os.path.join(str(folder), "logs", "MNIST", "*.txt")), time.monotonic() + seconds
    while True:
        try:
            with files.held(paths):
                return
        except errors.UserError:
            assert time.monotonic() < end, "still held"
            time.sleep(0.01)


# ---- killed ----

@pytest.mark.parametrize("name, program, tries", [
    ("SIGKILL", "driver.py", TRIES), ("SIGKILL", "vae.py", 2),
    ("SIGINT", "driver.py", 5), ("SIGTERM", "driver.py", 4), ("SIGHUP", "driver.py", 3)])
def test_killed_at_random_moments(name, program, tries, place, undisturbed, count):
    random.seed(name)
    seconds = undisturbed(program)[1]

    def start():
        running = start_or_go_on(place, program)
        time.sleep(random.uniform(0, seconds / 2))  # what goes on ends earlier
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(running.process.pid, getattr(signal, name))
        return running
    statuses = [130, -getattr(signal, name)]  # by the signal itself before the command has begun and after its end
    lost, recovered = disturb(place, program, undisturbed, start, statuses, tries)
    count(f"{name} at a random moment, {program}", tries, lost, recovered)


@pytest.mark.parametrize("command, tries", [("driver.py", TRIES), ("vae.py", 3), ("driver.py, seeds", TRIES)])
def test_killed_at_an_operation_on_a_file(command, tries, place, undisturbed, count):
    random.seed(0)

    def start():
        return start_or_go_on(place, command, kill_at=random.randint(1, 40))
    lost, recovered = disturb(place, command, undisturbed, start, [-signal.SIGKILL], tries)
    count(f"SIGKILL as a file is opened, renamed or removed, {command}", tries, lost, recovered)


def test_killed_right_after_a_checkpoint(place, undisturbed, count):
    """The start has checkpoints of epochs 0, 2 and 3; `none` has two of its own, the two pruned arms have four each."""
    numbers = [1, 3, 4, 6, 9, 13]
    for number in numbers:
        status, _, _ = start_or_go_on(place, "driver.py", kill_after=number).end()
        assert status == -signal.SIGKILL and os.path.exists(start_of(place))
        branched = [os.path.exists(stem_of(place, arm) + ".checkpoint") for arm in ARMS]
        assert branched == [number > 3, number > 5, number > 9]
        assert len(progress(place)) == 3
        assert start_or_go_on(place, "driver.py").end()[0] == 0 and remains(place) == undisturbed("driver.py")[0]
        shutil.rmtree(str(place / "logs"))
    count("SIGKILL right after a checkpoint, driver.py", len(numbers), 0, len(numbers))


def test_killed_right_after_a_checkpoint_side_by_side(place, undisturbed, count):
    """Each process counts its own, anew after each of the three restarts, until the fourth death ends the command."""
    status, _, err = start_or_go_on(place, "driver.py, side by side", kill_after=3).end()
    assert status == 2 and re.fullmatch(r"process [01] of 2 was killed by signal 9, after 3 restarts; go on with "
                                        r"--resume and any of the logs in \S*logs/MNIST", one_line(err))
    wait_for_lock(place)
    assert start_or_go_on(place, "driver.py, side by side").end()[0] == 0
    assert remains(place) == undisturbed("driver.py, side by side")[0]
    count("SIGKILL right after a checkpoint, side by side", 4, 0, 4)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the processes as on Linux")
@pytest.mark.parametrize("early", [True, False])
def test_after_a_kill_the_processes_go_on_with_their_own_logs(early, place, undisturbed):
    """early: before there are logs of this run, but some of an earlier one that have the same names."""
    command = COMMANDS["driver.py, side by side"]
    if early:
        assert Program(place, *command, "--learning-rate", "0.5").end()[0] == 0
        before = remains(place)
    running = Program(place, *command)
    there = start_of(place, seed=31)
    if early:
        there = files.team_path(str(place / "logs"), "MNIST", "training_log", running.process.pid)
    end = time.monotonic() + 60
    while not os.path.exists(there):
        assert running.process.is_alive() and time.monotonic() < end
    os.kill(random.choice(children(running.process.pid)), signal.SIGKILL)
    status, out, err = running.end()
    assert (status, err) == (0, "") and out.count("a process was killed; all were started anew") == 1
    after, expected = remains(place), undisturbed("driver.py, side by side")[0]
    assert {name: after[name] for name in expected} == expected
    if early:
        assert {re.sub(r"\.(\w+)$", r".1.\1", name): what for name, what in before.items()}.items() <= after.items()


def children(parent):
    """The processes that a process has started."""
    found = []
    for path in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError), open(path) as file:
            number, _, _, above = file.read().split()[:4]  # no name of a process here has a space
            found += [int(number)] * (int(above) == parent)
    return found


@pytest.mark.parametrize("kill_at", range(2, 7))
def test_killed_while_it_begins(kill_at, place, undisturbed):
    # The logs of all arms are there, the heads or the first checkpoints of some are not.
    start_or_go_on(place, "driver.py, seeds", kill_at=kill_at).end()
    assert start_or_go_on(place, "driver.py, seeds").end()[0] == 0
    assert remains(place) == undisturbed("driver.py, seeds")[0]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_python_shuts_down_ends_a_command_without_a_word(name):
    command = f"""import atexit, os, signal
from pruning import errors
atexit.register(os.kill, os.getpid(), signal.{name})
errors.run_command(lambda: print("done"))"""
    ended = subprocess.run([sys.executable, "-c", command], capture_output=True, cwd=ROOT)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-getattr(signal, name), b"done\n", b"")


def test_the_second_ctrl_c_ends_at_once_and_an_ignored_one_never():
    with pytest.raises(KeyboardInterrupt), signals.Stop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked
        os.kill(os.getpid(), signal.SIGINT)
    earlier = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with signals.Stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert not stop.asked
    assert signal.signal(signal.SIGTERM, earlier) == signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


# ---- the disk ----

def test_a_full_disk(place, undisturbed, count):
    random.seed(1)
    limits = iter([400, 1500, 5000, 20000, 36000, 60000, *(random.randint(400, 70000) for _ in range(20))])

    def start():
        return start_or_go_on(place, "driver.py", file_limit=next(limits))
    lost, recovered = disturb(place, "driver.py", undisturbed, start, [2], TRIES)
    count("no space left on the disk", TRIES, lost, recovered)


def test_a_log_folder_that_is_removed_meanwhile(place, count):
    lost, recovered, tries = 0, 0, 4
    for number in range(tries):
        running = Program(place, *ALONE["driver.py"], *ENDLESS, "--checkpoint-every", str(1 + 99 * (number % 2)))
        wait_for_epoch(log_of(place, "none"))
        os.rename(str(place / "logs"), str(place / f"gone{number}"))
        status, _, err = running.end()
        assert status == 2 and "training_logwithoutPruning" in one_line(err)
        log = log_of(place, "none").replace("logs", f"gone{number}")
        saved = checkpoint.read(files.checkpoint_path(log))
        lost += os.path.exists(str(place / "logs")) or not runlog.parse_log(log).epochs or not saved
        recovered += Program(place, *TINY["driver.py"]).end()[0] == 0
        shutil.rmtree(str(place / "logs"))
    count("log folder removed meanwhile", tries, lost, recovered)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="root's rights are given up as on Linux")
def test_a_folder_without_permission_to_write(place, count):
    assert Program(place, *TINY["driver.py"]).end()[0] == 0
    (place / "shut").mkdir()
    before, lost, recovered = remains(place), 0, 0
    tries = [TINY["driver.py"], ["--resume", log_of(place, "contribution")],
             [*TINY["driver.py"], "--log-folder", "shut"], [*TINY["driver.py"], "--log-folder", "shut", "--dry-run"]]
    for arguments in tries:
        allow(place, False)
        status, _, err = Program(place, *arguments, no_rights=True).end()
        assert status == 2 and "ermission denied" in one_line(err)
        lost += remains(place) != before
        allow(place, True)
        recovered += Program(place, *arguments, no_rights=True).end()[0] == 0
        before = remains(place)
    count("folder that may not be written to", len(tries), lost, recovered)


def allow(place, writing):
    """Let the logs, and the folder `shut`, be written, or read only."""
    for path in glob.glob(str(place / "logs" / "MNIST" / "*")):
        os.chmod(path, 0o644 if writing else 0o444)
    for folder in (place / "logs" / "MNIST", place / "shut", place / "shut" / "MNIST"):
        if folder.exists():
            os.chmod(str(folder), 0o755 if writing else 0o555)


# ---- two at once ----

def test_two_runs_at_once_for_one_log(place, count):
    tries, lost, recovered = 4, 0, 0
    for number in range(tries):
        log, short = log_of(place, "none"), [*ALONE["driver.py"], "--pruning", "none"]
        running = Program(place, *short, *ENDLESS)
        wait_for_epoch(log)
        second = [["--resume", log], short][number % 2]
        status, _, err = Program(place, *second).end()
        assert status == 2 and "another run is writing this log" in one_line(err)
        epoch = len(runlog.parse_log(log).epochs)
        wait_for_epoch(log, epoch + 2)
        lost += not running.process.is_alive()
        running.process.kill()
        running.end()
        # Its lock has gone with it. A run without end cannot go on to its end.
        recovered += Program(place, *short).end()[0] == 0
        assert Program(place, "--resume", log).end()[0] == 0
        shutil.rmtree(str(place / "logs"))
    count("two runs at once for one log", tries, lost, recovered)


def test_a_refused_comparison_leaves_the_arms_that_no_run_writes(place):
    assert Program(place, *TINY["driver.py"]).end()[0] == 0
    before, single = remains(place), [*ALONE["driver.py"], "--pruning", "random"]
    running = Program(place, *single, *ENDLESS[:2])
    wait_for_epoch(log_of(place, "random"), 9)  # which the log that is there already does not have
    status, _, err = Program(place, *TINY["driver.py"]).end()
    assert status == 2 and "worstPruning.txt: another run is writing this log" in err
    status, _, err = Program(place, *TINY["driver.py"], "--dry-run").end()
    assert status == 2 and "worstPruning.txt: another run is writing this log" in err
    running.process.terminate()  # a kill could leave half a checkpoint beside the whole one
    assert running.end()[0] == 130
    after = remains(place)
    assert all(after[name] == before[name] for name in before if "worst" not in name)


# ---- several at once ----

def test_runs_side_by_side_are_stopped_by_signals_and_with_their_parent(place, undisturbed, count):
    random.seed(3)
    numbers, seconds = itertools.count(), undisturbed("driver.py, side by side")[1]

    def start():
        running = start_or_go_on(place, "driver.py, side by side")
        time.sleep(random.uniform(0.1, seconds))
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.process.pid, [signal.SIGKILL, signal.SIGTERM, signal.SIGINT][next(numbers) % 3])
        return running
    lost, recovered = disturb(place, "driver.py, side by side", undisturbed, start,
                              [130, -signal.SIGKILL, -signal.SIGTERM], 6)
    count("SIGKILL, SIGTERM, SIGINT at a random moment, side by side", 6, lost, recovered)


@pytest.mark.parametrize("fault", ["a log is gone", "the launcher is killed"])
def test_what_ends_a_run_ends_those_beside_it_and_keeps_their_work(place, fault):
    """Both seeds are in their start, whose epochs stand in the logs of all arms."""
    running = Program(place, *COMMANDS["driver.py, side by side"], "--total-epochs", "100000", "--initial-iterations",
                      "99999")
    path, gone = (log_of(place, "contribution", seed=seed) for seed in (30, 31))
    wait_for_epoch(path)
    wait_for_epoch(gone)
    if fault == "a log is gone":
        os.rename(gone, gone + ".away")
        status, _, err = running.end()
        assert status == 2 and "removed, renamed or replaced" in err and "Traceback" not in err, (status, err)
    else:
        running.process.kill()
        running.end()
    wait_for_lock(place)
    saved = checkpoint.read(start_of(place, seed=30))
    assert saved["epoch"] + saved["batches"] > 0


# ---- what is not the disk's fault ----

def test_a_loss_that_is_not_finite(place, count):
    assert Program(place, *TINY["driver.py"]).end()[0] == 0
    before = remains(place)
    assert Program(place, *TINY["driver.py"], "--learning-rate", "1e30").end()[0] == 2
    kept = remains(place)
    lost = any(kept[re.sub(r"\.(\w+)$", r".1.\1", name)] != what for name, what in before.items())
    status = Program(place, *TINY["driver.py"]).end()[0]
    count("loss that is not finite", 1, lost, status == 0 and before.items() <= remains(place).items())


def test_a_data_file_that_is_cut_short(tmp_path, count):
    write_tiny_mnist(tmp_path / "datasets")
    paths = sorted(glob.glob(str(tmp_path / "datasets" / "MNIST" / "raw" / "*")))
    assert Program(tmp_path, *ALONE["driver.py"]).end()[0] == 0
    before, lost, recovered = remains(tmp_path), 0, 0
    for path in paths:
        with open(path, "rb") as file:
            content = file.read()
        with open(path, "wb") as file:
            file.write(content[:-1])
        status, _, err = Program(tmp_path, *TINY["driver.py"]).end()
        assert status == 2 and f"{path[len(str(tmp_path)) + 1:]} is damaged; delete it" in one_line(err)
        lost += remains(tmp_path) != before
        with open(path, "wb") as file:
            file.write(content)
        recovered += Program(tmp_path, *ALONE["driver.py"]).end()[0] == 0
        before = remains(tmp_path)
    count("data file cut short", len(paths), lost, recovered)
