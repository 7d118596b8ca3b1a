"""The files of a run: their names, who writes them, and how they are written whole."""
import contextlib
import errno
import glob
import os
import socket
import zlib

from tqdm import tqdm

from pruning import arms
from pruning.errors import UserError, reason

try:
    import fcntl
except ImportError:  # Windows, which itself refuses to rename a log that another run has open
    fcntl = None

# ---- names ----

CLASSIFIER_LOG, VAE_LOG = "training_log", "vae_log"  # how the logs' names begin


def log_path(folder, dataset, arm, prefix=CLASSIFIER_LOG, seed=None):
    """The path of an arm's log: `logs/MNIST/training_logwithPruning.txt`, or `...withPruning-seed31.txt`.

    arm: a name. seed: None if the run has only one.
    """
    of_seed = "" if seed is None else f"-seed{seed}"
    return os.path.join(folder, dataset, f"{prefix}{arms.named(arm).log_word}{of_seed}.txt")


def network_path(log):
    """The file of an arm's final network, beside its log."""
    return os.path.splitext(log)[0] + ".pt"


def checkpoint_path(log):
    """The file of an arm's checkpoint, beside its log."""
    return os.path.splitext(log)[0] + ".checkpoint"


def start_path(log):
    """The checkpoint of the epochs that several arms share, beside the log of the first of these arms."""
    return os.path.splitext(log)[0] + ".start"


def team_path(folder, dataset, prefix, launcher):
    """The file by which processes that torchrun starts anew know the run that they go on with. launcher: the number of
    the process that starts them."""
    return os.path.join(folder, dataset, f"{prefix}.{socket.gethostname()}-{launcher}.team")


# ---- logs ----

NOTHING = (0, zlib.crc32(b""))  # the extent of an empty log


def create(paths, tell=tqdm.write):
    """New, empty logs, open for writing; earlier ones are kept beside them under numbered names, as `tell` says.

    Raises UserError, before anything has changed, if another process still writes an earlier one.
    """
    folder = os.path.dirname(paths[0])
    os.makedirs(folder, exist_ok=True)
    with turn_in(folder):
        with held(paths):
            for path in paths:
                keep_earlier(path, tell)
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
            raise UserError(f"{error.filename}: {reason(error)}; a run cannot go on without its log")
        for log in logs:
            lock(log)
    return logs


def extent(log):
    """How long an open log is, in bytes, and the checksum of these. Raises UserError."""
    check_there(log)
    with open(log.name, "rb") as file:
        content = file.read()
    return len(content), zlib.crc32(content)


def rest(log, extent):
    """The text of an open log after this extent."""
    with open(log.name, "rb") as file:
        file.seek(extent[0])
        return file.read().decode(errors="replace")


def check_beginning(log, extent):
    """Raise UserError if the beginning of an open log has changed since its checkpoint."""
    length, checksum = extent
    with open(log.name, "rb") as file:
        if zlib.crc32(file.read(length)) != checksum:
            raise UserError(f"{log.name} is not as it was at its checkpoint; start its run anew")


def cut(log, extent):
    """Cut an open log back, to go on from there."""
    log.truncate(extent[0])
    log.seek(extent[0])


@contextlib.contextmanager
def held(paths):
    """Hold those of the logs that exist. Raises UserError if another process writes one."""
    with contextlib.ExitStack() as files:
        for path in filter(os.path.exists, paths if fcntl else []):
            lock(files.enter_context(open(path)), shared=True)  # NFS locks what is open for reading in no other way
        yield


@contextlib.contextmanager
def turn_in(folder):
    """Wait until no other process is here, so that the second of two that start at once sees the files of the first."""
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
    """Lock a file. A file system without locks does not notice two runs that write one log."""
    try:
        fcntl.flock(file, how)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise


def lock(log, shared=False):
    """Hold a log until its file is closed or the process ends. Raises UserError if another process holds it."""
    if fcntl:
        try:
            flock(log, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{log.name}: another run is writing this log; wait for its end or give another log folder")


def check_there(log):
    """Raise UserError if an open log is no longer the file of that name."""
    with contextlib.suppress(OSError):
        if os.path.samestat(os.fstat(log.fileno()), os.stat(log.name)):
            return
    raise UserError(f"{log.name}: the log of this run has been removed, renamed or replaced; start the run anew")


def write(logs, text):
    """Write a text to all the logs and flush, so that a killed run keeps it. Raises UserError."""
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
    """Open a file for bytes; the old file of that name stays until the new one is whole. Raises UserError."""
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


def keep_earlier(path, tell=tqdm.write):
    """Give a log and its belongings the first free number, as training_logwithPruning.1.txt; delete an empty log."""
    stem, extension = os.path.splitext(path)
    if belongings(path) == [path] and os.path.getsize(path) == 0:
        os.remove(path)
    number = 1
    while belongings(f"{stem}.{number}{extension}"):
        number += 1
    board = os.path.join(os.path.dirname(stem), "tensorboard", os.path.basename(stem))
    if os.path.isdir(board):
        os.rename(board, f"{board}.{number}")
    for name in belongings(path):
        os.rename(name, f"{stem}.{number}{name[len(stem):]}")
        if name == path:
            earlier, kept = os.path.basename(path), os.path.basename(f"{stem}.{number}{extension}")
            tell(f"an earlier {earlier} is kept as {kept}")


def belongings(path):
    """The log, its network, checkpoint, start and pictures, `<its stem>_<words>.png`, as far as they exist."""
    pictures = glob.glob(glob.escape(os.path.splitext(path)[0]) + "_*.png")
    names = [path, network_path(path), checkpoint_path(path), start_path(path)]
    return [name for name in names if os.path.exists(name)] + pictures
