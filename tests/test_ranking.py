"""The ranking against a naive triple loop, the counts against exact fractions, the random arm against chance."""
import argparse
import copy
import itertools
import math
from collections import Counter
from fractions import Fraction

import pytest
import torch
from torch import nn

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


def scores_of(weights, blocks, chosen):
    consumers = []
    for rows in weights:
        consumers.append(nn.Linear(rows.shape[1], rows.shape[0], bias=False))
        consumers[-1].weight.data = rows
    group = models.NeuronGroup(nn.Linear(3, weights[0].shape[1]), consumers)
    return ranking.contribution(group, lambda: blocks, chosen)


@pytest.mark.parametrize("lambdas", LAMBDAS, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_contribution_equals_the_triple_loop(case, lambdas):
    weights, blocks = CASES[case]
    expected = by_loops(torch.cat(weights), torch.cat(blocks), *lambdas)
    assert expected.gt(0).any() and expected.isfinite().all()
    torch.testing.assert_close(scores_of(weights, blocks, options(*lambdas)), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("case", ["consumers of several sizes", "dead neurons", "tiny", "one neuron left"])
def test_average_contributions_sum_to_one_where_no_denominator_is_zero(case):
    weights, blocks = copy.deepcopy(CASES[case])
    for block in blocks:
        block[:, -1] = block.max() + 1e-40  # a neuron that is always active keeps every sum above 0
    assert scores_of(weights, blocks, options()).sum().item() == pytest.approx(1, abs=1e-12)


# ---- through a network ----

class Dropping(models.FeedForward):
    """A network whose activations differ between training and evaluation mode."""

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.layers[:-1]:
            x = nn.functional.dropout(layer(x).relu(), 0.5, self.training)
        return self.layers[-1](x)


def hidden_activations(model, images):
    first = (images.flatten(1) @ model.layers[0].weight.T).clamp(min=0)
    return [first, (first @ model.layers[1].weight.T).clamp(min=0)]


def test_activations_are_those_after_the_relu_in_evaluation_mode_over_all_batches():
    torch.manual_seed(1)
    model, images = Dropping(6, [8, 5], 3), torch.randn(10, 6)
    collected = ranking.collect_activations(model, images.split(4))
    for blocks, expected in zip(collected, hidden_activations(model, images)):
        assert [len(block) for block in blocks] == [4, 4, 2]
        assert not torch.cat(blocks).requires_grad
        torch.testing.assert_close(torch.cat(blocks), expected.detach())
    assert model.training
    model(images)
    assert [len(blocks) for blocks in collected] == [3, 3]  # nothing listens any more


def dataset(images, given):
    """A data set whose test set is nothing like its training set, `images`."""
    train, test = (data.Split(pixels, torch.zeros(len(pixels), dtype=torch.int64), given, "cpu")
                   for pixels in (images, 255 - images[:5]))
    return data.Dataset(train, test, 3)


def round_of(model, images, arm, **changes):
    """Run one round on the model as a run does; the model is changed."""
    given = argparse.Namespace(**{"mean": 0.5, "std": 0.5, "seed": 3, "prune_percent": 40, "lambda_average": 1.0,
                                  "lambda_max": 0.0, **changes})
    run = training.Run(model, torch.optim.SGD(model.parameters(), lr=0.1))
    run.epoch, optimizer = 40, run.optimizer
    training.prune(run, dataset(images, given), driver.classify, given, arm, [])
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
    hidden = hidden_activations(old, (images.float() / 255 - 0.5) / 0.5)
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
        yield

    numbers = training.generator(argparse.Namespace(seed=seed), epoch, use)
    return [tuple(keep.tolist())
            for keep in ranking.survivors(model, forbidden(), "random", options(generator=numbers), percent)]


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
    by_contribution = ranking.survivors(model, [torch.rand(6, 2)], "contribution", options(), percent)
    assert [len(keep) for keep in random_choice(model, 5, percent=percent)] == [len(keep) for keep in by_contribution]
