"""The files of a run: their names, earlier ones kept, whole writing, and one run a log."""
import errno
import fcntl
import os
import stat
import subprocess
import sys

import pytest
from conftest import ROOT

import errors
import files

LINE = "Epoch: 1, Batch: 0, Loss: 2.5, Accuracy: 11.5%\n"


def create(path, text):
    """A new log that begins so, open."""
    log, = files.create([path])
    log.write(text)
    log.flush()
    return log


def test_earlier_logs_and_networks_are_kept_under_one_number(tmp_path):
    path = files.log_path(str(tmp_path), "MNIST", "contribution")
    assert path == os.path.join(str(tmp_path), "MNIST", "training_logwithPruning.txt")
    for run in range(4):
        with create(path, f"# run = {run}\n") as log:
            log.write(LINE)
        if run != 1:  # that one was interrupted before its network was saved
            with open(files.network_path(path), "w") as network:
                network.write(str(run))
    kept = {file.name: file.read_text() for file in (tmp_path / "MNIST").iterdir()}
    texts = {f"training_logwithPruning{number}.txt": f"# run = {run}\n" + LINE
             for run, number in enumerate([".1", ".2", ".3", ""])}
    networks = {f"training_logwithPruning{number}.pt": str(run) for run, number in [(0, ".1"), (2, ".3"), (3, "")]}
    assert kept == {**texts, **networks}


@pytest.mark.parametrize("alone", [".1.pt", ".1_end.png"])
def test_a_kept_network_or_picture_alone_takes_its_number(tmp_path, alone):
    path = files.log_path(str(tmp_path), "MNIST", "none")
    create(path, "# run = 1\n").close()
    older = tmp_path / "MNIST" / ("training_logwithoutPruning" + alone)
    older.write_text("an older one")
    create(path, "# run = 2\n").close()
    assert (tmp_path / "MNIST" / "training_logwithoutPruning.2.txt").read_text() == "# run = 1\n"
    assert older.read_text() == "an older one"


def locks_of(open_for_reading=None, every=None):
    """In place of fcntl.flock: exclusive locks of what is open for reading alone, or all locks, fail with an errno."""
    def flock(file, how):
        reads = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        folder = stat.S_ISDIR(os.stat(file if isinstance(file, int) else file.fileno()).st_mode)
        failure = every or (open_for_reading if reads and not folder and how & fcntl.LOCK_EX else None)
        if failure:
            raise OSError(failure, os.strerror(failure))
    return flock


@pytest.mark.parametrize("failures", [{"open_for_reading": errno.EBADF}, {"every": errno.ENOLCK},
                                      {"every": errno.ENOSYS}, {"every": errno.EOPNOTSUPP}], ids=str)
def test_a_network_file_system_with_fewer_locks_or_none_takes_a_second_run(tmp_path, monkeypatch, failures):
    monkeypatch.setattr(fcntl, "flock", locks_of(**failures))
    path = files.log_path(str(tmp_path), "MNIST", "none")
    for run in range(2):
        create(path, f"# run = {run}\n").close()
    assert sorted(os.listdir(os.path.dirname(path))) == ["training_logwithoutPruning.1.txt",
                                                        "training_logwithoutPruning.txt"]


def test_a_lock_that_fails_otherwise_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", locks_of(every=errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        files.create([files.log_path(str(tmp_path), "MNIST", "none")])


def test_a_seeds_log_is_called_by_it_and_keeps_its_pictures_when_the_log_without_a_seed_is_kept(tmp_path):
    path = files.log_path(str(tmp_path), "MNIST", "none", "vae_log")
    of_seed = files.log_path(str(tmp_path), "MNIST", "none", "vae_log", 31)
    assert os.path.basename(of_seed) == "vae_logwithoutPruning-seed31.txt"
    for name in (path, of_seed):
        create(name, "# run = 1\n").close()
        with open(os.path.splitext(name)[0] + "_end.png", "w") as picture:
            picture.write("a picture")
    create(path, "# run = 2\n").close()
    assert sorted(os.listdir(str(tmp_path / "MNIST"))) == [
        "vae_logwithoutPruning-seed31.txt", "vae_logwithoutPruning-seed31_end.png", "vae_logwithoutPruning.1.txt",
        "vae_logwithoutPruning.1_end.png", "vae_logwithoutPruning.txt"]


@pytest.mark.parametrize("folder", ["logs", "[a]*?"])
def test_pictures_are_kept_with_their_log_and_the_files_of_others_stay(tmp_path, folder):
    path = files.log_path(str(tmp_path / folder), "MNIST", "contribution", "vae_log")
    own = [".txt", ".pt", "_before_round_1.png", "_end.png"]
    others = ["vae_logwithoutPruning.txt", "vae_logwithoutPruning_end.png", "vae_logworstPruning_end.png",
              "training_logwithPruning.txt", "training_logwithPruning_end.png", "vae_logwithPruning.png",
              "vae_logwithPruning_notes.txt", "vae_logwithPruningMore_end.png", "vae_strip.png", "end.png"]
    os.makedirs(os.path.dirname(path))
    for run in range(3):
        files.keep_earlier(path)
        for ending in own if run != 1 else own[2:]:  # of the second run the user deleted the log
            with open(os.path.splitext(path)[0] + ending, "w") as file:
                file.write(str(run))
        for name in others:
            with open(os.path.join(os.path.dirname(path), name), "w") as file:
                file.write("another's")
    found = {file.name: file.read_text() for file in (tmp_path / folder / "MNIST").iterdir()}
    kept = {f"vae_logwithPruning{number}{ending}": str(run) for run, number in enumerate([".1", ".2", ""])
            for ending in (own if run != 1 else own[2:])}
    assert found == {**kept, **dict.fromkeys(others, "another's")}


class Stop(BaseException):
    """What is no error of the disk."""


def write_half(path, error):
    with files.whole_file(path) as file:
        file.write(b"half of the new")
        file.flush()
        raise error


def test_a_whole_file_takes_the_place_of_the_old_one_at_its_end(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("old")
    with files.whole_file(str(path)) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a.png": "new"}


@pytest.mark.parametrize("error, raised, message", [
    (OSError(28, "No space left on device"), errors.UserError, r"a\.png: .*No space left on device"),
    (OSError("cannot pickle"), errors.UserError, r"a\.png: .*cannot pickle"),
    (errors.UserError("an image is broken"), errors.UserError, "^an image is broken$"),
    (ValueError("a mistake"), ValueError, "^a mistake$"), (Stop("stop"), Stop, "^stop$")],
    ids=["full", "no number", "user", "mistake", "stop"])
@pytest.mark.parametrize("old", [{"a.png": "old"}, {}], ids=["old", "none"])
def test_a_file_that_breaks_off_leaves_the_old_one_and_no_part(tmp_path, error, raised, message, old):
    for name, text in old.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(raised, match=message):
        write_half(str(tmp_path / "a.png"), error)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == old


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_leaves_the_old_file_and_no_part(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("old")
    (tmp_path / "a.png.part").symlink_to("/dev/full")
    with pytest.raises(errors.UserError, match=r"a\.png: .*No space"), files.whole_file(str(path)) as file:
        file.write(b"new")  # too little to be written before the file is closed
    assert os.listdir(str(tmp_path)) == ["a.png"]  # before anything is read, since /dev/full never ends
    assert path.read_text() == "old"


def test_every_arm_has_its_historic_file_name():
    assert {arm: files.log_path("logs", "CIFAR10", arm) for arm in ("none", "contribution", "random")} == {
        "none": os.path.join("logs", "CIFAR10", "training_logwithoutPruning.txt"),
        "contribution": os.path.join("logs", "CIFAR10", "training_logwithPruning.txt"),
        "random": os.path.join("logs", "CIFAR10", "training_logworstPruning.txt")}


# ---- two runs ----

def start_run(path, then):
    """A process that makes the log, writes the line "made" and does `then`; its stderr names why it could not."""
    code = f"import os, sys, files; log = files.create([{path!r}])[0]; print('made', flush=True); {then}"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, universal_newlines=True)


def test_a_log_that_is_being_written_is_refused_to_another_run(tmp_path):
    path = files.log_path(str(tmp_path), "MNIST", "none")
    with create(path, "# run = 1\n") as log:
        with pytest.raises(errors.UserError, match="withoutPruning.txt: another run is writing this log"):
            create(path, "# run = 2\n")
        log.write(LINE)
    assert [file.read_text() for file in (tmp_path / "MNIST").iterdir()] == ["# run = 1\n" + LINE]
    create(path, "# run = 3\n").close()
    assert (tmp_path / "MNIST" / "training_logwithoutPruning.1.txt").read_text() == "# run = 1\n" + LINE


def test_of_runs_that_start_at_once_one_gets_the_log(tmp_path):
    path = files.log_path(str(tmp_path), "MNIST", "none")
    runs = [start_run(path, "sys.stdin.read()") for _ in range(6)]
    made = [run.stdout.readline() for run in runs]  # each has made its log or ended before any is let go
    errors = [run.communicate()[1] for run in runs]
    assert sorted(made) == 5 * [""] + ["made\n"]
    assert sum("another run is writing" in error for error in errors) == 5
    assert os.listdir(os.path.dirname(path)) == ["training_logwithoutPruning.txt"]


def test_a_killed_run_leaves_its_log_free(tmp_path):
    path = files.log_path(str(tmp_path), "MNIST", "none")
    run = start_run(path, "os.kill(os.getpid(), 9)")
    assert run.communicate()[0] == "made\n" and run.returncode == -9
    create(path, "").close()
