"""Arbitrary and damaged logs: the parser reads what is there or names a line, and plot.py says so in one line."""
import ast
import io
import math
import re
from itertools import zip_longest

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from matplotlib import pyplot
from plot_logs import run_log, text_of, vae_log
from unit_helpers import NASTY

from pruning import arms, runlog
from pruning.plots import summaries
from pruning.runlog import LogError, RunLog

TEXT = st.text(max_size=9) | st.sampled_from(NASTY)


def fuzz(examples):
    """The same examples in every run; the fixtures that they share hold nothing of an earlier one."""
    return settings(max_examples=examples, derandomize=True, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck))


def is_one_line(text):
    return bool(text) and len(text.splitlines()) == 1


# ---- logs ----

WHOLE = [text_of(log).encode() for log in (run_log(training=[[11.279296875, 50.25], [88.5, 1e-05]]), vae_log())]
PIECES = [b"\n", b", ", b": ", b"%", b" ", b"_", b".", b"-", b"9", b"9" * 400, b"0", b"e9", b" => ", b"#", b"Epoch: ",
          b"Accuracy", b"time 1 s", "\u0663".encode(), b"\xff", b"\x00", b"\r"]


@st.composite
def damaged(draw):
    """A log after one to three damages, each to a byte, to a stretch of bytes or to lines."""
    content = draw(st.sampled_from(WHOLE))
    for _ in range(draw(st.integers(1, 3))):
        low, high = sorted(draw(st.integers(0, len(content))) for _ in range(2))
        near, lines = low + draw(st.integers(0, 20)), content.splitlines(True)
        first, second = (draw(st.integers(0, max(0, len(lines) - 1))) for _ in range(2))
        content = draw(st.sampled_from([
            content[:low] + bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in content[low:low + 1])
            + content[low + 1:],
            content[:low] + draw(st.sampled_from(PIECES) | st.binary(max_size=3)) + content[low:],
            content[:low] + content[near:],
            content[:near] + content[low:],
            content[:low],
            content[:low] + draw(st.sampled_from(WHOLE))[high:],
            b"".join(lines[:first] + lines[first + 1:]),
            b"".join(lines[:first] + lines[second:second + 1] + lines[first:]),
            b"".join(line.rstrip(b"\n") if place == first else line for place, line in enumerate(lines))]))
    return content


def read_alone(line):
    """What a line adds to an empty log, which must say, written anew, what the line says; None if it is refused."""
    log = RunLog("log.txt", {}, [], [], [], {})
    try:
        runlog.parse_line(log, 7, line)
    except LogError as error:
        assert is_one_line(str(error)) and str(error).startswith("log.txt, line 7: ")
        return None
    assert line.endswith("\n") or line.strip()[-1:] in ("", "%", "s")  # else digits may be missing at its end
    writers = {"batches": runlog.format_batch, "epochs": runlog.format_epoch, "rounds": runlog.format_round}
    written = [write(*record) for kind, write in writers.items() for record in getattr(log, kind)]
    written += [runlog.format_summary(log.summary)] * bool(log.summary)
    if log.header:
        name, literal = line.strip()[2:].split(" = ", 1)
        assert repr(log.header) == repr({name: ast.literal_eval(f"({literal})")})
    elif written:  # the same words, and the same numbers to six digits
        for own, other in zip_longest(*(re.split(f"({runlog.NUMBER})", text.strip()) for text in (line, *written))):
            assert own == other or math.isclose(float(own), float(other), rel_tol=1e-5) or "nan" in own
    else:
        assert not re.search(r"Accuracy|Batch|KLD|^(Epoch:|After epoch|Round \S+ after|Summary:)", line.strip())
    return log


def assert_read_line_by_line(path, content):
    """The parser adds up what the lines say alone, or names the first line that is refused."""
    path.write_bytes(content)
    parts = [read_alone(line) for line in io.StringIO(content.decode("utf-8", "replace"), newline="\n")]
    kinds = [set(part.batches[0].measures) for part in parts if part and part.batches]
    refused = [number for number, part in enumerate(parts, 1)
               if part is None or any(set(batch.measures) != kinds[0] for batch in part.batches)]
    try:
        log = runlog.parse_log(str(path))
    except LogError as error:
        assert is_one_line(str(error)) and str(error).startswith(f"{path}, line {(refused or [1])[0]}: ")
        assert refused or not kinds
    else:
        assert kinds and not refused
        for kind in ("batches", "epochs", "rounds"):  # nan is not equal to itself
            assert str(getattr(log, kind)) == str([record for part in parts for record in getattr(part, kind)])
        for kind in ("header", "summary"):
            together = {name: value for part in parts for name, value in getattr(part, kind).items()}
            assert str(getattr(log, kind)) == str(together)


def joined(content, start):
    """A log without the line end before the line that starts so."""
    return content.replace(b"\n" + start, start)


@fuzz(500)
@given(content=damaged() | damaged() | st.binary(max_size=300) | st.lists(st.sampled_from(PIECES + [
    b"Epoch: 1, Batch: 0, Loss: 1.5, ", b"Accuracy: 5%", b"BCE: 1, KLD: 2", b"After epoch 1: ", b"Round 1 after epoch ",
    b"Summary: ", b"# seed = ", b"widths 9", b"nan", b"'", b"(" * 300])).map(b"".join))
@example(content=WHOLE[0])
@example(content=WHOLE[1])
@example(content=joined(WHOLE[0], b"After epoch 2"))  # the batch line before it
@example(content=joined(WHOLE[0], b"Summary"))  # else its values were those of the last epoch
@example(content=joined(WHOLE[0].replace(b"holdout = 0", b"holdout = 500"), b"# holdout"))
def test_a_log_is_read_line_by_line_or_its_line_is_named(tmp_path, content):
    assert_read_line_by_line(tmp_path / "log.txt", content)


@pytest.mark.parametrize("line", [
    runlog.format_header({"hidden_widths": [50, 30]}), runlog.format_batch(1, 0, {"loss": 2.3094, "accuracy": 11.25}),
    runlog.format_batch(12, 30, {"loss": 546.25, "BCE": 545.5, "KLD": 1e-05}),
    runlog.format_epoch(2, {"test accuracy": 88.5, "test PSNR": 19.25, "time": 0.25}),
    runlog.format_round(1, 2, {"widths": [50, 30], "test accuracy": 88.5}, {"widths": [9], "test accuracy": 1.25}, 0.5),
    runlog.format_summary({"neurons": 36, "test loss": 1e-05, "time": 21.5})], ids=lambda line: line.split()[0])
def test_no_flipped_bit_and_no_lost_byte_goes_unseen(line):
    content = line.encode()
    for position in range(len(content)):
        for byte in [b"", *(bytes([content[position] ^ 1 << bit]) for bit in range(8))]:
            damaged = (content[:position] + byte + content[position + 1:]).decode("utf-8", "replace")
            for part in io.StringIO(damaged, newline="\n"):
                read_alone(part)


# ---- plot.py ----

LITERALS = TEXT | st.none() | st.integers() | st.lists(st.integers(), max_size=2) | st.just(10 ** 400)
VALUES = st.floats() | st.sampled_from([1e308, -1e308, 1.7976931348623157e308, 5e-324, 0.0, 50.0])
WIDTHS = st.lists(st.integers(1, 999999999) | st.integers(1, 9), min_size=1, max_size=3)


@st.composite
def wild(draw):
    """A log whose lines are whole and whose values are anything that such a line can hold."""
    header = {**draw(st.dictionaries(st.sampled_from(list(run_log().header)), LITERALS, max_size=1)),
              "seed": draw(st.integers(30, 33)), "hidden_widths": draw(WIDTHS)}
    values = st.lists(VALUES, min_size=2, max_size=3)
    if draw(st.booleans()):
        log = vae_log(list(zip(draw(values), draw(values))), draw(VALUES), **header)
    else:
        log = run_log(draw(st.sampled_from(list(arms.ARMS))), tests=draw(values), rounds=[(1, *draw(values)[:2])],
                      training=draw(st.lists(st.lists(st.floats(0, 100), max_size=2), min_size=1)), **header)
    batches = [batch._replace(epoch=draw(st.integers(0, 999999999) | st.just(batch.epoch))) for batch in log.batches]
    lines = text_of(log._replace(batches=batches)).splitlines(True)
    return "".join(line for line in lines if draw(st.integers(0, 9))).encode()  # now and then a line is missing


@fuzz(15)
@given(contents=st.lists(wild() | wild() | damaged(), min_size=1, max_size=3),
       arguments=st.sampled_from([[], ["--table"], *(["--figure", kind] for kind in summaries.KINDS)]))
@example(contents=[WHOLE[0].replace(b"91.5%, time", b"9" * 400 + b"%, time")], arguments=[])
@example(contents=[WHOLE[0].replace(b"[50, 30]", b"[1" + b"0" * 400 + b"]")], arguments=[])
@example(contents=[WHOLE[1].replace(b"250.0", b"1e308")], arguments=[])
@example(contents=[WHOLE[0].replace(b"accuracy 91.5%", b"accuracy -1e308%")], arguments=[])
@example(contents=[WHOLE[0].replace(b"'MNIST'", b"None")], arguments=[])
@example(contents=[WHOLE[0].replace(b"'MNIST'", b"'\\ud800 $x_{$'")], arguments=[])
@example(contents=[WHOLE[0].replace(b"neurons 80 ", b"neurons " + b"9" * 400 + b" ")], arguments=["--table"])
@example(contents=[WHOLE[0].replace(b"'contribution'", b"7")], arguments=["--table"])
@example(contents=[WHOLE[0], WHOLE[1].replace(b"seed = 30", b"seed = 31")], arguments=["--table"])
@example(contents=[WHOLE[0]], arguments=["--figure", "differences"])
@example(contents=[WHOLE[0].replace(b"'MNIST'", b"'a\\nb'")], arguments=["--figure", "differences"])
def test_plot_draws_logs_or_names_each_that_it_cannot_in_one_line(tmp_path, monkeypatch, drive, contents, arguments):
    # Laying out and drawing every part of the figure stays; writing it at 300 dpi takes a second and knows no log.
    monkeypatch.setattr(pyplot, "savefig", lambda path, **options: pyplot.gcf().canvas.draw())
    monkeypatch.setitem(pyplot.rcParams, "figure.dpi", 20)
    names = [f"log{number}.txt" for number in range(len(contents))]
    for name, content in zip(names, contents):
        (tmp_path / name).write_bytes(content)
    try:
        status, out, err = drive(*names, *arguments, program="plot.py")
    finally:
        pyplot.close("all")
    said = err.splitlines()
    assert status == (2 if said else 0) and len(said) <= len(names)
    unread = [error for error in said if re.match(r"plot\.py: log\d\.txt\b", error)]
    refused = [error for error in said if re.match(r"plot\.py: (--figure \w+: |no log of )", error)]
    assert sorted(unread + refused) == sorted(said)
    assert len(unread) == len(names) or refused or re.search("wrote |has not ended yet", out) or "leave one out" in err
