"""Run all the benchmarks and write their rows to README.md, between its two lines `<!-- bench -->`: `make bench`.

    python benchmarks/bench.py            MNIST in the dataset_folder of constants.py
    python benchmarks/bench.py FOLDER     MNIST in FOLDER
    DEVICE=cuda python benchmarks/bench.py    the same on a GPU, between the lines `<!-- bench gpu -->`

Leave the machine otherwise idle. If MNIST or torch-pruning is missing, its row says so. README folds away the rows
without a bound.
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
README = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "README.md")


def rows():
    for part in PARTS:
        for row in part.rows():
            print(*row, sep=" | ", file=sys.stderr, flush=True)
            yield row


def two_tables(rows):
    """The rows with a bound, then the others in a block that a reader of README unfolds."""
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
    with open(README, encoding="utf-8") as file:
        readme = table.with_part(file.read(), "bench gpu" if side_by_side.ON_GPU else "bench", text)
    with files.whole_file(README) as file:
        file.write(readme.encode())


if __name__ == "__main__":
    main()
