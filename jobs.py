"""Work in units, one after the other or side by side in processes of their own."""
import contextlib
import multiprocessing
import sys
import threading
from multiprocessing import connection

import torch
from tqdm import tqdm

from errors import Diverged, Interrupted, UserError, report_errors, say

LOOK = 0.2      # seconds between two looks whether to stop
THREADS = torch.get_num_threads()  # of this process, before any are given away
DIVERGED = 3    # the status of a process whose unit has diverged


class Unit:
    """name: for people. prepare, ended: called in this process before and after. work: what is done. after: the units
    that must have ended well."""

    def __init__(self, name, prepare, work, ended, after):
        self.name, self.prepare, self.work, self.ended, self.after = name, prepare, work, ended, after


def divide_threads(jobs, device):
    """How many threads each of the jobs has; with more than one job this process keeps one. Raises UserError where they
    cannot run side by side."""
    if jobs == 1:
        torch.set_num_threads(THREADS)
        return THREADS
    if device.type != "cpu" or "fork" not in multiprocessing.get_all_start_methods():
        raise UserError(f"jobs = {jobs}: runs go side by side on the device cpu of a system that forks processes; "
                        "legal here: 1, and with --device cpu more")
    torch.set_num_threads(1)  # a process that OpenMP has given threads cannot be forked
    return max(1, THREADS // jobs)


def work_off(units, jobs, threads, stop):
    """Do all the units, in their order, or with jobs > 1 so many at once, each in a process of its own with so many
    threads.

    stop: a checkpoint.Stop; the processes are told of it. A unit that has diverged is named in one line; the others go
    on, but for those after it, and the program ends with status 2. Raises what else a unit raises; one in a process of
    its own says itself, in one line, what ends it, and this process then ends when the others have stopped.
    """
    diverged = one_by_one(units) if jobs == 1 else side_by_side(units, jobs, threads, stop)
    if diverged:
        sys.exit(2)


def one_by_one(units):
    """Do the units in this process; returns those that have diverged, and those after them."""
    diverged = []
    for unit in units:
        if any(earlier in diverged for earlier in unit.after):
            diverged.append(unit)
        else:
            unit.prepare()
            try:
                unit.work()
            except Diverged as error:
                say(f"{unit.name}: {error}")
                diverged.append(unit)
        unit.ended()
    return diverged


def side_by_side(units, jobs, threads, stop):
    """Do the units in processes; returns those that have diverged, and those after them."""
    waiting, running, failed, diverged = list(units), {}, [], []
    with tqdm(total=len(units), unit="run", disable=None, leave=False) as bar:
        try:
            while running or (waiting and not failed and not stop.asked):
                for unit in [unit for unit in waiting if any(earlier in diverged for earlier in unit.after)]:
                    waiting.remove(unit)
                    diverged.append(unit)
                    unit.ended()
                ready = [unit for unit in waiting if not any(earlier in waiting or earlier in running
                                                             for earlier in unit.after)]
                if stop.asked or failed:
                    ask_to_stop(running)
                elif ready and len(running) < jobs:
                    unit = next_of(ready, waiting, jobs)
                    waiting.remove(unit)
                    running[unit] = begin(unit, threads, stop)
                    continue
                connection.wait([process.sentinel for process in running.values()], LOOK)
                for unit in [unit for unit, process in running.items() if not process.is_alive()]:
                    status = running.pop(unit).exitcode
                    unit.ended()
                    bar.update(status in (0, DIVERGED))
                    if status == DIVERGED:
                        diverged.append(unit)
                    elif status:
                        failed.append((unit, status))
        except KeyboardInterrupt:
            for process in running.values():
                process.kill()
            raise
        finally:
            ask_to_stop(running)
    if stop.asked and (waiting or failed):
        raise Interrupted(f"interrupted with {len(waiting) + len(failed)} of {len(units)} parts of the work to do; go "
                          "on with --resume and any of the logs")
    if failed:
        unit, status = failed[0]
        if status < 0:
            raise UserError(f"{unit.name}: its process was killed by signal {-status}; go on with --resume and its log")
        sys.exit(status)
    return diverged


def next_of(ready, waiting, jobs):
    """The first of the units that may begin; but where few are left, the first that others wait for: a process would
    idle at the end if it came last."""
    awaited = [unit for unit in ready if any(unit in later.after for later in waiting)]
    return awaited[0] if awaited and len(ready) <= 2 * jobs else ready[0]


def begin(unit, threads, stop):
    unit.prepare()
    process = multiprocessing.get_context("fork").Process(target=work_alone, args=(unit, threads, stop))
    process.start()
    return process


def work_alone(unit, threads, stop):
    torch.set_num_threads(threads)
    tqdm.set_lock(threading.RLock())  # of its own: one that is killed may hold a lock of all for ever
    stop.follow_parent()

    def work():
        try:
            unit.work()
        except Diverged as error:
            say(f"{unit.name}: {error}")
            sys.exit(DIVERGED)
    report_errors(work)


def ask_to_stop(running):
    """Ask these processes to stop, each once: the second time ends a process at once."""
    for process in running.values():
        if not getattr(process, "was_asked", False):
            process.was_asked = True
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
