"""constants.py: legal values are taken, everything else is named in one clear line."""
import ast
import os
import re
from types import SimpleNamespace

import numpy as np
import pytest
from unit_helpers import CONSTANTS, NASTY, assert_legal, refusal, with_value

import constants
from pruning import settings
from pruning.settings import CLASSIFIER, SCHEDULE, SETTINGS, VAE

with open(constants.__file__, encoding="utf-8") as file:
    SOURCE = file.read()
NAN, INF = float("nan"), float("inf")
TABLES = {program.prefix + dataset: program.table for program in (CLASSIFIER, VAE) for dataset in program.datasets}


def read(values, path=constants.__file__):
    return settings.read_constants(SimpleNamespace(__file__=str(path), **values))


# ---- what constants.py says ----

def test_constants_and_settings_name_the_same_values():
    assigned = {node.targets[0].id for node in ast.parse(SOURCE).body if isinstance(node, ast.Assign)}
    assert assigned == {*SETTINGS, "vae_total_epochs", "vae_initial_iterations", "vae_increment", *TABLES}
    for name, table in TABLES.items():
        assert set(getattr(constants, name)) == set(table), name


def comments(text, entry, continuation):
    """{name: its comment} of the lines that match `entry`, each with the lines after it that match `continuation`."""
    found, name = {}, None
    for line in text.splitlines():
        begun, further = re.match(entry, line), re.match(continuation, line)
        if begun:
            name = begun.group(1)
            found[name] = begun.group(2)
        elif further and name:
            found[name] += " " + further.group(1)
        else:
            name = None
    return {name: " ".join(text.split()) for name, text in found.items()}


def assert_same_words(found, table):
    for name, text in found.items():
        setting = table[name.replace(VAE.prefix, "")]
        assert text.startswith(f"{setting.meaning}; {setting.legal}"), name
    assert set(table) <= set(found)


def test_comments_say_what_a_value_means_and_what_is_legal():
    assert_same_words(comments(SOURCE, r"(\w+) = [^#{(]*# (.+)", r" +# (.+)"), SETTINGS)


@pytest.mark.parametrize("start, end, program", [("# ---- driver.py: one table", "\nDigits = {", CLASSIFIER),
                                                 ("# ---- vae.py: one table", "\nvae_Digits = {", VAE)])
def test_comments_of_the_tables_say_what_an_entry_means_and_what_is_legal(start, end, program):
    block = SOURCE[SOURCE.index(start):SOURCE.index(end)]
    assert_same_words(comments(block, r"# (\w+)  +(.+)", r"#   +(.+)"), program.table)


# ---- values ----

WRONG = {int: [True, 1.5, "3", None, [3], NAN], float: [False, "3", None, [3], NAN, INF, -INF, 10 ** 400],
         str: [3, None, "", True], list: [3, "50-30", (50, 30), [50.0], [True], ["50"], [0], [30, -1], None],
         bool: [0, 1, "True", None]}
ILLEGAL = {"total_epochs": [0, -1, 10 ** 9], "initial_iterations": [0, -1], "increment": [0, -1, 10 ** 20],
           "prune_percent": [0, 0.0, 100, 100.0, -10, 101], "lambda_average": [-0.1], "lambda_max": [-0.1],
           "ranking_images": [-1], "seed": [-1, 2 ** 32], "seeds": [0, 10001], "jobs": [0, 1001],
           "checkpoint_every": [0], "device": ["gpu", "CPU"], "precision": ["float16"], "holdout": [-1, 10001],
           "dataset_folder": ["a\x00b"], "own_data": ["a\x00b"], "network": ["a.b.c", "my-net.Net", ".Net", "my_net."],
           "hidden_widths": [[], [8193]], "vae_hidden_widths": [[], [9], [9, 8, 7], [9, 8193]],
           "conv_widths": [[1, 1, 1, 1, 1], [4097]], "latent": [0, -1, 8193], "batch_size": [0, -1, 10 ** 6 + 1],
           "optimizer": ["adagrad", "SGD"], "learning_rate": [0, -0.1, 1.1e37],
           "learning_rate_schedule": ["linear", "cosine-restarts"], "kld_weight": [-0.1], "momentum": [1, 1.0, -0.1],
           "weight_decay": [-1e-9, 1.1], "std": [0, -0.5]}
EDGES = {"total_epochs": [1, 10 ** 9 - 1], "initial_iterations": [1], "increment": [1],
         "prune_percent": [1e-9, 99.999, 50], "lambda_average": [0, 0.5], "lambda_max": [0, 2],
         "ranking_images": [0, 10 ** 9], "seed": [0, 2 ** 32 - 1], "seeds": [1, 10000], "jobs": [1, 1000],
         "checkpoint_every": [1], "holdout": [0, 10000], "device": ["auto", "cpu", "cuda", "mps"],
         "precision": ["auto", "float32", "bfloat16"], "compensate": [True, False], "dataset_folder": [os.sep + "here"],
         "own_data": ["", os.sep + "here", "my_data.load"], "network": ["", "Net", "my_net.Net"],
         "hidden_widths": [[1], [9, 8, 8192]], "vae_hidden_widths": [[1, 8192], [9, 8, 7, 6]],
         "conv_widths": [[], [1, 2, 3, 4096]], "latent": [1, 8192], "batch_size": [1, 10 ** 6],
         "optimizer": ["sgd", "adam", "adamw"], "learning_rate": [1e-9, 1e37],
         "learning_rate_schedule": ["constant", "cosine", "cosine_restarts"], "kld_weight": [0, 2.5],
         "momentum": [0, 0.999], "weight_decay": [0, 1], "augment": [True, False], "mean": [-1, 0], "std": [1e-3, 1]}
# (table or None, name, setting) of all that constants.py holds; of each program's tables one.
each_place = pytest.mark.parametrize("table, name, setting", [
    *((None, name, setting) for name, setting in SETTINGS.items()),
    *((None, VAE.prefix + name, SETTINGS[name]) for name in SCHEDULE),
    *((program.prefix + "MNIST", name, setting) for program in (CLASSIFIER, VAE)
      for name, setting in program.table.items())])


@each_place
def test_whatever_a_value_is_it_is_legal_or_named_in_one_line(table, name, setting):
    for value in [*NASTY, np.eye(2), np.float64(0.5), object(), SimpleNamespace(a="x\ny"), {}, {NAN: {}}, {1}, (), 1j,
                  b"x", 10 ** 400, -0.0, 5e-324, [10 ** 400], [[]], ["\n"], [1] * 10 ** 4]:
        try:
            checked = read(with_value(table, name, value))
        except settings.UserError as error:
            assert len(str(error).splitlines()) == 1 and f"{name} = " in str(error)
        else:
            assert_legal((checked[table] if table else checked)[name], setting)


def listed(by_name, table, name):
    own = VAE.prefix * (table == "vae_MNIST") + name
    return by_name.get(own, by_name.get(name.replace(VAE.prefix, ""), []))


@each_place
def test_a_wrong_value_is_named_with_what_is_legal(table, name, setting):
    kind = {int: "a whole number, ", float: "a number, "}.get(setting.kind, "")
    wrong = [value for value in WRONG[setting.kind] if value != "" or name not in ("network", "own_data", "spread")]
    for value in listed(ILLEGAL, table, name) + wrong:
        assert refusal(read, with_value(table, name, value)) == (
            f"constants.py{', ' + table if table else ''}: {name} = {value!r}; legal: {kind}{setting.legal}")


@each_place
def test_the_last_legal_values_are_taken(table, name, setting):
    for value in listed(EDGES, table, name):
        checked = read(with_value(table, name, value))
        found = (checked[table] if table else checked)[name]
        assert found == value and type(found) is setting.kind


def test_a_list_in_the_place_of_a_number_is_told_what_is_legal():
    assert refusal(read, with_value("MNIST", "mean", [0.5])).endswith("mean = [0.5]; legal: a number, finite")


# ---- names ----

@pytest.mark.parametrize("changes, parts", [
    ({"total_epoch": 3}, ["unknown name total_epoch", "did you mean total_epochs?"]),
    ({"CIFAR10.momentun": 0.9}, ["CIFAR10", "momentun", "did you mean momentum?"]),
    ({"FashionMnist": {}}, ["unknown name FashionMnist", "did you mean FashionMNIST?"]),
    ({"vae_CIFAR10.augment": True}, ["vae_CIFAR10", "unknown name augment", "latent"]),
    ({"CIFAR10.kld_weight": 5}, ["CIFAR10", "unknown name kld_weight", "momentum"]),
    ({"CelebA": {}}, ["unknown name CelebA", "did you mean vae_CelebA?"]),
    ({"vae_seed": 1}, ["unknown name vae_seed"]),
    ({"zzz": 1}, ["unknown name zzz", "total_epochs"]),
    ({"MNIST.two\nlines": 1}, ["MNIST: unknown name two lines"]),
    ({"increment": ...}, ["increment is missing"]),
    ({"vae_increment": ...}, ["vae_increment is missing"]),
    ({"vae_CelebA": ...}, ["vae_CelebA is missing"]),
    ({"MNIST.std": ...}, ["MNIST", "std is missing"]),
    ({"vae_MNIST": 5}, ["vae_MNIST = 5", "table"]),
    ({"inital_iterations": 5}, ["initial_iterations", "inital_iterations", "twice"]),
])
def test_a_wrong_name_is_named_with_the_right_one(changes, parts):
    (place, value), values = *changes.items(), {name: value.copy() if isinstance(value, dict) else value
                                                for name, value in CONSTANTS.items()}
    *table, name = place.split(".")
    where = values[table[0]] if table else values
    if value is ...:
        del where[name]
    else:
        where[name] = value
    message = refusal(read, values)
    assert all(part in message for part in ["constants.py", *parts]), message


def test_the_historic_spelling_is_understood():
    values = {**CONSTANTS, "inital_iterations": 5}
    del values["initial_iterations"]
    checked = read(values)
    assert checked["initial_iterations"] == 5 and "inital_iterations" not in checked


# ---- folders ----

def test_folders_of_constants_are_beside_it_from_whatever_folder_a_program_is_started(tmp_path, monkeypatch):
    values = {**CONSTANTS, "dataset_folder": os.path.join(os.sep, "data"), "log_folder": "logs"}
    checked = read(values, tmp_path / "constants.py")
    assert checked["log_folder"] == str(tmp_path / "logs") and checked["dataset_folder"] == values["dataset_folder"]
    for own_data, found in (("", ""), ("photos", str(tmp_path / "photos")), ("my_data.load", "my_data.load"),
                            ("./my_data.load", str(tmp_path / "." / "my_data.load"))):
        assert os.path.normpath(read({**values, "own_data": own_data}, tmp_path / "constants.py")["own_data"]) == (
            os.path.normpath(found))
    monkeypatch.chdir(tmp_path)
    assert os.path.abspath(read(values, tmp_path / "constants.py")["log_folder"]) == str(tmp_path / "logs")


def test_a_folder_may_begin_with_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    for name in ("log_folder", "own_data"):
        assert read({**CONSTANTS, name: "~/x"})[name] == "/home/someone/x"


# ---- a run that goes on ----

def test_checked_values_cannot_be_set():
    with pytest.raises(AttributeError):
        settings.frozen({"seed": 3}).seed = 4


def test_a_run_goes_on_with_its_values_and_perhaps_more_epochs_or_other_folders():
    earlier = {"seed": 3, "total_epochs": 5, "log_folder": "here", "jobs": 1}
    settings.check_unchanged({**earlier, "total_epochs": 6, "log_folder": "there", "jobs": 2}, earlier, "a.txt")
    for name, value in (("seed", 4), ("total_epochs", 4)):
        message = refusal(settings.check_unchanged, {**earlier, name: value}, earlier, "a.txt")
        assert message.startswith("a.txt: ") and f"{name} = {value}, there {earlier[name]}" in message


def test_a_run_with_a_cosine_is_not_extended():
    for name in ("cosine", "cosine_restarts"):
        earlier = {"total_epochs": 5, "learning_rate_schedule": name}
        settings.check_unchanged(earlier, earlier, "a.txt")
        message = refusal(settings.check_unchanged, {**earlier, "total_epochs": 6}, earlier, "a.txt")
        assert message.startswith("a.txt: ") and "total_epochs = 5, so that the run cannot be extended" in message
