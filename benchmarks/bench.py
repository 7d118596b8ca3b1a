"""Run all the benchmarks and write their rows to docs/performance.md: `make bench`.

    python benchmarks/bench.py            MNIST in the dataset_folder of constants.py
    python benchmarks/bench.py FOLDER     MNIST in FOLDER
    DEVICE=cuda python benchmarks/bench.py    the same on a GPU

The rows go between the page's two lines `<!-- bench -->`, on a GPU `<!-- bench gpu -->`. Those without a bound are
folded away. Leave the machine otherwise idle. If MNIST or torch-pruning is missing, its row says so.
"""
import os
import sys

import epoch
import growth
import pruned
import rank
import remove
import side_by_side
import vae_85m
import whole

from pruning import files
from pruning.plots import table

PARTS = [epoch, rank, remove, pruned, vae_85m, growth, whole]
PAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs", "performance.md")


def rows():
    for part in PARTS:
        for row in part.rows():
            print(*row, sep=" | ", file=sys.stderr, flush=True)
            yield row


def two_tables(rows):
    """The rows with a bound, then the others in a block that a reader of the page unfolds."""
    bounded, others = ([row for row in rows if bool(row.wanted) is has] for has in (True, False))
    return "\n\n".join([
        side_by_side.setting(), side_by_side.table(bounded),
        "<details><summary>Rows without a bound: limits, parts, the cost of pruned networks, growth</summary>",
        side_by_side.table(others), "</details>"])


def main():
    if not sys.platform.startswith("linux"):
        sys.exit("bench.py: the memory rows read Linux's /proc; the other scripts here run alone")
    side_by_side.run_as_programs_do()
    text = two_tables(list(rows()))
    print(text)
    with open(PAGE, encoding="utf-8") as file:
        page = table.with_part(file.read(), "bench gpu" if side_by_side.ON_GPU else "bench", text)
    with files.whole_file(PAGE) as file:
        file.write(page.encode())


if __name__ == "__main__":
    main()
