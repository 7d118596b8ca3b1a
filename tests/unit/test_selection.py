"""Who stays: the scores are checked, the highest stay, and of equal ones the lower index."""
import functools
import itertools
import math
from collections import Counter

import pytest
import torch
from oracles import activations_by_hand, best, by_loops
from unit_helpers import ARMS, each_network, feed_forward, hidden, options, passes_of, refusal

import models
from pruning import arms, training
from pruning.passes import Passes
from pruning.schedule import staying
from pruning.selection import Options, highest, survivors


@pytest.mark.parametrize("width", [1, 2, 7, 40, 3000])
@pytest.mark.parametrize("levels", [1, 3])
def test_equal_scores_keep_the_lower_index(width, levels):
    scores = torch.randint(levels, (width,), generator=torch.Generator().manual_seed(width)).double()
    for percent in (10, 50, 90):
        kept = highest(scores, staying(width, percent))
        assert kept.tolist() == best(scores, max(1, width * (100 - percent) // 100))
        assert kept.dtype == torch.int64


@each_network
@pytest.mark.parametrize("lambdas", [(1.0, 0.0), (0.0, 1.0), (0.3, 2.0)], ids=str)
def test_survivors_are_the_best_by_the_triple_loop_in_every_group(network, lambdas):
    # The last encoder layer of a VAE feeds mean and log-variance: their rows count together.
    model, images = network()
    groups, activations = hidden(model, images), activations_by_hand(model, images)
    expected = [by_loops(torch.cat([consumer.weight for consumer in group.consumers]), a, *lambdas)
                for group, a in zip(groups, activations)]
    arm, passes = ARMS["contribution"], passes_of(model, images)
    torch.testing.assert_close(arm.criterion(groups, passes, options(*lambdas)), expected, rtol=1e-10, atol=0)
    kept = survivors(passes, arm, options(*lambdas), 40)
    assert [keep.tolist() for keep in kept] == [best(score, len(score) * 60 // 100) for score in expected]


def assert_refused(criterion, words):
    model, images = feed_forward()
    message = refusal(survivors, passes_of(model, images), arms.named("mine")._replace(criterion=criterion),
                      options(), 40)
    assert message.startswith("the criterion mine in ranking.py " + words)


@pytest.mark.parametrize("scores", [
    lambda: [torch.ones(8)], lambda: [torch.ones(8), torch.ones(6)], lambda: [torch.ones(8, 1), torch.ones(5)],
    lambda: [[1.0] * 8, torch.ones(5)], lambda: []], ids=["one group", "too long", "a matrix", "a list", "none"])
def test_scores_of_other_shapes_are_refused(scores):
    assert_refused(lambda groups, passes, options: scores(), "gives scores of the shapes ")


@pytest.mark.parametrize("criterion", [lambda groups, passes: [], lambda groups, passes, options, power: [],
                                       functools.partial(lambda groups, passes, options, power: [], powr=3)])
def test_a_criterion_with_other_parameters_is_refused(criterion):
    assert_refused(criterion, "cannot be called with (groups, passes, options): ")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused(value):
    scores = [torch.ones(8), torch.tensor([1, 2, value, 4, 5])]
    assert_refused(lambda groups, passes, options: scores, "gives scores that are not finite")


@pytest.mark.parametrize("write", [
    lambda weight: weight.detach().abs_(), lambda weight: weight.data.mul_(2),
    lambda weight: setattr(weight, "data", weight.data + 1),
    lambda weight: torch.nn.init.zeros_(weight)], ids=["detach", "data", "set data", "init"])
@pytest.mark.parametrize("place", ["producer", "consumers"])
def test_a_criterion_that_writes_to_the_weights_is_refused(write, place):
    def criterion(groups, passes, options):
        layer = groups[0].producer if place == "producer" else groups[1].consumers[0]
        write(layer.weight)
        return [torch.ones(8), torch.ones(5)]
    assert_refused(criterion, "changes the network's weights")


# ---- the random arm ----

def random_choice(model, seed, epoch=1, percent=40, use=training.RANDOM_RANKING):
    """The neurons that the random arm keeps, chosen without a look at the data."""
    passes = Passes(model, model.own_groups, None)  # not iterable: the random arm must not look at the data
    numbers = Options(1.0, 0.0, training.generator(seed, epoch, use))
    return [tuple(keep.tolist()) for keep in survivors(passes, ARMS["random"], numbers, percent)]


def with_groups(inputs, widths):
    """A network for random_choice()."""
    model = models.FeedForward(inputs, widths, 2)
    model.own_groups = hidden(model, torch.rand(4, inputs))
    return model


def test_random_choices_are_uniform_and_independent_between_groups():
    # 10 ways to keep 3 of 5 in each of two groups: 100 cells. The seeds are fixed, so the outcome is too; a chi-square
    # of 99 degrees of freedom has mean 99 and standard deviation 14.
    model, draws = with_groups(2, [5, 5]), 5000
    ways = list(itertools.combinations(range(5), 3))
    seen = Counter(tuple(random_choice(model, seed)) for seed in range(draws))
    assert set(seen) <= set(itertools.product(ways, ways))
    expected = draws / len(ways) ** 2
    chi_square = sum((seen[cell] - expected) ** 2 / expected for cell in itertools.product(ways, ways))
    assert 99 - 4 * math.sqrt(2 * 99) < chi_square < 99 + 4 * math.sqrt(2 * 99)


def test_a_random_choice_depends_on_seed_and_epoch_alone():
    model = with_groups(2, [50, 30])
    first = random_choice(model, seed=30, epoch=40)
    torch.rand(7)  # other draws of the program
    assert random_choice(with_groups(9, [50, 30]), seed=30, epoch=40) == first
    assert random_choice(model, seed=31, epoch=40) != first
    assert random_choice(model, seed=30, epoch=50) != first
    assert random_choice(model, seed=30, epoch=40, use=training.BATCHES) != first
