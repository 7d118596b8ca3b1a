"""What the benchmarks share: two functions timed in turn, and the table that they fill.

A benchmark is a script with a function `rows()` that yields Row's; run alone it prints them as a table.
"""
import os
import statistics
import sys
import time
from collections import namedtuple

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import machine  # noqa: E402

REPEATS = 5
# Those that this machine multiplies in; bfloat16 without instructions for it takes minutes and says nothing.
PRECISIONS = ["float32", "bfloat16"] if machine.multiplies_bfloat16(torch.device("cpu")) else ["float32"]

# what: is measured; ours, theirs: a value with its unit, as text; ratio: theirs / ours, a number or ""; wanted: its
# bound, as text.
Row = namedtuple("Row", "what ours theirs ratio wanted")


def side_by_side(ours, theirs, repeats=REPEATS):
    """Call both once to warm up, then in turn; returns the median seconds of each and the median of theirs / ours."""
    ours(), theirs()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(repeats)]
    return (*map(statistics.median, zip(*pairs)), statistics.median(other / own for own, other in pairs))


def compared(what, ours, theirs, wanted):
    """The row of two functions that are timed side by side."""
    own, other, ratio = side_by_side(ours, theirs)
    return Row(what, duration(own), duration(other), ratio, wanted)


def seconds(function):
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def duration(value):
    """Seconds as text, in three digits and the unit that suits them."""
    for unit, size in (("s", 1), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e6:.3g} us"


def setting():
    """The line above a table: when and on what it was measured."""
    return (f"{time.strftime('%Y-%m-%d')}, {machine.processor_name()}, {torch.get_num_threads()} threads, "
            f"torch {torch.__version__}, medians of {REPEATS}")


def table(rows):
    """Rows as a Markdown table."""
    lines = ["| what | this suite | in comparison with | ratio | wanted |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        ratio = f"{row.ratio:.3g}" if isinstance(row.ratio, float) else row.ratio
        lines.append(f"| {row.what} | {row.ours} | {row.theirs} | {ratio} | {row.wanted} |")
    return "\n".join(lines)


def measured(rows):
    """The table of all rows, measured as the programs run: with what they set in torch and the C library."""
    machine.keep_freed_memory()
    machine.repeat_exactly(True)
    return f"{setting()}\n\n{table(rows())}\n"


def main(rows):
    print(measured(rows))
