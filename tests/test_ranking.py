"""The criteria against naive loops and finite differences, the counts against exact fractions, the random arm against
chance."""
import argparse
import copy
import functools
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


def round_of(model, images, arm, epoch=40, seed=3, **changes):
    """Run one round on the model as a run does; the model is changed."""
    given = argparse.Namespace(**{"prune_percent": 40, "lambda_average": 1.0, "lambda_max": 0.0, "ranking_images": 0,
                                  "compensate": False, **changes})
    run = training.Run(model, torch.optim.SGD(model.parameters(), lr=0.1), seed)
    run.epoch, optimizer = epoch, run.optimizer
    task = training.Task(dataset(images), driver.classify)
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


# ---- the other criteria ----

def labelled(images):
    """Labels in the range of both networks' outputs."""
    return torch.arange(len(images)) % 3


def summed_loss(model, images, labels):
    """In float64, which finite differences need."""
    if isinstance(model, models.VAE):
        logits, mean, logvar = model(images, torch.randn(len(images), model.latent))
        return functional.binary_cross_entropy_with_logits(logits, images, reduction="sum") + (
            mean ** 2 + logvar.exp() - logvar).sum()
    return functional.cross_entropy(model(images), labels, reduction="sum")


def labelled_passes(model, images, sizes=4, **options):
    batches = list(zip(images.split(sizes), labelled(images).split(sizes)))
    return ranking.Passes(model, lambda: iter(batches), summed_loss, **options)


def scores_by(criterion, model, images):
    return ranking.CRITERIA[criterion](model.groups(), labelled_passes(model, images), options())


def assert_scores(scores, expected):
    assert len({round(score, 9) for score in torch.cat(scores).tolist()}) > 3
    for score, values in zip(scores, expected):
        torch.testing.assert_close(score, torch.tensor(values, dtype=torch.float64), rtol=1e-6, atol=1e-12)


def test_reversed_scores_are_those_of_contribution_below_zero(network):
    assert_scores(scores_by("reversed", *network), [(-score).tolist() for score in scores_by("contribution", *network)])


def test_magnitude_is_the_norm_of_the_incoming_weights(network):
    model, images = network
    assert_scores(scores_by("magnitude", model, images),
                  [[math.sqrt(sum(w ** 2 for w in row)) for row in group.producer.weight.tolist()]
                   for group in model.groups()])


def test_activation_and_apoz_are_means_over_the_passes(network):
    model, images = network
    columns = [a.T.tolist() for a in activations_by_hand(model, images)]
    assert_scores(scores_by("activation", model, images), [[sum(map(abs, a)) / len(a) for a in group]
                                                           for group in columns])
    zeros = [[-a.count(0) / len(a) for a in group] for group in columns]
    assert 0 < sum(map(sum, zeros)) + sum(map(len, zeros)) < sum(map(len, zeros))
    for scores, expected in zip(scores_by("apoz", model, images), zeros):
        assert scores.tolist() == pytest.approx(expected)


def test_taylor_is_the_change_of_the_loss_to_first_order_when_a_neuron_is_damped(network):
    model, images = network

    def loss_with(group, k, factor):
        """The loss where the neuron's activation is multiplied by a factor, as the ReLU's input may be, too."""
        gate = torch.ones(group.producer.out_features).double()
        gate[k] = factor
        hook = group.producer.register_forward_hook(lambda layer, inputs, output: output * gate)
        torch.manual_seed(0)
        # In the batches of the passes, for the noise that a batch draws.
        loss = sum(summed_loss(model, *batch).item() for batch in labelled_passes(model, images).batches())
        hook.remove()
        return loss

    step = 1e-5
    expected = [[abs(loss_with(group, k, 1 + step) - loss_with(group, k, 1 - step)) / (2 * step * len(images))
                 for k in range(group.producer.out_features)] for group in model.groups()]
    for scores, of_group in zip(scores_by("taylor", model, images), expected):
        assert max(of_group) > 1e-4
        assert scores.tolist() == pytest.approx(of_group, rel=1e-4, abs=1e-7)


def test_gradients_leave_the_network_as_it_was(network):
    model, images = network
    batches = list(labelled_passes(model, images).gradients())
    assert [[block.shape == gradient.shape for block, gradient in pairs] for pairs in batches] == (
        3 * [len(model.groups()) * [True]])
    assert all(parameter.grad is None for parameter in model.parameters()) and model.training
    assert [len(pairs[0][0]) for pairs in batches] == [4, 4, 2]


@pytest.mark.parametrize("criterion", ranking.CRITERIA)
def test_a_criterion_does_not_depend_on_the_batches_and_leaves_the_weights(criterion, network):
    model, images = network
    if isinstance(model, models.VAE) and criterion == "taylor":
        model.logvar.weight.data.zero_()  # a batch draws its own noise; without a weight it does not depend on it
        model.logvar.register_forward_hook(lambda layer, inputs, output: output - 300)
    before = copy.deepcopy(model.state_dict())
    scores = [ranking.CRITERIA[criterion](model.groups(), labelled_passes(model, images, size),
                                          options(generator=torch.Generator().manual_seed(1))) for size in (3, 10)]
    for some, other in zip(*scores):
        torch.testing.assert_close(some, other, rtol=1e-9, atol=1e-12)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


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
    summed_loss(model, images, labelled(images)).backward()
    removed = []
    for group in model.groups():
        every = list(range(group.producer.out_features))
        scores = theirs(graph.get_pruning_group(group.producer, torch_pruning.prune_linear_out_channels, idxs=every))
        removed.append(set(scores.argsort()[:len(every) // 2].tolist()))
    keeps = ranking.survivors(labelled_passes(model, images), criterion, options(), 50)
    assert [set(range(2 * len(keep))) - set(keep.tolist()) for keep in keeps] == removed


# ---- what a round ranks by, and compensation ----

def test_moments_are_those_of_all_activations_of_the_evaluated_network_by_any_criterion(network):
    model, images = network
    expected = [a.T @ a / len(a) for a in activations_by_hand(model, images)]
    for criterion in ("random", "contribution", "taylor"):
        passes = labelled_passes(model, images, with_moments=True)
        ranking.survivors(passes, criterion, options(generator=torch.Generator()), 40)
        for moments, wanted in zip(passes.moments(), expected):
            torch.testing.assert_close(moments, wanted)


def test_a_round_ranks_by_as_many_images_as_it_is_told_and_draws_them_anew(monkeypatch):
    seen, images = [], torch.arange(200).reshape(50, 2, 2, 1).to(torch.uint8)  # every image is another

    def recording(groups, passes, options):
        seen.append([tuple(image.flatten().tolist()) for batch, _ in passes.batches() for image in batch])
        return ranking.magnitude(groups, passes, options)
    monkeypatch.setitem(ranking.CRITERIA, "random", recording)
    for some in (20, 20, 0, 1000):
        round_of(two_layers(), images, "random", ranking_images=some)
    round_of(two_layers(), images, "random", epoch=41, ranking_images=20)
    round_of(two_layers(), images, "random", seed=4, ranking_images=20)
    assert seen[0] == seen[1] and len({tuple(some) for some in (seen[0], seen[4], seen[5])}) == 3
    assert [len(set(some)) for some in seen] == [len(some) for some in seen] == [20, 20, 50, 50, 20, 20]
    assert sorted(seen[2]) == sorted(seen[3])


@pytest.mark.parametrize("arm", ranking.CRITERIA)
def test_a_compensated_round_takes_the_same_neurons_and_changes_the_consumers_alone(arm):
    images = torch.randint(256, (300, 2, 2, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    plain, refitted, old = two_layers(), two_layers(), two_layers()
    round_of(plain, images, arm)
    round_of(refitted, images, arm, compensate=True)
    assert torch.equal(plain.layers[0].weight, refitted.layers[0].weight)
    inputs = (images.float() / 255 - 0.5) / 0.5
    hidden, outputs = activations_by_hand(old, inputs)[0], old(inputs)
    keep = [old.layers[0].weight.tolist().index(row) for row in plain.layers[0].weight.tolist()]
    rows = [column for column in range(6) if any(torch.equal(old.layers[1].weight[column, keep], row)
                                                 for row in plain.layers[1].weight)]
    target = hidden @ old.layers[1].weight[rows].T
    fitted = torch.linalg.lstsq(hidden[:, keep].double(), target.double()).solution
    torch.testing.assert_close(refitted.layers[1].weight.T.double(), fitted, rtol=1e-3, atol=1e-3)
    errors = [(model(inputs) - outputs).square().mean().item() for model in (refitted, plain)]
    assert errors[0] < errors[1]


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
