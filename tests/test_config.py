"""constants.py, the flags and the menu: what is legal is taken, everything else is one clear line."""
import ast
import builtins
import errno
import glob
import importlib
import io
import os
import runpy
import shutil
import subprocess
import sys
import types

import pytest
from conftest import ROOT

import comparison
import config
import data
import errors
import ranking
from config import CLASSIFIER, SCHEDULE, SETTINGS, VAE
from errors import UserError

CONSTANTS = os.path.join(os.path.dirname(config.__file__), "constants.py")
NAN, INF = float("nan"), float("inf")
PROGRAMS = {"driver.py": CLASSIFIER, "vae.py": VAE}
each_program = pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load the project's constants.py with further lines at its end."""
    def load_with(*lines):
        with open(CONSTANTS, encoding="utf-8") as file:
            (tmp_path / "trial.py").write_text(file.read() + "\n".join(lines) + "\n", encoding="utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "trial", raising=False)
        importlib.invalidate_caches()
        return config.load_constants("trial")
    return load_with


def resolve(*arguments, program=CLASSIFIER, recall=None):
    return config.resolve(list(arguments), "a test", program, "contribution", comparison.ARMS, recall)


def refusal(function, *arguments, **options):
    """The message of the UserError that the call must raise: one line."""
    with pytest.raises(UserError) as caught:
        function(*arguments, **options)
    message = str(caught.value)
    assert message and "\n" not in message
    return message


# ---- constants.py ----

def test_constants_py_and_the_settings_name_the_same_values():
    with open(CONSTANTS, encoding="utf-8") as file:
        assigned = {node.targets[0].id: node.value for node in ast.parse(file.read()).body
                    if isinstance(node, ast.Assign)}
    tables = {program.prefix + dataset: program.table for program in PROGRAMS.values() for dataset in program.datasets}
    assert set(assigned) == {*SETTINGS, "vae_total_epochs", "vae_initial_iterations", "vae_increment", *tables}
    for name, table in tables.items():
        assert set(ast.literal_eval(assigned[name])) == set(table), name


WRONG = {int: [True, 1.5, "3", None, [3], NAN], float: [False, "3", None, [3], NAN, INF, -INF, 10 ** 400],
         str: [3, None, "", True], list: [3, "50-30", (50, 30), [50.0], [True], ["50"], [0], [30, -1], None]}
ILLEGAL = {"total_epochs": [0, -1, 10 ** 9], "initial_iterations": [0, -1], "increment": [0, -1, 10 ** 20],
           "prune_percent": [0, 0.0, 100, 100.0, -10, 101], "lambda_average": [-0.1], "lambda_max": [-0.1],
           "seed": [-1, 2 ** 32], "device": ["gpu", "CPU"], "holdout": [-1, 10001], "hidden_widths": [[], [8193]],
           "vae_hidden_widths": [[], [9], [9, 8, 7], [9, 8193]], "conv_widths": [[1, 1, 1, 1, 1], [4097]],
           "latent": [0, -1, 8193], "batch_size": [0, -1, 10 ** 6 + 1], "learning_rate": [0, -0.1, 1.1e38],
           "vae_learning_rate": [0, -0.1, 3.5e37],  # Adam's first steps are 10 times as long and overflow from there
           "kld_weight": [-0.1], "momentum": [1, 1.0, -0.1], "std": [0, -0.5]}
EDGES = {"total_epochs": [1, 10 ** 9 - 1], "initial_iterations": [1], "increment": [1],
         "prune_percent": [1e-9, 99.999, 50], "lambda_average": [0, 0.5], "lambda_max": [0, 2],
         "seed": [0, 2 ** 32 - 1], "holdout": [0, 10000], "device": ["auto", "cpu", "cuda", "mps"],
         "dataset_folder": ["here"], "log_folder": ["here"],
         "hidden_widths": [[1], [9, 8, 8192]], "vae_hidden_widths": [[1, 8192], [9, 8, 7, 6]],
         "conv_widths": [[], [1, 2, 3, 4096]], "latent": [1, 8192], "batch_size": [1, 10 ** 6],
         "learning_rate": [1e-9, 1e38], "vae_learning_rate": [1e-9, 1e37], "kld_weight": [0, 2.5],
         "momentum": [0, 0.999], "mean": [-1, 0], "std": [1e-3, 1]}

# (table or None, name, setting) of every value that constants.py holds; of each program's tables one.
PLACES = [(None, name, setting) for name, setting in SETTINGS.items()]
PLACES += [(None, "vae_" + name, SETTINGS[name]) for name in SCHEDULE]
PLACES += [(program.prefix + "MNIST", name, setting) for program in PROGRAMS.values()
           for name, setting in program.table.items()]


def every_value(by_name, by_kind):
    """(table, name, setting, value) for every place, with the values listed for its name and for its type."""
    def listed(table, name):
        own = "vae_" * (table == "vae_MNIST") + name
        return by_name.get(own, by_name.get(name.replace("vae_", ""), []))
    return [pytest.param(table, name, setting, value, id=f"{table or ''} {name}={value!r:.20}")
            for table, name, setting in PLACES for value in listed(table, name) + by_kind.get(setting.kind, [])]


def source(table, name, value):
    """The line of constants.py that gives `name` this value."""
    text = repr(value).replace("nan", "float('nan')").replace("inf", "float('inf')")
    return f"{table}[{name!r}] = {text}" if table else f"{name} = {text}"


@pytest.mark.parametrize("table, name, setting, value", every_value(ILLEGAL, WRONG))
def test_a_wrong_value_is_named_with_what_is_legal(load, table, name, setting, value):
    message = refusal(load, source(table, name, value))
    assert message.startswith(f"trial.py, {table}: " if table else "trial.py: ")
    assert f"{name} = {value!r}" in message
    assert setting.legal in message


@pytest.mark.parametrize("table, name, setting, value", every_value(EDGES, {}))
def test_the_last_legal_values_are_taken(load, table, name, setting, value):
    constants = load(source(table, name, value))
    assert (constants[table] if table else constants)[name] == value


@pytest.mark.parametrize("lines, parts", [
    (["total_epoch = 3"], ["unknown name total_epoch", "did you mean total_epochs?"]),
    (["CIFAR10['momentun'] = 0.9"], ["CIFAR10", "momentun", "did you mean momentum?"]),
    (["FashionMnist = {}"], ["unknown name FashionMnist", "did you mean FashionMNIST?"]),
    (["vae_total_epoch = 3"], ["unknown name vae_total_epoch", "did you mean vae_total_epochs?"]),
    (["vae_CIFAR10['kldweight'] = 2"], ["vae_CIFAR10", "kldweight", "did you mean kld_weight?"]),
    (["vae_CIFAR10['momentum'] = 0.9"], ["vae_CIFAR10", "unknown name momentum", "latent"]),
    (["CIFAR10['latent'] = 5"], ["CIFAR10", "unknown name latent", "momentum"]),
    (["CelebA = vae_CelebA"], ["unknown name CelebA", "did you mean vae_CelebA?"]),
    (["vae_seed = 1"], ["unknown name vae_seed"]),
    (["zzz = 1"], ["unknown name zzz", "total_epochs"]),
    (["del increment"], ["increment is missing"]),
    (["del CIFAR10"], ["CIFAR10 is missing"]),
    (["del MNIST['std']"], ["MNIST", "std is missing"]),
    (["del vae_increment"], ["vae_increment is missing"]),
    (["del vae_CelebA"], ["vae_CelebA is missing"]),
    (["del vae_MNIST['latent']"], ["vae_MNIST", "latent is missing"]),
    (["MNIST = 5"], ["MNIST = 5", "table"]),
    (["vae_MNIST = 5"], ["vae_MNIST = 5", "table"]),
    (["inital_iterations = 5"], ["initial_iterations", "inital_iterations", "twice"]),
])
def test_a_wrong_name_is_named_with_the_right_one(load, lines, parts):
    message = refusal(load, *lines)
    assert all(part in message for part in ["trial.py"] + parts), message


def test_the_historic_spelling_is_understood(load):
    constants = load("del initial_iterations", "inital_iterations = 5")
    assert constants["initial_iterations"] == 5 and "inital_iterations" not in constants


@pytest.mark.parametrize("line", ["total_epochs = = 3", "increment = ten", "  seed = 3", "holdout = int('many')"])
def test_a_typing_error_is_named_with_its_line(load, line):
    with open(CONSTANTS, encoding="utf-8") as file:
        number = len(file.read().splitlines()) + 1
    assert f"trial.py, line {number}: " in refusal(load, line)


# ---- the command line ----

def test_flags_win_over_constants():
    settings = resolve("--dataset", "1", "--total-epochs", "77", "--initial-iterations", "5", "--lambda-max", "0.5",
                       "--hidden-widths", "9-8-7", "--conv-widths", "", "--momentum", "0.9", "--log-folder", "here")
    assert (settings.total_epochs, settings.initial_iterations, settings.lambda_max) == (77, 5, 0.5)
    assert (settings.hidden_widths, settings.conv_widths, settings.momentum) == ([9, 8, 7], [], 0.9)
    assert settings.log_folder == "here"


def test_flags_of_vae_win_over_its_constants():
    settings = resolve("--dataset", "5", "--total-epochs", "77", "--initial-iterations", "5", "--increment", "4",
                       "--hidden-widths", "9-8", "--latent", "7", "--kld-weight", "0.25", program=VAE)
    assert (settings.total_epochs, settings.initial_iterations, settings.increment) == (77, 5, 4)
    assert (settings.hidden_widths, settings.latent, settings.kld_weight) == ([9, 8], 7, 0.25)


@each_program
def test_what_no_flag_names_comes_from_constants(load, monkeypatch, program):
    constants = load("vae_total_epochs = 78", "vae_initial_iterations = 11", "vae_increment = 13")
    monkeypatch.setitem(sys.modules, "constants", sys.modules["trial"])
    settings = vars(resolve("--dataset", "CIFAR100", program=program))
    own = {name: program.prefix + name if name in SCHEDULE else name for name in SETTINGS}
    assert {name: settings[name] for name in SETTINGS} == {name: constants[own[name]] for name in SETTINGS}
    assert {name: settings[name] for name in program.table} == constants[program.prefix + "CIFAR100"]


def test_the_historic_spelling_is_a_flag():
    assert resolve("--dataset", "0", "--inital-iterations", "4").initial_iterations == 4


@pytest.mark.parametrize("text, name, program", [
    *[(text, name, program) for program in PROGRAMS.values() for text, name in [
        ("0", "Digits"), ("digits", "Digits"), ("1", "MNIST"), ("MNIST", "MNIST"), ("mnist", "MNIST"),
        (" 2 ", "FashionMNIST"), ("fashion-mnist", "FashionMNIST"), ("cifar-10", "CIFAR10"), ("4", "CIFAR100")]],
    ("5", "CelebA", VAE), ("celeba", "CelebA", VAE)])
def test_a_data_set_has_a_number_and_a_name(text, name, program):
    assert resolve("--dataset", text, program=program).dataset == name


WRONG_ANSWERS = ["x", "7", "", "-1", "1.0", "10", "MNIST 1", "\x00"]
each_wrong_answer = pytest.mark.parametrize("text, program", [
    *[(text, program) for program in PROGRAMS.values() for text in WRONG_ANSWERS],
    ("5", CLASSIFIER), ("CelebA", CLASSIFIER), ("6", VAE)])


@each_wrong_answer
def test_no_other_text_is_a_data_set(text, program):
    message = refusal(resolve, "--dataset=" + text, program=program)
    assert repr(text) in message and f"0 to {len(program.datasets) - 1}" in message


@pytest.mark.parametrize("arguments, parts", [
    (["--total-epoch", "3"], ["--total-epoch"]),
    (["--total-epochs"], ["--total-epochs"]),
    (["--total-epochs", "x"], ["--total-epochs", "'x'"]),
    (["--total-epochs", "1.5"], ["--total-epochs", "'1.5'"]),
    (["--total-epochs", "0"], ["--total-epochs", "= 0", "1 to 999999999"]),
    (["--prune-percent", "100"], ["--prune-percent", "100", "above 0 and below 100"]),
    (["--lambda-max", "nan"], ["--lambda-max", "nan", "0 or more"]),
    (["--hidden-widths", "50-0"], ["--hidden-widths", "[50, 0]", "1 to 8192"]),
    (["--hidden-widths", "50,30"], ["--hidden-widths", "'50,30'"]),
    (["--hidden-widths", ""], ["--hidden-widths", "[]", "at least one"]),
    (["--pruning", "best"], ["--pruning", "'best'", "contribution"]),
    (["mnist"], ["mnist"]),
])
def test_a_wrong_flag_is_named(arguments, parts):
    message = refusal(resolve, "--dataset", "1", *arguments)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize("program, flag", [(CLASSIFIER, "--latent"), (CLASSIFIER, "--kld-weight"), (VAE, "--momentum"),
                                           (VAE, "--std"), (VAE, "--vae-total-epochs")])
def test_a_flag_of_the_other_program_is_named(program, flag):
    assert f"unrecognized arguments: {flag}" in refusal(resolve, "--dataset", "1", flag, "1", program=program)


@pytest.mark.parametrize("mistyped, hint", [("--x", "-h lists the flags"),
                                            ("--total_epochs", "did you mean --total-epochs?"),
                                            ("--batchsize=5", "did you mean --batch-size?")])
def test_a_mistyped_flag_is_named_with_the_nearest(mistyped, hint):
    assert refusal(resolve, "--dataset", "1", mistyped) == f"unrecognized arguments: {mistyped}; {hint}"


@pytest.mark.parametrize("text", ["5", "celeba"])
def test_a_data_set_of_the_vae_alone_is_said_to_be_that(text):
    assert refusal(resolve, "--dataset", text).startswith(f"{text!r} is no data set here, CelebA is for vae.py alone; ")
    assert resolve("--dataset", text, program=VAE).dataset == "CelebA"


@pytest.mark.parametrize("widths", ["9", "9-8-7"])
def test_the_encoder_has_as_many_hidden_layers_as_the_decoder(widths):
    message = refusal(resolve, "--dataset", "1", "--hidden-widths", widths, program=VAE)
    assert "--hidden-widths" in message and "2, 4, 6" in message


@each_program
def test_help_explains_every_flag(capsys, program):
    with pytest.raises(SystemExit) as end:
        resolve("-h", program=program)
    text = " ".join(capsys.readouterr().out.split())
    constants = config.load_constants()
    assert end.value.code == 0
    for name, setting in {**SETTINGS, **program.table}.items():
        explained = text[text.rindex("--" + name.replace("_", "-") + " "):]
        now = "as in the data set's table"
        if name in SETTINGS:
            now = constants[program.prefix + name if name in SCHEDULE else name]
        assert f"{' '.join(setting.meaning.split())}; {setting.legal} (now: {now})" in explained, name
    assert all(f"{number} {dataset}" in text for number, dataset in enumerate(program.datasets))


def test_help_survives_a_percent_sign_in_a_value(load, monkeypatch, capsys):
    load("dataset_folder = '100% mine'")
    monkeypatch.setitem(sys.modules, "constants", sys.modules["trial"])
    with pytest.raises(SystemExit) as end:
        resolve("-h")
    assert end.value.code == 0 and "100% mine" in " ".join(capsys.readouterr().out.split())


# ---- which run ----

@each_program
@pytest.mark.parametrize("initial, pruning", [(3, "random"), (4, "none"), (5, "none")])
def test_without_an_epoch_to_prune_in_there_is_no_pruning(initial, pruning, program):
    arguments = ["--dataset", "0", "--total-epochs", "4", "--initial-iterations", str(initial)]
    assert resolve("--pruning", "random", *arguments, program=program).pruning == pruning
    if pruning == "none":
        message = refusal(resolve, "--compare", *arguments, program=program)
        assert "--compare" in message and f"{program.prefix}initial_iterations = {initial}" in message
    else:
        assert resolve("--compare", *arguments, program=program).compare


class Loading(Exception):
    """Raised in the place of the data set's loading; holds the settings that reached it."""


@pytest.fixture
def stop_at_loading(monkeypatch):
    def stop(settings, *device_and_scale, **named):
        raise Loading(settings)
    monkeypatch.setattr(data, "load", stop)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("by_contribution, pruning", [(True, "contribution"), (False, "random")])
def test_the_switch_in_ranking_chooses_the_arm(monkeypatch, drive, stop_at_loading, by_contribution, pruning, program):
    monkeypatch.setattr(ranking, "contribBasedPruning", by_contribution)
    with pytest.raises(Loading) as reached:
        drive("--dataset", "0", program=program)
    assert reached.value.args[0].pruning == pruning


@pytest.mark.parametrize("value, words", [("False", "'False'"), (None, "None"), (..., "'missing'")])
def test_a_switch_that_is_not_true_or_false_is_refused(monkeypatch, drive, value, words):
    if value is ...:
        monkeypatch.delattr(ranking, "contribBasedPruning")
    else:
        monkeypatch.setattr(ranking, "contribBasedPruning", value)
    status, _, err = drive("--dataset", "0")
    assert (status, err) == (2, f"driver.py: ranking.py: contribBasedPruning is {words}; legal: True or False\n")


@pytest.mark.parametrize("mistake, words", [("contribBasedPruning = true", "name 'true' is not defined"),
                                            ("contribBasedPruning = True)", "unmatched ')'"),
                                            (" contribBasedPruning = True", "unexpected indent")])
def test_a_typing_error_in_ranking_is_one_line(tmp_path, mistake, words):
    for path in glob.glob(os.path.join(ROOT, "*.py")):
        shutil.copy(path, str(tmp_path))
    (tmp_path / "ranking.py").write_text("import torch\n" + mistake + "\n")
    process = subprocess.run([sys.executable, "driver.py", "--dataset", "0"], cwd=str(tmp_path), capture_output=True,
                             text=True)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == f"driver.py: ranking.py, line 2: {words}\n"


def test_what_a_criterion_raises_while_it_ranks_is_shown_by_python(tmp_path, capsys):
    (tmp_path / "ranking.py").write_text("def fails():\n    return nothing\n")
    rank = runpy.run_path(str(tmp_path / "ranking.py"))["fails"]
    with pytest.raises(NameError) as caught:
        rank()
    errors.report_uncaught(caught.type, caught.value, caught.tb)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("program", PROGRAMS)
def test_constants_are_checked_before_anything_is_asked_or_loaded(monkeypatch, drive, stop_at_loading, program):
    values = dict(vars(importlib.import_module("constants")), momentun=0.9)
    monkeypatch.setitem(sys.modules, "constants", types.SimpleNamespace(**values))
    status, out, err = drive(program=program)
    assert (status, out) == (2, "")
    assert err.startswith(f"{program}: constants.py: unknown name momentun;") and err.count("\n") == 1


# ---- the menu ----

class Terminal(io.StringIO):
    def isatty(self):
        return True


def answer(monkeypatch, answers, stdin):
    """Let the menu read `answers`, texts or exceptions; returns the list of those not yet read."""
    left = list(answers)

    def read(prompt=""):
        text = left.pop(0)
        if isinstance(text, type):
            raise text()
        return text
    monkeypatch.setattr(builtins, "input", read)
    monkeypatch.setattr(sys, "stdin", stdin)
    return left


@pytest.mark.parametrize("program, number", [(CLASSIFIER, "4"), (VAE, "5")])
def test_the_menu_shows_every_data_set(monkeypatch, capsys, program, number):
    answer(monkeypatch, [number], io.StringIO())
    assert resolve(program=program).dataset == program.datasets[-1]
    shown = [line.split()[:2] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert shown == [[str(number), name] for number, name in enumerate(program.datasets)]


@each_wrong_answer
def test_a_terminal_is_told_why_and_asked_again(monkeypatch, capsys, text, program):
    left = answer(monkeypatch, [text, text, "0"], Terminal())
    assert resolve(program=program).dataset == "Digits" and left == []
    assert [line for line in capsys.readouterr().out.splitlines() if "no data set" in line] \
        == [refusal(config.find_dataset, text, program.datasets)] * 2


@each_wrong_answer
def test_a_pipe_is_told_why_once(monkeypatch, text, program):
    left = answer(monkeypatch, [text, "0"], io.StringIO())
    assert "no data set" in refusal(resolve, program=program) and left == ["0"]


@pytest.mark.parametrize("stdin", [io.StringIO(), Terminal()], ids=["pipe", "terminal"])
def test_the_end_of_input_ends_the_menu(monkeypatch, stdin):
    answer(monkeypatch, [EOFError], stdin)
    assert "--dataset" in refusal(resolve)


@pytest.mark.parametrize("stdin", [io.TextIOWrapper(io.BytesIO(b"\xff\n"), "utf-8"), None],
                         ids=["bytes that are no text", "closed"])
def test_a_stdin_that_cannot_be_read_ends_the_menu(monkeypatch, stdin):
    monkeypatch.setattr(sys, "stdin", stdin)
    assert "data set" in refusal(resolve)


def test_two_lambdas_of_zero_rank_nothing_and_are_refused():
    assert "lambda_max" in refusal(resolve, "--dataset", "1", "--lambda-average", "0", "--lambda-max", "0")


def test_a_dash_is_the_empty_list():
    assert resolve("--dataset", "3", "--conv-widths", "-").conv_widths == []


def test_pruning_and_compare_exclude_each_other():
    assert "not allowed with" in refusal(resolve, "--dataset", "1", "--pruning", "random", "--compare")


@pytest.mark.parametrize("error, words", [
    (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; free some space"),
    (OSError(errno.EACCES, "Permission denied"), "Permission denied; change its permissions or give another folder"),
    (OSError(errno.EIO, "Input/output error"), "Input/output error"), (OSError("odd"), "odd")])
def test_what_the_system_says_has_a_remedy_where_one_is_known(error, words):
    assert errors.reason(error) == words
