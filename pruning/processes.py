"""--jobs: the starts and the arms of several comparisons side by side, each in a process of its own."""
import contextlib
import functools
import multiprocessing
import sys
import threading
from multiprocessing import connection

import torch
from tqdm import tqdm

from pruning.errors import Interrupted, UserError, ended_well, report_errors

START = "epochs before the first round"  # what messages call the part that arms share
LOOK = 0.2      # seconds between two looks whether to stop
THREADS = torch.get_num_threads()  # of this process, before any are given away
DIVERGED = 3    # the exit status of a process whose run has diverged


def divide_threads(jobs, device):
    """The threads of each job; with several jobs this process keeps one. Raises UserError if they cannot be."""
    if jobs == 1:
        torch.set_num_threads(THREADS)
        return THREADS
    if device.type != "cpu" or "fork" not in multiprocessing.get_all_start_methods():
        raise UserError(f"jobs = {jobs}: runs go side by side on the device cpu of a system that forks processes; "
                        "legal here: 1, and with --device cpu more")
    torch.set_num_threads(1)  # a process that OpenMP has given threads cannot be forked
    return max(1, THREADS // jobs)


class Piece:
    """A piece of a comparison's work. after: the pieces that must have ended well before it begins. status: None until
    it has ended; then 0, DIVERGED (it or one before it has), or another exit status of its process."""

    def __init__(self, name, comparison, work, after):
        self.name, self.comparison, self.work, self.after = name, comparison, work, after
        self.process, self.lines, self.status, self.was_asked = None, None, None, False


def pieces_of(comparison):
    """The shared start, then every arm that is not finished, then what is done with all of them."""
    start = [Piece(comparison.name(START), comparison, comparison.train_start, [])] * bool(comparison.unbranched())
    arms = [Piece(comparison.name(arm.name), comparison, functools.partial(comparison.train_arm, arm),
                  start if arm in comparison.sharing else []) for arm in comparison.to_do()]
    return [*start, *arms, Piece(comparison.name("the end"), comparison, comparison.conclude, arms)]


def side_by_side(comparisons, jobs, threads, stop, terminal):
    """Do the work of all comparisons, so many pieces at once with so many threads each; returns for each piece whether
    it ended well.

    stop: a signals.Stop; the processes are told of it. terminal: a Terminal, which prints the processes' lines. A piece
    that diverges is named, and the others go on, except those after it. A process that fails says why in one line, and
    this one ends when the others have stopped.
    """
    pieces = [piece for comparison in comparisons for piece in pieces_of(comparison)]
    waiting, running, failed, opened, forks = list(pieces), [], [], {}, multiprocessing.get_context("fork")
    with tqdm(total=len(pieces), unit="run", disable=terminal.quiet or None, leave=False) as bar:
        try:
            while running or (waiting and not failed and not stop.asked):
                for piece in [piece for piece in waiting if DIVERGED in (one.status for one in piece.after)]:
                    waiting.remove(piece)
                    piece.status = DIVERGED
                ready = [piece for piece in waiting if all(one.status == 0 for one in piece.after)]
                if stop.asked or failed:
                    ask_to_stop(running)
                elif ready and len(running) < jobs:
                    piece = next_of(ready, waiting, jobs)
                    waiting.remove(piece)
                    running.append(piece)
                    if piece.comparison not in opened:
                        opened[piece.comparison] = piece.comparison.open()
                    piece.lines, theirs = forks.Pipe(duplex=False)
                    piece.process = forks.Process(target=work_alone, args=(piece, threads, stop, terminal, theirs))
                    piece.process.start()
                    theirs.close()
                    continue
                connection.wait([end for piece in running for end in (piece.process.sentinel, piece.lines)], LOOK)
                ended = [piece for piece in running if not piece.process.is_alive()]
                for piece in running:
                    with contextlib.suppress(EOFError):  # it has ended
                        while piece.lines.poll():
                            terminal.write(piece.lines.recv())
                for piece in ended:
                    running.remove(piece)
                    piece.status = piece.process.exitcode
                    bar.update(piece.status in (0, DIVERGED))
                    if piece.status not in (0, DIVERGED):
                        failed.append(piece)  # the first one decides how this process ends
                for comparison in set(opened) - {piece.comparison for piece in waiting + running}:
                    opened.pop(comparison).close()
        except KeyboardInterrupt:
            for piece in running:
                piece.process.kill()
            raise
        finally:
            ask_to_stop(running)
    if stop.asked and (waiting or failed):
        raise Interrupted(f"interrupted with {len(waiting) + len(failed)} of {len(pieces)} pieces of the work to do; "
                          "go on with --resume and any of the logs")
    if failed:
        if failed[0].status < 0:
            raise UserError(f"{failed[0].name}: its process was killed by signal {-failed[0].status}; go on with "
                            "--resume and its log")
        sys.exit(failed[0].status)
    return [piece.status == 0 for piece in pieces]


def next_of(ready, waiting, jobs):
    """The first of the pieces that may begin. If few are left, the first that others wait for: as the last one it would
    leave the other processes idle."""
    awaited = [piece for piece in ready if any(piece in later.after for later in waiting)]
    return awaited[0] if awaited and len(ready) <= 2 * jobs else ready[0]


def work_alone(piece, threads, stop, terminal, lines):
    """Do a piece in a process of its own, which sends its lines and ends with its status."""
    def work():
        try:
            if not ended_well(piece.name, piece.work):
                sys.exit(DIVERGED)
        except Interrupted:  # this process's parent says how to go on with all
            sys.exit(130)

    torch.set_num_threads(threads)
    terminal.write = lines.send
    tqdm.set_lock(threading.RLock())  # another thread of the parent may hold the inherited one
    stop.follow_parent()
    report_errors(work)


def ask_to_stop(running):
    """Ask these processes to stop, each once: the second time ends a process at once."""
    for piece in running:
        if not piece.was_asked:
            piece.was_asked = True
            with contextlib.suppress(ProcessLookupError):
                piece.process.terminate()
