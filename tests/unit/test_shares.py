"""Shares of batches, their losses and their noise, for every process of a run, in this process alone."""
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from unit_helpers import refusal

from pruning import spread


@pytest.fixture
def process(monkeypatch):
    """Make this process one of so many."""
    def become(rank, size):
        monkeypatch.setattr(spread, "here", SimpleNamespace(rank=rank, size=size, share=None))
    return become


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("whole", [1, 2, 5, 8, 24])
def test_shares_are_a_batch_in_its_order(size, whole, process):
    taken = []
    for rank in range(size):
        process(rank, size)
        share = spread.share(whole)
        rows = list(range(whole))[share.rows]
        assert rows and share.weight in (0, len(rows) / whole)
        taken += rows if share.weight else []
    assert taken == list(range(whole))


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("size, whole", [(1, 5), (2, 5), (3, 5), (4, 2)])
def test_the_mean_of_the_processes_gradients_is_that_of_the_batch(summed, size, whole, process):
    torch.manual_seed(1)
    inputs, weight = torch.rand(whole, 3).double(), torch.rand(3).double().requires_grad_()

    def gradient_of(some, scaled):
        losses = (some @ weight).exp()
        return torch.autograd.grad(scaled(losses.sum() if summed else losses.mean()), weight)[0]

    found = 0
    for rank in range(size):
        process(rank, size)
        share = spread.share(whole)
        found = found + gradient_of(inputs[share.rows], lambda loss, share=share: share.scaled(loss, summed)) / size
    torch.testing.assert_close(found, gradient_of(inputs, lambda loss: loss))


@pytest.mark.parametrize("size, whole", [(1, 20), (2, 20), (3, 20), (4, 2)])
def test_noise_is_that_of_one_process(size, whole, process):
    found = []
    for rank in range(size):
        process(rank, size)
        torch.manual_seed(1)
        for count in (whole, 7):  # the second batch goes on where the first one ended
            share = spread.share(count)
            drawn = spread.noise(torch.zeros(count, 1)[share.rows], 5)
            found += [drawn] if share.weight and count == 7 else []
    torch.manual_seed(1)
    torch.randn(whole, 5)
    assert torch.equal(torch.cat(found), torch.randn(7, 5))
    assert spread.noise(torch.zeros(11, 1), 5).shape == (11, 5)  # of images that are not shared


def test_a_process_alone_keeps_its_tensors_network_and_wish_to_stop():
    tensor, model, stop = torch.ones(2), nn.Linear(1, 1), object()
    assert spread.total(tensor) is spread.largest(tensor) is tensor
    assert spread.parallel(model) is model and spread.agreed(stop) is stop and spread.is_first()
    assert spread.first_says(lambda: 3) == 3


def test_what_differs_from_one_process_is_said(process):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5))
    assert spread.differences(model) == []
    process(0, 2)
    assert [line.split()[0] for line in spread.differences(model)] == ["BatchNorm", "Dropout"]
    assert spread.differences(model[0]) == []


@pytest.mark.parametrize("device, gpus, found, words", [
    ("mps", 0, ["a", "a"], "cannot share a run on the device mps; legal: cpu or cuda"),
    ("cuda", 1, ["a", "a"], "2 processes, 1 GPUs on this machine; start one process for each GPU"),
    ("cpu", 0, ["a", "b"], "process 1 has read other images than process 0"),
    ("cpu", 0, ["a", "a"], "2 processes for 1 images")])
def test_what_cannot_be_shared_is_refused(device, gpus, found, words, monkeypatch):
    team = SimpleNamespace(size=2, local_size=2, gather=lambda name, data: found, broadcast=lambda function: function())
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert words in refusal(spread.start, team, torch.device(device), 1 if "1 images" in words else 9, "a")
    assert not spread.is_on()
