"""The text log of a run: the `format_` functions write its lines, `parse_log` reads them back.

The batch lines of a classifier are a contract with users: `Accuracy`, in percent of the training batch, is the last
comma-separated part of a batch line and appears on no other line. A VAE's have the parts of its loss in its place.
Every other line begins with another word:

    # seed = 30
    Epoch: 1, Batch: 0, Loss: 2.309448719024658, Accuracy: 11.279296875%
    Epoch: 1, Batch: 0, Loss: 546.3193359375, BCE: 545.1005859375, KLD: 1.21875
    After epoch 1: training loss 0.8, training accuracy 76.1%, test loss 0.4, test accuracy 88.6%, time 0.3 s
    Round 1 after epoch 30: widths 50-30 => 45-27, neurons 80 => 72, ..., time 0.1 s
    Summary: epochs 100, rounds 7, widths 22-12, ..., time 21.3 s

Logs of other programs that hold only batch lines are read too, also where their epochs restart at 1 after a round.
"""
import ast
import contextlib
import glob
import os
import re
import zlib
from collections import namedtuple

from config import CLASSIFIER, UserError

try:
    import fcntl
except ImportError:  # Windows, where two runs into one log are not noticed
    fcntl = None

# The published logs' names of the first three arms; "worst" is the historic name of the randomised one. Other logs are
# called by their arm's own name.
FILE_WORDS = {"none": "withoutPruning", "contribution": "withPruning", "random": "worstPruning",
              "scratch": "fromScratch"}

# What figures call the arms and the data sets.
ARM_WORDS = {"none": "without pruning", "contribution": "contribution-based pruning", "random": "randomised pruning",
             "reversed": "reversed contribution", "magnitude": "magnitude", "activation": "mean activation",
             "taylor": "Taylor", "apoz": "APoZ", "scratch": "small network from scratch"}
DATASET_WORDS = {"FashionMNIST": "Fashion-MNIST", "CIFAR10": "CIFAR-10", "CIFAR100": "CIFAR-100"}

Batch = namedtuple("Batch", "epoch batch measures")                # {"loss": nats, "accuracy": percent} or BCE and KLD
Epoch = namedtuple("Epoch", "epoch measures")                      # {"test accuracy": percent, ..., "time": seconds}
Round = namedtuple("Round", "number epoch before after time")      # before and after: {"widths": [50, 30], ...}
RunLog = namedtuple("RunLog", "path header batches epochs rounds summary")


class LogError(UserError):
    """A log that cannot be read; the message names the file, the line and what was expected."""


# ---- one line, written and read ----

def format_header(values):
    """One `# name = value` line an entry of the dict; the values are Python literals, as in constants.py."""
    lines = "".join(f"# {name} = {value!r}\n" for name, value in values.items())
    return lines.replace("Accuracy", "\\x41ccuracy")  # a folder may be called so; the word is the batch lines' own


def parse_header(log, name, literal):
    value = ast.literal_eval(f"({literal})")  # in brackets, or a joined line's rest would pass as a comment
    if name in ("hidden_widths", "initial_widths") and not (type(value) is list and value
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
    """Widths as 50-30, a count in full, other numbers in six digits with the unit of their last word, if any."""
    if name == "widths":
        return "-".join(map(str, value))
    if isinstance(value, int):
        return str(value)
    return f"{value:.6g}" + UNITS.get(name.split()[-1], "")


def parse_value(name, text):
    if name == "widths":
        return [int(re.fullmatch(r"[1-9]\d{0,8}", width).group()) for width in text.split("-")]
    return int(text) if re.fullmatch(r"\d{1,15}", text) else float(text)


# ---- the whole file ----

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


def parse_log(path):
    """Read a log of this suite, or one of only batch lines, into a RunLog.

    Raises LogError for a file without a batch line and for every line that looks like one of ours, or is the cut end
    of the file, and does not parse whole. Other lines, of other programs, are passed over.
    """
    log = RunLog(path, {}, [], [], [], {})
    try:
        with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
            for number, line in enumerate(file, 1):
                parse_line(log, number, line)
    except OSError as error:
        raise LogError(f"{path}: {error.strerror}")
    if not log.batches:
        raise LogError(f"{path}, line 1: no batch line follows; expected lines like '{BATCH.example}'")
    return log


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
        raise LogError(f"{log.path}, line {number}: {text!r:.62} is broken or cut; "
                       f"expected a line like '{kind.example}'")


def clock(batches):
    """The epoch of every batch line on one clock: where epochs restart, a stretch begins that counts on.

    Returns a list of epochs and the list of epochs after which a restart stood.
    """
    epochs, restarts, offset = [], [], 0
    for last, this in zip([None] + batches[:-1], batches):
        if last and this[:2] <= last[:2]:
            offset += last.epoch
            restarts.append(offset)
        epochs.append(offset + this.epoch)
    return epochs, restarts


# ---- the files ----

def log_path(folder, dataset, arm, prefix=CLASSIFIER.log, seed=None):
    """`logs/MNIST/training_logwithPruning.txt` for the arm "contribution" on MNIST; prefix: config.Program.log.

    Of one of several seeds `...withPruning-seed31.txt`.
    """
    of_seed = "" if seed is None else f"-seed{seed}"
    return os.path.join(folder, dataset, f"{prefix}{FILE_WORDS.get(arm, arm + 'Pruning')}{of_seed}.txt")


def network_path(path):
    """Where the network of a log is saved: beside it, `.pt` in place of `.txt`."""
    return os.path.splitext(path)[0] + ".pt"


def checkpoint_path(path):
    """Where the checkpoint of a log is: beside it, `.checkpoint` in place of `.txt`."""
    return os.path.splitext(path)[0] + ".checkpoint"


def create(headers):
    """New logs, open for writing, of {path: header}; earlier ones are kept beside them under numbered names.

    Raises UserError, before anything has changed, where another process still writes an earlier one.
    """
    folder = os.path.dirname(next(iter(headers)))
    os.makedirs(folder, exist_ok=True)
    with turn_in(folder):
        with held(headers):
            for path in headers:
                keep_earlier(path)
        logs = [open(path, "x", encoding="utf-8", newline="\n") for path in headers]
        for log in logs:
            lock(log)
    for log, header in zip(logs, headers.values()):
        write([log], format_header(header))
    return logs


def reopen(paths):
    """The logs of a run that goes on, open for writing. Raises UserError."""
    with turn_in(os.path.dirname(paths[0])):
        try:
            logs = [open(path, "r+", encoding="utf-8", newline="\n") for path in paths]
        except OSError as error:
            raise UserError(f"{error.filename}: {error.strerror}; without its log a run cannot go on")
        for log in logs:
            lock(log)
    return logs


def extent(log):
    """How long an open log is, in bytes, and the checksum of these."""
    with open(log.name, "rb") as file:
        content = file.read()
    return len(content), zlib.crc32(content)


def started(path):
    """When the run of a log began, by its header; None where that does not say."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            found = re.match("# started = '(.*)'", line)
            if found:
                return found.group(1)
    return None


def cut(logs):
    """Cut open logs, of pairs (log, extent), back to go on from there. Raises UserError, and cuts none, where one began
    otherwise."""
    for log, (length, checksum) in logs:
        with open(log.name, "rb") as file:
            if zlib.crc32(file.read(length)) != checksum:
                raise UserError(f"{log.name} is not as it was at its checkpoint, so its run can be started anew only")
    for log, (length, _) in logs:
        log.truncate(length)
        log.seek(length)


@contextlib.contextmanager
def held(paths):
    """Hold those of the logs that exist. Raises UserError where another process writes one."""
    with contextlib.ExitStack() as files:
        for path in filter(os.path.exists, paths):
            lock(files.enter_context(open(path)))
        yield


@contextlib.contextmanager
def turn_in(folder):
    """Wait until no other process is here: of two that start at once the second sees what the first has made."""
    if not fcntl:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def lock(log):
    """Hold a log as long as its file is open, at most as long as the process lives. Raises UserError."""
    if fcntl:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{log.name}: another run is writing this log; wait for its end or give another log folder")


def check_there(log):
    """Raise UserError where an open log is no longer the file of that name."""
    with contextlib.suppress(OSError):
        if os.path.samestat(os.fstat(log.fileno()), os.stat(log.name)):
            return
    raise UserError(f"{log.name}: the log of this run has been removed, renamed or replaced meanwhile")


def write(logs, text):
    """Write to all the logs and flush, so that a run that is killed keeps what it had. Raises UserError."""
    for log in logs:
        check_there(log)
        try:
            log.write(text)
            log.flush()
        except OSError as error:
            raise UserError(f"{log.name}: {error.strerror}; what was written before is kept")


@contextlib.contextmanager
def whole_file(path):
    """Open a file for bytes that takes the place of an old one when it is whole, and not before. Raises UserError."""
    try:
        with open(path + ".part", "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + ".part", path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(path + ".part")
        if isinstance(error, OSError):
            raise UserError(f"{path}: could not be written ({error.strerror or error})")
        raise


def keep_earlier(path):
    """Give a file and what belongs to it the first free number: training_logwithPruning.1.txt."""
    stem, extension = os.path.splitext(path)
    number = 1
    while belongings(f"{stem}.{number}{extension}"):
        number += 1
    for name in belongings(path):
        os.rename(name, f"{stem}.{number}{name[len(stem):]}")
        if name == path:
            print(f"an earlier {path} is kept as {stem}.{number}{extension}")


def belongings(path):
    """The files there are of: the file itself, its network, checkpoint and pictures, `<its stem>_<words>.png`."""
    pictures = glob.glob(glob.escape(os.path.splitext(path)[0]) + "_*.png")
    return [name for name in (path, network_path(path), checkpoint_path(path)) if os.path.exists(name)] + pictures
