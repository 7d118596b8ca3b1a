"""Work in units, one after the other or side by side in processes of their own."""
import contextlib
import multiprocessing
import sys
from multiprocessing import connection

import torch
from tqdm import tqdm

from config import Interrupted, UserError, report_errors

LOOK = 0.2  # seconds between two looks whether to stop
THREADS = torch.get_num_threads()  # of this process, before any are given away


class Unit:
    """name: for people. prepare: called in this process before. work: what is done. after: the units that must have
    ended."""

    def __init__(self, name, prepare, work, after):
        self.name, self.prepare, self.work, self.after = name, prepare, work, after


def divide_threads(jobs, device):
    """How many threads each of the jobs has; with more than one job this process keeps one. Raises UserError where they
    cannot run side by side."""
    if jobs == 1:
        torch.set_num_threads(THREADS)
        return THREADS
    if device.type != "cpu" or "fork" not in multiprocessing.get_all_start_methods():
        raise UserError(f"jobs = {jobs}: runs go side by side on the device cpu of a system that forks processes; "
                        "legal here: 1")
    torch.set_num_threads(1)  # a process that OpenMP has given threads cannot be forked
    return max(1, THREADS // jobs)


def work_off(units, jobs, threads, stop):
    """Do all the units, in their order, or with jobs > 1 so many at once, each in a process of its own with so many
    threads.

    stop: a checkpoint.Stop; the processes are told of it. Raises what a unit raises; one in a process of its own says
    itself, in one line, what ends it, and this process then ends with its status when the others have stopped.
    """
    if jobs == 1:
        for unit in units:
            unit.prepare()
            unit.work()
        return
    waiting, running, failed = list(units), {}, []
    with tqdm(total=len(units), unit="run", disable=None, leave=False) as bar:
        try:
            while running or (waiting and not failed and not stop.asked):
                ready = [unit for unit in waiting if not any(earlier in waiting or earlier in running
                                                             for earlier in unit.after)]
                if stop.asked or failed:
                    tell(running)
                elif ready and len(running) < jobs:
                    waiting.remove(ready[0])
                    running[ready[0]] = begin(ready[0], threads, stop)
                    continue
                connection.wait([process.sentinel for process in running.values()], LOOK)
                for unit in [unit for unit, process in running.items() if not process.is_alive()]:
                    status = running.pop(unit).exitcode
                    bar.update(status == 0)
                    failed += [(unit, status)] * (status != 0)
        except KeyboardInterrupt:
            for process in running.values():
                process.kill()
            raise
        finally:
            tell(running)
    if stop.asked:
        raise Interrupted(f"interrupted with {len(waiting) + len(failed)} of {len(units)} parts of the work to do; go "
                          "on with --resume and any of the logs")
    for unit, status in failed[:1]:
        if status < 0:
            raise UserError(f"{unit.name}: its process was killed by signal {-status}; go on with --resume and its log")
        sys.exit(status)


def begin(unit, threads, stop):
    unit.prepare()
    process = multiprocessing.get_context("fork").Process(target=work_alone, args=(unit, threads, stop))
    process.start()
    return process


def work_alone(unit, threads, stop):
    torch.set_num_threads(threads)
    stop.follow_parent()
    report_errors(unit.work)


def tell(running):
    """Ask these processes to stop, each once: the second time ends a process at once."""
    for process in running.values():
        if not getattr(process, "was_told", False):
            process.was_told = True
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
