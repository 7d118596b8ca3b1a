"""Runs a minute: the comparison of three arms on MNIST over 8 seeds, by 1 and by 2 processes of one thread each.

    python benchmarks/runs.py            MNIST in the dataset_folder of constants.py
    python benchmarks/runs.py FOLDER     MNIST in FOLDER

Both are whole commands, start-up included. Nothing is downloaded. About 15 minutes on 2 idle cores.
"""
import os
import sys
import tempfile

import side_by_side
import whole

import constants
from pruning import settings

SEEDS, ARMS = 8, 3


def rows():
    folder = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else settings.read_constants(constants)["dataset_folder"])
    os.environ["OMP_NUM_THREADS"] = "1"
    per_minute = []
    for jobs in (1, 2):
        with tempfile.TemporaryDirectory() as logs:
            took, _ = whole.run(["driver.py", "--dataset", "1", "--device", side_by_side.DEVICE.type, "--compare",
                                 "--seeds", str(SEEDS), "--jobs", str(jobs), "--dataset-folder", folder,
                                 "--log-folder", logs])
        per_minute.append(60 * SEEDS * ARMS / took)
    one, two = per_minute
    yield side_by_side.Row("MNIST, 8 seeds of three arms, runs a minute: 2 processes, compared with 1", f"{two:.3g}",
                           f"{one:.3g}", two / one, ">= 1.8")


if __name__ == "__main__":
    side_by_side.main(rows)
