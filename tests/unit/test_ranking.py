"""The criteria against naive loops, finite differences and another library."""
import functools
import math
import weakref

import pytest
import torch
from oracles import activations_by_hand, by_loops
from torch import nn
from unit_helpers import ARMS, each_network, options, passes_of, summed_loss

import models
import ranking
from pruning.groups import NeuronGroup
from pruning.selection import survivors

LAMBDAS = [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (0.3, 2.0)]


# ---- contribution ----

def random_case(neurons, consumers, blocks, scale=1.0):
    torch.manual_seed(neurons)
    weights = [scale * torch.randn(rows, neurons) for rows in consumers]
    return weights, [scale * torch.randn(passes, neurons).relu() for passes in blocks]


def dead_neurons():
    weights, blocks = random_case(6, [3], [5, 4])
    for block in blocks:
        block[:, [0, 4]] = 0
    return weights, blocks


def zero_denominators():
    # Each way for a sum to be 0: no activation, no weight, and weights only where the activations are 0.
    weights, blocks = random_case(6, [3, 2], [5, 4])
    blocks[0][1] = 0
    weights[0][2] = 0
    weights[1][0, :3] = 0
    blocks[1][2, 3:] = 0
    return weights, blocks


CASES = {
    "one block": random_case(7, [4], [9]),
    "blocks of several sizes": random_case(5, [3], [6, 1, 4]),
    "consumers of several sizes": random_case(8, [2, 5, 1], [6, 3]),
    "one neuron left": random_case(1, [3], [4]),
    "one output": random_case(4, [1], [3]),
    "dead neurons": dead_neurons(),
    "zero denominators": zero_denominators(),
    # The products, about 1e-80, are far below what float32 holds; the numbers themselves are its denormals.
    "tiny": random_case(6, [3, 2], [5, 4], 1e-40),
    "huge": random_case(6, [3, 2], [5, 4], 1e37),
}


class Given:
    """In place of Passes: the activations are given, for every batch a list of one block per group."""

    def __init__(self, batches):
        self.activations = batches


def scores_of(weights, blocks, chosen):
    consumers = []
    for rows in weights:
        consumers.append(nn.Linear(rows.shape[1], rows.shape[0], bias=False))
        consumers[-1].weight.data = rows
    group = NeuronGroup(nn.Linear(3, weights[0].shape[1]), consumers)
    return ranking.contribution([group], Given(lambda: ([block] for block in blocks)), chosen)[0]


@pytest.mark.parametrize("lambdas", LAMBDAS, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_contribution_equals_the_triple_loop(case, lambdas):
    weights, blocks = CASES[case]
    expected = by_loops(torch.cat(weights), torch.cat(blocks), *lambdas)
    assert expected.gt(0).any() and expected.isfinite().all()
    torch.testing.assert_close(scores_of(weights, blocks, options(*lambdas)), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("cached", [1, 12, 20], ids="room for {}".format)
def test_the_maximum_does_not_depend_on_how_many_neurons_the_cache_holds(cached, monkeypatch):
    weights, blocks = CASES["consumers of several sizes"]  # 8 neurons, in blocks of 1 to 6
    expected = scores_of(weights, blocks, options(0.5, 0.5))
    monkeypatch.setattr(ranking, "CACHED", cached)
    assert torch.equal(scores_of(weights, blocks, options(0.5, 0.5)), expected)


def test_contribution_keeps_no_batch_but_the_last():
    group, seen = NeuronGroup(nn.Linear(3, 6), [nn.Linear(6, 4)]), []

    def blocks():
        for _ in range(4):
            block = torch.rand(5, 6)
            seen.append(weakref.ref(block))
            yield [block]
            del block
            assert [earlier() for earlier in seen[:-1]] == (len(seen) - 1) * [None]

    ranking.contribution([group], Given(blocks), options(1.0, 1.0))
    assert len(seen) == 4


# ---- the other criteria ----

def scores_by(criterion, model, images, size=4):
    return ranking.CRITERIA[criterion](model.groups(), passes_of(model, images, size), options())


def assert_scores(scores, expected):
    assert len({round(score, 9) for score in torch.cat(scores).tolist()}) > 3
    for score, values in zip(scores, expected):
        torch.testing.assert_close(score, torch.tensor(values, dtype=torch.float64), rtol=1e-6, atol=1e-12)


@each_network
def test_magnitude_is_a_norm_and_activation_and_apoz_are_means_over_the_passes(network):
    model, images = network()
    assert_scores(scores_by("magnitude", model, images),
                  [[math.sqrt(sum(w ** 2 for w in row)) for row in group.producer.weight.tolist()]
                   for group in model.groups()])
    assert_scores(scores_by("reversed", model, images),
                  [(-score).tolist() for score in scores_by("contribution", model, images)])
    columns = [a.T.tolist() for a in activations_by_hand(model, images)]
    assert_scores(scores_by("activation", model, images), [[sum(map(abs, a)) / len(a) for a in group]
                                                           for group in columns])
    zeros = [[-a.count(0) / len(a) for a in group] for group in columns]
    assert 0 < sum(map(sum, zeros)) + sum(map(len, zeros)) < sum(map(len, zeros))
    for scores, expected in zip(scores_by("apoz", model, images), zeros):
        assert scores.tolist() == pytest.approx(expected)


@each_network
def test_taylor_is_the_change_of_the_loss_to_first_order_when_a_neuron_is_damped(network):
    model, images = network()

    def loss_with(group, k, factor):
        """The loss if the neuron's activation is multiplied by a factor, as the ReLU's input may be, too."""
        gate = torch.ones(group.producer.out_features).double()
        gate[k] = factor
        hook = group.producer.register_forward_hook(lambda layer, inputs, output: output * gate)
        torch.manual_seed(0)
        # In the batches of the passes, for the noise that a batch draws.
        loss = sum(summed_loss(model, *batch).item() for batch in passes_of(model, images).batches())
        hook.remove()
        return loss

    step = 1e-5
    expected = [[abs(loss_with(group, k, 1 + step) - loss_with(group, k, 1 - step)) / (2 * step * len(images))
                 for k in range(group.producer.out_features)] for group in model.groups()]
    for scores, of_group in zip(scores_by("taylor", model, images), expected):
        assert max(of_group) > 1e-4
        assert scores.tolist() == pytest.approx(of_group, rel=1e-4, abs=1e-7)


@each_network
@pytest.mark.parametrize("criterion", ranking.CRITERIA)
def test_a_criterion_does_not_depend_on_the_batches(criterion, network):
    model, images = network()
    if isinstance(model, models.VAE) and criterion == "taylor":
        model.logvar.weight.data.zero_()  # a batch draws its own noise; without a weight it does not depend on it
        model.logvar.register_forward_hook(lambda layer, inputs, output: output - 300)
    for some, other in zip(*(scores_by(criterion, model, images, size) for size in (3, 10))):
        torch.testing.assert_close(some, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("criterion", ["magnitude", "taylor"])
def test_torch_pruning_removes_the_same_neurons(criterion):
    # With its importance of the producer's rows alone, not averaged with the consumers' columns. Its Taylor score,
    # |the sum of weight times gradient over a row|, is ours: with a ReLU and no bias both are a first-order gate.
    torch_pruning = pytest.importorskip("torch_pruning")
    torch.manual_seed(4)
    model, images = models.FeedForward(6, [40, 30], 3), torch.rand(50, 6)
    importance = {"magnitude": torch_pruning.importance.GroupMagnitudeImportance,
                  "taylor": functools.partial(torch_pruning.importance.GroupTaylorImportance, multivariable=True)}
    theirs = importance[criterion](group_reduction="first", normalizer=None)
    graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=images[:1])
    summed_loss(model, images, torch.arange(len(images)) % 3).backward()
    removed = []
    for group in model.groups():
        every = list(range(group.producer.out_features))
        scores = theirs(graph.get_pruning_group(group.producer, torch_pruning.prune_linear_out_channels, idxs=every))
        removed.append(set(scores.argsort()[:len(every) // 2].tolist()))
    keeps = survivors(passes_of(model, images), ARMS[criterion], options(), 50)
    assert [set(range(2 * len(keep))) - set(keep.tolist()) for keep in keeps] == removed
