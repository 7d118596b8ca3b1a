"""The flags: they win over constants.py, and a wrong one is named with a hint."""
import os
import types

import pytest
from unit_helpers import ARMS, CONSTANTS, NASTY, assert_legal, refusal

import constants
from pruning import checkpoint, command_line, errors, menu
from pruning.settings import CLASSIFIER, SCHEDULE, SETTINGS, VAE

each_program = pytest.mark.parametrize("program", [CLASSIFIER, VAE], ids=["driver", "vae"])


def read(*arguments, program=CLASSIFIER, description="a test", recall=None, **changes):
    """What read_command makes of a command line: the values and the Request."""
    module = types.SimpleNamespace(__file__=constants.__file__, **{**CONSTANTS, **changes})
    return command_line.read_command(list(arguments), description, program, module, "contribution", ARMS, recall)


def values_of(*arguments, **options):
    return read("--dataset", "1", *arguments, **options)[0]


def refusal_of(*arguments, **options):
    return refusal(read, "--dataset", "1", *arguments, **options)


# ---- values ----

@pytest.mark.parametrize("program, own", [
    (CLASSIFIER, {"hidden_widths": "9-8-7", "conv_widths": "", "momentum": "0.9"}),
    (VAE, {"hidden_widths": "9-8", "conv_widths": "-", "latent": "7", "kld_weight": "0.25"})])
def test_flags_win_over_constants(program, own):
    given = {"total_epochs": "77", "initial_iterations": "5", "increment": "4", "lambda_max": "0.5",
             "compensate": "TRUE", "log_folder": "here", **own}
    values = values_of(*(f"{command_line.flag(name)}={text}" for name, text in given.items()), program=program)
    expected = {"total_epochs": 77, "initial_iterations": 5, "increment": 4, "lambda_max": 0.5, "compensate": True,
                "hidden_widths": [9, 8, 7] if program is CLASSIFIER else [9, 8], "conv_widths": [], "momentum": 0.9,
                "latent": 7, "kld_weight": 0.25, "log_folder": "here"}  # a flag's folder is one of the current folder
    assert {name: values[name] for name in given} == {name: expected[name] for name in given}


@each_program
def test_what_no_flag_names_comes_from_constants(program):
    schedule = {"vae_total_epochs": 78, "vae_initial_iterations": 11, "vae_increment": 13}
    values, request = read("--dataset", "CIFAR100", program=program, dataset_folder="/a", log_folder="/b", **schedule)
    known = {**CONSTANTS, "dataset_folder": "/a", "log_folder": "/b", **schedule}
    assert {name: values[name] for name in SETTINGS} == {
        name: known[program.prefix + name if name in SCHEDULE else name] for name in SETTINGS}
    assert {name: values[name] for name in program.table} == CONSTANTS[program.prefix + "CIFAR100"]
    assert (values["dataset"], values["pruning"], values["compare"]) == ("CIFAR100", "contribution", [])
    assert request == command_line.Request({"dataset": "CIFAR100"}, None, {"flags": {}, "settings": {}}, *[False] * 4)


def test_the_historic_spelling_is_a_flag_and_the_home_folder_a_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    values = values_of("--inital-iterations", "4", "--log-folder=~/x")
    assert (values["initial_iterations"], values["log_folder"]) == (4, "/home/someone/x")


# ---- mistakes ----

@pytest.mark.parametrize("arguments, parts", [
    (["--total-epochs"], ["--total-epochs"]),
    (["--total-epochs", "x"], ["--total-epochs", "'x'"]),
    (["--total-epochs", "1.5"], ["--total-epochs", "'1.5'"]),
    (["--total-epochs", "0"], ["--total-epochs", "= 0", "1 to 999999999"]),
    (["--prune-percent", "100"], ["--prune-percent", "100", "above 0 and below 100"]),
    (["--lambda-max", "nan"], ["--lambda-max", "nan", "0 or more"]),
    (["--compensate", "yes"], ["--compensate", "'yes'", "True or False"]),
    (["--hidden-widths", "50-0"], ["--hidden-widths", "[50, 0]", "1 to 8192"]),
    (["--hidden-widths", "50,30"], ["--hidden-widths", "'50,30'", "write it as 50-30, an empty one as -"]),
    (["--hidden-widths", ""], ["--hidden-widths", "[]", "at least one"]),
    (["--seed", "4294967295", "--seeds", "2"], ["seeds = 2", "seed = 4294967295"]),
    (["--lambda-average", "0", "--lambda-max", "0"], ["lambda_average", "lambda_max", "above 0"]),
    (["--pruning", "best"], ["--pruning", "'best'", "contribution"]),
    (["--pruning", "random", "--compare"], ["not allowed with"]),
    (["--resume", "training_log.txt", "--dry-run"], ["not allowed with"]),
    (["--compare", "none,best"], ["--compare none,best", "'best'", "taylor"]),
    (["--compare", "none,none"], ["'none' stands twice"]),
    (["--compare", "none,"], ["a name is missing"]),
    (["--learning-rate", "0,1"], ["'0,1' is not a number"]),
    (["--compare", "none", "random"], ["unrecognized arguments: random", "commas, as in --compare none,random"]),
    (["--dataset=--"], ["--dataset=--", "no value"]),
    (["mnist"], ["unrecognized arguments: mnist", "-h lists the flags"]),
    (["--x"], ["unrecognized arguments: --x", "-h lists the flags"]),
    (["--total-epoch", "3"], ["--total-epoch", "did you mean --total-epochs?"]),
    (["--total_epochs", "3"], ["--total_epochs", "did you mean --total-epochs?"]),
    (["--batchsize=5"], ["unrecognized arguments: --batchsize=5", "did you mean --batch-size?"]),
    (["--lr", "1"], ["--lr", "did you mean --learning-rate?"]),
    (["--rate", "1"], ["--rate", "did you mean --learning-rate?"]),
    (["--latent", "1"], ["unrecognized arguments: --latent"]),  # a flag of the other program
])
def test_a_mistake_is_named_with_a_hint(arguments, parts):
    message = refusal_of(*arguments)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize("text, words", [("--augment=True", "unrecognized arguments: --augment"),
                                         ("--vae-total-epochs=1", "unrecognized arguments: --vae-total-epochs"),
                                         ("--hidden-widths=9-8-7", "hidden_widths = [9, 8, 7]; legal: a list of 2, 4")])
def test_a_mistake_is_named_for_vae_too(text, words):
    assert words in refusal_of(text, program=VAE)


@each_program
def test_whatever_a_flag_is_given_is_legal_or_refused_in_one_line(tmp_path, monkeypatch, program):
    monkeypatch.chdir(tmp_path)
    table = {**SETTINGS, **program.table}
    for name in [*table, "dataset", "pruning", "compare", "resume", "dry_run"]:
        for word in [*NASTY, "0", "1", "true", "50-30", "0-1", "1e-9"]:
            given = f"{command_line.flag(name)}={word}"
            try:
                values, _ = read("--dataset=1", given, program=program, recall=checkpoint.read)
            except errors.UserError as error:
                assert len(str(error).splitlines()) == 1
                assert name not in table or name in str(error) or command_line.flag(name) in str(error)
            else:
                for known, setting in table.items():
                    assert_legal(values[known], setting)
    assert os.listdir(str(tmp_path)) == []


def test_the_word_empty_is_an_empty_text():
    values = values_of("--spread", "empty", "--network", "empty", "--own-data", "empty")
    assert (values["spread"], values["network"], values["own_data"]) == ("", "", "")


@each_program
def test_help_explains_every_flag(capsys, program):
    with pytest.raises(SystemExit) as end:
        read("-h", program=program, dataset_folder="/100% mine")
    text = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 0 and text.count("a test") == 1 and "inital" not in text
    known = {**CONSTANTS, "dataset_folder": "/100% mine"}
    for name, setting in {**SETTINGS, **program.table}.items():
        explained = text[text.rindex(command_line.flag(name) + " "):]
        assert f"{setting.meaning}; {setting.legal}" in explained, name
        if name not in ("log_folder", *program.table):
            now = setting.kind(known[program.prefix + name if name in SCHEDULE else name])
            assert f"{setting.legal} (now: {'empty' if now == '' else now})" in explained, name
    assert ", ".join(menu.numbered(program.datasets)) in text


def test_help_needs_no_docstring_which_python_oo_leaves_out(capsys):
    with pytest.raises(SystemExit) as end:
        read("-h", description=None)
    assert end.value.code == 0 and capsys.readouterr().out.startswith("usage: ")


# ---- which run ----

@each_program
def test_the_last_round_that_a_schedule_can_have_and_none_after_it(capsys, program):
    def schedule(initial, *arguments):
        return [*arguments, "--total-epochs", "4", "--initial-iterations", str(initial)]

    assert values_of(*schedule(3, "--pruning", "random"), program=program)["pruning"] == "random"
    assert values_of(*schedule(3, "--compare"), program=program)["compare"] == ["none", "contribution", "random"]
    assert "no neuron" not in capsys.readouterr().out
    for initial in (4, 5):
        values, request = read("--dataset", "0", *schedule(initial, "--pruning", "random"), program=program)
        assert values["pruning"] == request.flags["pruning"] == "none"
        assert capsys.readouterr().out == (
            f"no neuron will be removed: {program.prefix}initial_iterations = {initial} leaves no round in "
            f"{program.prefix}total_epochs = 4\n")
        message = refusal_of(*schedule(initial, "--compare"), program=program)
        assert "--compare" in message and f"{program.prefix}initial_iterations = {initial}" in message
        assert "no final widths" in refusal_of(*schedule(initial, "--pruning", "scratch"), program=program)


def test_few_epochs_alone_are_said_to_remove_nothing(capsys):
    assert values_of("--pruning", "random", "--total-epochs", "10")["pruning"] == "none"
    assert capsys.readouterr().out.startswith("no neuron will be removed: initial_iterations = 30 ")


def test_arms_are_listed_with_commas():
    values = values_of("--compare", "taylor, none")
    assert (values["compare"], values["pruning"]) == (["taylor", "none"], "taylor, none")


# ---- a run that goes on ----

def test_a_run_goes_on_with_its_flags_in_the_folder_of_its_log():
    earlier = {"flags": {"dataset": "MNIST", "seed": 5, "compare": ["none", "random"]}, "settings": {}}
    log = os.path.join("a", "MNIST", "training_logwithoutPruning.txt")
    values, request = read("--resume", log, "--total-epochs", "200", recall={log: earlier}.get)
    flags = {**earlier["flags"], "total_epochs": 200}
    assert request == command_line.Request(flags, log, earlier, False, False, False, False)
    assert (values["seed"], values["total_epochs"], values["compare"]) == (5, 200, ["none", "random"])
    assert values["log_folder"] == "a"


@pytest.mark.parametrize("program, log", [(VAE, "training_logwithPruning.txt"), (CLASSIFIER, "vae_logwithPruning.txt"),
                                          (CLASSIFIER, "notes.txt")])
def test_a_log_of_another_program_does_not_go_on(program, log):
    assert "no log of this program" in refusal_of("--resume", log, program=program)


def test_a_run_that_goes_on_does_not_shrink():
    earlier = {"flags": {}, "settings": {"total_epochs": 100}}
    log = "training_log.txt"
    message = refusal_of("--resume", log, "--total-epochs", "20", "--compare", recall={log: earlier}.get)
    assert message == f"{log}: total_epochs = 20, there 100; it can only grow, so give 100 or more"


def test_a_run_that_goes_on_stays_in_its_folder():
    assert refusal_of("--resume", "training_log.txt", "--log-folder", "b").startswith("--log-folder: ")
