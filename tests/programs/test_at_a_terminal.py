"""How the programs begin: the menu at a terminal or through a pipe, the suite's own folders, the files people edit."""
import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, write_tiny_mnist
from processes import Program, type_at_terminal
from tiny import ALONE, PROGRAMS, StopAt, log_of, one_line

from pruning import runlog, signals

SHORT = ["--device", "cpu", "--total-epochs", "2", "--initial-iterations", "1", "--increment", "1"]


# ---- a terminal ----

def test_a_terminal_is_asked_until_the_answer_is_a_data_set_and_shows_a_bar(tmp_path):
    answers = [b"x\n", b"7\n", b"\n", b"-1\n", b"0\n"]
    status, screen = type_at_terminal(tmp_path, ["driver.py", *SHORT], answers, fewer_digits=20)
    assert status == 0 and screen.startswith("Data sets:\n"), screen
    assert re.findall(r"^(.*) is no data set; .*4 CIFAR100, 6 Own", screen, re.M) == ["'x'", "'7'", "''", "'-1'"]
    assert re.search(r"contribution 2/2, loss \S+, accuracy \S+ \|.*\| \S+ left in this part, ", screen)
    assert "Traceback" not in screen
    assert runlog.parse_log(log_of(tmp_path, "contribution", dataset="Digits")).summary["epochs"] == 2


def test_the_menu_of_vae_has_celeba_and_its_bar_the_parts_of_the_loss(small):
    flags = [*ALONE["vae.py"][2:], "--total-epochs", "15", "--pruning", "none"]
    status, screen = type_at_terminal(small, ["vae.py", *flags], [b"7\n", b"1\n"], words_and_pixels=True)
    assert status == 0 and "'7' is no data set; expected a number or a name: 0 Digits, " in screen
    assert re.search(r"^  5  CelebA$", screen, re.M)
    assert re.search(r"none \d+/15, loss \S+, BCE \S+, KLD \S+ \|", screen)
    assert "Traceback" not in screen


@pytest.mark.parametrize("key, status, said", [
    (b"\x04", 2, "no data set chosen; enter a number"),
    (b"\x03", 130, "interrupted before a data set was chosen; nothing was started")], ids=["ctrl-d", "ctrl-c"])
def test_the_menu_can_be_left(tmp_path, key, status, said):
    ended, screen = type_at_terminal(tmp_path, ["driver.py", *SHORT], [key])
    assert ended == status, screen
    assert f"driver.py: {said}" in screen.splitlines()[-1] and "Traceback" not in screen
    assert os.listdir(str(tmp_path)) == []


# ---- a pipe ----

def test_a_wrong_answer_through_a_pipe_ends_with_one_line(tmp_path):
    status, _, err = Program(tmp_path, *SHORT, text="x\n0\n").end()
    assert status == 2 and "'x'" in one_line(err)


def test_a_data_set_may_come_through_a_pipe(tmp_path):
    status, _, err = Program(tmp_path, *SHORT, text="0\n", fewer_digits=20).end()
    assert (status, err) == (0, "")
    assert runlog.parse_log(log_of(tmp_path, "contribution", dataset="Digits")).summary["epochs"] == 2


# ---- the suite's own files ----

@pytest.fixture
def suite(tmp_path):
    """The folder of a copy of the suite."""
    folder = tmp_path / "suite"
    shutil.copytree(os.path.join(ROOT, "pruning"), str(folder / "pruning"),
                    ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("driver.py", "vae.py", "constants.py", "ranking.py", "models.py"):
        shutil.copy(os.path.join(ROOT, name), str(folder / name))
    return folder


@pytest.mark.parametrize("program, dataset", [("driver.py", "Digits"), ("vae.py", "MNIST")])
def test_a_suite_elsewhere_runs_in_its_own_folders_and_without_docstrings(program, dataset, suite, tmp_path):
    here = tmp_path / "elsewhere"
    here.mkdir()
    write_tiny_mnist(suite / "datasets")
    flags = ["--dataset", dataset, "--device", "cpu", "--total-epochs", "1", "--batch-size", "6000"]
    status, _, err = Program(here, *flags, program=program, suite=str(suite), without_docstrings=True).end()
    assert (status, err, os.listdir(str(here))) == (0, "", [])
    assert runlog.parse_log(log_of(suite, "none", program, dataset=dataset)).summary


NOTEBOOK = """
import runpy, sys
sys.excepthook = hook = print
import ranking
if sys.excepthook is not hook:
    sys.exit("the excepthook is another one")
sys.argv = ["driver.py", "-h"]
runpy.run_path("driver.py", run_name="__main__")
"""


def test_ranking_leaves_a_notebook_its_excepthook_and_help_needs_no_docstring():
    ended = subprocess.run([sys.executable, "-OO", "-c", NOTEBOOK], cwd=ROOT, capture_output=True)
    assert (ended.returncode, ended.stderr) == (0, b"") and b"--learning-rate" in ended.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_folders_of_constants_lie_beside_it_and_those_of_flags_here(program, drive, small, monkeypatch):
    here = small / "elsewhere"
    here.mkdir()
    monkeypatch.setattr(signals, "Stop", StopAt(5))
    status, _, err = drive(*ALONE[program], program=program, here="elsewhere")
    assert status == 130 and log_of(small, "contribution", program) in err and os.listdir(str(here)) == []
    monkeypatch.setattr(signals, "Stop", StopAt(0))
    log = os.path.relpath(log_of(small, "contribution", program), str(here))
    assert drive("--resume", log, program=program, here="elsewhere")[0] == 0
    assert runlog.parse_log(log_of(small, "contribution", program)).summary and os.listdir(str(here)) == []
    assert drive(*ALONE[program], "--log-folder", "mine", program=program, here="elsewhere")[0] == 0
    assert os.listdir(str(here)) == ["mine"]
    status, _, err = drive(*ALONE[program], "--dataset-folder", "mine", program=program, here="elsewhere")
    assert status == 2 and "MNIST could not be read from or downloaded to mine" in err


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("file, line, named", [
    ("constants.py", "total_epochs = 10O", "(invalid|leading)"),
    ("ranking.py", "CRITERIA['mine'] = magnitud", "name 'magnitud' is not defined"),
    ("models.py", "import nothing_of_the_kind", "No module named 'nothing_of_the_kind'")])
def test_a_typing_mistake_in_a_file_that_people_edit_is_one_line(program, file, line, named, suite):
    with open(str(suite / file), "a") as edited:
        edited.write(line + "\n")
    number = len((suite / file).read_text().splitlines())
    status, out, err = Program(suite, "--dataset", "1", program=program, suite=str(suite)).end()
    assert (status, out) == (2, "") and re.match(f"{file}, line {number}: {named}", one_line(err, program))
    assert os.listdir(str(suite)).count("logs") == 0
