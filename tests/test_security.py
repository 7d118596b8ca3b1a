"""The code trusts no file and no network with what it runs, and the programs write in their own folders alone."""
import ast
import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

# ---- what the source says ----

# By its full name, whatever it was imported as; a module stands for everything in it.
FORBIDDEN = ["ssl", "pickle", "_pickle", "cPickle", "cloudpickle", "marshal", "shelve", "dill", "joblib", "torch.hub",
             "eval", "exec", "compile", "__import__", "os.system", "os.popen", "subprocess.getoutput",
             "subprocess.getstatusoutput"]
HARMLESS = ["pickle.UnpicklingError"]  # what torch.load raises for a file that is none of its own
STARTS = ["subprocess." + name for name in ("run", "call", "check_call", "check_output", "Popen")]


def offences(source):
    """What the code of a file does that it must not, a line each: "3: pickle.loads"."""
    tree = ast.parse(source)
    names = imported(tree)
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = set()
    for node in ast.walk(tree):
        name = full_name(node, names)
        imports = names_of(node) if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        found.update((node.lineno, name) for name in [*imports, name] if name and is_forbidden(name))
        call = calls.get(id(node))  # a dangerous function that is handed on, not called, has no arguments to judge
        if name == "torch.load" and keyword(call, "weights_only") is not True:
            found.add((node.lineno, "torch.load without weights_only=True"))
        if name in ("numpy.load", "numpy.lib.format.read_array") and keyword(call, "allow_pickle", False) is not False:
            found.add((node.lineno, "allow_pickle"))
        if name in STARTS and not (call and call.args and isinstance(call.args[0], ast.List)):
            found.add((node.lineno, name + " without a list"))
        if name in STARTS and keyword(call, "shell", False) is not False:
            found.add((node.lineno, "shell"))
        if isinstance(node, ast.Call) and keyword(node, "verify", True) is False:
            found.add((node.lineno, "verify=False"))
    return [f"{line}: {what}" for line, what in sorted(found)]


def names_of(node):
    """The full names that an import brings in."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [f"{node.module}.{alias.name}" for alias in node.names]


def imported(tree):
    """{name in this file: full name}"""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias, name in zip(node.names, names_of(node)):
                names[alias.asname or alias.name.split(".")[0]] = name if alias.asname else (
                    name.split(".")[0] if isinstance(node, ast.Import) else name)
    return names


def full_name(node, names):
    """"torch.load" for torch.load, for t.load after `import torch as t` and for load after `from torch import load`."""
    if isinstance(node, ast.Name):
        name = names.get(node.id, node.id)
        return name[len("builtins."):] if name.startswith("builtins.") else name
    if isinstance(node, ast.Attribute):
        start = full_name(node.value, names)
        return start and (node.attr if start == "builtins" else f"{start}.{node.attr}")
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[-1], ast.Constant):
        called = full_name(node.func, names)  # a name in quotes
        if called in ("importlib.import_module", "__import__"):
            return str(node.args[0].value) if isinstance(node.args[0], ast.Constant) else None
        if called == "getattr" and len(node.args) == 2:
            return f"{full_name(node.args[0], names)}.{node.args[1].value}"
    return None


def is_forbidden(name):
    inside = any(name == forbidden or name.startswith(forbidden + ".") for forbidden in FORBIDDEN)
    return (inside and name not in HARMLESS) or "_create_unverified" in name or name == "ssl" or name.endswith(".*")


def keyword(call, name, default=None):
    """The literal that a call gives this keyword; "unknown" where it is none or the call takes **options."""
    if call is None:
        return "unknown"
    for given in call.keywords:
        if given.arg in (name, None):
            return given.value.value if given.arg and isinstance(given.value, ast.Constant) else "unknown"
    return default


BAD = [
    "import ssl", "import ssl as s", "from ssl import create_default_context", "import urllib.request, ssl",
    "import urllib.request\nurllib.request.ssl._create_unverified_context()",
    "import http.client as h\nh.ssl._create_default_https_context = h.ssl._create_unverified_context",
    "get(url, verify=False)", "import requests\nrequests.get(url, verify=False)",
    *[f"import {name}" for name in ("pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "_pickle")],
    "from pickle import loads", "from pickle import UnpicklingError, load", "def f():\n    import pickle",
    "import importlib\nimportlib.import_module('pickle')", "__import__('pickle')",
    "import torch\ntorch.load(path)", "import torch\ntorch.load(path, weights_only=False)",
    "import torch\ntorch.load(path, weights_only=safe)", "import torch\ntorch.load(path, **options)",
    "import torch as t\nt.load(path)", "from torch import load\nload(path)", "import torch\nmap(torch.load, paths)",
    "import torch\nload = torch.load", "import torch\ngetattr(torch, 'load')(path)", "from torch import *",
    "import torch\ntorch.hub.load('a', 'b')", "import torch.serialization\nimport torch\ntorch.load(path)",
    "import numpy as np\nnp.load(path, allow_pickle=True)", "import numpy\nnumpy.load(path, allow_pickle=choice)",
    "import numpy as np\nnp.load(path, **options)",
    "import os\nos.system('ls')", "from os import system", "import os\nos.popen('ls')", "import os\nf = os.popen",
    "eval('1')", "exec('1')", "compile('1', 'a', 'eval')", "import builtins\nbuiltins.eval('1')", "map(eval, texts)",
    "from builtins import exec as run\nrun('1')", "import subprocess\nsubprocess.getoutput('ls')",
    *[f"import subprocess\nsubprocess.{start}" for start in (
        "run('ls')", "run(['ls'], shell=True)", "run(['ls'], shell=choice)", "run(['ls'], **options)", "run(command)",
        "Popen(f'ls {path}')", "check_output('ls', shell=True)", "call(args=['ls'])")],
    "from subprocess import run as go\ngo('ls')",
]
GOOD = [
    "import torch\ntorch.load(path, map_location='cpu', weights_only=True)", "from pickle import UnpicklingError",
    "import numpy as np\nnp.load(path, mmap_mode='c')", "import numpy as np\nnp.load(path, allow_pickle=False)",
    "import subprocess\nsubprocess.run(['git', *arguments], cwd=folder)", "import ast\nast.literal_eval(text)",
    "import re\nre.compile('a')", "model.eval()", "import torch\ntorch.compile(model)", "network.load(path)",
    "import importlib\nimportlib.import_module(name)", "# import pickle", "text = 'eval, exec and os.system'",
]


@pytest.mark.parametrize("source", BAD)
def test_the_scan_finds_what_is_forbidden(source):
    assert offences(source)


@pytest.mark.parametrize("source", GOOD)
def test_the_scan_lets_pass_what_is_not(source):
    assert offences(source) == []


def scanned_files():
    """Every Python file but the tests', and what lies in folders of tools and of the user's."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith(".") and (folder != ROOT or name not in (
            "tests", "shared", "datasets", "logs", "venv"))]
        yield from (os.path.relpath(os.path.join(folder, name), ROOT) for name in files if name.endswith(".py"))


def test_no_file_of_the_suite_does_what_is_forbidden():
    files = sorted(scanned_files())
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, stdout=subprocess.PIPE).stdout.decode().split()
    assert {name for name in tracked if not name.startswith("tests/")} | {"driver.py", "vae.py"} <= set(files)
    found = []
    for name in files:
        with open(os.path.join(ROOT, name), encoding="utf-8") as file:
            found += [f"{name}:{offence}" for offence in offences(file.read())]
    assert found == []


# ---- what the programs do ----

# Runs programs in one process, [[program, argument, ...], ...], and writes down what the interpreter says they touch,
# of a connection also which program made it.
WATCH = r'''
import json, os, runpy, sys

PATHS = {"os.rename": 2, "os.link": 2, "os.symlink": 2, "os.mkdir": 1, "os.remove": 1, "os.rmdir": 1, "os.truncate": 1,
         "os.chmod": 1, "os.chown": 1, "os.utime": 1, "tempfile.mkstemp": 1, "tempfile.mkdtemp": 1}
WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
seen = {"writes": [], "connections": [], "processes": [], "statuses": []}


def note(event, arguments):
    if event == "open" and arguments[2] & WRITE:
        paths = arguments[:1]
    elif event in ("os.remove", "os.rmdir") and arguments[1] >= 0:
        paths = ()  # in an open folder: a step of shutil.rmtree, which has named the folder
    else:
        paths = arguments[:2 if event.startswith("shutil.") else PATHS.get(event, 0)]
    for path in paths:
        if isinstance(path, (str, bytes, os.PathLike)):  # a number is a file that was opened before
            seen["writes"].append([event, os.path.abspath(os.fsdecode(path))])
    if event in ("socket.connect", "socket.sendto"):
        connect(*arguments[1] if isinstance(arguments[1], tuple) else [arguments[1]])
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        connect(*arguments[:2])
    if event in ("subprocess.Popen", "os.posix_spawn"):
        seen["processes"].append(list(map(str, arguments[1])))
    if event in ("os.system", "os.exec", "os.fork", "os.forkpty", "os.spawn", "pty.spawn"):
        seen["processes"].append([event])


def connect(*address):
    seen["connections"].append([len(seen["statuses"]), *map(str, address)])


sys.addaudithook(note)
report, root, programs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
sys.path[0] = root
for program in programs:
    sys.argv = program
    status = 0
    try:
        runpy.run_path(os.path.join(root, program[0]), run_name="__main__")
    except SystemExit as end:
        status = end.code
    seen["statuses"].append(status)
text = json.dumps(seen)
with open(report, "w") as file:
    file.write(text)
'''


@pytest.fixture
def watch(tmp_path):
    """Run programs of the repository, or others by their path, in tmp_path/run; returns what they touched."""
    def run(*programs):
        if not hasattr(sys, "addaudithook"):
            pytest.skip("Python 3.7 tells nobody what a program does")
        (tmp_path / "watch.py").write_text(WATCH)
        (tmp_path / "run").mkdir(exist_ok=True)
        caches = str(tmp_path / "caches")
        done = subprocess.run([sys.executable, str(tmp_path / "watch.py"), str(tmp_path / "seen.json"), ROOT,
                               json.dumps(programs)], cwd=str(tmp_path / "run"), timeout=300, input=b"",
                              capture_output=True,
                              env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1", MPLCONFIGDIR=caches,
                                       TORCHINDUCTOR_CACHE_DIR=caches))
        assert done.returncode == 0, done.stderr.decode()
        print(done.stderr.decode())  # for the report of a test that fails
        return json.loads((tmp_path / "seen.json").read_text())
    return run


def strays(seen, folder):
    """What was written elsewhere than in a run's own folders, as [event, path].

    Nor is that a stray which matplotlib and torch keep for themselves, and would keep in the user's home and in the
    folder of temporary files: a list of fonts, and the folder that torch._dynamo makes when an optimizer imports it.
    """
    homes = [os.path.join(str(folder), "run", name) for name in ("datasets", "logs", "reports")]
    homes.append(os.path.join(str(folder), "caches"))
    return [[event, path] for event, path in seen["writes"]
            if path != os.devnull and not any(path == home or path.startswith(home + os.sep) for home in homes)]


MISBEHAVING = """
import os, pathlib, shutil, socket, subprocess, tempfile
os.mkdir("logs")
with open("logs/log.txt", "w") as file:
    file.write("in its place")
open("written", "w").close()
open("logs/log.txt").close()
os.close(os.open("opened", os.O_CREAT | os.O_WRONLY))
pathlib.Path("touched").touch()
os.mkdir("made")
os.rename("written", "renamed")
os.symlink("renamed", "symlinked")
os.link("renamed", "linked")
os.truncate("renamed", 0)
shutil.copyfile("logs/log.txt", "copied")
os.remove("copied")
shutil.move("logs/log.txt", "moved")
os.chmod("moved", 0o600)
open("appended", "ab").close()
tempfile.TemporaryDirectory(prefix="temporary").cleanup()
subprocess.run(["true"])
with socket.socket() as connection:
    connection.connect_ex(("127.0.0.1", 1))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
    connection.sendto(b"", ("127.0.0.1", 2))
"""


def test_the_watch_sees_what_a_program_does_outside(tmp_path, watch):
    (tmp_path / "bad.py").write_text(MISBEHAVING)
    seen = watch([str(tmp_path / "bad.py")])
    found = {os.path.basename(path)[:9] for _, path in strays(seen, tmp_path)}
    assert {"written", "opened", "touched", "made", "renamed", "symlinked", "linked", "copied", "moved", "appended",
            "temporary"} <= found
    assert {"os.truncate", "os.chmod", "os.remove", "os.rename", "shutil.move"} <= {
        event for event, _ in strays(seen, tmp_path)}
    assert [os.path.join(str(tmp_path), "run", "logs", "log.txt")] == [
        path for event, path in seen["writes"] if event == "open" and "log.txt" in path]
    assert seen["processes"] == [["true"]]
    assert seen["connections"] == [[0, "127.0.0.1", "1"], [0, "127.0.0.1", "2"]]


def test_the_programs_write_in_their_folders_start_only_git_and_reach_only_for_downloads(tmp_path, watch, tiny_mnist):
    tiny_mnist(tmp_path / "run" / "datasets")
    schedule = ["--total-epochs", "2", "--initial-iterations", "1", "--increment", "1"]
    small = ["--hidden-widths", "8-8", "--conv-widths", "4", "--latent", "2"]
    seen = watch(["driver.py", "--dataset", "1", "--compare", *schedule],
                 ["vae.py", "--dataset", "1", *small, *schedule],
                 ["driver.py", "--resume", "logs/MNIST/training_logwithPruning.txt", "--total-epochs", "3"],
                 ["vae.py", "--dataset", "1", *small, *schedule, "--dry-run"], ["plot.py"],
                 ["driver.py", "--dataset", "1", "--compare", "random,scratch", *schedule, "--seeds", "2",
                  "--jobs", "2", "--compensate", "True", "--log-folder", "logs/seeds"],
                 ["plot.py", "--table", "logs/seeds/MNIST"], ["plot.py", "--figure", "rounds", "logs/seeds/MNIST"],
                 ["driver.py", "--dataset", "2"])
    assert seen["statuses"] == [0] * 8 + [2]
    assert strays(seen, tmp_path) == []
    started = {os.path.basename(program[0]) for program in seen["processes"]}
    # matplotlib asks for fonts, torch for libdl; --jobs forks
    assert "git" in started and started <= {"git", "fc-list", "ldconfig", "os.fork"}
    proxy = os.environ["http_proxy"].split("//")[1].split(":")
    assert {tuple(connection) for connection in seen["connections"]} == {(8, *proxy)}  # the last one, to download
    left = os.listdir(str(tmp_path / "run" / "logs" / "MNIST"))
    assert {"comparison.png", "vae_comparison.pdf", "training_logworstPruning.pt", "vae_logwithPruning.txt"} < set(left)
    assert sorted(os.listdir(str(tmp_path / "run"))) == ["datasets", "logs"]
