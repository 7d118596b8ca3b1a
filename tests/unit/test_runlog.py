"""The text log: what is written is read back, what is broken is named and never taken for a number."""
import itertools
import math
import re

import pytest
from unit_helpers import refusal

from pruning import runlog
from pruning.runlog import Batch, Epoch, Round, RunLog

BATCH = "Epoch: 1, Batch: 0, Loss: 2.309448719024658, Accuracy: 11.279296875%\n"  # of the published logs
VAE_BATCH = "Epoch: 1, Batch: 0, Loss: 546.3193359375, BCE: 545.1005859375, KLD: 1.21875\n"
HEADER = {"seed": 30, "prune_percent": 10.0, "hidden_widths": [50, 30], "compare": True}
FIRST_BATCH = len(HEADER)  # its place among the lines of a sample

# What the four batch lines of a program's log measure, what its other lines do, and what a round changes of that.
KINDS = {
    "classifier": (
        [{"loss": 2.309448719024658, "accuracy": 11.279296875}, {"loss": 1.5, "accuracy": 50.25},
         {"loss": 1.25, "accuracy": 55.5}, {"loss": 1e-05, "accuracy": 100.0}],
        {"training loss": 0.812345, "training accuracy": 76.1, "test loss": 4.5e-07, "test accuracy": 100.0},
        {"test accuracy": 0.0}),
    "VAE": (
        [{"loss": 546.3193359375, "BCE": 545.1005859375, "KLD": 1.21875}, {"loss": 1.5, "BCE": 0.0, "KLD": 50.25},
         {"loss": 1.25, "BCE": 55.5, "KLD": 1e-05}, {"loss": 1e+16, "BCE": 100.0, "KLD": -2.5}],
        {"training loss": 546.319, "training BCE": 545.101, "training KLD": 1.21875, "test MSE": 4.5e-07,
         "test PSNR": 63.4679, "active units": 17},
        {"test MSE": 1.25, "test PSNR": -0.9691, "active units": 0}),
}


def sample(batches, measures, changes):
    """The lines of a log of two epochs with a round between them, and what they hold."""
    batches = [Batch(*place, values) for place, values in zip([(1, 0), (1, 10), (2, 0), (2, 10)], batches)]
    epochs = [Epoch(1, {**measures, "time": 0.25}), Epoch(2, {**measures, "time": 0.5})]
    only = Round(1, 1, {"widths": [50, 30], "neurons": 80, "parameters": 41000, **measures},
                 {"widths": [45, 27], "neurons": 72, "parameters": 36765, **measures, **changes}, 0.125)
    summary = {"epochs": 2, "rounds": 1, **only.after, "time": 21.3}
    lines = [*runlog.format_header(HEADER).splitlines(True), *[runlog.format_batch(*line) for line in batches[:2]],
             runlog.format_epoch(*epochs[0]), runlog.format_round(*only),
             *[runlog.format_batch(*line) for line in batches[2:]], runlog.format_epoch(*epochs[1]),
             runlog.format_summary(summary)]
    return lines, RunLog(None, HEADER, batches, epochs, [only], summary)


SAMPLES = {kind: sample(*values) for kind, values in KINDS.items()}
each_kind = pytest.mark.parametrize("kind", SAMPLES)


@pytest.fixture
def parse(tmp_path):
    """Read a text, or bytes, as a log."""
    def read(content):
        path = tmp_path / "log.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return runlog.parse_log(str(path))
    return read


def assert_line_is_named(parse, content, number=r"\d+"):
    assert re.match(rf".*log\.txt, line {number}: ", refusal(parse, content))


# ---- what is written is read back ----

@each_kind
def test_every_kind_of_line_is_read_back(parse, kind):
    lines, held = SAMPLES[kind]
    log = parse("".join(lines))
    assert log == held._replace(path=log.path)
    assert runlog.read_header(log.path) == HEADER
    assert [runlog.is_summary(line) for line in lines] == [False] * (len(lines) - 1) + [True]


def test_a_batch_line_has_the_published_form():
    assert SAMPLES["classifier"][0][FIRST_BATCH] == BATCH
    assert SAMPLES["VAE"][0][FIRST_BATCH] == VAE_BATCH


def test_a_psnr_is_in_decibels_and_active_units_are_a_count():
    assert runlog.format_measures(KINDS["VAE"][1]).endswith(", test PSNR 63.4679 dB, active units 17")


@pytest.mark.parametrize("value", [30, -1.5, 1e-30, True, None, [50, 30], [], "it's \"quoted\", 5%", "a\nb\\n", "ä€",
                                   "Accuracy, Accuracy: 5%", "# seed = 3", ""])
def test_a_header_value_is_read_back_and_stays_one_line(parse, value):
    line = runlog.format_header({"log_folder": value})
    assert line.count("\n") == 1 and "Accuracy" not in line
    assert parse(line + BATCH).header == {"log_folder": value}


@pytest.mark.parametrize("value", [math.pi * 10 ** power for power in range(-12, 13, 3)] + [0.0, 99.99996, -0.5])
def test_numbers_keep_six_digits_and_a_batch_all_of_them(parse, value):
    measures = {"widths": [7], "test loss": value, "test PSNR": value}
    for of_batch in ({"loss": value, "accuracy": 100 / 3}, {"loss": value, "BCE": -value, "KLD": value / 3}):
        log = parse(runlog.format_batch(3, 20, of_batch) + runlog.format_epoch(3, {**measures, "time": 1.0})
                    + runlog.format_round(2, 3, measures, measures, 2.0))
        assert log.batches == [Batch(3, 20, of_batch)]
        for read in (log.epochs[0].measures, log.rounds[0].before, log.rounds[0].after):
            assert read["widths"] == [7]
            assert read["test loss"] == read["test PSNR"] == pytest.approx(value, rel=5.1e-6)


@each_kind
def test_a_log_may_have_come_through_windows(parse, kind):
    text = "".join(SAMPLES[kind][0])
    assert parse(text.replace("\n", "\r\n")) == parse(text)


def test_lines_of_other_programs_are_passed_over(parse):
    assert parse("Using cuda\n\n" + BATCH + "Pruning now\nsaved.\n").batches == parse(BATCH).batches


# ---- what is broken is named ----

@each_kind
def test_a_log_cut_anywhere_is_read_up_to_a_line_end_or_refused(parse, kind):
    sample, _ = SAMPLES[kind]
    text, whole = "".join(sample), parse("".join(sample))
    ends = list(itertools.accumulate(map(len, sample)))
    # Where a line is whole without its line end: not a VAE's batch line, whose last number may go on.
    closed = {end - 1 for line, end in zip(sample, ends) if kind != "VAE" or not line.startswith("Epoch:")}
    for cut in range(len(text)):
        lines = sum(end <= cut or end - 1 == cut in closed for end in ends)
        if lines <= FIRST_BATCH:
            assert_line_is_named(parse, text[:cut])
        elif cut not in closed.union(ends):
            assert_line_is_named(parse, text[:cut], lines + 1)
        else:
            log = parse(text[:cut])
            assert all(part == of_whole[:len(part)] for part, of_whole in zip(log[2:5], whole[2:5]))
            assert sum(map(len, log[2:5])) + bool(log.summary) == lines - FIRST_BATCH


def test_the_cut_end_of_a_log_is_left_out_if_the_run_may_still_write_it(tmp_path, parse):
    path, cut = tmp_path / "growing.txt", []
    path.write_text(BATCH + "After epoch 1: test accu")
    assert runlog.parse_log(str(path), cut.append) == parse(BATCH)._replace(path=str(path))
    (error,) = cut
    assert isinstance(error, runlog.LogError) and "growing.txt, line 2: " in str(error)
    path.write_text("After epoch 1: test accu\n" + BATCH)
    with pytest.raises(runlog.LogError, match="line 1"):
        runlog.parse_log(str(path), cut.append)


# Lines that say something whole that cannot be; tests/unit/test_fuzz.py damages lines in every other way.
BROKEN = [
    *("Epoch: 1, Batch: 10, Loss: 2.0, Accuracy: " + accuracy
      for accuracy in ("101%", "-1%", "nan%", "inf%", "11.2", "%", "11.2% 5%", "1_1%")),
    *(f"Epoch: {place}, Loss: 2.0, Accuracy: 11.2%" for place in ("1.5, Batch: 0", "1, Batch: -10", "1")),
    "Epoch: 1, Batch: 10, Loss: 2.0", "poch: 1, Batch: 10, Loss: 2.0, Accuracy: 11.2%", "Accuracy: 11.2%",
    BATCH.strip() * 2, VAE_BATCH.strip(), "After epoch 1: test accuracy 50%", "After epoch 1: time 0.3 s, ",
    "After epoch 1: test accuracy 505, time 0.3 s", "Round 1 after epoch 1: widths 50-30 => 45-27",
    *(f"Round 1 after epoch 1: {changes}, time 0.1 s" for changes in (
        "widths 9 8", "widths 0-0 => 0-0", "widths 9 => 8 8", "widths 9 => 8, widths 9 => 8", "widths 9 => 8 => 7")),
    "Summary: epochs 1", "Summary: ", *("# " + header for header in (
        "hidden_widths = 'x'", "hidden_widths = [50, 0]", "seed = ", "seed = 30 30", "seed = seed",
        "seed = 3# holdout = 9", "seed = {[1]: 2}", "seed = " + "(" * 500))]
BROKEN_OF_VAE = [
    *("Epoch: 1, Batch: 10, Loss: 2.0, BCE: 1.5, KLD: " + kld for kld in ("", "-", "0.5%", "0.5 5", "0.5, Loss: 2.0")),
    *("Epoch: 1, Batch: 10, Loss: 2.0, " + parts for parts in (
        "BCE: 1.5", "KLD: 0.5", "KLD: 0.5, BCE: 1.5", "Accuracy: 5%, BCE: 1.5, KLD: 0.5")),
    "Loss: 2.0, BCE: 1.5, KLD: 0.5", VAE_BATCH.strip() * 2, BATCH.strip(), "After epoch 1: test PSNR dB, time 0.3 s",
    "Summary: active units 5"]


@pytest.mark.parametrize("whole, broken", [*((BATCH, line) for line in BROKEN),
                                           *((VAE_BATCH, line) for line in BROKEN_OF_VAE)])
def test_a_broken_line_is_named(parse, whole, broken):
    for content in (whole + broken, whole + broken + "\n", whole + broken + "\n" + whole):
        assert_line_is_named(parse, content, 2)


@pytest.mark.parametrize("content", [
    "", "\n\n", b"\x00", bytes(range(256)) * 20, b"%PDF-1.4\n\xff\xfe\n", "total_epochs = 100\n", "step 1 loss 2.0\n",
    runlog.format_header(HEADER)], ids=["empty", "blank", "nul", "binary", "pdf", "python", "foreign", "header alone"])
def test_a_file_that_is_no_log_is_named(parse, content):
    assert_line_is_named(parse, content)


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    for path in (str(tmp_path), str(tmp_path / "none.txt")):
        assert refusal(runlog.parse_log, path).startswith(path)
        assert runlog.read_header(path) == {}


# ---- one clock ----

@pytest.mark.parametrize("epochs, wanted, restarts", [
    ([1, 1, 2, 2, 3], [1, 1, 2, 2, 3], []),
    ([1, 1, 2, 2, 1, 1, 2, 1], [1, 1, 2, 2, 3, 3, 4, 5], [2, 4]),
    ([1, 1, 1, 1], [1, 1, 2, 2], [1]),
    ([2, 2, 3, 2], [2, 2, 3, 5], [3]),
    ([0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 4, 5], [2, 4]),
])
def test_epochs_that_restart_count_on(parse, epochs, wanted, restarts):
    # Two batch lines an epoch, at batches 0 and 10, except where an epoch is cut after its first.
    lines, batch, last = [], 0, None
    for epoch in epochs:
        batch = 10 if epoch == last and batch == 0 else 0
        lines.append(runlog.format_batch(epoch, batch, {"loss": 2.0, "accuracy": 10.0}))
        last = epoch
    assert runlog.clock(parse("".join(lines)).batches) == (wanted, restarts)
