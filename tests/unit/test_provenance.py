"""Where a log says that it comes from."""
import shutil
import subprocess

import pytest
import torch
from conftest import ROOT

from pruning import provenance

FILES = ["driver.py", "vae.py", "plot.py", "constants.py", "ranking.py", "models.py", "pruning/provenance.py",
         "pruning/plots/table.py"]


def test_the_header_names_versions_and_threads():
    found = provenance.read_provenance(torch.device("cpu"), 3)
    assert list(found) == ["started", "python", "torch", "numpy", "machine", "instructions", "threads", "commit"]
    assert provenance.SUITE == ROOT
    assert found["torch"] == torch.__version__ and found["threads"] == 3 and found["machine"]


@pytest.mark.skipif(not shutil.which("git"), reason="there is no git")
def test_the_commit_is_that_of_the_code_and_tells_of_changes_to_it_alone(tmp_path, monkeypatch):
    def git(*arguments):
        return subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a", *arguments], cwd=str(tmp_path),
                              check=True, capture_output=True, text=True).stdout.strip()
    suite = tmp_path / "suite"
    monkeypatch.setattr(provenance, "SUITE", str(suite))
    for name in [*FILES, "README.md", "tests/test.py"]:
        (suite / name).parent.mkdir(parents=True, exist_ok=True)
        (suite / name).write_text("here = 1\n")
    assert provenance.commit() == "unknown"
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "-m", "of something else")
    assert provenance.commit() == "unknown"
    git("add", ".")
    git("commit", "--quiet", "-m", "of this code")
    commit = git("rev-parse", "--short=12", "HEAD")
    for name in ("README.md", "tests/test.py", "new.py", "logs/MNIST/log.txt"):  # no part of the code
        (suite / name).parent.mkdir(parents=True, exist_ok=True)
        (suite / name).write_text("here = 2\n")
    assert provenance.commit() == commit
    for name in FILES:
        (suite / name).write_text("here = 2\n")
        assert provenance.commit() == commit + " with changes", name
        (suite / name).write_text("here = 1\n")
    (suite / "pruning" / "new.py").write_text("untracked\n")
    assert provenance.commit() == commit + " with changes"
    (suite / "pruning" / "new.py").unlink()
    assert provenance.commit() == commit
    git("rm", "--quiet", "--cached", "suite/models.py")  # still there, but no part of the commit
    assert provenance.commit() == commit + " with changes"


def test_without_git_the_commit_is_unknown(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() == "unknown"
