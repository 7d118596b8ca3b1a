"""The files of a run: their names, who writes them, and how they are written whole."""
import contextlib
import errno
import glob
import os
import zlib

from config import CLASSIFIER
from errors import UserError, reason

try:
    import fcntl
except ImportError:  # Windows, which itself refuses to rename a log that another run has open
    fcntl = None

# The published logs' names of the first three arms; "worst" is the historic name of the randomised one. Other logs are
# called by their arm's own name.
FILE_WORDS = {"none": "withoutPruning", "contribution": "withPruning", "random": "worstPruning",
              "scratch": "fromScratch"}


# ---- names ----

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


# ---- logs ----

NOTHING = (0, zlib.crc32(b""))  # the extent of an empty log


def create(paths):
    """New, empty logs, open for writing; earlier ones are kept beside them under numbered names.

    Raises UserError, before anything has changed, where another process still writes an earlier one.
    """
    folder = os.path.dirname(paths[0])
    os.makedirs(folder, exist_ok=True)
    with turn_in(folder):
        with held(paths):
            for path in paths:
                keep_earlier(path)
        logs = [open(path, "x", encoding="utf-8", newline="\n") for path in paths]
        for log in logs:
            lock(log)
    return logs


def reopen(paths):
    """The logs of a run that goes on, open for writing. Raises UserError."""
    with turn_in(os.path.dirname(paths[0])):
        try:
            logs = [open(path, "r+", encoding="utf-8", newline="\n") for path in paths]
        except OSError as error:
            raise UserError(f"{error.filename}: {reason(error)}; without its log a run cannot go on")
        for log in logs:
            lock(log)
    return logs


def extent(log):
    """How long an open log is, in bytes, and the checksum of these. Raises UserError."""
    with contextlib.suppress(FileNotFoundError), open(log.name, "rb") as file:
        content = file.read()
        return len(content), zlib.crc32(content)
    raise gone(log)


def rest(log, extent):
    """The text of an open log after this extent."""
    with open(log.name, "rb") as file:
        file.seek(extent[0])
        return file.read().decode(errors="replace")


def check_beginning(log, extent):
    """Raise UserError where an open log began otherwise at its checkpoint."""
    length, checksum = extent
    with open(log.name, "rb") as file:
        if zlib.crc32(file.read(length)) != checksum:
            raise UserError(f"{log.name} is not as it was at its checkpoint, so its run can be started anew only")


def cut(log, extent):
    """Cut an open log back, to go on from there."""
    log.truncate(extent[0])
    log.seek(extent[0])


@contextlib.contextmanager
def held(paths):
    """Hold those of the logs that exist. Raises UserError where another process writes one."""
    with contextlib.ExitStack() as files:
        for path in filter(os.path.exists, paths if fcntl else []):
            lock(files.enter_context(open(path)), shared=True)  # NFS locks what is open for reading in no other way
        yield


@contextlib.contextmanager
def turn_in(folder):
    """Wait until no other process is here: of two that start at once the second sees what the first has made."""
    if not fcntl:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def flock(file, how):
    """Lock a file, unless its file system has no locks: there two runs into one log are not noticed."""
    try:
        fcntl.flock(file, how)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise


def lock(log, shared=False):
    """Hold a log as long as its file is open, at most as long as the process lives. Raises UserError."""
    if fcntl:
        try:
            flock(log, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{log.name}: another run is writing this log; wait for its end or give another log folder")


def check_there(log):
    """Raise UserError where an open log is no longer the file of that name."""
    with contextlib.suppress(OSError):
        if os.path.samestat(os.fstat(log.fileno()), os.stat(log.name)):
            return
    raise gone(log)


def gone(log):
    return UserError(f"{log.name}: the log of this run has been removed, renamed or replaced meanwhile")


def write(logs, text):
    """Write to all the logs and flush, so that a run that is killed keeps what it had. Raises UserError."""
    for log in logs:
        check_there(log)
        try:
            log.write(text)
            log.flush()
        except OSError as error:
            raise UserError(f"{log.name}: {reason(error)}; what was written before is kept")


# ---- other files ----

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
            raise UserError(f"{path}: could not be written ({reason(error)})")
        raise


def keep_earlier(path):
    """Give a file and what belongs to it the first free number: training_logwithPruning.1.txt; an empty file goes."""
    stem, extension = os.path.splitext(path)
    if belongings(path) == [path] and os.path.getsize(path) == 0:
        os.remove(path)
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
