"""The programs load no code from files, write in their own folders alone, and start nothing but git."""
import os
import socket
import sys
import tempfile

import pytest

PATHS = {"os.rename": 2, "os.link": 2, "os.symlink": 2, "os.mkdir": 1, "os.remove": 1, "os.rmdir": 1, "os.truncate": 1,
         "os.chmod": 1, "shutil.move": 2, "shutil.copyfile": 2, "shutil.rmtree": 1, "tempfile.mkstemp": 1}
WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
STARTS = ["os.system", "os.exec", "os.fork", "os.forkpty", "os.spawn", "os.posix_spawn", "pty.spawn"]
watches = []  # a hook stays for good; it tells the last of these, if there is one


def tell(event, arguments):
    if watches:
        watches[-1](event, arguments)


@pytest.fixture
def seen(tmp_path):
    """What the interpreter says that a test does: what it writes outside of its data sets and logs, and so on."""
    found = {"writes": [], "connections": [], "processes": [], "pickles": []}
    homes = [str(tmp_path / name) + os.sep for name in ("datasets", "logs")]

    def note(event, arguments):
        paths = arguments[:PATHS.get(event, 0)]
        if event == "open" and arguments[2] & WRITE:
            paths = arguments[:1]
        if event in ("os.remove", "os.rmdir") and arguments[1] >= 0:
            paths = ()  # in an open folder: a step of shutil.rmtree, which has named the folder
        for path in paths:
            if isinstance(path, (str, bytes, os.PathLike)):  # a number is a file that was opened before
                path = os.path.abspath(os.fsdecode(path))
                if path != os.devnull and not (path + os.sep).startswith(tuple(homes)):
                    found["writes"].append((event, path))
        if event in ("socket.connect", "socket.sendto"):
            found["connections"].append(str(arguments[1]))
        if event in ("socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
            found["connections"].append(str(arguments[0]))
        if event == "subprocess.Popen":
            found["processes"].append(os.path.basename(str(arguments[1][0])))
        if event in STARTS:
            found["processes"].append(event)
        if event == "pickle.find_class":
            found["pickles"].append(arguments)

    if not watches:
        sys.addaudithook(tell)
    watches.append(note)
    yield found
    watches[-1] = lambda event, arguments: None


def test_the_watch_sees_what_a_program_does_outside(tmp_path, seen):
    import pickle
    import subprocess

    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "log.txt").write_text("in its place")
    (tmp_path / "written").write_bytes(pickle.dumps(pytest.raises))
    os.rename(str(tmp_path / "written"), str(tmp_path / "logs" / "moved"))
    pickle.loads((tmp_path / "logs" / "moved").read_bytes())
    tempfile.TemporaryDirectory(dir=str(tmp_path)).cleanup()
    subprocess.run(["true"], check=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.sendto(b"", ("127.0.0.1", 2))
    events = [(event, os.path.basename(path)) for event, path in seen["writes"]]
    assert events[:2] == [("open", "written"), ("os.rename", "written")]
    assert [event for event, _ in events[2:4]] == ["os.mkdir", "shutil.rmtree"]
    assert seen["processes"] == ["true"] and seen["connections"] == ["('127.0.0.1', 2)"]
    assert [arguments[1] for arguments in seen["pickles"]] == ["raises"]


SCHEDULE = ["--total-epochs", "2", "--initial-iterations", "1", "--increment", "1"]
SMALL = ["--dataset", "1", "--hidden-widths", "8-8", "--conv-widths", "4"]


def test_programs_write_in_their_folders_alone_and_start_only_git(small, seen, drive):
    for program, *arguments in [
            ("driver.py", *SMALL, *SCHEDULE, "--compare"), ("vae.py", *SMALL, *SCHEDULE, "--latent", "2"),
            ("driver.py", "--resume", "logs/MNIST/training_logwithPruning.txt", "--total-epochs", "3"),
            ("driver.py", *SMALL, *SCHEDULE, "--dry-run"), ("plot.py", "--figure", "rounds"), ("plot.py", "--table")]:
        status, _, err = drive(*arguments, program=program)
        assert status == 0, err
    assert "git" in seen["processes"] and set(seen["processes"]) <= {"git", "fc-list", "ldconfig"}  # fonts, and libdl
    assert {name: seen[name] for name in ("writes", "connections", "pickles")} == {
        "writes": [], "connections": [], "pickles": []}
    assert {"comparison_rounds.png", "vae_comparison.md", "training_logworstPruning.pt"} <= set(
        os.listdir(str(small / "logs" / "MNIST")))


def test_a_data_set_that_is_not_there_is_downloaded_and_nothing_else(tmp_path, seen, drive):
    status, _, err = drive("--dataset", "2")
    # torchvision may say that it downloads.
    assert status == 2 and "driver.py: FashionMNIST could not be read from or downloaded" in err.splitlines()[-1]
    assert seen["connections"] and seen["writes"] == seen["pickles"] == []
    assert all("fashion-mnist" in url for url in seen["connections"])
