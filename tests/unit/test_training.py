"""The rounds, the shared start, seeds, means and failures, in runs on a small random data set and in their logs."""
import contextlib
import itertools
import math
import re
from types import SimpleNamespace

import pytest
import torch
from oracles import activations_by_hand, best, by_loops
from torch.nn import functional
from unit_helpers import ARMS, classifier, hidden, options, random_workload, refusal, run_settings, silent, state_of

import driver
import models
import ranking
import vae
from pruning import compensation, cuda_graph, datasets, measures, runlog, training
from pruning.checkpoint import Outputs
from pruning.errors import Diverged
from pruning.groups import groups_of, widths_of
from pruning.passes import Passes
from pruning.selection import survivors
from pruning.signals import Stop

GO_ON = Stop()  # nobody asks for it
COMPARED = ["none", "contribution", "random"]
each_compared_arm = pytest.mark.parametrize("arm", COMPARED)


def autoencoder(seed=30):
    torch.manual_seed(seed)
    model = models.VAE((1, 4, 4), [2], [50, 40, 30, 20], 3)
    return state_of(model, torch.optim.Adam(model.parameters(), lr=0.01), seed)


def elbo(model, images, labels):
    """A loss with three measures, which draws noise; the pixels back in [0, 1]."""
    return vae.negative_elbo(model, (images + 1) / 2, 1.0)


# A network in training, its objective, and what that measures.
KINDS = {"classifier": (classifier, driver.classify, ["loss", "accuracy"]),
         "VAE": (autoencoder, elbo, ["loss", "BCE", "KLD"])}
each_kind = pytest.mark.parametrize("start, objective, names", KINDS.values(), ids=KINDS)


@pytest.fixture
def new_log(tmp_path):
    """Open a new log."""
    with contextlib.ExitStack() as opened:
        numbers = itertools.count()
        yield lambda: opened.enter_context(open(str(tmp_path / f"{next(numbers)}.txt"), "w"))


def read(log):
    return runlog.parse_log(log.name)


def lines(log):
    """What a log says, without its times."""
    with open(log.name) as file:
        return re.sub(r"time \S+ s", "time", file.read()).splitlines()


def train(state, workload, given, arm, last_epoch, *logs):
    about = {"flags": {}, "settings": {}, "provenance": {}}
    training.train(state, workload, given, ARMS[arm], last_epoch,
                   Outputs(list(logs), logs[0].name + ".checkpoint", about, silent(given)), GO_ON)


def train_alone(given, arm, log, objective=driver.classify, start=classifier, **options):
    """Train a run from its start to its end; returns its state."""
    state, workload = start(given.seed), random_workload(objective, **options)
    train(state, workload, given, arm, given.total_epochs, log)
    training.finish(state, workload, log)
    return state


# ---- the schedule ----

WIDTHS = [[45, 27], [40, 24], [36, 21], [32, 18]]


@pytest.mark.parametrize("arm, total, initial, increment, epochs", [
    ("none", 5, 2, 2, []), ("random", 5, 30, 10, []),
    ("random", 11, 3, 4, [3, 7]),  # the next round would be at the end
    ("contribution", 10, 3, 4, [3, 7]),  # the last stretch is cut
    ("contribution", 5, 1, 1, [1, 2, 3, 4])])
def test_rounds_stand_at_their_epochs_and_leave_their_widths(arm, total, initial, increment, epochs, new_log):
    given, log = run_settings(total_epochs=total, initial_iterations=initial, increment=increment), new_log()
    state, log = train_alone(given, arm, log), read(log)

    assert [round.epoch for round in log.rounds] == epochs
    assert [round.number for round in log.rounds] == list(range(1, len(epochs) + 1))
    assert [epoch.epoch for epoch in log.epochs] == list(range(1, total + 1))
    assert [(batch.epoch, batch.batch) for batch in log.batches] == [(epoch, 0) for epoch in range(1, total + 1)]
    assert len({epoch.measures["training loss"] for epoch in log.epochs}) == total  # every epoch changes the weights
    now = [50, 30]
    for round, expected in zip(log.rounds, WIDTHS):
        for described, (first, second) in [(round.before, now), (round.after, expected)]:
            assert described["widths"] == [first, second]
            assert described["neurons"] == first + second
            assert described["parameters"] == 16 * first + first * second + second * 3
        # The round works on the network as it was when its epoch ended.
        assert round.before["test loss"] == log.epochs[round.epoch - 1].measures["test loss"]
        now = expected
    assert widths_of(state.groups) == log.summary["widths"] == now
    assert (log.summary["epochs"], log.summary["rounds"]) == (total, len(epochs))


# ---- a round ----

def two_layers():
    torch.manual_seed(8)  # with these weights C_avg and C_max choose other neurons, in both layers
    return models.FeedForward(4, [8, 6], 3)


def round_of(model, images, arm, epoch=40, seed=3, **changes):
    """Run one round on the model as a run does; the model is changed. The test set is nothing like the training set."""
    state = training.TrainingState(model, torch.optim.SGD(model.parameters(), lr=0.1), seed,
                                   hidden(model, torch.rand(4, 4)))
    state.epoch, optimizer, recording = epoch, state.optimizer, state.recording
    train, test = (datasets.Split(pixels, torch.zeros(len(pixels), dtype=torch.int64), "cpu", 0.5, 0.5)
                   for pixels in (images, 255 - images[:5]))
    workload = random_workload()._replace(dataset=datasets.Dataset(train, test, 3))
    training.prune(state, workload, run_settings(**{"prune_percent": 40, **changes}), arm, [])
    assert state.optimizer is optimizer
    assert type(state.recording) is cuda_graph.Recording and state.recording is not recording  # the weights are new


def assert_kept(model, old, first, second):
    assert torch.equal(model.layers[0].weight, old.layers[0].weight[first])
    assert torch.equal(model.layers[1].weight, old.layers[1].weight[second][:, first])
    assert torch.equal(model.layers[2].weight, old.layers[2].weight[:, second])


@pytest.mark.parametrize("lambdas", [(1.0, 0.0), (0.3, 2.0)], ids=str)
def test_a_round_keeps_the_neurons_that_contribute_most_over_the_whole_training_set(lambdas):
    # The last images, past one forward pass's worth of them, are the ones that light up one pixel each.
    images = torch.randint(0, 90, (datasets.EVALUATION_BATCH + 60, 2, 2, 1), dtype=torch.uint8,
                           generator=torch.Generator().manual_seed(2))
    images[datasets.EVALUATION_BATCH:, 0, 1] = 255
    model, old = two_layers(), two_layers()
    round_of(model, images, ARMS["contribution"], lambda_average=lambdas[0], lambda_max=lambdas[1])
    activations = activations_by_hand(old, (images.float() / 255 - 0.5) / 0.5)
    scores = [by_loops(layer.weight, a, *lambdas) for layer, a in zip(old.layers[1:], activations)]
    assert_kept(model, old, best(scores[0], 4), best(scores[1], 3))


def test_a_random_round_takes_the_choice_of_its_seed_and_epoch():
    model, old = two_layers(), two_layers()
    round_of(model, torch.zeros(2, 2, 2, 1, dtype=torch.uint8), ARMS["random"])
    own = options()._replace(generator=training.generator(3, 40, training.RANDOM_RANKING))
    assert_kept(model, old, *survivors(Passes(old, hidden(old, torch.rand(4, 4)), None), ARMS["random"], own, 40))


def test_a_round_ranks_by_as_many_images_as_it_is_told_and_draws_them_anew():
    seen, images = [], torch.arange(200).reshape(50, 2, 2, 1).to(torch.uint8)  # every image is another

    def recording(groups, passes, options):
        seen.append([tuple(image.flatten().tolist()) for batch, _ in passes.batches for image in batch])
        return ranking.magnitude(groups, passes, options)
    arm = ARMS["random"]._replace(criterion=recording)
    for some in (20, 20, 0, 1000):
        round_of(two_layers(), images, arm, ranking_images=some)
    round_of(two_layers(), images, arm, epoch=41, ranking_images=20)
    round_of(two_layers(), images, arm, seed=4, ranking_images=20)
    assert seen[0] == seen[1] and len({tuple(some) for some in (seen[0], seen[4], seen[5])}) == 3
    assert [len(set(some)) for some in seen] == [len(some) for some in seen] == [20, 20, 50, 50, 20, 20]
    assert sorted(seen[2]) == sorted(seen[3])


@pytest.mark.parametrize("name", ranking.CRITERIA)
def test_a_compensated_round_takes_the_same_neurons_and_refits_their_consumers(name, monkeypatch):
    monkeypatch.setattr(compensation, "RIDGE", 0)
    images = torch.randint(256, (300, 2, 2, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    plain, refitted, old = two_layers(), two_layers(), two_layers()
    round_of(plain, images, ARMS[name])
    round_of(refitted, images, ARMS[name], compensate=True)
    def scale(*weights):  # of each neuron, which a refit moves between its weights
        own, other = (weight.norm(dim=1, keepdim=True) for weight in weights)
        return own / other

    first_scale = scale(refitted.layers[0].weight, plain.layers[0].weight)
    torch.testing.assert_close(refitted.layers[0].weight, first_scale * plain.layers[0].weight)
    inputs = (images.float() / 255 - 0.5) / 0.5
    first, outputs = activations_by_hand(old, inputs)[0], old(inputs)
    keep = [old.layers[0].weight.tolist().index(row) for row in plain.layers[0].weight.tolist()]
    rows = [column for column in range(6) if any(torch.equal(old.layers[1].weight[column, keep], row)
                                                 for row in plain.layers[1].weight)]
    target = first @ old.layers[1].weight[rows].T
    fitted = torch.linalg.lstsq(first[:, keep].double(), target.double()).solution.T
    found = refitted.layers[1].weight.double() * first_scale.T
    torch.testing.assert_close(found / scale(found, fitted), fitted, rtol=1e-3, atol=1e-3)
    distances = [(model(inputs) - outputs).square().mean().item() for model in (refitted, plain)]
    assert distances[0] < distances[1]


# ---- arms and seeds ----

@each_kind
@pytest.mark.parametrize("arm, precision", [("contribution", "float32"), ("random", "bfloat16")])
def test_a_seed_fixes_the_log_and_another_seed_changes_it(arm, precision, start, objective, names, new_log):
    logs = [new_log() for _ in range(3)]
    for log, seed in zip(logs, (30, 30, 31)):
        torch.rand(7)  # a run draws from generators of its own
        train_alone(run_settings(seed=seed, precision=precision), arm, log, objective, start)
    assert lines(logs[0]) == lines(logs[1]) != lines(logs[2])


def batches_seen(given, arm, log):
    """The images of every step, one row per image; the data set's images are all different."""
    seen = []

    def recording(model, images, labels):
        if torch.is_grad_enabled():
            seen.append(images.flatten(1))
        return driver.classify(model, images, labels)

    train_alone(given, arm, log, recording)
    return seen


def test_arms_share_their_batches_and_every_epoch_is_a_new_order_of_the_whole_set(new_log):
    seen = {arm: batches_seen(run_settings(), arm, new_log()) for arm in COMPARED}
    other = batches_seen(run_settings(seed=31), "none", new_log())
    everything = sorted(next(iter(random_workload().dataset.train))[0].flatten(1).tolist())
    orders = [torch.cat(run[3 * epoch:3 * epoch + 3]).tolist() for run in (seen["none"], other) for epoch in range(6)]
    assert all(map(torch.equal, seen["contribution"], seen["none"]))
    assert all(map(torch.equal, seen["random"], seen["none"]))
    assert [[len(images) for images in run] for run in [*seen.values(), other]] == 4 * [6 * [25, 25, 10]]
    assert all(sorted(order) == everything for order in orders)
    assert len({str(order) for order in orders}) == 12


def test_augmented_batches_are_views_of_the_images_that_are_new_in_every_epoch_and_the_same_in_every_arm(new_log):
    runs = [batches_seen(run_settings(augment=True, seed=seed), arm, new_log())
            for seed, arm in [(30, "none"), (30, "contribution"), (30, "random"), (31, "none")]]
    plain = torch.cat(batches_seen(run_settings(), "none", new_log()))  # in the same order
    seen = [torch.cat(run) for run in runs]
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2]) and not torch.equal(seen[0], seen[3])
    views = torch.cartesian_prod(torch.arange(60), torch.arange(2), torch.arange(9), torch.arange(9))
    split = random_workload().dataset.train
    every = {}
    for number, image in zip(views[:, 0].tolist(), split.batch(views)[0].flatten(1).tolist()):
        every.setdefault(number, set()).add(tuple(image))
    numbers = {tuple(image): number for number, image in enumerate(next(iter(split))[0].flatten(1).tolist())}
    pairs = list(zip(map(tuple, seen[0].tolist()), map(tuple, plain.tolist())))
    assert all(view in every[numbers[image]] for view, image in pairs)
    assert sum(view == image for view, image in pairs) < 0.05 * len(pairs)
    assert len({str(sorted(seen[0][60 * epoch:60 * epoch + 60].tolist())) for epoch in range(6)}) == 6


def test_views_are_drawn_from_seed_and_epoch_alone_beside_the_same_order():
    split, given = random_workload().dataset.train, run_settings(augment=True)
    orders = []
    for seed, epoch in [(30, 1), (30, 1), (30, 2), (31, 1)]:
        torch.rand(7)  # a run draws from generators of its own
        orders.append(training.order_of(split, given, seed, epoch))
        assert torch.equal(orders[-1][:, 0], training.order_of(split, run_settings(), seed, epoch))
    views = [order[:, 1:] for order in orders]
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2]) and not torch.equal(views[0], views[3])


def test_only_training_batches_are_augmented(new_log):
    shown = []

    def recording(model, images, labels):
        if not model.training:
            shown.extend(map(tuple, images.flatten(1).tolist()))
        return driver.classify(model, images, labels)

    train_alone(run_settings(augment=True), "taylor", new_log(), recording)
    dataset = random_workload().dataset
    known = [next(iter(split))[0].flatten(1).tolist() for split in (dataset.train, dataset.test)]
    assert set(shown) == {tuple(image) for images in known for image in images}


def test_every_step_of_every_arm_has_the_rate_of_the_schedule(new_log):
    given = run_settings(total_epochs=5, learning_rate_schedule="cosine_restarts")
    expected = [0.1 * (0.51 + 0.49 * math.cos(math.pi * step / steps)) for steps in (6, 6, 3) for step in range(steps)]
    for arm in ("none", "random"):
        rates, state = [], classifier()

        def recording(model, images, labels, rates=rates, state=state):
            if torch.is_grad_enabled():
                rates.append(state.optimizer.param_groups[0]["lr"])
            return driver.classify(model, images, labels)
        train(state, random_workload(recording), given, arm, 5, new_log())
        assert rates == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("schedule, rate, recorded", [
    ("constant", 0.1, True), ("cosine", 0.1, False), ("cosine", torch.tensor(0.1), True)])
def test_on_a_gpu_a_step_is_recorded_if_its_graph_follows_the_rate(schedule, rate, recorded):
    state, workload = classifier(), random_workload()
    batch, ran = workload.dataset.train.batch(torch.arange(25)), []
    state.optimizer = torch.optim.SGD(state.model.parameters(), lr=rate)
    state.recording = SimpleNamespace(run=lambda function, index: ran.append(index) or function(index))
    train = SimpleNamespace(batch=lambda index: batch)
    training.step(state, workload._replace(dataset=SimpleNamespace(train=train)),
                  run_settings(learning_rate_schedule=schedule), IndexOnGpu())
    assert len(ran) == recorded


class IndexOnGpu:
    device = SimpleNamespace(type="cuda")

    def __len__(self):
        return 25

    def __getitem__(self, rows):
        return self


def noise_drawn(given, arm, log):
    """What the objective draws while the network trains, and while it is evaluated."""
    drawn = {True: [], False: []}

    def drawing(model, images, labels):
        drawn[torch.is_grad_enabled()].append(torch.randn(3).tolist())
        return driver.classify(model, images, labels)

    def draw(*arguments):
        torch.rand(7)  # measures and pictures may draw as they like
        return {}

    train_alone(given, arm, log, drawing, quality=draw, show=draw)
    return drawn[True], drawn[False]


def test_arms_share_their_noise_which_is_new_at_every_step_and_the_same_at_every_evaluation(new_log):
    steps, evaluations = zip(*(noise_drawn(run_settings(), arm, new_log()) for arm in COMPARED))
    other, _ = noise_drawn(run_settings(seed=31), "none", new_log())
    assert steps[0] == steps[1] == steps[2]
    assert len(set(map(tuple, steps[0] + other))) == 36  # two runs of 6 epochs of 3 batches
    # An epoch's end evaluates once, a run's end twice, both moments of a round twice; each in one batch.
    assert [len(draws) for draws in evaluations] == [6 + 2, 6 + 2 * 4 + 2, 6 + 2 * 4 + 2]
    assert len({tuple(draw) for draws in evaluations for draw in draws}) == 1


# ---- measures ----

@each_kind
def test_batch_lines_and_means_of_an_epoch_are_those_of_its_steps(start, objective, names, new_log):
    # 150 images make 21 batches of 7 and one of 3.
    log, steps = new_log(), []

    def recording(model, images, labels):
        loss, measured = objective(model, images, labels)
        if torch.is_grad_enabled():
            assert model.training
            steps.append((len(labels), {name: measure.item() for name, measure in measured.items()}))
        return loss, measured

    state, workload = start(), random_workload(recording, count=150)
    train(state, workload, run_settings(total_epochs=2, batch_size=7), "none", 2, log)
    log = read(log)
    assert [size for size, _ in steps] == 2 * [*(21 * [7]), 3]
    assert all(list(measured) == names for _, measured in steps)
    assert log.batches == [runlog.Batch(epoch, batch, steps[22 * (epoch - 1) + batch][1])
                           for epoch in (1, 2) for batch in (0, 10, 20)]
    for epoch, of_epoch in zip(log.epochs, [steps[:22], steps[22:]]):
        for name in names:
            mean = sum(size * measured[name] for size, measured in of_epoch) / 150
            assert epoch.measures["training " + name] == pytest.approx(mean, rel=1e-5)  # the log has six digits
    tested = measures.evaluate(state.model, workload.dataset.test, objective, "test ")
    assert list(tested) == ["test " + name for name in names]
    for name, value in tested.items():
        assert log.epochs[1].measures[name] == pytest.approx(value, rel=1e-5)


def test_the_loss_that_is_minimised_need_not_be_a_measure(new_log):
    # As a VAE's, which is summed over the batch while its measures are means.
    def zero(model, images, labels):
        loss, measured = driver.classify(model, images, labels)
        return 0 * loss, measured

    state = train_alone(run_settings(), "none", new_log(), zero)
    assert all(map(torch.equal, state.model.parameters(), classifier().model.parameters()))


@each_compared_arm
def test_a_run_is_shown_around_every_round_and_its_quality_logged(arm, new_log):
    calls, log, measured = [], new_log(), []

    def show(state, arm, moment, path):
        assert path == log.name
        calls.append((arm.name, moment, state.epoch, state.rounds, widths_of(state.groups)))

    def quality(model):
        measured.append([layer.out_features for layer in model.layers[:-1]])
        return {"test PSNR": 10.5 + len(measured)}

    train_alone(run_settings(), arm, log, show=show, quality=quality)
    log = read(log)
    moments = [described for round in log.rounds for described in (round.before, round.after)] + [log.summary]
    assert [(found["widths"], found["test PSNR"]) for found in moments] == [
        (widths, 10.5 + number) for number, widths in enumerate(measured, 1)]
    if arm == "none":
        assert calls == [(arm, "before", 2, 0, [50, 30]), (arm, "before", 4, 0, [50, 30])]
    else:
        assert calls == [(arm, "before", 2, 0, [50, 30]), (arm, "after", 2, 1, [45, 27]),
                         (arm, "before", 4, 1, [45, 27]), (arm, "after", 4, 2, [40, 24])]


# ---- failures ----

@pytest.mark.parametrize("batch, logged, measure, value", [
    (0, [], "loss", "nan"), (10, [0], "loss", "inf"), (13, [0, 10], "accuracy", "nan"),
    (29, [0, 10, 20], "loss", "nan")])
def test_a_loss_that_is_not_finite_ends_the_run_and_the_log_stays_whole(batch, logged, measure, value, new_log):
    log, steps = new_log(), []

    def breaking(model, images, labels):
        loss, measured = driver.classify(model, images, labels)
        if torch.is_grad_enabled():
            steps.append(labels)
            if len(steps) == 30 + batch + 1:
                measured[measure] = measured[measure] * float(value)
        return loss, measured

    with pytest.raises(Diverged, match=f"epoch 2, batch {batch}; .*learning_rate"):
        train_alone(run_settings(batch_size=2), "contribution", log, breaking)
    found = read(log)
    assert [(batch.epoch, batch.batch) for batch in found.batches] == [
        *((1, number) for number in (0, 10, 20)), *((2, number) for number in logged)]
    assert [epoch.epoch for epoch in found.epochs] == [1]
    assert not re.search("nan|inf", "\n".join(lines(log)))


def test_a_learning_rate_that_is_too_high_ends_the_run(new_log):
    def wild(seed):
        state = classifier(seed)
        state.optimizer.param_groups[0]["lr"] = 1e20
        return state
    message = refusal(train_alone, run_settings(learning_rate=1e20), "none", new_log(), start=wild)
    assert re.search(r"not finite at epoch 1, batch [12]; .* \(now: 1e\+20\)", message)


# ---- precision ----

def test_bfloat16_rounds_the_products_and_keeps_weights_and_measures_in_float32():
    def step_of(precision):
        state, measured = classifier(), []
        for _ in range(2):
            names, values = training.step(state, random_workload(), run_settings(precision=precision), torch.arange(25))
            measured.append(values[names.index("loss")])
        held = [value for entry in state.optimizer.state.values() for value in entry.values()]
        assert {value.dtype for value in [*state.model.parameters(), *held, *measured]} == {torch.float32}
        return measured[0].item()

    images, labels = next(random_workload().dataset.train.batches(25))
    x = images.flatten(1).bfloat16().double()
    for layer in classifier().model.layers:
        x = (x @ layer.weight.detach().bfloat16().double().T).bfloat16().double()
        x = x.relu() if layer.out_features != 3 else x
    assert step_of("bfloat16") == pytest.approx(functional.cross_entropy(x, labels).item(), rel=1e-3)
    assert step_of("bfloat16") != step_of("float32")


@pytest.mark.parametrize("name", ["contribution", "activation"])
def test_a_ranking_in_bfloat16_has_the_scores_of_float32_within_a_hundredth(name):
    def scores_of(precision):
        torch.manual_seed(30)
        state = state_of(models.build((1, 4, 4), [6], [20], 3), None)
        state.groups = groups_of(state.model, torch.rand(4, 1, 4, 4), prune_filters=True)[0]
        workload, found = random_workload(), []
        arm = ARMS[name]._replace(criterion=lambda *given: found.extend(ARMS[name].criterion(*given)) or found)
        training.ranked(state, workload, run_settings(precision=precision), arm, workload.dataset.train)
        return found

    for rounded, exact in zip(scores_of("bfloat16"), scores_of("float32")):
        assert rounded.dtype == exact.dtype == torch.float64 and not torch.equal(rounded, exact)
        torch.testing.assert_close(rounded, exact, rtol=0, atol=0.01 * exact.mean().item())
