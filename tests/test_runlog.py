"""The text log: what is written is read back, what is broken is named and never taken for a number."""
import itertools
import math
import os
import re

import pytest

import runlog
from runlog import Batch, Epoch, LogError, Round

BATCH = "Epoch: 1, Batch: 0, Loss: 2.309448719024658, Accuracy: 11.279296875%\n"  # of the published logs
HEADER = {"seed": 30, "prune_percent": 10.0, "hidden_widths": [50, 30], "compare": True}
MEASURES = {"training loss": 0.812345, "training accuracy": 76.1, "test loss": 4.5e-07, "test accuracy": 100.0}
BEFORE = {"widths": [50, 30], "neurons": 80, "parameters": 41000, **MEASURES}
AFTER = {"widths": [45, 27], "neurons": 72, "parameters": 36765, **MEASURES, "test accuracy": 0.0}
SUMMARY = {"epochs": 2, "rounds": 1, **AFTER, "time": 21.3}

SAMPLE = [*runlog.format_header(HEADER).splitlines(True), BATCH, runlog.format_batch(1, 10, 1.5, 50.25),
          runlog.format_epoch(1, {**MEASURES, "time": 0.25}), runlog.format_round(1, 1, BEFORE, AFTER, 0.125),
          runlog.format_batch(2, 0, 1.25, 55.5), runlog.format_batch(2, 10, 1e-05, 100.0),
          runlog.format_epoch(2, {**MEASURES, "time": 0.5}), runlog.format_summary(SUMMARY)]
FIRST_BATCH = len(HEADER)  # its place in SAMPLE


@pytest.fixture
def parse(tmp_path):
    """Read a text, or bytes, as a log."""
    def read(content):
        path = tmp_path / "log.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return runlog.parse_log(str(path))
    return read


def refusal(parse, content):
    with pytest.raises(LogError) as caught:
        parse(content)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_line_is_named(parse, content, number):
    assert re.match(rf".*log\.txt, line {number}: ", refusal(parse, content))


# ---- what is written is read back ----

def test_every_kind_of_line_is_read_back(parse):
    log = parse("".join(SAMPLE))
    assert log.header == HEADER
    assert log.batches == [Batch(1, 0, 2.309448719024658, 11.279296875), Batch(1, 10, 1.5, 50.25),
                           Batch(2, 0, 1.25, 55.5), Batch(2, 10, 1e-05, 100.0)]
    assert log.epochs == [Epoch(1, {**MEASURES, "time": 0.25}), Epoch(2, {**MEASURES, "time": 0.5})]
    assert log.rounds == [Round(1, 1, BEFORE, AFTER, 0.125)]
    assert log.summary == SUMMARY


def test_a_batch_line_has_the_published_form():
    assert runlog.format_batch(1, 0, 2.309448719024658, 11.279296875) == BATCH


@pytest.mark.parametrize("value", [30, -1.5, 1e-30, True, None, [50, 30], [], "it's \"quoted\", 5%", "a\nb\\n", "ä€",
                                   "Accuracy, Accuracy: 5%", "# seed = 3", ""])
def test_a_header_value_is_read_back_and_stays_one_line(parse, value):
    line = runlog.format_header({"log_folder": value})
    assert line.count("\n") == 1 and "Accuracy" not in line
    assert parse(line + BATCH).header == {"log_folder": value}


@pytest.mark.parametrize("value", [math.pi * 10 ** power for power in range(-12, 13, 3)] + [0.0, 99.99996, -0.5])
def test_numbers_keep_six_digits_and_a_batch_all_of_them(parse, value):
    measures = {"widths": [7], "test loss": value}
    log = parse(runlog.format_batch(3, 20, value, 100 / 3) + runlog.format_epoch(3, {**measures, "time": 1.0})
                + runlog.format_round(2, 3, measures, measures, 2.0))
    assert log.batches == [Batch(3, 20, value, 100 / 3)]
    for read in (log.epochs[0].measures, log.rounds[0].before, log.rounds[0].after):
        assert read["widths"] == [7] and read["test loss"] == pytest.approx(value, rel=5.1e-6)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_log_may_have_come_through_windows(parse, ending):
    assert parse("".join(SAMPLE).replace("\n", ending)) == parse("".join(SAMPLE))


# ---- what is broken is named ----

def test_a_log_cut_anywhere_is_read_up_to_a_line_end_or_refused(parse):
    text, whole = "".join(SAMPLE), parse("".join(SAMPLE))
    ends = list(itertools.accumulate(map(len, SAMPLE)))
    for cut in range(len(text)):
        lines = sum(end - 1 <= cut for end in ends)  # the lines that are whole, if but for their line end
        between = cut == 0 or cut in ends or cut + 1 in ends
        if lines <= FIRST_BATCH:
            assert re.search(r"log\.txt, line \d+: ", refusal(parse, text[:cut])), cut
        elif not between:
            assert_line_is_named(parse, text[:cut], lines + 1)
        else:
            log = parse(text[:cut])
            assert all(part == of_whole[:len(part)] for part, of_whole in zip(log[2:5], whole[2:5]))
            assert sum(map(len, log[2:5])) + bool(log.summary) == lines - FIRST_BATCH


@pytest.mark.parametrize("number", range(len(SAMPLE)))
def test_a_letter_in_the_place_of_a_digit_is_named(parse, number):
    line = SAMPLE[number]
    for digit in re.finditer(r"\d", line):
        broken = line[:digit.start()] + "x" + line[digit.end():]
        assert_line_is_named(parse, "".join(SAMPLE[:number] + [broken] + SAMPLE[number + 1:]), number + 1)


@pytest.mark.parametrize("ending", ["\n", ""])
@pytest.mark.parametrize("broken", [
    *["Epoch: 1, Batch: 10, Loss: 2.0, Accuracy: " + accuracy
      for accuracy in ("101%", "-1%", "nan%", "inf%", "11.2", "%", "11.2.3%", "11,2%", "11.2% 5%")],
    *["Epoch: 1, Batch: 10, Loss: " + loss + "Accuracy: 11.2%" for loss in ("", ", ", "2.0 ", "2,0, ", "x, ")],
    *["Epoch: " + place + ", Loss: 2.0, Accuracy: 11.2%"
      for place in ("1.5, Batch: 0", "-1, Batch: 0", "1, Batch: -10", "1, Batch: x", "1 Batch: 0", "1")],
    "Epoch: 1, Batch: 10, Loss: 2.0", "poch: 1, Batch: 10, Loss: 2.0, Accuracy: 11.2%", "Accuracy: 11.2%",
    ", Batch: 10, Loss: 2.0", "Epoch: 1, Batch: 1" + BATCH.strip(), BATCH.strip() * 2,
    "After epoch 1: test accuracy 50%", "After epoch 1: test accuracy , time 0.3 s", "After epoch 1: time 0.3 s, ",
    "Round 1 after epoch 1: widths 50-30 => 45-27", "Round 1 after epoch 1: widths 50-30 45-27, time 0.1 s",
    "Round 1 after epoch 1: widths 0-0 => 0-0, time 0.1 s", "# hidden_widths = 'x'", "# hidden_widths = [50, 0]",
    "Summary: epochs 1", "Summary: ",
    "# seed = ", "# seed = 30 30", "# seed = seed", "# seed = {[1]: 2}", "# seed = " + "(" * 500])
def test_a_broken_line_is_named(parse, broken, ending):
    assert_line_is_named(parse, BATCH + broken + ending, 2)
    assert_line_is_named(parse, BATCH + broken + "\n" + BATCH, 2)


@pytest.mark.parametrize("content", [
    "", "\n\n", b"\x00", bytes(range(256)) * 20, b"%PDF-1.4\n\xff\xfe\n", "total_epochs = 100\n", "step 1 loss 2.0\n",
    runlog.format_header(HEADER)], ids=["empty", "blank", "nul", "binary", "pdf", "python", "foreign", "header alone"])
def test_a_file_that_is_no_log_is_named(parse, content):
    assert re.search(r"log\.txt, line \d+: ", refusal(parse, content))


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    for path in (str(tmp_path), str(tmp_path / "none.txt")):
        with pytest.raises(LogError, match=re.escape(path)):
            runlog.parse_log(path)


def test_lines_of_other_programs_are_passed_over(parse):
    assert parse("Using cuda\n\n" + BATCH + "Pruning now\nsaved.\n").batches == parse(BATCH).batches


# ---- one clock ----

@pytest.mark.parametrize("epochs, wanted, restarts", [
    ([1, 1, 2, 2, 3], [1, 1, 2, 2, 3], []),
    ([1, 1, 2, 2, 1, 1, 2, 1], [1, 1, 2, 2, 3, 3, 4, 5], [2, 4]),
    ([1, 1, 1, 1], [1, 1, 2, 2], [1]),
    ([2, 2, 3, 2], [2, 2, 3, 5], [3]),
])
def test_epochs_that_restart_count_on(parse, epochs, wanted, restarts):
    # Two batch lines an epoch, at batches 0 and 10, but where an epoch is cut after its first.
    lines, batch, last = [], 0, None
    for epoch in epochs:
        batch = 10 if epoch == last and batch == 0 else 0
        lines.append(runlog.format_batch(epoch, batch, 2.0, 10.0))
        last = epoch
    assert runlog.clock(parse("".join(lines)).batches) == (wanted, restarts)


# ---- the files ----

def test_earlier_logs_and_networks_are_kept_under_one_number(tmp_path):
    path = runlog.log_path(str(tmp_path), "MNIST", "contribution")
    assert path == os.path.join(str(tmp_path), "MNIST", "training_logwithPruning.txt")
    for run in range(4):
        with runlog.create(path, {"run": run}) as log:
            log.write(BATCH)
        if run != 1:  # that one was interrupted before its network was saved
            with open(runlog.network_path(path), "w") as network:
                network.write(str(run))
    kept = {file.name: file.read_text() for file in (tmp_path / "MNIST").iterdir()}
    texts = {f"training_logwithPruning{number}.txt": f"# run = {run}\n" + BATCH
             for run, number in enumerate([".1", ".2", ".3", ""])}
    networks = {f"training_logwithPruning{number}.pt": str(run) for run, number in [(0, ".1"), (2, ".3"), (3, "")]}
    assert kept == {**texts, **networks}


def test_a_kept_network_alone_takes_its_number(tmp_path):
    path = runlog.log_path(str(tmp_path), "MNIST", "none")
    runlog.create(path, {"run": 1}).close()
    (tmp_path / "MNIST" / "training_logwithoutPruning.1.pt").write_text("an older one")
    runlog.create(path, {"run": 2}).close()
    assert (tmp_path / "MNIST" / "training_logwithoutPruning.2.txt").read_text() == "# run = 1\n"
    assert (tmp_path / "MNIST" / "training_logwithoutPruning.1.pt").read_text() == "an older one"


def test_every_arm_has_its_historic_file_name():
    assert {arm: runlog.log_path("logs", "CIFAR10", arm) for arm in ("none", "contribution", "random")} == {
        "none": os.path.join("logs", "CIFAR10", "training_logwithoutPruning.txt"),
        "contribution": os.path.join("logs", "CIFAR10", "training_logwithPruning.txt"),
        "random": os.path.join("logs", "CIFAR10", "training_logworstPruning.txt")}
