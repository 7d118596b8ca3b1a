"""The files of a run: their names, earlier ones kept, whole writing, and one run per log."""
import errno
import fcntl
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from unit_helpers import refusal

from pruning import errors, files

LINE = "Epoch: 1, Batch: 0, Loss: 2.5, Accuracy: 11.5%\n"
full_disk = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")


def create(path, text):
    """A new log that begins so, open."""
    log, = files.create([path])
    log.write(text)
    log.flush()
    return log


def texts(folder):
    return {file.name: file.read_text() for file in folder.iterdir()}


# ---- names ----

@pytest.mark.parametrize("arm, prefix, seed, name", [
    ("none", files.CLASSIFIER_LOG, None, "training_logwithoutPruning"),
    ("contribution", files.CLASSIFIER_LOG, None, "training_logwithPruning"),
    ("random", files.CLASSIFIER_LOG, None, "training_logworstPruning"),
    ("none", files.VAE_LOG, 31, "vae_logwithoutPruning-seed31"),
    ("L1 norm", files.CLASSIFIER_LOG, 0, "training_logL1 normPruning-seed0")])
def test_every_arm_has_its_file_name(arm, prefix, seed, name):
    log = files.log_path("logs", "CIFAR10", arm, prefix, seed)
    stem = os.path.join("logs", "CIFAR10", name)
    assert [log, files.network_path(log), files.checkpoint_path(log), files.start_path(log)] == [
        stem + ending for ending in (".txt", ".pt", ".checkpoint", ".start")]


# ---- earlier logs ----

def test_earlier_logs_and_networks_are_kept_under_one_number(tmp_path):
    path = files.log_path(str(tmp_path), "MNIST", "contribution")
    create(path, "").close()  # an empty log is not kept
    for run in range(4):
        with create(path, f"# run = {run}\n") as log:
            log.write(LINE)
        if run != 1:  # that one was interrupted before its network was saved
            with open(files.network_path(path), "w") as network:
                network.write(str(run))
    logs = {f"training_logwithPruning{number}.txt": f"# run = {run}\n" + LINE
            for run, number in enumerate([".1", ".2", ".3", ""])}
    networks = {f"training_logwithPruning{number}.pt": str(run) for run, number in [(0, ".1"), (2, ".3"), (3, "")]}
    assert texts(tmp_path / "MNIST") == {**logs, **networks}


@pytest.mark.parametrize("alone", [".1.pt", ".1_end.png", ".1.checkpoint", ".1.start"])
def test_a_kept_file_alone_takes_its_number(tmp_path, alone):
    path = files.log_path(str(tmp_path), "MNIST", "none")
    create(path, "# run = 1\n").close()
    older = tmp_path / "MNIST" / ("training_logwithoutPruning" + alone)
    older.write_text("an older one")
    create(path, "# run = 2\n").close()
    assert (tmp_path / "MNIST" / "training_logwithoutPruning.2.txt").read_text() == "# run = 1\n"
    assert older.read_text() == "an older one"


@pytest.mark.parametrize("folder", ["logs", "[a]*?"])
def test_belongings_are_kept_with_their_log_and_the_files_of_others_stay(tmp_path, folder):
    path = files.log_path(str(tmp_path / folder), "MNIST", "contribution", "vae_log")
    own = [".txt", ".pt", ".checkpoint", ".start", "_before_round_1.png", "_end.png"]
    others = ["vae_logwithoutPruning.txt", "vae_logwithoutPruning_end.png", "vae_logwithPruning-seed31.txt",
              "vae_logwithPruning-seed31_end.png", "training_logwithPruning.txt", "training_logwithPruning_end.png",
              "vae_logwithPruning.png", "vae_logwithPruning_notes.txt", "vae_logwithPruningMore_end.png",
              "vae_strip.png", "end.png"]
    (tmp_path / folder / "MNIST").mkdir(parents=True)
    for run in range(3):
        files.keep_earlier(path)
        for ending in own if run != 1 else own[4:]:  # of the second run the user deleted all but the pictures
            with open(os.path.splitext(path)[0] + ending, "w") as file:
                file.write(str(run))
        for name in others:
            (tmp_path / folder / "MNIST" / name).write_text("another's")
    kept = {f"vae_logwithPruning{number}{ending}": str(run) for run, number in enumerate([".1", ".2", ""])
            for ending in (own if run != 1 else own[4:])}
    assert texts(tmp_path / folder / "MNIST") == {**kept, **dict.fromkeys(others, "another's")}


# ---- two runs ----

def test_a_log_that_is_being_written_is_refused_to_another_run(tmp_path):
    path = files.log_path(str(tmp_path), "MNIST", "none")
    with create(path, "# run = 1\n") as log:
        for open_again in (files.create, files.reopen):
            assert "withoutPruning.txt: another run is writing this log" in refusal(open_again, [path])
        log.write(LINE)
    assert texts(tmp_path / "MNIST") == {"training_logwithoutPruning.txt": "# run = 1\n" + LINE}
    create(path, "# run = 3\n").close()
    assert (tmp_path / "MNIST" / "training_logwithoutPruning.1.txt").read_text() == "# run = 1\n" + LINE


def test_of_runs_that_start_at_once_one_gets_the_log(tmp_path, monkeypatch):
    path, keep = files.log_path(str(tmp_path), "MNIST", "none"), files.keep_earlier

    def keep_slowly(*given):
        time.sleep(0.05)  # long enough for the others to look for the log
        keep(*given)
    monkeypatch.setattr(files, "keep_earlier", keep_slowly)

    def start(number):
        try:
            return files.create([path])
        except errors.UserError as error:
            return str(error)
    with ThreadPoolExecutor(6) as runs:  # a lock belongs to an open file, not to a process
        made = list(runs.map(start, range(6)))
    assert sum("another run is writing" in result for result in made) == 5
    assert os.listdir(os.path.dirname(path)) == ["training_logwithoutPruning.txt"]
    for log in (log for result in made if isinstance(result, list) for log in result):
        log.close()


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
    assert set(texts(tmp_path / "MNIST")) == {"training_logwithoutPruning.1.txt", "training_logwithoutPruning.txt"}


def test_a_lock_that_fails_otherwise_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", locks_of(every=errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        files.create([files.log_path(str(tmp_path), "MNIST", "none")])


# ---- an open log ----

@pytest.mark.parametrize("change", [os.remove, lambda path: os.rename(path, path + ".old"),
                                    lambda path: (os.rename(path, path + ".old"), open(path, "w").close())],
                         ids=["removed", "renamed", "replaced"])
def test_a_log_that_is_no_longer_there_is_named(tmp_path, change):
    path = str(tmp_path / "log.txt")
    with create(path, LINE) as log:
        files.write([log], LINE)
        change(path)
        assert refusal(files.write, [log], LINE).startswith(f"{path}: the log of this run has been removed, renamed ")


@full_disk
def test_a_full_disk_names_the_log_and_keeps_what_was_written(tmp_path):
    with create(str(tmp_path / "log.txt"), "") as whole:
        full = open("/dev/full", "w")
        assert refusal(files.write, [whole, full], LINE).startswith("/dev/full: No space left on device; free some")
        with pytest.raises(OSError, match="No space"):
            full.close()
    assert (tmp_path / "log.txt").read_text() == LINE


def test_a_log_is_cut_back_to_an_extent_if_its_beginning_is_as_it_was(tmp_path):
    path = str(tmp_path / "log.txt")
    with create(path, LINE) as log:
        extent = files.extent(log)
        files.write([log], "later\n")
        assert extent[0] == len(LINE) and files.rest(log, extent) == "later\n"
    log, = files.reopen([path])
    with log:
        files.check_beginning(log, extent)
        files.cut(log, extent)
        files.write([log], "anew\n")
        assert (tmp_path / "log.txt").read_text() == LINE + "anew\n"
        assert files.extent(log) != extent
        assert "is not as it was" in refusal(files.check_beginning, log, (extent[0], extent[1] + 1))
    assert "log.txt.gone: No such file" in refusal(files.reopen, [path + ".gone"])


# ---- whole files ----

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
    assert texts(tmp_path) == {"a.png": "new"}


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
    assert texts(tmp_path) == old


@full_disk
def test_a_full_disk_leaves_the_old_file_and_no_part(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("old")
    (tmp_path / "a.png.part").symlink_to("/dev/full")
    with pytest.raises(errors.UserError, match=r"a\.png: .*No space"), files.whole_file(str(path)) as file:
        file.write(b"new")  # too little to be written before the file is closed
    assert os.listdir(str(tmp_path)) == ["a.png"]  # before anything is read, since /dev/full never ends
    assert path.read_text() == "old"
