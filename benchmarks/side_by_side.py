"""What the benchmarks share: two functions timed in turn, and the table that they fill.

A benchmark is a script with a function `rows()` that yields Row's; run alone it prints them as a table. It measures on
the processor; with DEVICE=cuda before the command on a GPU.
"""
import os
import statistics
import sys
import time
from collections import namedtuple

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import machine  # noqa: E402
from errors import UserError  # noqa: E402
from table import as_markdown  # noqa: E402

if os.environ.get("DEVICE", "cpu") not in ("cpu", "cuda"):
    sys.exit(f"DEVICE={os.environ['DEVICE']}: legal: cpu or cuda")
ON_GPU = os.environ.get("DEVICE") == "cuda"
HOLDER = "GPU's tensors" if ON_GPU else "process"  # of the memory that is counted
REPEATS = 5
try:
    DEVICE = machine.pick_device("cuda" if ON_GPU else "cpu")
except UserError as error:
    sys.exit(f"DEVICE=cuda: {error}")
# Those that the device multiplies in; bfloat16 without instructions for it takes minutes and says nothing.
PRECISIONS = ["float32", "bfloat16"] if machine.multiplies_bfloat16(DEVICE) else ["float32"]

# what: is measured; ours, theirs: a value with its unit, as text; ratio: theirs / ours, a number or ""; wanted: its
# bound, as text.
Row = namedtuple("Row", "what ours theirs ratio wanted")


def in_turn(*functions):
    """The seconds of each of the functions, called in turn after a call to warm up: a list a function."""
    return made_in_turn(*(lambda function=function: function for function in functions))


def made_in_turn(*makers, repeats=REPEATS):
    """The same of functions that are good for one call: what these makers make, anew for every call."""
    rounds = [[seconds(make()) for make in makers] for _ in range(1 + repeats)]
    return list(zip(*rounds[1:]))


def medians(own, other):
    """The median seconds of each of two that were timed in turn, and the median of other / own."""
    return statistics.median(own), statistics.median(other), statistics.median(b / a for a, b in zip(own, other))


def compared(what, own, other, wanted):
    """The row of two that were timed in turn."""
    *both, ratio = medians(own, other)
    return Row(what, *map(duration, both), ratio, wanted)


def seconds(function):
    finish_work()
    started = time.perf_counter()
    function()
    finish_work()
    return time.perf_counter() - started


def finish_work():
    """Wait for the GPU, which works on while the processor goes ahead."""
    if ON_GPU:
        torch.cuda.synchronize()


def as_a_step(function):
    """A function of a tensor which a GPU is given again and again as programs give it a training step."""
    recording = machine.Recording()
    return (lambda argument: recording.run(function, argument)) if ON_GPU else function


def duration(value):
    """Seconds as text, in three digits and the unit that suits them."""
    for unit, size in (("s", 1), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e6:.3g} us"


def setting():
    """The line above a table: when and on what it was measured."""
    gpu = f"{torch.cuda.get_device_name()}, " if ON_GPU else ""
    return (f"{time.strftime('%Y-%m-%d')}, {gpu}{machine.processor_name()} ({machine.instructions()}), "
            f"{torch.get_num_threads()} threads, torch {torch.__version__}, medians of {REPEATS} or more")


def table(rows):
    """Rows as a Markdown table."""
    lines = [row._replace(ratio=f"{row.ratio:.3g}" if isinstance(row.ratio, float) else row.ratio) for row in rows]
    return as_markdown(["what", "this suite", "in comparison with", "ratio", "wanted"], lines)


def run_as_programs_do():
    """Set what they set in torch and the C library."""
    machine.keep_freed_memory()
    machine.repeat_exactly(True)


def main(rows):
    run_as_programs_do()
    print(f"{setting()}\n\n{table(rows())}")
