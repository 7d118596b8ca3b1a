"""What the benchmarks share: timing functions in turn, and the table of the results.

A benchmark is a script with a function `rows()` that yields Rows. Run on its own, it prints them as a table. It
measures on the processor; set DEVICE=cuda to measure on a GPU.
"""
import os
import statistics
import sys
import time
from collections import namedtuple

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from pruning import device, provenance  # noqa: E402
from pruning.cuda_graph import Recording  # noqa: E402
from pruning.errors import UserError  # noqa: E402
from pruning.plots.table import as_markdown  # noqa: E402

if os.environ.get("DEVICE", "cpu") not in ("cpu", "cuda"):
    sys.exit(f"DEVICE={os.environ['DEVICE']}: legal: cpu or cuda")
ON_GPU = os.environ.get("DEVICE") == "cuda"
HOLDER = "GPU's tensors" if ON_GPU else "process"  # whose memory is counted
REPEATS = 5
try:
    DEVICE = device.pick_device("cuda" if ON_GPU else "cpu")
except UserError as error:
    sys.exit(f"DEVICE=cuda: {error}")
# bfloat16 only if the device has instructions for it: without, it takes minutes and says nothing.
PRECISIONS = ["float32", "bfloat16"] if device.multiplies_bfloat16(DEVICE) else ["float32"]

# what: is measured; ours, theirs: a value with its unit, as text; ratio: theirs / ours, a number or ""; wanted: its
# bound, as text.
Row = namedtuple("Row", "what ours theirs ratio wanted")


def in_turn(*functions):
    """The seconds that each of the functions takes, one list per function. They are called in turn; the first round
    warms up and does not count."""
    return made_in_turn(*(lambda function=function: function for function in functions))


def made_in_turn(*makers, repeats=REPEATS):
    """in_turn() for functions that can be called once only: each maker makes a new one for every call."""
    rounds = [[seconds(make()) for make in makers] for _ in range(1 + repeats)]
    return list(zip(*rounds[1:]))


def medians(own, other):
    """The median seconds of two functions that were timed in turn, and the median of other / own."""
    return statistics.median(own), statistics.median(other), statistics.median(b / a for a, b in zip(own, other))


def compared(what, own, other, wanted):
    """The row of two functions that were timed in turn."""
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
    """A function of a tensor, run as the programs run a training step: on a GPU as a recorded CUDA graph."""
    recording = Recording()
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
    return (f"{time.strftime('%Y-%m-%d')}, {gpu}{provenance.processor_name()} ({provenance.instructions()}), "
            f"{torch.get_num_threads()} threads, torch {torch.__version__}, medians of {REPEATS} or more")


def table(rows):
    """Rows as a Markdown table."""
    lines = [row._replace(ratio=f"{row.ratio:.3g}" if isinstance(row.ratio, float) else row.ratio) for row in rows]
    return as_markdown(["what", "this suite", "in comparison with", "ratio", "wanted"], lines)


def run_as_programs_do():
    """Set up torch and the C library as the programs do."""
    device.keep_freed_memory()
    device.repeat_exactly(True)


def main(rows):
    run_as_programs_do()
    print(f"{setting()}\n\n{table(rows())}")
