"""The examples run, on fewer images."""
import contextlib
import importlib.util
import io
import os
import re
import sys

import pytest
import torch
from conftest import ROOT

sys.path.insert(0, os.path.join(ROOT, "examples"))
import given_network  # noqa: E402
import own_loop  # noqa: E402


@pytest.fixture(scope="module")
def trained():
    """The network that own_loop.main returns for few images, and what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        return own_loop.main(1000), said.getvalue().splitlines()


def test_a_loop_of_ones_own_prunes_and_goes_on_training(trained):
    model, lines = trained
    assert re.findall(r"pruned to (\S+):", "\n".join(lines)) == ["6-12-12-25-51", "4-9-9-20-40", "3-7-7-16-32"]
    accuracies = [float(re.search(r"accuracy (\S+) %", line).group(1)) for line in lines]
    assert len(lines) == 9 and accuracies[-1] > 30  # 10 is chance
    assert [layer.out_channels for layer in model if isinstance(layer, torch.nn.Conv2d)] == [3, 7, 7, 16]


def test_a_trained_network_is_pruned_saved_loaded_and_exported(trained, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(given_network, "WIDTHS", [2, 5, 6, 12, 24])
    given_network.main(trained[0])
    out = capsys.readouterr().out
    assert "18 stays whole: its neurons are outputs of the network" in out
    assert [tuple(weight.shape) for name, weight in torch.load("small_vgg.pt", weights_only=True).items()
            if name in ("0.weight", "3.weight", "18.weight")] == [(2, 1, 3, 3), (5, 2, 3, 3), (10, 24)]
    assert ("exported by torch.export" in out) == hasattr(torch, "export")
    assert (tmp_path / "small_vgg.onnx").exists() == bool(importlib.util.find_spec("onnxscript"))
