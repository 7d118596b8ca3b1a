"""--tensorboard: what it shows, also of a run that goes on, and what it says where the package is missing."""
import sys

import pytest
from unit_helpers import refusal

from pruning import tensorboard


def points(folder, name):
    """{tag: [(step, value), ...]} that TensorBoard shows of a log."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    shown = accumulator.EventAccumulator(str(folder / "tensorboard" / name))
    shown.Reload()
    return {tag: [(point.step, round(point.value, 3)) for point in shown.Scalars(tag)]
            for tag in shown.Tags()["scalars"]}


def open_log(folder):
    return open(str(folder / "training_logwithPruning.txt"), "w")


def test_epochs_and_rounds_are_points_and_a_run_that_goes_on_has_none_twice(tmp_path):
    pytest.importorskip("tensorboard")
    with open_log(tmp_path) as log:
        with tensorboard.Boards(True, [log], 0) as boards:
            for epoch in (1, 2, 3):
                boards.add(epoch, {"test accuracy": 10.0 * epoch})
        with tensorboard.Boards(True, [log], 1) as boards:  # the checkpoint was of epoch 1
            boards.add(2, {"test accuracy": 21.0})
            boards.add(2, {"widths": [5, 3], "neurons": 8, "test accuracy": 20.5}, "after a round")
    found = points(tmp_path, "training_logwithPruning")
    assert found == {"accuracy/test": [(1, 10.0), (2, 21.0)], "neurons/after a round": [(2, 8.0)],
                     "accuracy/test after a round": [(2, 20.5)]}


def test_nothing_is_written_unless_it_is_wanted(tmp_path):
    with open_log(tmp_path) as log, tensorboard.Boards(False, [log], 0) as boards:
        boards.add(1, {"test accuracy": 1.0})
        boards.add_picture(1, "no such picture.png")
    assert [path.name for path in tmp_path.iterdir()] == ["training_logwithPruning.txt"]


def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with open_log(tmp_path) as log:
        assert "pip install tensorboard" in refusal(tensorboard.Boards, True, [log], 0)
