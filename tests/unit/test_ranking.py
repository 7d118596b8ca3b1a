"""The criteria against naive loops, finite differences and another library."""
import copy
import functools
import math
import weakref

import pytest
import torch
from oracles import activations_by_hand, by_loops, shares_by_loops
from torch import nn
from torch.nn import functional
from unit_helpers import ARMS, each_network, hidden, options, passes_of, summed_loss

import models
import ranking
from pruning.groups import NeuronGroup, find_groups
from pruning.passes import Passes
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
    """In place of Passes: what the consumers get is given, for every batch {consumer: its input}."""

    total = largest = staticmethod(lambda tensor: tensor)  # of all processes

    def __init__(self, batches):
        self.inputs = batches


def scores_of(weights, blocks, chosen):
    consumers = []
    for rows in weights:
        consumers.append(nn.Linear(rows.shape[1], rows.shape[0], bias=False))
        consumers[-1].weight.data = rows
    group = NeuronGroup(nn.Linear(3, weights[0].shape[1]), consumers)
    batches = [dict.fromkeys(consumers, block) for block in blocks]
    return ranking.contribution([group], Given(lambda: iter(batches)), chosen)[0]


@pytest.mark.parametrize("lambdas", LAMBDAS, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_contribution_equals_the_triple_loop(case, lambdas):
    weights, blocks = CASES[case]
    expected = by_loops(torch.cat(weights), torch.cat(blocks), *lambdas)
    assert expected.gt(0).any() and expected.isfinite().all()
    torch.testing.assert_close(scores_of(weights, blocks, options(*lambdas)), expected, rtol=1e-12, atol=0)


def test_contribution_keeps_no_batch_but_the_last():
    group, seen = NeuronGroup(nn.Linear(3, 6), [nn.Linear(6, 4)]), []

    def blocks():
        for _ in range(4):
            block = torch.rand(5, 6)
            seen.append(weakref.ref(block))
            yield {group.consumers[0]: block}
            del block
            assert [earlier() for earlier in seen[:-1]] == (len(seen) - 1) * [None]

    ranking.contribution([group], Given(blocks), options(1.0, 1.0))
    assert len(seen) == 4


# ---- filters ----

def conv(*sizes, **options):
    return nn.Conv2d(*sizes, **options)


# A network whose filters are read in this way, and the shape of its images.
READ_BY = {
    "padding": (nn.Sequential(conv(1, 3, 3), nn.ReLU(), conv(3, 2, 3, padding=2)), (1, 6, 5)),
    "stride": (nn.Sequential(conv(1, 3, 2), nn.ReLU(), conv(3, 2, 3, stride=2, padding=1)), (1, 6, 5)),
    "dilation": (nn.Sequential(conv(1, 3, 2), nn.ReLU(), conv(3, 2, 2, dilation=2)), (1, 6, 5)),
    "BatchNorm and pooling between": (
        nn.Sequential(conv(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), conv(4, 2, 2)),
        (1, 8, 7)),
    "flatten": (nn.Sequential(conv(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 4)), (1, 4, 4)),
    "a transposed convolution": (
        nn.Sequential(nn.ConvTranspose2d(1, 3, 2), nn.ReLU(), nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1)),
        (1, 3, 3)),
}


class Several(nn.Module):
    """Filters that a convolution, a strided one and, behind a flatten, a Linear read."""

    def __init__(self):
        super().__init__()
        self.first, self.one, self.two, self.three = conv(1, 3, 2), conv(3, 2, 3, padding=1), conv(3, 1, 2, stride=2), (
            nn.Linear(12, 2))

    def forward(self, x):
        x = self.first(x).relu()
        return self.one(x), self.two(x), self.three(functional.adaptive_max_pool2d(x, 2).flatten(1))


READ_BY["several consumers"] = Several(), (1, 5, 5)


@pytest.mark.parametrize("precision", [torch.float64, torch.float32])
@pytest.mark.parametrize("network, shape", READ_BY.values(), ids=READ_BY)
def test_the_contribution_of_filters_equals_the_loop_over_every_place(network, shape, precision):
    torch.manual_seed(5)
    model, images = copy.deepcopy(network).to(precision), torch.randn(5, *shape, dtype=precision)
    model(images)  # running statistics of its own
    groups, _ = find_groups(model, images)
    assert len(groups) == 1
    passes = passes_of(model, images, groups=groups)
    heard, = Passes(model, groups, [(images, None)]).inputs()
    average, maximum = shares_by_loops(groups[0], {layer: x.double() for layer, x in heard.items()})
    assert average.sum() == pytest.approx(1, abs=0.1) and average.min() > 0
    # In float32 a share has an error of some 1e-7 of it, whatever the number of places.
    for lambdas, expected in [((1, 0), average), ((0, 1), maximum), ((0.5, 2), 0.5 * average + 2 * maximum)]:
        scores, = ranking.contribution(groups, passes, options(*lambdas))
        torch.testing.assert_close(scores, expected, rtol=1e-10 if precision == torch.float64 else 1e-5, atol=0)


def test_activation_apoz_and_taylor_of_filters_go_over_all_places():
    torch.manual_seed(6)
    model, images = models.CNN((1, 8, 8), [3, 4], [5], 3).double(), torch.randn(10, 1, 8, 8).double()
    groups, _ = find_groups(model, images)
    scores = {name: ranking.CRITERIA[name](groups, passes_of(model, images, groups=groups), options())
              for name in ("activation", "apoz", "taylor", "magnitude")}
    maps = functional.max_pool2d(model.convolutions[0](images), 2).relu()
    torch.testing.assert_close(scores["activation"][0], maps.abs().mean((0, 2, 3)))
    torch.testing.assert_close(scores["apoz"][0], -(maps == 0).double().mean((0, 2, 3)))
    torch.testing.assert_close(scores["magnitude"][1], model.convolutions[1].weight.square().sum((1, 2, 3)).sqrt())
    gate = torch.ones(3, dtype=torch.float64, requires_grad=True)
    model.convolutions[1].register_forward_pre_hook(lambda layer, inputs: inputs[0] * gate.view(-1, 1, 1))
    loss = summed_loss(model, images, torch.arange(10) % 3) / (10 * maps[0, 0].numel())
    torch.testing.assert_close(scores["taylor"][0], torch.autograd.grad(loss, gate)[0].abs())


# ---- the other criteria ----

def scores_by(criterion, model, images, size=4):
    passes = passes_of(model, images, size)
    return ranking.CRITERIA[criterion](passes.groups, passes, options())


def assert_scores(scores, expected):
    assert len({round(score, 9) for score in torch.cat(scores).tolist()}) > 3
    for score, values in zip(scores, expected):
        torch.testing.assert_close(score, torch.tensor(values, dtype=torch.float64), rtol=1e-6, atol=1e-12)


@each_network
def test_magnitude_is_a_norm_and_activation_and_apoz_are_means_over_the_passes(network):
    model, images = network()
    assert_scores(scores_by("magnitude", model, images),
                  [[math.sqrt(sum(w ** 2 for w in row)) for row in group.producer.weight.tolist()]
                   for group in hidden(model, images)])
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
        loss = sum(summed_loss(model, *batch).item() for batch in passes_of(model, images).batches)
        hook.remove()
        return loss

    step = 1e-5
    expected = [[abs(loss_with(group, k, 1 + step) - loss_with(group, k, 1 - step)) / (2 * step * len(images))
                 for k in range(group.producer.out_features)] for group in hidden(model, images)]
    for scores, of_group in zip(scores_by("taylor", model, images), expected):
        assert max(of_group) > 1e-4
        assert scores.tolist() == pytest.approx(of_group, rel=1e-4, abs=1e-7)


@each_network
@pytest.mark.parametrize("criterion", ranking.CRITERIA)
def test_a_criterion_does_not_depend_on_the_batches(criterion, network):
    model, images = network()
    if isinstance(model, models.VAE) and criterion in ("taylor", "kfac"):
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
    for group in hidden(model, images):
        every = list(range(group.producer.out_features))
        scores = theirs(graph.get_pruning_group(group.producer, torch_pruning.prune_linear_out_channels, idxs=every))
        removed.append(set(scores.argsort()[:len(every) // 2].tolist()))
    keeps = survivors(passes_of(model, images), ARMS[criterion], options(), 50)
    assert [set(range(2 * len(keep))) - set(keep.tolist()) for keep in keeps] == removed


def test_torch_pruning_removes_the_same_filters_of_a_vgg():
    # Its Taylor score of a convolution's inputs, |the sum of weight times gradient over a kernel|, is ours: the loss's
    # change if the map behind BatchNorm and pooling is damped.
    torch_pruning = pytest.importorskip("torch_pruning")
    torch.manual_seed(4)
    layers, channels = [], 1
    for width in (12, 10, 16, 14):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                   nn.MaxPool2d(2)]
        channels = width
    model, images = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels, 3)), torch.rand(30, 1, 16, 16)
    model(images)
    groups, _ = find_groups(model.eval(), images)
    passes = passes_of(model, images, groups=groups)
    ours = {name: ranking.CRITERIA[name](groups, passes, options()) for name in ("magnitude", "taylor")}
    summed_loss(model, images, torch.arange(len(images)) % 3).backward()
    graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=images[:1])
    kinds = {"target_types": [nn.Conv2d, nn.Linear], "normalizer": None}
    importance = {
        "magnitude": torch_pruning.importance.GroupMagnitudeImportance(group_reduction="first", **kinds),
        "taylor": torch_pruning.importance.GroupTaylorImportance(group_reduction=None, multivariable=True, **kinds)}
    for name, score in importance.items():
        for number, group in enumerate(groups):
            every = list(range(group.width))
            theirs = score(graph.get_pruning_group(group.producer, torch_pruning.prune_conv_out_channels, idxs=every))
            theirs = theirs[-1] if name == "taylor" else theirs  # of the consumer
            assert ours[name][number].argsort().tolist() == theirs.argsort().tolist(), (name, number)
