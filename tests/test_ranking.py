"""The ranking against a naive triple loop, the counts against exact fractions, the random arm against chance."""
import argparse
import copy
import itertools
import math
import weakref
from collections import Counter
from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.nn import functional

import data
import driver
import models
import ranking
import training

LAMBDAS = [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (0.3, 2.0)]


def options(lambda_average=1.0, lambda_max=0.0, generator=None):
    return ranking.Options(lambda_average, lambda_max, generator)


def by_loops(weights, activations, lambda_average, lambda_max):
    """Equations 1 and 2, number by number; Python's numbers are float64."""
    weights, activations = weights.tolist(), activations.tolist()
    totals, maxima = [0.0] * len(weights[0]), [0.0] * len(weights[0])
    for a in activations:
        for row in weights:
            products = [abs(w) * abs(x) for w, x in zip(row, a)]
            denominator = sum(products)
            for k, product in enumerate(products):
                ratio = product / denominator if denominator else 0.0
                totals[k] += ratio
                maxima[k] = max(maxima[k], ratio)
    count = len(weights) * len(activations)
    return torch.tensor([lambda_average * total / count + lambda_max * maximum
                         for total, maximum in zip(totals, maxima)], dtype=torch.float64)


def best(scores, count):
    scores = scores.tolist()
    return sorted(sorted(range(len(scores)), key=lambda k: (-scores[k], k))[:count])


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
    """In place of ranking.Passes: the activations are given, a list of one a group for every batch."""

    def __init__(self, batches):
        self.activations = batches


def passes_of(model, batches, loss=None, **options):
    """The passes of these batches of images; no loss looks at the labels."""
    return ranking.Passes(model, lambda: ((images, None) for images in batches), loss, **options)


def scores_of(weights, blocks, chosen):
    consumers = []
    for rows in weights:
        consumers.append(nn.Linear(rows.shape[1], rows.shape[0], bias=False))
        consumers[-1].weight.data = rows
    group = models.NeuronGroup(nn.Linear(3, weights[0].shape[1]), consumers)
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


@pytest.mark.parametrize("case", ["consumers of several sizes", "dead neurons", "tiny", "one neuron left"])
def test_average_contributions_sum_to_one_where_no_denominator_is_zero(case):
    weights, blocks = copy.deepcopy(CASES[case])
    for block in blocks:
        block[:, -1] = block.max() + 1e-40  # a neuron that is always active keeps every sum above 0
    assert scores_of(weights, blocks, options()).sum().item() == pytest.approx(1, abs=1e-12)


# ---- through a network ----

def feed_forward():
    torch.manual_seed(1)
    return models.FeedForward(6, [8, 5], 3).double(), torch.rand(10, 6).double()


def vae():
    torch.manual_seed(1)
    return models.VAE((2, 8, 8), [3, 4], [9, 8, 7, 6], 5).double(), torch.rand(10, 2, 8, 8).double()


def relu(x, *layers):
    """What comes out of linear layers with a ReLU after the last of them alone."""
    for layer in layers:
        x = x @ layer.weight.detach().T
    return x.clamp(min=0)


def activations_by_hand(model, images):
    """The activations of every group; a VAE's decoder gets the posterior mean."""
    if isinstance(model, models.FeedForward):
        first = relu(images.flatten(1), model.layers[0])
        return [first, relu(first, model.layers[1])]
    for convolution in model.convolutions:
        images = functional.conv2d(images, convolution.weight.detach(), convolution.bias.detach(), 2, 1).clamp(min=0)
    first = relu(images.flatten(1), model.encoder[0])
    second = relu(first, model.encoder[1])
    third = relu(second, model.mean, model.decoder[0])
    return [first, second, third, relu(third, model.decoder[1])]


@pytest.fixture(params=[feed_forward, vae])
def network(request):
    return request.param()


def test_activations_are_those_after_the_relu_in_evaluation_mode_over_all_batches(network):
    model, images = network
    for group in model.groups():  # the activations differ between training and evaluation mode
        group.producer.register_forward_hook(lambda layer, inputs, x: functional.dropout(x, 0.5, layer.training))
    batches = list(passes_of(model, images.split(4)).activations())
    expected = activations_by_hand(model, images)
    assert [[len(block) for block in blocks] for blocks in batches] == [[n] * len(expected) for n in (4, 4, 2)]
    for blocks, of_group in zip(zip(*batches), expected):
        assert of_group.gt(0).any()
        assert not torch.cat(blocks).requires_grad
        torch.testing.assert_close(torch.cat(blocks), of_group)
    assert all(module.training for module in model.modules())
    model(images)  # to its end: nothing listens any more
    assert [len(blocks) for blocks in batches] == 3 * [len(expected)]


@pytest.mark.parametrize("lambdas", LAMBDAS, ids=str)
def test_survivors_are_the_best_by_the_triple_loop_in_every_group(network, lambdas):
    # The last encoder layer of a VAE feeds mean and log-variance: their rows count together.
    model, images = network
    groups, hidden = model.groups(), activations_by_hand(model, images)
    expected = [by_loops(torch.cat([consumer.weight for consumer in group.consumers]), a, *lambdas)
                for group, a in zip(groups, hidden)]
    passes = passes_of(model, images.split(4))
    scores = ranking.contribution(groups, passes, options(*lambdas))
    kept = ranking.survivors(passes, "contribution", options(*lambdas), 40)
    torch.testing.assert_close(scores, expected, rtol=1e-10, atol=0)
    assert [keep.tolist() for keep in kept] == [best(score, len(score) * 60 // 100) for score in expected]


def test_one_pass_over_the_data_serves_all_groups_and_ends_at_the_last_consumer(network):
    model, images = network
    last, passes, given = model.groups()[-1].consumers[0], [], []

    def batches():
        given.append("once")
        return ((some, None) for some in images.split(4))

    model.groups()[0].producer.register_forward_hook(lambda layer, inputs, output: passes.append(len(output)))
    for module in [last, *getattr(model, "deconvolutions", [])]:
        module.register_forward_hook(lambda *run: pytest.fail("ran on when every activation was known"))
    passed = ranking.Passes(model, batches, None, with_moments=True)
    ranking.survivors(passed, "contribution", options(), 40)
    passed.moments()
    assert (given, passes) == (["once"], [4, 4, 2])


def test_no_batch_of_activations_is_kept_when_the_next_is_given(network):
    model, images = network
    seen = []
    for blocks in passes_of(model, images.split(4)).activations():
        assert [earlier() for earlier in seen] == len(seen) * [None]
        seen += map(weakref.ref, blocks)
    assert len(seen) == 3 * len(model.groups())


def test_contribution_keeps_no_batch_but_the_last():
    group, seen = models.NeuronGroup(nn.Linear(3, 6), [nn.Linear(6, 4)]), []

    def blocks():
        for _ in range(4):
            block = torch.rand(5, 6)
            seen.append(weakref.ref(block))
            yield [block]
            del block
            assert [earlier() for earlier in seen[:-1]] == (len(seen) - 1) * [None]

    ranking.contribution([group], Given(blocks), options(1.0, 1.0))
    assert len(seen) == 4


def test_a_criterion_may_stop_before_the_last_batch(network):
    model, images = network
    blocks = next(passes_of(model, images.split(4)).activations())
    model(images)
    assert len(blocks) == len(model.groups())  # nothing listens any more
    assert model.training


def dataset(images):
    """A data set whose test set is nothing like its training set, `images`."""
    train, test = (data.Split(pixels, torch.zeros(len(pixels), dtype=torch.int64), "cpu", 0.5, 0.5)
                   for pixels in (images, 255 - images[:5]))
    return data.Dataset(train, test, 3)


def round_of(model, images, arm, **changes):
    """Run one round on the model as a run does; the model is changed."""
    given = argparse.Namespace(**{"prune_percent": 40, "lambda_average": 1.0, "lambda_max": 0.0, "ranking_images": 0,
                                  "compensate": False, **changes})
    run = training.Run(model, torch.optim.SGD(model.parameters(), lr=0.1), 3)
    run.epoch, optimizer = 40, run.optimizer
    task = training.Task(dataset(images), driver.classify, lambda model: {}, None, None)
    training.prune(run, task, given, arm, [])
    assert run.optimizer is optimizer


def assert_kept(model, old, first, second):
    assert torch.equal(model.layers[0].weight, old.layers[0].weight[first])
    assert torch.equal(model.layers[1].weight, old.layers[1].weight[second][:, first])
    assert torch.equal(model.layers[2].weight, old.layers[2].weight[:, second])


def two_layers():
    torch.manual_seed(8)  # with these weights C_avg and C_max choose other neurons, in both layers
    return models.FeedForward(4, [8, 6], 3)


@pytest.mark.parametrize("lambdas", LAMBDAS, ids=str)
def test_a_round_keeps_the_neurons_that_contribute_most_over_the_whole_training_set(lambdas):
    # The last images, past one forward pass's worth of them, are the ones that light up one pixel each.
    images = torch.randint(0, 90, (data.EVALUATION_BATCH + 60, 2, 2, 1), dtype=torch.uint8,
                           generator=torch.Generator().manual_seed(2))
    images[data.EVALUATION_BATCH:, 0, 1] = 255
    model, old = two_layers(), two_layers()
    round_of(model, images, "contribution", lambda_average=lambdas[0], lambda_max=lambdas[1])
    hidden = activations_by_hand(old, (images.float() / 255 - 0.5) / 0.5)
    scores = [by_loops(layer.weight, a, *lambdas) for layer, a in zip(old.layers[1:], hidden)]
    assert_kept(model, old, best(scores[0], 4), best(scores[1], 3))


# ---- how many, and which of equals ----

def counts(width, percent, rounds):
    for _ in range(rounds):
        width = len(ranking.highest(torch.ones(width), percent))
        yield width


@pytest.mark.parametrize("widths", [
    [50, 45, 40, 36, 32, 28, 25, 22, 19, 17], [30, 27, 24, 21, 18, 16, 14, 12, 10, 9],
    [256, 230, 207, 186, 167, 150], [128, 115, 103, 92, 82, 73], [2, 1, 1, 1]], ids=str)
def test_ten_percent_a_round_leaves_these_widths(widths):
    assert list(counts(widths[0], 10, len(widths) - 1)) == widths[1:]


@pytest.mark.parametrize("percent", ["10", "0.1", "7", "12.5", "29", "33.3", "58", "66.4", "70.4", "99.9"])
def test_the_number_that_stays_is_exact(percent):
    # In floating point (1 - percent/100) * N can fall below the whole number that it is: 66.4 percent of 125.
    exact = {width: max(1, math.floor((1 - Fraction(percent) / 100) * width)) for width in range(1, 301)}
    assert {width: len(ranking.highest(torch.ones(width), float(percent))) for width in exact} == exact


@pytest.mark.parametrize("width", [1, 2, 7, 40, 3000])
@pytest.mark.parametrize("levels", [1, 3])
def test_equal_scores_keep_the_lower_index(width, levels):
    scores = torch.randint(levels, (width,), generator=torch.Generator().manual_seed(width)).double()
    for percent in (10, 50, 90):
        kept = ranking.highest(scores, percent)
        assert kept.tolist() == best(scores, max(1, width * (100 - percent) // 100))
        assert kept.dtype == torch.int64


# ---- the random arm ----

def random_choice(model, seed, epoch=1, percent=40, use=training.RANDOM_RANKING):
    def forbidden():
        raise AssertionError("the random arm looked at the data")

    passes = ranking.Passes(model, forbidden, None)
    numbers = training.generator(seed, epoch, use)
    return [tuple(keep.tolist()) for keep in ranking.survivors(passes, "random", options(generator=numbers), percent)]


def test_random_choices_are_uniform_and_independent_between_groups():
    # 10 ways to keep 3 of 5 in each of two groups: 100 cells. The seeds are fixed, so the outcome is too; a chi-square
    # of 99 degrees of freedom has mean 99 and standard deviation 14.
    model, draws = models.FeedForward(2, [5, 5], 2), 6000
    ways = list(itertools.combinations(range(5), 3))
    seen = Counter(tuple(random_choice(model, seed)) for seed in range(draws))
    assert set(seen) <= set(itertools.product(ways, ways))
    expected = draws / len(ways) ** 2
    chi_square = sum((seen[cell] - expected) ** 2 / expected for cell in itertools.product(ways, ways))
    assert 99 - 4 * math.sqrt(2 * 99) < chi_square < 99 + 4 * math.sqrt(2 * 99)


def test_a_random_choice_depends_on_seed_and_epoch_alone():
    model = models.FeedForward(2, [50, 30], 2)
    first = random_choice(model, seed=30, epoch=40)
    torch.rand(7)  # other draws of the program
    assert random_choice(models.FeedForward(9, [50, 30], 4), seed=30, epoch=40) == first
    assert random_choice(model, seed=31, epoch=40) != first
    assert random_choice(model, seed=30, epoch=50) != first
    assert random_choice(model, seed=30, epoch=40, use=training.BATCHES) != first


def test_a_random_round_takes_the_choice_of_its_seed_and_epoch():
    model, old = two_layers(), two_layers()
    round_of(model, torch.zeros(2, 2, 2, 1, dtype=torch.uint8), "random")
    first, second = map(list, random_choice(old, seed=3, epoch=40))
    assert_kept(model, old, first, second)


@pytest.mark.parametrize("percent", [10, 33.3, 99])
def test_random_removes_as_many_of_each_group_as_contribution(percent):
    model = models.FeedForward(2, [50, 31, 2], 3)
    by_contribution = ranking.survivors(passes_of(model, [torch.rand(6, 2)]), "contribution", options(), percent)
    assert [len(keep) for keep in random_choice(model, 5, percent=percent)] == [len(keep) for keep in by_contribution]
