"""Compensation against least squares; the scale that it moves between a neuron's weights."""
import copy

import pytest
import torch
from test_removal import MODELS, Trained, each_network
from torch import nn

from pruning import compensation
from pruning.compensation import RIDGE, compensate, is_homogeneous, keep_norms, rescale
from pruning.groups import NeuronGroup, find_groups
from pruning.passes import Passes, with_ridge


@pytest.fixture
def without_ridge(monkeypatch):
    monkeypatch.setattr(compensation, "RIDGE", 0)


@each_network
def test_compensation_is_the_least_squares_solution_in_every_consumer(network, without_ridge):
    trained = Trained(network, "SGD")
    chance = torch.Generator().manual_seed(1)
    for group, keep in zip(trained.groups, trained.keeps):
        if not all(isinstance(consumer, nn.Linear) and consumer.in_features == group.width
                   for consumer in group.consumers):
            continue
        activations = torch.rand(90, group.width, generator=chance, dtype=torch.float64) ** 4
        before = [consumer.weight.detach().clone() for consumer in group.consumers]
        compensate(group, keep, {tuple(group.consumers): with_ridge(activations.T @ activations / len(activations))})
        for consumer, weight in zip(group.consumers, before):
            expected = torch.linalg.lstsq(activations[:, keep], activations @ weight.T).solution.T
            torch.testing.assert_close(consumer.weight[:, keep], expected, rtol=1e-4, atol=1e-4)
            gone = sorted(set(range(weight.shape[1])) - set(keep.tolist()))
            assert gone and torch.equal(consumer.weight[:, gone], weight[:, gone])
            assert not torch.allclose(consumer.weight[:, keep], weight[:, keep], rtol=0.01)


def test_the_ridge_keeps_weights_near_those_of_before():
    a = torch.rand(40, 6, dtype=torch.float64)
    group = NeuronGroup(nn.Linear(3, 6), [nn.Linear(6, 2, bias=False).double()])
    before, keep, gone = group.consumers[0].weight.detach().clone(), [0, 2, 3, 5], [1, 4]
    compensate(group, torch.tensor(keep), {tuple(group.consumers): a.T @ a / 40})
    # The least squares of the change, with a row for each weight that pulls its change to 0.
    pull = (40 * RIDGE * a[:, keep].square().mean()).sqrt() * torch.eye(4).double()
    target = torch.cat([a[:, gone] @ before[:, gone].T, torch.zeros(4, 2).double()])
    change = torch.linalg.lstsq(torch.cat([a[:, keep], pull]), target).solution.T
    torch.testing.assert_close(group.consumers[0].weight[:, keep], before[:, keep] + change)


def test_dead_neurons_keep_their_old_weights():
    group = NeuronGroup(nn.Linear(3, 5), [nn.Linear(5, 2, bias=False)])
    activations = torch.rand(20, 5, dtype=torch.float64)
    activations[:, [1, 3]] = 0  # of the three that stay two are never active
    before = group.consumers[0].weight.detach().clone()
    compensate(group, torch.tensor([0, 1, 3]), {tuple(group.consumers): with_ridge(activations.T @ activations)})
    after = group.consumers[0].weight.detach()
    assert torch.equal(after[:, [1, 3]], before[:, [1, 3]]) and not torch.allclose(after[:, 0], before[:, 0])
    compensate(group, torch.tensor([1, 3]), {tuple(group.consumers): with_ridge(torch.zeros(5, 5).double())})
    assert torch.equal(group.consumers[0].weight, after)


@pytest.mark.parametrize("network", ["CNN", "Normalised"])
def test_compensation_of_filters_is_the_least_squares_solution_over_all_places(network, without_ridge):
    trained = Trained(network, "SGD")
    images = torch.randn(50, *MODELS[network][1], dtype=torch.float64)
    passes = Passes(trained.model, trained.groups, [(images[:40], None), (images[40:], None)])
    batches, moments = list(passes.inputs()), passes.moments()
    inputs = {consumer: torch.cat([given[consumer] for given in batches]) for consumer in batches[0]}
    checked = 0
    for group, keep in zip(trained.groups, trained.keeps):
        gone = [k for k in range(group.width) if k not in keep.tolist()]
        before = {consumer: copy.deepcopy(consumer) for consumer in group.consumers}
        compensate(group, keep, moments)
        for consumer in group.consumers:
            # No other weights of the survivors come closer to the old output: the gradient is 0 there.
            x = inputs[consumer].clone()
            x.view(len(x), group.width, -1)[:, gone] = 0
            distance = (consumer(x) - before[consumer](inputs[consumer]).detach()).square().mean()
            gradient, = torch.autograd.grad(distance, consumer.weight)
            assert gradient.abs().max() < 1e-5 < (consumer.weight - before[consumer].weight).abs().max()
            checked += 1
    assert checked >= 3


@pytest.mark.parametrize("optimizer", ["momentum", "Adam"])
@each_network
def test_the_scale_moves_between_a_neurons_weights_and_the_outputs_stay(network, optimizer):
    trained = Trained(network, optimizer)
    images = torch.randn(20, *MODELS[network][1], dtype=torch.float64)
    model = trained.model.eval()
    moved = 0
    for group in trained.groups:
        outputs, norms = model(images), group.outgoing().norm(dim=1)
        factors = torch.rand(group.width, dtype=torch.float64) + 0.5
        for consumer in group.consumers:  # in place of a refit
            consumer.weight.data.mul_(1.5)
        refitted = model(images)
        keep_norms(group, norms, trained.optimizer)
        torch.testing.assert_close(group.outgoing().norm(dim=1), norms)
        if is_homogeneous(model, group, images[:8]):
            assert torch.allclose(model(images), refitted, rtol=1e-9) and not torch.allclose(outputs, refitted)
            moved += 1
        rescale(group, factors)
    assert moved == (0 if network == "Normalised" else len(trained.groups))  # its BatchNorms and sigmoid


def test_an_optimizers_means_follow_the_scale():
    # With a mean of one gradient: afterwards it is the gradient of the rescaled network.
    torch.manual_seed(3)
    model, images = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double(), torch.randn(9, 4).double()
    (group,), _ = find_groups(model, images)
    for make, power, name in ((torch.optim.SGD, 1, "momentum_buffer"), (torch.optim.Adam, 2, "exp_avg_sq")):
        optimizer = make(model.parameters(), lr=0.0, **({"momentum": 0.9} if power == 1 else {"betas": (0.0, 0.0)}))
        model(images).square().sum().backward()
        optimizer.step()
        rescale(group, torch.rand(6).double() + 0.5, optimizer)
        optimizer.zero_grad()
        model(images).square().sum().backward()
        for weight in model.parameters():
            torch.testing.assert_close(optimizer.state[weight][name], weight.grad ** power)
        optimizer.zero_grad()


def test_neurons_without_outgoing_weights_keep_their_scale():
    group = NeuronGroup(nn.Linear(3, 4), [nn.Linear(4, 2, bias=False)])
    group.consumers[0].weight.data[:, 1] = 0
    before, norms = copy.deepcopy(group.producer.weight), group.outgoing().norm(dim=1)
    group.consumers[0].weight.data[:, 2] *= 2
    keep_norms(group, norms)
    torch.testing.assert_close(group.producer.weight, before * torch.tensor([1, 1, 2, 1])[:, None])
