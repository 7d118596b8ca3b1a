"""The text log of a run: the `format_` functions write its lines, `parse_log` reads them back.

The batch lines of a classifier are a contract with users: `Accuracy`, in percent of the training batch, is the last
comma-separated part of a batch line and appears on no other line. In a VAE's batch lines the parts of the loss stand in
its place. Every other line begins with another word:

    # seed = 30
    Epoch: 1, Batch: 0, Loss: 2.309448719024658, Accuracy: 11.279296875%
    Epoch: 1, Batch: 0, Loss: 546.3193359375, BCE: 545.1005859375, KLD: 1.21875
    After epoch 1: training loss 0.8, training accuracy 76.1%, test loss 0.4, test accuracy 88.6%, time 0.3 s
    Round 1 after epoch 30: widths 50-30 => 45-27, neurons 80 => 72, ..., time 0.1 s
    Summary: epochs 100, rounds 7, widths 22-12, ..., time 21.3 s

Logs of other programs that hold only batch lines are read too, even if their epochs restart at 1 after a round.
"""
import ast
import contextlib
import itertools
import re
from collections import namedtuple

from pruning.errors import UserError, reason

Batch = namedtuple("Batch", "epoch batch measures")                # {"loss": nats, "accuracy": percent} or BCE and KLD
Epoch = namedtuple("Epoch", "epoch measures")                      # {"test accuracy": percent, ..., "time": seconds}
Round = namedtuple("Round", "number epoch before after time")      # before and after: {"widths": [50, 30], ...}
RunLog = namedtuple("RunLog", "path header batches epochs rounds summary")


class LogError(UserError):
    """A log that cannot be read; the message names the file, the line and what was expected."""


def format_header(values):
    """One line `# name = value` per entry of the dict; the values are Python literals, as in constants.py."""
    lines = "".join(f"# {name} = {value!r}\n" for name, value in values.items())
    return lines.replace("Accuracy", "\\x41ccuracy")  # only batch lines may hold the word; a folder may be called so


def parse_header(log, name, literal):
    value = ast.literal_eval(f"({literal})")  # in brackets, or a joined line's rest would pass as a comment
    if name in ("hidden_widths", "initial_widths", "unpruned_widths") and not (type(value) is list and value
                                        and all(type(width) is int and 0 < width < 10 ** 9 for width in value)):
        raise ValueError("widths are counts of neurons")
    log.header[name] = value


def format_batch(epoch, batch, measures):
    parts = [f"{name[0].upper()}{name[1:]}: {value}{'%' * (name == 'accuracy')}" for name, value in measures.items()]
    return ", ".join([f"Epoch: {epoch}, Batch: {batch}", *parts]) + "\n"


def parse_batch(log, epoch, batch, loss, accuracy, bce, kld):
    measures = {"loss": loss, "accuracy": accuracy, "BCE": bce, "KLD": kld}
    measures = {name: float(value) for name, value in measures.items() if value is not None}
    if not 0 <= measures.get("accuracy", 0) <= 100:
        raise ValueError("an accuracy is a percentage")
    if log.batches and log.batches[0].measures.keys() != measures.keys():
        raise ValueError("a classifier's and a VAE's lines in one log")
    log.batches.append(Batch(int(epoch), int(batch), measures))


def format_epoch(epoch, measures):
    return f"After epoch {epoch}: {format_measures(measures)}\n"


def parse_epoch(log, epoch, measures):
    log.epochs.append(Epoch(int(epoch), parse_measures(measures)))


def format_round(number, epoch, before, after, time):
    changes = [f"{name} {format_value(name, before[name])} => {format_value(name, after[name])}"
               for name in before]
    return f"Round {number} after epoch {epoch}: {', '.join(changes)}, {format_measures({'time': time})}\n"


def parse_round(log, number, epoch, measures):
    *changes, time = measures.split(", ")
    olds, news = zip(*[(old, new) for change in changes for old, new in [change.split(" => ")]])
    before = parse_measures(", ".join(olds))
    after = parse_measures(", ".join(f"{name} {new}" for name, new in zip(before, news)))
    log.rounds.append(Round(int(number), int(epoch), before, after, parse_measures(time)["time"]))


def format_summary(measures):
    return f"Summary: {format_measures(measures)}\n"


def is_summary(text):
    return re.fullmatch(r"Summary: [^\n]+\n", text) is not None


def parse_summary(log, measures):
    log.summary.update(parse_measures(measures))


UNITS = {"accuracy": "%", "time": " s", "PSNR": " dB"}


def format_measures(measures):
    return ", ".join(f"{name} {format_value(name, value)}" for name, value in measures.items())


def parse_measures(text):
    measures = {}
    for part in text.split(", "):
        pattern = rf"([A-Za-z-]+(?: [A-Za-z]+)*) ((?:{NUMBER})|[\d-]+)(%| s| dB|)"
        name, value, unit = re.fullmatch(pattern, part).groups()
        if name in measures or unit != UNITS.get(name.split(" ")[-1], ""):
            raise ValueError("every measure stands there once and with its unit")
        measures[name] = parse_value(name, value)
    return measures


def format_value(name, value):
    """Widths as 50-30, a count in full, other numbers in six digits with the unit that belongs to the name."""
    if name == "widths":
        return "-".join(map(str, value))
    return (str(value) if isinstance(value, int) else f"{value:.6g}") + UNITS.get(name.split()[-1], "")


def parse_value(name, text):
    if name == "widths":
        return [int(re.fullmatch(r"[1-9]\d{0,8}", width).group()) for width in text.split("-")]
    return int(text) if re.fullmatch(r"\d{1,15}", text) else float(text)


COUNT = r"(\d{1,9})"
NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|nan|inf)"
Kind = namedtuple("Kind", "start pattern parse example")
BATCH = Kind("Epoch:", rf"Epoch: {COUNT}, Batch: {COUNT}, Loss: ({NUMBER}), "
             rf"(?:Accuracy: ({NUMBER})%|BCE: ({NUMBER}), KLD: ({NUMBER}))", parse_batch,
             "Epoch: 1, Batch: 0, Loss: 2.3094, Accuracy: 11.279%' or '..., Loss: 546.3, BCE: 545.1, KLD: 1.2")
KINDS = [
    BATCH,
    Kind(r"# \w+ =", r"# (\w+) = (.+)", parse_header, "# seed = 30"),
    Kind("After epoch", rf"After epoch {COUNT}: (.+, time \S+ s)", parse_epoch,
         "After epoch 1: test accuracy 88.6%, time 0.3 s"),
    Kind(r"Round \S+ after", rf"Round {COUNT} after epoch {COUNT}: (.+, time \S+ s)", parse_round,
         "Round 1 after epoch 30: widths 50-30 => 45-27, time 0.1 s"),
    Kind("Summary:", r"Summary: (.+, time \S+ s)", parse_summary, "Summary: epochs 100, time 21.3 s"),
]


def parse_log(path, on_cut=None):
    """Read a log of this suite, or one of only batch lines, into a RunLog.

    Raises LogError for a file without a batch line, and for a line that looks like one of ours or is the cut end of the
    file and does not parse whole. Lines of other programs are passed over. on_cut: takes the LogError of the cut end,
    which is then left out: the run may still be writing it.
    """
    log = RunLog(path, {}, [], [], [], {})
    try:
        with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
            for number, line in enumerate(file, 1):
                try:
                    parse_line(log, number, line)
                except LogError as error:
                    if on_cut is None or line.endswith("\n"):
                        raise
                    on_cut(error)
    except OSError as error:
        raise LogError(f"{path}: {reason(error)}")
    if not log.batches:
        wanted = "its run has not ended an epoch yet" if log.header else f"expected lines like '{BATCH.example}'"
        raise LogError(f"{path}, line 1: no batch line follows; {wanted}")
    return log


def read_header(path):
    """{name: value} of the header at the beginning of a log; {} of a file that is missing or no log."""
    log = RunLog(path, {}, [], [], [], {})
    with contextlib.suppress(OSError, LogError), open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(itertools.takewhile(lambda line: line.startswith("#"), file), 1):
            parse_line(log, number, line)
    return log.header


def parse_line(log, number, line):
    text = line.strip()
    cut = text and not line.endswith("\n")
    kind = next((kind for kind in KINDS if re.match(kind.start, text)), None)
    if kind is None and (cut or re.search("Accuracy|Batch|KLD", text)):
        kind = BATCH  # what it was meant to be
    if kind is None:
        return
    try:
        if cut and not text.endswith(("%", " s")):
            raise ValueError("digits may be missing")
        kind.parse(log, *re.fullmatch(kind.pattern, text).groups())
    except (AttributeError, LookupError, TypeError, ValueError, SyntaxError, RecursionError, MemoryError):
        raise LogError(f"{log.path}, line {number}: {text[:60]!r} is broken or cut; "
                       f"expected a line like '{kind.example}'")


def clock(batches):
    """The epochs of batch lines on one clock: a restart at epoch 1 begins a new stretch, whose epochs count on.

    Returns the list of epochs, one per line, and the list of epochs after which a restart stood.
    """
    epochs, restarts, offset = [], [], 0
    for last, this in zip([None] + batches[:-1], batches):
        if last and this[:2] <= last[:2]:
            restarts.append(epochs[-1])
            offset += last.epoch + (batches[0].epoch == 0)  # some count from 0
        epochs.append(offset + this.epoch)
    return epochs, restarts
