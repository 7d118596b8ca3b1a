"""Whole processes on MNIST: the comparison of three arms, the parts of the start-up, and the memory of runs.

    python benchmarks/whole.py            MNIST in the dataset_folder of constants.py
    python benchmarks/whole.py FOLDER     MNIST in FOLDER

Nothing is downloaded. The comparison runs once with the values of constants.py and once more with --jobs 3. The
start-up is the median of 5 fresh processes, after one that warms the disk's cache. CIFAR-10's memory is that of an
epoch, a round and another epoch on 50,000 random images. Four to five minutes on 2 cores.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import side_by_side  # puts the suite's folder on the path

# isort: split
import pruned
import rank

import constants
import driver
from pruning import datasets, settings, training

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
END = "the process's end, after its last batch"

# Runs a program, and at the end prints the most memory in kB that its process held. See proc(5) of Linux.
WITH_MEMORY = """
import atexit, runpy, sys

@atexit.register
def print_peak():
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))

sys.argv.pop(0)
sys.path[0] = ""
runpy.run_path(sys.argv[0], run_name="__main__")
"""

# What a fresh process does: it imports step by step what driver.py and its data set need, then runs driver.py's main up
# to the end of its first batch. It prints the seconds of every step. The first step begins at the time that is given as
# an argument: perf_counter is one clock for all processes.
START = """
import json, sys, time
points = [("python itself", float(sys.argv.pop(1)))]

def point(next_step):
    points.append((next_step, time.perf_counter()))

point("import torch, with numpy")
import torch
point("import torch._dynamo, which every optimizer and torchvision need")
try:
    import torch._dynamo
except ImportError:  # before torch 2
    pass
point("import torchvision.datasets, besides")
import torchvision.datasets
point("import the rest: tqdm, matplotlib, the suite")
import constants, driver, models, ranking
from pruning import checkpoint, comparison, datasets, training
point("constants.py, flags, header with git's commit")

def before(module, name, step):
    function = getattr(module, name)

    def marked(*arguments, **named):
        point(step)
        return function(*arguments, **named)
    setattr(module, name, marked)

def stop_after_one(*arguments, step=training.step):
    step(*arguments)
    point("")
    steps = {}
    for (step, began), (_, later) in zip(points, points[1:]):
        steps[step] = steps.get(step, 0) + later - began
    print(json.dumps(steps))
    sys.exit()

before(datasets, "load", "checksums of the files, loading of the data")
before(comparison, "compare", "checksum of the pixels")
before(models, "build", "networks, optimizers, header printed, logs opened")
before(checkpoint, "write", "first checkpoint")
before(training, "train_epoch", "first batch")
training.step = stop_after_one
driver.main()
"""


def rows():
    given = sys.argv[1] if len(sys.argv) > 1 else settings.read_constants(constants)["dataset_folder"]
    folder = os.path.abspath(given)
    if not all(os.path.exists(os.path.join(folder, "MNIST", "raw", name)) for name in datasets.IDX):
        yield side_by_side.Row(f"the comparison of three arms, and the start: no MNIST in {given}", "", "", "", "")
        return
    device = side_by_side.DEVICE.type
    flags = ["--dataset", "1", "--device", device, "--compare", "--dataset-folder", folder, "--log-folder"]
    with tempfile.TemporaryDirectory() as logs:
        peaks = []
        for jobs in ("1",) if side_by_side.ON_GPU else ("1", "3"):
            took, output = run(["-c", WITH_MEMORY, "driver.py", *flags, logs, "--jobs", jobs])
            peaks.append(float(output.split()[-1]) * 1024 / 1e6)
            yield side_by_side.Row(f"MNIST, comparison of three arms, the whole process, run once, --jobs {jobs}",
                                   side_by_side.duration(took), "", "", "< 60 s")
        yield side_by_side.Row("MNIST, most memory of that process", f"{peaks[0]:.0f} MB", "", "", "< 1000 MB")
        starts = [start([*flags, os.path.join(logs, str(number))]) for number in range(1 + side_by_side.REPEATS)][1:]
    medians = {step: statistics.median(times[step] for times in starts) for step in starts[0]}
    end = medians.pop(END)
    whole = statistics.median(sum(times.values()) - times[END] for times in starts)
    yield side_by_side.Row("MNIST, start-up, from the command to the end of the first batch",
                           side_by_side.duration(whole), "", "", "< 4 s")
    for step, took in medians.items():
        yield side_by_side.Row(f"of the start-up: {step}", f"{side_by_side.duration(took)} ({took / whole:.1%})",
                               "", "", "")
    yield side_by_side.Row(END, side_by_side.duration(end), "", "", "")
    peak = float(run([os.path.abspath(__file__), "memory"])[1])
    yield side_by_side.Row(f"CIFAR-10, most memory of the {side_by_side.HOLDER} in a run", f"{peak:.0f} MB", "", "",
                           "< 1500 MB")


def print_memory():
    """Print the most memory, in MB, that it takes to train and prune CIFAR-10's network on as many random images."""
    prepared = pruned.prepare(driver, (32, 32, 3), 50000, "--dataset", "CIFAR10", "--log-folder", os.devnull)
    train = pruned.epoch(prepared)

    def train_and_prune():
        train()
        training.prune(prepared.state, prepared.workload, prepared.settings, prepared.arm, [])
        train()

    print(rank.peak_memory(train_and_prune)[0])


def start(flags):
    """{step: its seconds} of a fresh process that ends after its first batch. The last step is the process's end."""
    took, output = run(["-c", START, repr(time.perf_counter()), *flags])
    steps = json.loads(output.splitlines()[-1])
    return {**steps, END: took - sum(steps.values())}


def run(arguments):
    """The wall-clock seconds of a Python process in the suite's folder, and what it wrote to standard output."""
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True)
    if done.returncode:
        sys.exit(done.stderr.decode(errors="replace"))
    return time.perf_counter() - begun, done.stdout


if __name__ == "__main__":
    if sys.argv[1:] == ["memory"]:
        print_memory()
    else:
        side_by_side.main(rows)
