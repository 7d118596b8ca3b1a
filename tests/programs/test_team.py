"""Several processes that torchrun has started: the logs of one process, one line for what goes wrong, and no hang."""
import contextlib
import glob
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from processes import FORKS, STARTED, Program, type_at_terminal, wait_for_epoch
from tiny import ALONE, log_of, one_line, remains

from pruning import errors, files, launch, restart, team

FLAGS = [*ALONE["driver.py"], "--seeds", "2", "--compare"]
ENDLESS = [*FLAGS, "--total-epochs", "1000000", "--initial-iterations", "999999"]


@pytest.fixture
def port():
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def start(small, port):
    """Start the program of a rank as torchrun does, in the folder of a tiny MNIST or one below. on_machine: how
    many processes each machine has."""
    def start(rank, *arguments, on_machine=2, here="", program="driver.py", **conditions):
        environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": "2",
                       "LOCAL_RANK": str(rank % on_machine), "LOCAL_WORLD_SIZE": str(on_machine)}
        return Program(small / here, *arguments, program=program, environment=environment, words_and_pixels=True,
                       **conditions)
    return start


def of_first(running, status):
    """The one line that the first of two processes says. Both must end with the status, the other without a word."""
    (first, _, said), other = (process.end() for process in running)
    assert (first, other) == (status, (status, "", "")), (first, said, other)
    return one_line(said)


# ---- the work ----

@pytest.mark.parametrize("program", list(ALONE))
def test_two_processes_leave_what_one_leaves(program, small, start):
    flags = [*ALONE[program], "--seeds", "2", "--compare", "none,random,scratch"]
    assert Program(small, *flags, program=program, words_and_pixels=True).end()[0] == 0
    expected = remains(small)
    os.rename(str(small / "logs"), str(small / "alone"))
    running = [start(rank, *flags, program=program) for rank in (0, 1)]
    (status, said, err), other = (process.end() for process in running)
    assert (status, err, other) == (0, "", (0, "", "")) and "for a figure" in said
    assert remains(small) == expected
    assert sum("seed 30: round 1" in line for line in said.splitlines()) == 1


def test_one_bar_stands_over_all_and_lines_stand_on_their_own(small):
    status, screen = type_at_terminal(small, ["driver.py", *FLAGS[2:], "--jobs", "2"], [b"1\n"])
    assert status == 0 and screen.count("Number of the data set") == 1
    assert "0 of 10 pieces |" in screen and "batch/s" not in screen
    rounds = [line.split("\r")[-1] for line in screen.splitlines() if ": round" in line]
    assert len(rounds) == 8 and all(line.split(", ")[0] in ("contribution", "random") for line in rounds)
    assert screen.splitlines()[-1].startswith("for a figure: ")


# ---- faults ----

@pytest.mark.parametrize("flags, message", [
    (["--seeds", "x"], "argument --seeds: 'x' is not a whole number"),
    (["--ranking-images", "111"], "ranking_images = 111; there are 110 training images")])
def test_what_stops_the_first_process_stops_all(start, flags, message):
    assert message in of_first([start(rank, *FLAGS, *flags) for rank in (0, 1)], 2)


def test_what_stops_another_process_is_said_by_the_first(start, small):
    running = [start(0, *ENDLESS), start(1, *ENDLESS, file_limit=20000)]
    assert "File too large" in of_first(running, 2)
    assert not glob.glob(str(small / "logs" / "MNIST" / "*.part"))


def test_a_log_folder_of_ones_own_is_noticed(start, small, monkeypatch):
    (small / "other").mkdir()
    os.symlink(str(small / "datasets"), str(small / "other" / "datasets"))
    said = of_first([start(0, *FLAGS), start(1, *FLAGS, here="other")], 2)
    assert said.startswith("log_folder: process 1 on ") and "all machines share" in said
    assert not os.path.exists(str(small / "other" / "logs"))


def test_a_signal_to_one_process_stops_all_which_go_on_in_another_number(start, small):
    running = [start(rank, *FLAGS, "--total-epochs", "40") for rank in (0, 1)]
    wait_for_epoch(log_of(small, "random", seed=31))
    os.kill(running[1].process.pid, signal.SIGTERM)
    assert of_first(running, 130).endswith("10 pieces of the work to do; go on with --resume and any of the logs")
    status, _, err = Program(small, "--resume", log_of(small, "none", seed=30)).end()
    assert (status, err) == (0, "")
    stopped = remains(small)
    os.rename(str(small / "logs"), str(small / "stopped"))
    assert Program(small, *FLAGS, "--total-epochs", "40").end()[0] == 0
    assert remains(small) == stopped


@pytest.mark.parametrize("stuck, said", [
    (1, "process 1 has given no sign of life for timeout = 2 s; go on with"),
    (0, "the store of all processes cannot be reached any more; go on with"),
])
def test_a_process_of_which_nothing_is_heard_is_named(stuck, said, start, small):
    running = [start(rank, *ENDLESS, "--timeout", "2", on_machine=1) for rank in (0, 1)]
    wait_for_epoch(log_of(small, "random", seed=31))
    os.kill(running[stuck].process.pid, signal.SIGSTOP)
    status, _, err = running[1 - stuck].end()
    assert status == errors.LOST and one_line(err).startswith(said)


@pytest.fixture
def alone(monkeypatch, port):
    """A process that torchrun says is one of two."""
    def alone(rank):
        for name, value in (("RANK", rank), ("WORLD_SIZE", 2), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", port)):
            monkeypatch.setenv(name, str(value))
        return team.Team(timeout=1)
    return alone


@pytest.mark.parametrize("rank", [0, 1])
def test_a_missing_process_is_named_after_the_time_out(rank, alone):
    began = time.monotonic()
    with pytest.raises(errors.Lost, match=f"process {1 - rank} .* within timeout = 1 s|not found the others"):
        alone(rank).join()
    assert time.monotonic() - began < 20


def test_a_port_that_is_taken_is_one_line(alone, port):
    with socket.socket() as other, pytest.raises(errors.Lost, match="has not found the others"):
        other.bind(("127.0.0.1", port))
        other.listen()
        alone(0).join()


# ---- a restart ----

def lose_one_at_first():
    """A command one of whose two processes is stuck until they are started anew."""
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        if os.environ["RANK"] == "1":
            time.sleep(1000)
        raise errors.Lost("process 1 does not answer")


def test_processes_that_lose_a_stuck_one_are_started_anew(tmp_path):
    launching = FORKS.Process(target=launch.launch, args=(lose_one_at_first, 2, None, "cpu", str(tmp_path / "team")))
    STARTED.append(launching)
    launching.start()
    launching.join(60)
    assert launching.exitcode == 0


def test_a_restart_goes_on_unless_the_run_had_ended_and_others_run_begins(monkeypatch, tmp_path):
    path, others = (files.team_path(str(tmp_path), "logs", "training_log", launcher) for launcher in (1, 2))
    for name, value in (("RANK", 0), ("WORLD_SIZE", 1), ("MASTER_ADDR", ""), ("TORCHELASTIC_MAX_RESTARTS", 2)):
        monkeypatch.setenv(name, str(value))
    first = team.Team(timeout=1)
    assert first.record.begin(path, "noon", True) == ("noon", False)
    first.record.remember(130)
    other = team.Team(timeout=1)
    other.record.agent = "elsewhere 7 1"
    assert other.record.begin(others, "two", True) == ("two", False)  # and leaves the first one's file
    again = team.Team(timeout=1)
    assert again.record.begin(path, "one", True) == ("noon", True)
    other.record.remember(2)
    other = team.Team(timeout=1)
    other.record.agent = "elsewhere 7 1"
    with pytest.raises(SystemExit) as end:
        other.record.begin(others, "three", True)
    assert end.value.code == 2
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    last = team.Team(timeout=1)
    assert last.record.begin(path, "four", True) == ("noon", True)
    last.record.remember(2)
    assert not os.path.exists(path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="beginnings are read from /proc")
def test_a_launcher_is_known_by_its_beginning_and_missed_when_it_has_ended():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as launcher:
        agent = f"{socket.gethostname()} {launcher.pid} {restart.began(launcher.pid)}"
        assert restart.began(launcher.pid) != restart.began(os.getpid()) and not restart.is_gone(agent)
        launcher.communicate(b"\n")
    assert restart.is_gone(agent) and not restart.is_gone(f"elsewhere {launcher.pid} 1")
