"""How a command ends: a line and a status for what the user can mend, Python's own words for the rest."""
import errno
import os
import runpy
import signal
import subprocess
import sys

import pytest
from conftest import ROOT
from unit_helpers import refusal

from pruning import errors


def test_a_message_is_one_line():
    assert str(errors.UserError("a\nb\r\nc\u2028d")) == "a b c d"


@pytest.mark.parametrize("error, status, words", [
    (errors.UserError("mend it"), 2, "mend it"), (errors.Diverged("too high"), 2, "too high"),
    (errors.Interrupted("go on"), 130, "go on"), (KeyboardInterrupt(), 130, "interrupted; a run that has a checkpoint"),
    (MemoryError(), 2, "there is not enough memory"),
    (RuntimeError("CUDA out of memory. Tried"), 2, "there is not enough memory"),
    (OSError(errno.ENOSPC, "No space left", "a.txt"), 2, "a.txt: No space left; free some space"),
    (OSError("odd"), 2, "input or output: odd")], ids=repr)
def test_what_the_user_can_mend_is_one_line_and_a_status(monkeypatch, capsys, error, status, words):
    def fail():
        raise error
    monkeypatch.setattr(sys, "argv", [os.path.join("a", "driver.py")])
    with pytest.raises(SystemExit) as end:
        errors.report_errors(fail)
    err = capsys.readouterr().err
    assert end.value.code == status and err.startswith(f"driver.py: {words}") and err.count("\n") == 1


@pytest.mark.parametrize("error", [ValueError("a mistake"), RuntimeError("shapes differ")], ids=repr)
def test_a_mistake_in_the_code_is_left_to_python(error):
    def fail():
        raise error
    with pytest.raises(type(error)):
        errors.report_errors(fail)


def test_a_run_that_diverges_is_named_and_the_rest_goes_on(capsys):
    def diverge(value):
        raise errors.Diverged(f"nan at {value}")
    assert errors.ended_well("none", str, 1) and not errors.ended_well("random", diverge, 3)
    assert capsys.readouterr().err.endswith(": random: nan at 3\n")


def test_sigterm_counts_as_ctrl_c_until_the_end(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["driver.py"])
    with pytest.raises(SystemExit) as end:
        errors.run_command(lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert end.value.code == 130
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == 2 * [signal.SIG_DFL]


@pytest.mark.parametrize("program, imported", [("driver.py", "torch"), ("vae.py", "torch"), ("plot.py", "matplotlib")])
def test_ctrl_c_during_the_imports_is_one_line(tmp_path, program, imported):
    (tmp_path / f"{imported}.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    ended = subprocess.run([sys.executable, os.path.join(ROOT, program)], capture_output=True, text=True, timeout=60,
                           env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr == f"{program}: interrupted before it began; nothing was started\n"


def test_a_python_without_the_packages_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["driver.py"])
    with pytest.raises(SystemExit, match="2"):
        errors.prepare_imports("sys", "no_such_package")
    assert capsys.readouterr().err.startswith(
        f"driver.py: {sys.executable} has no no_such_package; activate the environment")


@pytest.mark.parametrize("error, words", [
    (OSError(errno.EDQUOT, "Quota exceeded"), "Quota exceeded; free some space"),
    (OSError(errno.EACCES, "Permission denied"), "Permission denied; change its permissions or give another folder"),
    (OSError(errno.EROFS, "Read-only"), "Read-only; give another folder"),
    *((OSError(number, "Odd"), "Odd; a file is where a folder should be; give another folder")
      for number in (errno.ENOTDIR, errno.EEXIST)),
    (OSError(errno.EIO, "Input/output error"), "Input/output error"), (OSError("odd"), "odd")])
def test_what_the_system_says_has_a_remedy_if_one_is_known(error, words):
    assert errors.reason(error) == words


# ---- the files that people edit ----

def run_edited(path):
    with errors.mistakes_in_one_line():
        runpy.run_path(str(path))


@pytest.mark.parametrize("name", ["constants.py", "models.py", "ranking.py"])
@pytest.mark.parametrize("mistake, words", [
    ("switch = true", "name 'true' is not defined"), ("epochs = = 3", "invalid syntax"),
    (" seed = 3", "unexpected indent"), ("holdout = int('many')", "invalid literal for int"),
    ("import torhc", "No module named 'torhc'"), ("from os import nothing", "cannot import name 'nothing'")])
def test_a_mistake_in_an_edited_file_is_one_line_with_its_place(tmp_path, name, mistake, words):
    (tmp_path / name).write_text("import torch\n" + mistake + "\n")
    assert refusal(run_edited, tmp_path / name).startswith(f"{name}, line 2: {words}")


def test_an_edited_file_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ranking", None)  # as if there were none
    (tmp_path / "driver.py").write_text("import ranking\n")
    assert refusal(run_edited, tmp_path / "driver.py") == "ranking.py: no such file; put it back beside driver.py"


def test_a_mistake_elsewhere_is_left_to_python(tmp_path):
    (tmp_path / "helper.py").write_text("nothing\n")
    with pytest.raises(NameError):
        run_edited(tmp_path / "helper.py")


def test_what_torch_says_and_a_file_beside_constants_are_traced_to_the_line_that_people_wrote(tmp_path):
    (tmp_path / "constants.py").write_text("")
    (tmp_path / "mine.py").write_text("import torch\n\ntorch.ones(2) @ torch.ones(3)\n")
    assert refusal(run_edited, tmp_path / "mine.py").startswith("mine.py, line 3: ")


@pytest.mark.parametrize("name", ["constants.py", "models.py", "ranking.py", "driver.py", "vae.py", "plot.py"])
def test_an_import_leaves_pythons_report_of_errors_alone(monkeypatch, name):
    def hook(*error):
        pass
    monkeypatch.setattr(sys, "excepthook", hook)
    runpy.run_path(os.path.join(ROOT, name))
    assert sys.excepthook is hook
