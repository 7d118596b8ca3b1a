"""The data sets by number and name, and the menu that asks for one."""
import builtins
import io
import sys

import pytest
from unit_helpers import refusal

from pruning import errors, menu
from pruning.settings import CLASSIFIER, VAE

both = pytest.mark.parametrize("datasets", [CLASSIFIER.datasets, VAE.datasets], ids=["driver", "vae"])


def shown(datasets):
    """The data sets of a program with their numbers."""
    faces = "5 CelebA, " * (datasets is VAE.datasets)
    return f"0 Digits, 1 MNIST, 2 FashionMNIST, 3 CIFAR10, 4 CIFAR100, {faces}6 Own"


@both
@pytest.mark.parametrize("text, name", [
    ("0", "Digits"), ("digits", "Digits"), ("1", "MNIST"), ("mnist", "MNIST"), (" 2 ", "FashionMNIST"),
    ("fashion-mnist", "FashionMNIST"), ("cifar-10", "CIFAR10"), ("4", "CIFAR100"), ("6", "Own"), ("own", "Own")])
def test_a_data_set_has_a_number_and_a_name(text, name, datasets):
    assert menu.find_dataset(text, datasets) == name


@both
@pytest.mark.parametrize("text", ["x", "7", "your images", "", "-1", "1.0", "10", "MNIST 1", "\x00", "\u0663", "\xb9",
                                  "1_0", "+1", "\u212a", "digit\u017f"])
def test_no_other_text_is_a_data_set(text, datasets):
    assert refusal(menu.find_dataset, text, datasets) == (
        f"{text!r} is no data set; expected a number or a name: {shown(datasets)}")


@pytest.mark.parametrize("text", ["5", "celeba"])
def test_a_data_set_of_the_vae_alone_is_said_to_be_that(text):
    message = refusal(menu.find_dataset, text, CLASSIFIER.datasets)
    assert message.startswith(f"{text!r} is no data set here, CelebA is for vae.py alone; ")
    assert menu.find_dataset(text, VAE.datasets) == "CelebA"


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


@both
def test_the_menu_shows_every_data_set(monkeypatch, capsys, datasets):
    answer(monkeypatch, ["6"], io.StringIO())
    assert menu.ask_dataset(datasets) == "Own"
    lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert ", ".join(map(" ".join, lines)) == shown(datasets) == ", ".join(menu.numbered(datasets))


def test_a_terminal_is_told_why_and_asked_again(monkeypatch, capsys):
    left = answer(monkeypatch, ["x", "5", "0"], Terminal())
    assert menu.ask_dataset(CLASSIFIER.datasets) == "Digits" and left == []
    assert [line for line in capsys.readouterr().out.splitlines() if "no data set" in line] == [
        refusal(menu.find_dataset, text, CLASSIFIER.datasets) for text in ("x", "5")]


def test_a_pipe_is_told_why_once_on_a_line_of_its_own(monkeypatch, capsys):
    left = answer(monkeypatch, ["x", "0"], io.StringIO())
    assert "'x' is no data set" in refusal(menu.ask_dataset, CLASSIFIER.datasets) and left == ["0"]
    assert capsys.readouterr().out.endswith("own_data in constants.py)\n\n")  # the test's input() shows no prompt


@pytest.mark.parametrize("stdin", [io.StringIO(), Terminal(), io.TextIOWrapper(io.BytesIO(b"\xff\n"), "utf-8"), None],
                         ids=["pipe", "terminal", "bytes that are no text", "closed"])
def test_the_end_of_input_ends_the_menu(monkeypatch, stdin):
    monkeypatch.setattr(sys, "stdin", stdin)
    message = refusal(menu.ask_dataset, VAE.datasets)
    assert message == "no data set chosen; enter a number or a name, or use --dataset"


def test_ctrl_c_at_the_menu_is_an_interruption(monkeypatch):
    answer(monkeypatch, [KeyboardInterrupt], Terminal())
    with pytest.raises(errors.Interrupted, match="before a data set was chosen; nothing was started"):
        menu.ask_dataset(VAE.datasets)
