"""The optimizers of a run against torch's own, and a learning rate that a CUDA graph can follow."""
from types import SimpleNamespace

import pytest
import torch
from unit_helpers import feed_forward, hidden, run_settings

from pruning import optimizers
from pruning.removal import remove

OWN = {"sgd": lambda weights: torch.optim.SGD(weights, lr=0.01, momentum=0.9, weight_decay=0.1),
       "adam": lambda weights: torch.optim.Adam(weights, lr=0.01, weight_decay=0.1),
       "adamw": lambda weights: torch.optim.AdamW(weights, lr=0.01, weight_decay=0.1)}
each_optimizer = pytest.mark.parametrize("name", OWN)


def given(name, **changes):
    return run_settings(optimizer=name, learning_rate=0.01, momentum=0.9, weight_decay=0.1, **changes)


def steps(model, optimizer, images, rates=(None, None, None)):
    """Train on the images, at the rates if given."""
    for rate in rates:
        if rate:
            optimizers.set_rate(optimizer, rate)
        optimizer.zero_grad()
        model(images).square().sum().backward()
        optimizer.step()
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


@each_optimizer
def test_an_optimizer_is_torchs_own_with_the_values_of_the_settings(name):
    (model, images), (other, _) = feed_forward(), feed_forward()
    optimizer, own = optimizers.make_optimizer(model, given(name)), OWN[name](other.parameters())
    assert type(optimizer) is type(own)
    assert torch.equal(steps(model, optimizer, images), steps(other, own, images))


@each_optimizer
def test_after_a_removal_the_weights_that_stay_are_stepped_as_before(name):
    (model, images), (masked, _) = feed_forward(), feed_forward()
    keeps = [torch.tensor([0, 2, 3, 7]), torch.tensor([1, 4])]
    own = [optimizers.make_optimizer(some, given(name)) for some in (model, masked)]
    steps(model, own[0], images)
    steps(masked, own[1], images)
    remove(hidden(model, images), keeps, own[0])
    for group, keep in zip(hidden(masked, images), keeps):
        mask = torch.zeros(group.producer.out_features, dtype=torch.float64).index_fill(0, keep, 1)
        group.producer.register_forward_hook(lambda module, inputs, output, mask=mask: output * mask)
    steps(model, own[0], images)
    steps(masked, own[1], images)
    first, second, last = (layer.weight for layer in masked.layers)
    for layer, kept in zip(model.layers, (first[keeps[0]], second[keeps[1]][:, keeps[0]], last[:, keeps[1]])):
        torch.testing.assert_close(layer.weight, kept, rtol=1e-12, atol=1e-15)


# ---- the rate ----

RATES = [0.0625, 0.03125, 0.5]  # float32 holds these exactly


@pytest.mark.skipif(not optimizers.TENSOR_RATES, reason="this torch has no fused kernels that take a tensor")
@each_optimizer
def test_a_rate_in_a_tensor_gives_the_same_weights_as_a_number(name):
    found = []
    for rate in (0.0625, torch.tensor(0.0625)):
        model, images = feed_forward()
        kind = optimizers.OPTIMIZERS[name]
        optimizer = kind(model.parameters(), lr=rate, weight_decay=0.1, fused=True)
        found.append(steps(model, optimizer, images, RATES))
        assert optimizer.param_groups[0]["lr"] is rate or not torch.is_tensor(rate)  # a graph reads this one
    model, images = feed_forward()
    plain = steps(model, kind(model.parameters(), lr=0.0625, weight_decay=0.1), images, RATES)
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(found[0], plain, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("tensor_rates", [True, False])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "cosine_restarts"])
@each_optimizer
def test_on_a_gpu_a_rate_that_moves_is_in_a_tensor_of_a_fused_optimizer(name, schedule, tensor_rates, monkeypatch):
    # As torch declares them since 2.3, and before, when no rate was a tensor.
    def sgd(parameters, lr, momentum, weight_decay, fused=None):
        return asked({"lr": lr, "fused": fused})

    def old_sgd(parameters, lr, momentum, weight_decay):
        return asked({"lr": lr, "fused": None})

    def adam(parameters, lr, weight_decay, fused=None, capturable=False):
        assert capturable
        return asked({"lr": lr, "fused": fused})

    def asked(options):
        return SimpleNamespace(param_groups=[options])

    kinds = {"sgd": sgd if tensor_rates else old_sgd, "adam": adam, "adamw": adam}
    monkeypatch.setattr(optimizers, "OPTIMIZERS", kinds)
    monkeypatch.setattr(optimizers, "TENSOR_RATES", tensor_rates)
    monkeypatch.setattr(torch.optim, "SGD", kinds["sgd"])
    monkeypatch.setattr(torch, "tensor", lambda value, device, own=torch.tensor: own(value))
    model = SimpleNamespace(parameters=lambda: iter([SimpleNamespace(device=torch.device("cuda"))]))
    settings = run_settings(optimizer=name, learning_rate_schedule=schedule)
    optimizer = optimizers.make_optimizer(model, settings)
    moves = schedule != "constant"
    assert torch.is_tensor(optimizer.param_groups[0]["lr"]) == (moves and tensor_rates)
    assert optimizer.param_groups[0]["fused"] == ((moves and tensor_rates) or name != "sgd" or None)
    assert optimizers.is_recordable(optimizer, settings) == (not moves or tensor_rates)


def test_rates_are_in_tensors_since_torch_2_3():
    assert (tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 3)) == optimizers.TENSOR_RATES
