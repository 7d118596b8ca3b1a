"""--jobs: several processes of this command on this machine, started and watched by torchrun's own engine."""
import ast
import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import traceback

import torch
from tqdm import tqdm

from pruning import errors
from pruning.errors import LOST, Interrupted, UserError
from pruning.team import COMMAND, GO_ON

RESTARTS = 3  # of all the processes, if one of them is killed


def told():
    """What the launching process has told this one, a literal; None in a process that --jobs has not started."""
    return ast.literal_eval(os.environ[COMMAND]) if COMMAND in os.environ else None


def launch(main, processes, command, device, path):
    """Run the main function of this command in so many processes; returns the first exit status that is not 0, else 0.

    command: what told() returns in them, a literal. device: the setting. path: of the file by which they know their run
    after a restart. Raises UserError if one of them is killed too often, Interrupted for Ctrl-C or SIGTERM.
    """
    if not torch.distributed.is_available():
        raise UserError(f"jobs = {processes}: this torch is built without torch.distributed; legal here: 1")
    logging.disable(logging.CRITICAL)  # the engine's own words, of many lines
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    forks = sys.platform == "linux" and (device == "cpu" or not torch.cuda.is_available())  # CUDA cannot be forked
    go_on = f"{GO_ON} in {os.path.dirname(path)}"
    try:
        with temporary_files(), signals_as_before():
            os.environ[COMMAND] = repr(command)
            statuses = elastic_launch(LaunchConfig(
                min_nodes=1, max_nodes=1, nproc_per_node=processes, max_restarts=RESTARTS, monitor_interval=0.1,
                run_id="jobs", rdzv_backend="static", rdzv_endpoint=f"127.0.0.1:{free_port()}",
                rdzv_configs={"rank": 0, "timeout": 60}, start_method="fork" if forks else "spawn",
            ), work)(main, sys.argv).values()
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        how = f"was killed by signal {-failure.exitcode}" if failure.exitcode < 0 else "has failed"
        raise UserError(f"process {rank} of {processes} {how}, after {RESTARTS} restarts; {go_on}")
    except SignalException:
        raise Interrupted(f"interrupted; {go_on}")
    except RuntimeError as error:  # such as another program that has just taken the port
        raise UserError(f"jobs = {processes}: the processes could not be started ({str(error).splitlines()[0]})")
    finally:
        os.environ.pop(COMMAND, None)
        logging.disable(logging.NOTSET)
        with contextlib.suppress(OSError):
            os.remove(path)
    return next(filter(None, statuses), 0)


def work(main, arguments):
    """One of the processes: returns its exit status, and waits until the launching process has read those of all.

    If it has lost one that is stuck, and so never returns, it fails instead: then the engine kills all and starts them
    anew. The launching process reads no status once it stops them.
    """
    launcher = os.getppid()
    status = ended(main, arguments)
    if status in (LOST, 130) or os.getppid() != launcher:
        sys.exit(status)
    return status


def ended(main, arguments):
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # Ctrl-C at the terminal is for the launching process, which passes it on
    for number in errors.SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    sys.argv = arguments
    tqdm.set_lock(threading.RLock())  # another thread of the launching process may hold the inherited one
    tqdm._instances.clear()  # the bars of that process are not ours to draw anew
    try:
        errors.run_command(main)
    except SystemExit as end:
        return end.code or 0
    except Exception as error:
        traceback.print_exc()
        with contextlib.suppress(SystemExit):
            errors.say(f"{type(error).__name__}: {error}", 1)  # to the other processes
        return 1
    return 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def temporary_files():
    """Inside, temporary files lie in a folder that goes at the end: the engine leaves some."""
    with tempfile.TemporaryDirectory() as folder:
        earlier, tempfile.tempdir = tempfile.tempdir, folder
        try:
            yield
        finally:
            tempfile.tempdir = earlier


@contextlib.contextmanager
def signals_as_before():
    """Inside, the engine may take the signals, but those that this program was started to ignore, as by nohup."""
    handlers = {number: signal.getsignal(number) for number in errors.SIGNALS}
    ignored = {number for number, handler in handlers.items() if handler == signal.SIG_IGN}
    if ignored:
        signal.pthread_sigmask(signal.SIG_BLOCK, ignored)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if ignored:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ignored)
