"""Arbitrary and damaged input: a log, constants.py, a flag or an answer is understood or refused in one line."""
import ast
import io
import os
import re
import sys
import types

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from matplotlib import pyplot

import checkpoint
import config
import errors
import finished
import plot
import runlog
from config import CLASSIFIER, SETTINGS, VAE
from errors import UserError
from runlog import Batch, Epoch, LogError, Round, RunLog

CONSTANTS = config.load_constants()
HEADER = {"dataset": "MNIST", "pruning": "contribution", "seed": 30, "holdout": 0, "total_epochs": 2,
          "initial_iterations": 1, "increment": 1, "prune_percent": 10.0, "hidden_widths": [50, 30]}
NASTY = ["", "\x00", "\ud800", "\udc80", "\n", "a\nb", "a\r\nb", "\u2028", "\x1b[2J", "9" * 5000, "x" * 10 ** 5, "-9",
         "\u0663", "\u00b2", "\uff11", "1_0", "1e999", "nan", "inf", "%", "%s", "{}", "--", "-", "=", "Accuracy",
         "$x_{"]
TEXT = st.text(max_size=9) | st.sampled_from(NASTY)


def fuzz(examples):
    """The same examples in every run; the fixtures that they share hold nothing of an earlier one."""
    return settings(max_examples=examples, derandomize=True, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck))


def is_one_line(text):
    return bool(text) and len(text.splitlines()) == 1


# ---- a second reading of logs, strict and without a pattern for a whole line ----

def reading(content):
    """The RunLog that these bytes hold, or the number of the line that is to be named."""
    log = RunLog(None, {}, [], [], [], {})
    lines = content.decode("utf-8", "replace").split("\n")
    for number, line in enumerate(lines, 1):
        try:
            read_line(log, line.strip(), cut=number == len(lines))
        except (IndexError, SyntaxError, TypeError, ValueError, MemoryError, RecursionError):
            return number
    return log if log.batches else 1


def demand(condition):
    if not condition:
        raise ValueError


def read_line(log, text, cut):
    read = next((read for start, read in READERS.items() if re.match(start, text)), None)
    demand(read or not re.search("Accuracy|Batch|KLD", text))
    demand(not cut or not text or read and text.endswith(("%", " s")))
    if read:
        read(log, text)


def read_batch(log, text):
    names, values = zip(*[(name, value) for part in text.split(", ") for name, value in [part.split(": ")]])
    demand(names in (("Epoch", "Batch", "Loss", "Accuracy"), ("Epoch", "Batch", "Loss", "BCE", "KLD")))
    if names[-1] == "Accuracy":
        demand(values[-1].endswith("%") and 0 <= number(values[-1][:-1]) <= 100)
        values = [*values[:-1], values[-1][:-1]]
    batch = Batch(count(values[0]), count(values[1]),
                  {name.replace("Loss", "loss").replace("Acc", "acc"): number(value)
                   for name, value in list(zip(names, values))[2:]})
    demand(not log.batches or log.batches[0].measures.keys() == batch.measures.keys())
    log.batches.append(batch)


def read_header(log, text):
    name, literal = text[2:].split(" = ", 1)
    demand(re.fullmatch(r"\w+", name))
    value = ast.literal_eval(f"({literal})")  # in brackets, or "30# holdout = 9" were 30 and a comment
    if name == "hidden_widths":
        demand(type(value) is list and value and all(type(width) is int and 0 < width < 10 ** 9 for width in value))
    log.header[name] = value


def read_epoch(log, text):
    place, values = text.split(": ")
    demand(place.startswith("After epoch "))
    log.epochs.append(Epoch(count(place[12:]), measures(values)))


def read_round(log, text):
    place, values = text.split(": ")
    demand(place.startswith("Round "))
    place = [count(part) for part in place[6:].split(" after epoch ")]
    *changes, time = values.split(", ")
    changes = [(before, *change) for before, *change in (change.split(" => ") for change in changes)]
    demand(len(place) == 2 and all(len(change) == 2 for change in changes))
    before = [measure(old) for old, _ in changes]
    after = [measure(f"{name} {new}") for (name, _), (_, new) in zip(before, changes)]
    demand(len(dict(before)) == len(before) > 0 and measure(time)[0] == "time")
    log.rounds.append(Round(*place, dict(before), dict(after), measure(time)[1]))


def read_summary(log, text):
    demand(text.startswith("Summary: "))
    log.summary.update(measures(text[9:]))


def measures(text):
    pairs = [measure(part) for part in text.split(", ")]
    demand(len(dict(pairs)) == len(pairs) > 1 and pairs[-1][0] == "time")
    return dict(pairs)


def measure(text):
    """("test accuracy", 88.6) from "test accuracy 88.6%"."""
    unit = next((unit for unit in ("%", " s", " dB") if text.endswith(unit)), "")
    name, value = text[:len(text) - len(unit)].rsplit(" ", 1)
    demand(re.fullmatch("[A-Za-z]+( [A-Za-z]+)*", name))
    demand(unit == {"accuracy": "%", "time": " s", "PSNR": " dB"}.get(name.split(" ")[-1], ""))
    if name == "widths":
        demand(not any(width.startswith("0") for width in value.split("-")))
        return name, [count(width) for width in value.split("-")]
    return name, int(value) if value.isdecimal() and len(value) < 16 else number(value)


def count(text):
    demand(text.isdecimal() and len(text) < 10)
    return int(text)


def number(text):
    digits = text.lstrip("+-")  # float takes spaces, underscores and "infinity" as well
    demand(digits in ("nan", "inf") or digits[:1].isdecimal() and all(c.isdecimal() or c in "+-.eE" for c in digits))
    return float(text)


READERS = {"Epoch:": read_batch, r"# \w+ =": read_header, "After epoch": read_epoch, r"Round \S+ after": read_round,
           "Summary:": read_summary}


# ---- logs, whole, damaged and of wild values ----

def log_lines(header, batches, quality, widths=((50, 30), (45, 27)), epochs=(1, 2)):
    """The lines of a log with an epoch for each of `batches`, {measure: value}, and after all but the last a round."""
    lines, states = runlog.format_header(header).splitlines(True), []
    for epoch, batch in zip(epochs, batches):
        described = {f"{split} {name}": value for split in ("training", "test") for name, value in batch.items()}
        states.append({"widths": list(widths[0]), "neurons": sum(widths[0]), "parameters": 41000, **described,
                       **quality})
        accuracy = {name: min(max(value, 0.0), 100.0) for name, value in batch.items() if name == "accuracy"}
        lines += [runlog.format_batch(epoch, 10 * position, {**batch, **accuracy}) for position in range(2)]
        lines.append(runlog.format_epoch(epoch, {**described, "time": 0.25 * epoch}))
        if len(states) < len(batches):
            lines.append(runlog.format_round(len(states), epoch, states[-1], {**states[-1], "widths": list(widths[1])},
                                             0.125))
    return [*lines, runlog.format_summary({"epochs": len(batches), "rounds": 1, **states[-1], "time": 21.3})]


VAE_QUALITY = {"test MSE": 0.0125, "test PSNR": 19.0309, "active units": 7}
LOGS = [log_lines(HEADER, [{"loss": 2.309448719024658, "accuracy": 11.279296875}, {"loss": 1e-05, "accuracy": 88.5}],
                  {}),
        log_lines(HEADER, [{"loss": 546.3193359375, "BCE": 545.1005859375, "KLD": 1.21875},
                           {"loss": 260.5, "BCE": 250.0, "KLD": 10.5}], VAE_QUALITY)]
WHOLE = ["".join(lines).encode() for lines in LOGS]
PIECES = [b"\n", b", ", b": ", b"%", b" ", b"_", b".", b"-", b"9", b"9" * 400, b"0", b"e9", b" => ", b"#", b"Epoch: ",
          b"Accuracy", b"time 1 s", "\u0663".encode(), b"\xff", b"\x00", b"\r"]


@st.composite
def damaged(draw):
    """A log after one to three damages."""
    content = draw(st.sampled_from(WHOLE))
    for _ in range(draw(st.integers(1, 3))):
        content = damage(draw, content)
    return content


def damage(draw, content):
    """These bytes after one damage, to a byte, to a stretch of bytes or to lines."""
    low, high = sorted(draw(st.integers(0, len(content))) for _ in range(2))
    near = low + draw(st.integers(0, 20))
    lines = content.splitlines(True)
    first, second = (draw(st.integers(0, max(0, len(lines) - 1))) for _ in range(2))
    swapped = {first: second, second: first}
    return draw(st.sampled_from([
        lambda: content[:low] + bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in content[low:low + 1])
        + content[low + 1:],
        lambda: content[:low] + draw(st.sampled_from(PIECES) | st.binary(max_size=3)) + content[low:],
        lambda: content[:low] + content[near:],
        lambda: content[:near] + content[low:],
        lambda: content[:low],
        lambda: content[:low] + draw(st.sampled_from(WHOLE))[high:],
        lambda: b"".join(lines[:first] + lines[first + 1:]),
        lambda: b"".join(lines[:first] + lines[second:second + 1] + lines[first:]),
        lambda: b"".join(lines[swapped.get(place, place)] for place in range(len(lines))),
        lambda: b"".join(line.rstrip(b"\n") if place == first else line for place, line in enumerate(lines)),
    ]))()


def assert_read_strictly(path, content):
    """The parser reads these bytes as `reading` does, or names the file and the same line."""
    path.write_bytes(content)
    expected = reading(content)
    try:
        found = runlog.parse_log(str(path))._replace(path=None)
    except LogError as error:
        message = str(error)
        assert is_one_line(message) and message.startswith(f"{path}, line ")
        found = int(message[len(f"{path}, line "):].split(":")[0])
    assert repr(found) == repr(expected)  # by what is written: nan is not equal to itself


def joined(content, start):
    """A log without the line end before the line that starts so."""
    return content.replace(b"\n" + start, start)


@fuzz(700)
@given(content=damaged())
@example(content=joined(WHOLE[0], b"After epoch 2"))  # the batch line before it
@example(content=joined(WHOLE[0], b"Summary"))  # else its values were those of epoch 2
@example(content=WHOLE[0].replace(b"test accuracy 88.5%, time", b"test accuracy 88.55, time"))  # one bit: % is 5
@example(content=WHOLE[0].replace(b"accuracy 88.5%, time 0.5", b"accuracy 8_8.5%, time 0.5"))
@example(content=WHOLE[0].replace(b"80 => 80", b"80 => 80 => 72"))
@example(content=joined(WHOLE[0].replace(b"holdout = 0", b"holdout = 500"), b"# holdout"))
def test_a_damaged_log_is_read_as_a_strict_reader_does_or_its_line_is_named(tmp_path, content):
    assert_read_strictly(tmp_path / "log.txt", content)


@fuzz(300)
@given(content=st.binary(max_size=300) | st.lists(st.sampled_from(PIECES + [
    b"Epoch: 1, Batch: 0, Loss: 1.5, ", b"Accuracy: 5%", b"BCE: 1, KLD: 2", b"After epoch 1: ", b"Round 1 after epoch ",
    b"Summary: ", b"# seed = ", b"widths 9", b"nan", b"'", b"(" * 300])).map(b"".join))
def test_arbitrary_bytes_are_read_as_a_strict_reader_does_or_their_line_is_named(tmp_path, content):
    assert_read_strictly(tmp_path / "log.txt", content)


@pytest.mark.parametrize("line", [
    runlog.format_header({"hidden_widths": [50, 30]}), LOGS[0][len(HEADER)], LOGS[1][len(HEADER)],
    runlog.format_epoch(2, {"test accuracy": 88.5, "test PSNR": 19.25, "time": 0.25}),
    runlog.format_round(1, 2, {"widths": [50, 30], "test accuracy": 88.5}, {"widths": [9], "test accuracy": 1.25}, 0.5),
    runlog.format_summary({"neurons": 36, "test loss": 1e-05, "time": 21.5})], ids=lambda line: line.split()[0])
def test_no_flipped_bit_and_no_lost_byte_goes_unseen(tmp_path, line):
    first = line if line.startswith("Epoch") else LOGS[0][len(HEADER)]
    content = (first + line).encode()
    for position in range(len(first), len(content)):
        for byte in [b"", *(bytes([content[position] ^ 1 << bit]) for bit in range(8))]:
            assert_read_strictly(tmp_path / "log.txt", content[:position] + byte + content[position + 1:])


def test_the_second_reading_takes_whole_logs():
    assert [len(reading(content).epochs) for content in WHOLE] == [2, 2]
    assert reading(WHOLE[0]).rounds[0].after["widths"] == [45, 27]


# ---- plot.py ----

VALUES = st.floats() | st.sampled_from([1e308, -1e308, 1.7976931348623157e308, 5e-324, 0.0, 50.0])
LITERALS = TEXT | st.none() | st.integers() | st.lists(st.integers(), max_size=2) | st.just(10 ** 400)


@st.composite
def wild(draw):
    """A log whose lines are whole and whose values are anything that such a line can hold."""
    names = draw(st.sampled_from([["loss", "accuracy"], ["loss", "BCE", "KLD"]]))
    batches = draw(st.lists(st.fixed_dictionaries(dict.fromkeys(names, VALUES)), min_size=1, max_size=4))
    epochs = draw(st.lists(st.integers(0, 999999999) | st.integers(1, 9), min_size=len(batches),
                           max_size=len(batches)))
    width = st.lists(st.integers(1, 999999999) | st.integers(1, 9), min_size=1, max_size=3)
    header = {**HEADER, "seed": draw(st.integers(30, 33)), "pruning": draw(st.sampled_from(list(runlog.ARM_WORDS))),
              **draw(st.dictionaries(st.sampled_from(list(HEADER)), LITERALS, max_size=1)),
              "hidden_widths": draw(width)}
    lines = log_lines(header, batches, VAE_QUALITY if "KLD" in names else {}, draw(st.tuples(width, width)), epochs)
    return "".join(line for line in lines if draw(st.integers(0, 9))).encode()  # now and then a line is missing


@fuzz(30)
@given(contents=st.lists(wild() | wild() | damaged(), min_size=1, max_size=3),
       arguments=st.sampled_from([[], ["--table"], *(["--figure", kind] for kind in finished.KINDS)]))
@example(contents=[WHOLE[0].replace(b"88.5%, time 0.5", b"9" * 400 + b"%, time 0.5")], arguments=[])
@example(contents=[WHOLE[0].replace(b"[50, 30]", b"[1" + b"0" * 400 + b"]")], arguments=[])
@example(contents=[WHOLE[1].replace(b"250.0", b"1e308")], arguments=[])
@example(contents=[WHOLE[0].replace(b"accuracy 88.5%", b"accuracy -1e308%")], arguments=[])
@example(contents=[WHOLE[0].replace(b"'MNIST'", b"None")], arguments=[])
@example(contents=[WHOLE[0].replace(b"'MNIST'", b"'\\ud800 $x_{$'")], arguments=[])
@example(contents=[WHOLE[0].replace(b"neurons 80, ", b"neurons " + b"9" * 400 + b", ")], arguments=["--table"])
@example(contents=[WHOLE[0].replace(b"'contribution'", b"7")], arguments=["--table"])
@example(contents=[WHOLE[0], WHOLE[1].replace(b"seed = 30", b"seed = 31")], arguments=["--table"])
@example(contents=[WHOLE[0]], arguments=["--figure", "differences"])
@example(contents=[WHOLE[0].replace(b"'MNIST'", b"'a\\nb'")], arguments=["--figure", "differences"])
def test_plot_draws_logs_or_names_each_that_it_cannot_in_one_line(tmp_path, monkeypatch, drive, contents, arguments):
    # Laying out and drawing every part of the figure stays; writing it at 300 dpi takes a second and knows no log.
    monkeypatch.setattr(pyplot, "savefig", lambda path, **options: pyplot.gcf().canvas.draw())
    monkeypatch.setitem(plot.matplotlib.rcParams, "figure.dpi", 20)
    names = [f"log{number}.txt" for number in range(len(contents))]
    for name, content in zip(names, contents):
        (tmp_path / name).write_bytes(content)
    try:
        status, out, err = drive(*names, *arguments, program="plot.py")
    finally:
        pyplot.close("all")
    errors = err.splitlines()
    assert status == (2 if errors else 0) and len(errors) <= len(names)
    unread = [error for error in errors if re.match(r"plot\.py: log\d\.txt\b", error)]
    refused = [error for error in errors if re.match(r"plot\.py: (--figure \w+: |no log of )", error)]
    assert sorted(unread + refused) == sorted(errors)
    assert len(unread) == len(names) or refused or "wrote " in out or "leave one out" in err


# ---- constants.py ----

# A second list of what is legal, for some of the names. In a table of vae.py the widths come in pairs.
LEGAL = {
    "total_epochs": lambda value: type(value) is int and 1 <= value <= 999999999,
    "seed": lambda value: type(value) is int and 0 <= value <= 4294967295,
    "holdout": lambda value: type(value) is int and 0 <= value <= 10000,
    "batch_size": lambda value: type(value) is int and 1 <= value <= 1000000,
    "latent": lambda value: type(value) is int and 1 <= value <= 8192,
    "prune_percent": lambda value: type(value) in (int, float) and 0 < value < 100,
    "momentum": lambda value: type(value) in (int, float) and 0 <= value < 1,
    "device": lambda value: type(value) is str and value in ("auto", "cpu", "cuda", "mps"),
    "log_folder": lambda value: type(value) is str and value != "" and "\x00" not in value,
    "conv_widths": lambda value: is_widths(value, 4096) and len(value) <= 4,
    "hidden_widths": lambda value: is_widths(value, 8192) and len(value) >= 1,
}


def is_widths(value, highest):
    return type(value) is list and all(type(width) is int and 1 <= width <= highest for width in value)


SINGLE = (st.none() | st.booleans() | TEXT | st.binary(max_size=3) | st.floats() | st.integers()
          | st.sampled_from([0.5, 1j, "cpu", object(), str])
          | st.just(10 ** 400))
ENDS = st.sampled_from([0, 1, 100, 1.0, 100.0, 8192, 8193, 10000, 10001, 10 ** 6, 10 ** 6 + 1,
                        10 ** 9 - 1, 10 ** 9, 2 ** 32 - 1, 2 ** 32])
RUBBISH = (SINGLE | ENDS | ENDS | st.lists(SINGLE | ENDS, max_size=5) | st.lists(st.integers(1, 9), max_size=6)
           | st.tuples(SINGLE) | st.sets(st.integers()) | st.dictionaries(SINGLE, SINGLE, max_size=3)
           | st.sampled_from([np.eye(2), np.float64(0.5), config.argparse.Namespace(a="x\ny")]))
PLACES = [(None, name) for name in CONSTANTS]
PLACES += [(table, name) for table, values in CONSTANTS.items() if isinstance(values, dict) for name in values]


def load(values):
    """config.load_constants of a module that holds these values."""
    module = types.ModuleType("trial")
    vars(module).update(values)
    sys.modules["trial"] = module
    try:
        return config.load_constants("trial")
    finally:
        del sys.modules["trial"]


@fuzz(1200)
@given(place=st.sampled_from(PLACES) | st.sampled_from([place for place in PLACES if place[1] in LEGAL]), value=RUBBISH)
@example(place=(None, "total_epochs"), value=10 ** 9)
@example(place=(None, "total_epochs"), value=10 ** 400)
def test_a_constant_is_taken_where_it_is_legal_and_named_where_not(place, value):
    table, name = place
    values = {**CONSTANTS, table: {**CONSTANTS[table], name: value}} if table else {**CONSTANTS, name: value}
    is_legal = LEGAL.get(name)
    if is_legal and (table or "").startswith("vae_") and name == "hidden_widths":
        def is_legal(value):
            return LEGAL[name](value) and len(value) % 2 == 0
    try:
        found = load(values)
    except UserError as error:
        assert is_one_line(str(error)) and str(error).startswith("trial.py") and name in str(error)
        assert not (is_legal and is_legal(value))
    else:
        kept = (found[table] if table else found)[name]
        assert kept == (float(value) if type(kept) is float else value)
        assert not is_legal or is_legal(value)


@fuzz(100)
@given(table=st.sampled_from([name for name, value in CONSTANTS.items() if isinstance(value, dict)]),
       entries=st.dictionaries(SINGLE, SINGLE, min_size=1, max_size=3))
@example(table="MNIST", entries={"two\nlines": 1})
def test_an_entry_that_a_table_does_not_know_is_refused_in_one_line(table, entries):
    with pytest.raises(UserError, match=f"^trial.py, {table}: ") as caught:
        load({**CONSTANTS, table: {**CONSTANTS[table], **entries}})
    assert is_one_line(str(caught.value))


# ---- the menu and the flags ----

def chosen(text, datasets):
    """The data set of an answer, or None, by a second rule: the number as Python writes it, or the name's letters."""
    answer = text.strip()
    if answer in [str(number) for number in range(len(datasets))]:
        return datasets[int(answer)]
    return next((name for name in datasets if name.upper() == answer.replace("-", "").upper()), None)


# What nearly is an answer: white space, cases, hyphens and digits of all kinds about a real one.
ANSWERS = TEXT | st.lists(st.sampled_from(["0", "1", "5", "6", "mnist", "CIFAR", "-", "10", " ", "\t", "\u0663", "\xb9",
                                           "FASHION", "\u212a", "digits", "\u017f"]), max_size=3).map("".join)


@fuzz(300)
@given(text=ANSWERS, program=st.sampled_from([CLASSIFIER, VAE]))
def test_a_text_is_the_data_set_of_this_number_or_name_or_refused(text, program):
    try:
        found = config.find_dataset(text, program.datasets)
    except UserError as error:
        found = None
        assert is_one_line(str(error)) and repr(text) in str(error)
    assert found == chosen(text, program.datasets)


class Stdin(io.TextIOWrapper):
    """What the program reads: these bytes, at a terminal or not."""

    def __init__(self, content, errors, at_terminal):
        super().__init__(io.BytesIO(content), "utf-8", errors)
        self.at_terminal = at_terminal

    def isatty(self):
        return self.at_terminal


@fuzz(200)
@given(content=st.binary(max_size=30) | st.lists(ANSWERS, max_size=4).map("\n".join).map(
    lambda text: text.encode("utf-8", "surrogatepass")),
       errors=st.sampled_from(["strict", "surrogateescape"]), at_terminal=st.booleans())
def test_the_menu_takes_the_first_answer_or_at_a_terminal_the_first_good_one(monkeypatch, content, errors, at_terminal):
    monkeypatch.setattr(sys, "stdin", Stdin(content, errors, at_terminal))
    try:
        lines = list(Stdin(content, errors, at_terminal))
    except UnicodeDecodeError:
        lines = []
    answers = [chosen(line, VAE.datasets) for line in lines]
    try:
        found = config.ask_dataset(VAE.datasets)
    except UserError as error:
        found = None
        assert is_one_line(str(error))
    assert found == next(filter(None, answers if at_terminal else answers[:1]), None)


FLAGS = [config.flag(name) for name in {**SETTINGS, **CLASSIFIER.table, **VAE.table}]
OTHERS = ["--dataset", "--pruning", "--compare", "--resume", "--dry-run", "-h"]
NUMBERS = st.integers(-2, 10 ** 6) | st.integers() | st.floats()
WORDS = TEXT | NUMBERS.map(str) | st.sampled_from(["MNIST", "contribution", "cpu", "true", "50-30", "-", "--"])
ARGUMENTS = st.lists(st.one_of(
    WORDS.map(lambda word: [word]), st.sampled_from(OTHERS[:-1]).map(lambda flag: [flag]),
    st.tuples(st.sampled_from(FLAGS + OTHERS), WORDS).map(list),
    *[st.tuples(st.sampled_from(flags), NUMBERS.map(str) | WORDS).map("=".join).map(lambda word: [word])
      for flags in (FLAGS, FLAGS, [config.flag(name) for name in LEGAL], OTHERS)],
), max_size=3).map(lambda parts: sum(parts, []))


@fuzz(400)
@given(start=st.sampled_from([[], ["--dataset", "0"], ["--dataset=5"]]), arguments=ARGUMENTS,
       program=st.sampled_from([CLASSIFIER, VAE]))
@example(start=["--dataset", "0"], arguments=["two\nlines"], program=CLASSIFIER)
@example(start=["--dataset", "0"], arguments=["-h"], program=VAE)
@example(start=[], arguments=["--dataset=--"], program=VAE)  # of which some versions of argparse make a list
@example(start=["--dataset", "0"], arguments=["--resume", "x" * 10 ** 5], program=VAE)
def test_flags_give_a_legal_configuration_or_the_help_or_one_line(tmp_path, monkeypatch, capsys, start, arguments,
                                                                  program):
    def main():
        found.append(config.resolve(start + arguments, "a test", program, "contribution", ["none", "contribution"],
                                    checkpoint.read))

    found, status = [], None
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(sys, "argv", ["driver.py"])
    sys.stderr.reconfigure(errors="backslashreplace")  # as Python's own
    try:
        errors.run_command(main)
    except SystemExit as end:
        status = end.code
    out, err = capsys.readouterr()
    if found:
        values = {name: value for name, value in vars(found[0]).items() if name in LEGAL}
        assert {"seed", "device", "hidden_widths"} < set(values)
        assert all(LEGAL[name](value) for name, value in values.items())
    elif status == 0:
        assert out.startswith("usage: ") and not err
    else:
        assert status == 2 and is_one_line(err)
    assert os.listdir(str(tmp_path)) == []
