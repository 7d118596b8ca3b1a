"""The schedule, the shared start, seeds, means and failures, in runs on a small random data set and in their logs."""
import argparse
import contextlib
import copy
import os
import re

import pytest
import torch
from torch import nn
from torch.nn import functional

import config
import data
import driver
import models
import runlog
import training


def settings(**changes):
    values = {"total_epochs": 6, "initial_iterations": 2, "increment": 2, "prune_percent": 10.0, "lambda_average": 1.0,
              "lambda_max": 0.0, "seed": 30, "batch_size": 25, "learning_rate": 0.1, "momentum": 0.9, "mean": 0.5,
              "std": 0.5}
    return argparse.Namespace(**{**values, **changes})


def random_split(count, seed, given):
    chance = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, 4, 4, 1), generator=chance, dtype=torch.uint8)
    return data.Split(images, torch.randint(3, (count,), generator=chance), given, "cpu")


def dataset(given, train=60, test=20):
    return data.Dataset(random_split(train, 0, given), random_split(test, 1, given), 3)


def start(given):
    torch.manual_seed(given.seed)
    model = models.build((1, 4, 4), [], [50, 30], 3)
    return training.Run(model, torch.optim.SGD(model.parameters(), lr=given.learning_rate, momentum=given.momentum))


class Log:
    """A log file that a test writes through `file` and reads back."""

    def __init__(self, path):
        self.path, self.file = str(path), open(str(path), "w")

    def read(self):
        return runlog.parse_log(self.path)

    def lines(self):
        """What the log says, without its times."""
        with open(self.path) as file:
            return re.sub(r"time \S+ s", "time", file.read()).splitlines()


@pytest.fixture
def new_log(tmp_path):
    logs = []

    def new():
        logs.append(Log(tmp_path / str(len(logs))))
        return logs[-1]

    yield new
    for log in logs:
        log.file.close()


def train_alone(given, arm, log, objective=driver.classify):
    run, small = start(given), dataset(given)
    training.train(run, small, objective, given, arm, given.total_epochs, [log.file])
    training.finish(run, small, objective, [log.file])
    return run


# ---- the schedule ----

FIFTEEN = [[45, 27], [40, 24], [36, 21], [32, 18], [28, 16]]
TEN = [*FIFTEEN, [25, 14], [22, 12]]


@pytest.mark.parametrize("arm", ["contribution", "random"])
@pytest.mark.parametrize("total, initial, increment, epochs, widths", [
    (100, 30, 10, [30, 40, 50, 60, 70, 80, 90], TEN),
    (100, 30, 15, [30, 45, 60, 75, 90], FIFTEEN),
    (100, 100, 10, [], []),
    (5, 30, 10, [], []),
    (11, 3, 4, [3, 7], TEN[:2]),        # the next round would be at the end
    (10, 3, 4, [3, 7], TEN[:2]),        # the last stretch is cut
    (7, 3, 10, [3], TEN[:1]),
    (5, 1, 1, [1, 2, 3, 4], TEN[:4]),
])
def test_rounds_stand_at_their_epochs_and_leave_their_widths(total, initial, increment, epochs, widths, arm, new_log):
    given, log = settings(total_epochs=total, initial_iterations=initial, increment=increment), new_log()
    run = train_alone(given, arm, log)
    log = log.read()

    assert [round.epoch for round in log.rounds] == epochs
    assert [round.number for round in log.rounds] == list(range(1, len(epochs) + 1))
    assert [epoch.epoch for epoch in log.epochs] == list(range(1, total + 1))
    assert [(batch.epoch, batch.batch) for batch in log.batches] == [(epoch, 0) for epoch in range(1, total + 1)]
    assert len({epoch.measures["training loss"] for epoch in log.epochs}) == total  # every epoch changes the weights
    now = [50, 30]
    for round, expected in zip(log.rounds, widths):
        for measures, (first, second) in [(round.before, now), (round.after, expected)]:
            assert measures["widths"] == [first, second]
            assert measures["neurons"] == first + second
            assert measures["parameters"] == 16 * first + first * second + second * 3
        # The round works on the network as it was when its epoch ended.
        assert round.before["test loss"] == log.epochs[round.epoch - 1].measures["test loss"]
        now = expected
    assert models.widths(run.model) == log.summary["widths"] == now
    assert (log.summary["epochs"], log.summary["rounds"]) == (total, len(epochs))


def test_without_pruning_there_is_no_round(new_log):
    log = new_log()
    train_alone(settings(), "none", log)
    log = log.read()
    assert (log.rounds, log.summary["epochs"], log.summary["widths"]) == ([], 6, [50, 30])


# ---- arms and seeds ----

ARMS = ["none", "contribution", "random"]


def test_an_arm_after_the_shared_start_equals_the_arm_alone(new_log):
    given = settings()
    small, shared, logs = dataset(given), start(given), [new_log() for _ in ARMS]
    training.train(shared, small, driver.classify, given, "none", given.initial_iterations, [log.file for log in logs])
    for arm, log in zip(ARMS, logs):
        run = copy.deepcopy(shared)
        training.train(run, small, driver.classify, given, arm, given.total_epochs, [log.file])
        training.finish(run, small, driver.classify, [log.file])
        alone = new_log()
        weights = train_alone(given, arm, alone).model.state_dict()
        assert log.lines() == alone.lines()
        assert all(torch.equal(value, weights[name]) for name, value in run.model.state_dict().items())
    assert len({tuple(log.lines()) for log in logs}) == len(ARMS)


def batches_seen(given, arm, log):
    """The images of every step, one row an image; the data set's images are all different."""
    seen = []

    def recording(model, images, labels):
        if torch.is_grad_enabled():
            seen.append(images.flatten(1))
        return driver.classify(model, images, labels)

    train_alone(given, arm, log, recording)
    return seen


def test_arms_share_their_batches_and_every_epoch_is_a_new_order_of_the_whole_set(new_log):
    seen = {arm: batches_seen(settings(), arm, new_log()) for arm in ARMS}
    other = batches_seen(settings(seed=31), "none", new_log())
    everything = sorted(next(dataset(settings()).train.batches())[0].flatten(1).tolist())
    orders = [torch.cat(run[3 * epoch:3 * epoch + 3]).tolist() for run in (seen["none"], other) for epoch in range(6)]
    assert all(map(torch.equal, seen["contribution"], seen["none"]))
    assert all(map(torch.equal, seen["random"], seen["none"]))
    assert [[len(images) for images in run] for run in [*seen.values(), other]] == 4 * [6 * [25, 25, 10]]
    assert all(sorted(order) == everything for order in orders)
    assert len({str(order) for order in orders}) == 12


@pytest.mark.parametrize("arm", ARMS)
def test_a_seed_fixes_the_log_and_another_seed_changes_it(arm, new_log):
    first, again, other = new_log(), new_log(), new_log()
    train_alone(settings(), arm, first)
    torch.rand(7)  # a run draws from generators of its own
    train_alone(settings(), arm, again)
    train_alone(settings(seed=31), arm, other)
    assert first.lines() == again.lines() != other.lines()


# ---- measures ----

def test_an_evaluation_is_the_mean_over_all_images_in_evaluation_mode():
    given = settings()
    split = random_split(data.EVALUATION_BATCH + 37, 5, given)
    split.labels[data.EVALUATION_BATCH:] = 0  # the smaller batch differs from the rest
    torch.manual_seed(2)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3))
    measured = training.evaluate(model, split, driver.classify, "test ")

    inputs = (split.images.double() / 255 - 0.5) / 0.5
    logits = inputs.flatten(1) @ model[2].weight.detach().double().T + model[2].bias.detach().double()
    right = sum(row.index(max(row)) == label for row, label in zip(logits.tolist(), split.labels.tolist()))
    assert measured == pytest.approx({"test loss": functional.cross_entropy(logits, split.labels).item(),
                                      "test accuracy": 100 * right / len(split)}, rel=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_batch_lines_and_means_of_an_epoch_are_those_of_its_steps(new_log):
    # 150 images make 21 batches of 7 and one of 3.
    given, steps = settings(total_epochs=2, batch_size=7), []
    small, run, log = dataset(given, train=150), start(given), new_log()

    def recording(model, images, labels):
        measures = driver.classify(model, images, labels)
        if torch.is_grad_enabled():
            assert model.training
            steps.append((len(labels), measures["loss"].item(), measures["accuracy"].item()))
        return measures

    training.train(run, small, recording, given, "none", 2, [log.file])
    log = log.read()
    assert [size for size, _, _ in steps] == 2 * [*(21 * [7]), 3]
    assert log.batches == [runlog.Batch(epoch, batch, *steps[22 * (epoch - 1) + batch][1:])
                           for epoch in (1, 2) for batch in (0, 10, 20)]
    for epoch, of_epoch in zip(log.epochs, [steps[:22], steps[22:]]):
        for place, name in enumerate(["training loss", "training accuracy"], 1):
            mean = sum(step[0] * step[place] for step in of_epoch) / 150
            assert epoch.measures[name] == pytest.approx(mean, rel=1e-5)  # the log has six digits
    for name, value in training.evaluate(run.model, small.test, driver.classify, "test ").items():
        assert log.epochs[1].measures[name] == pytest.approx(value, rel=1e-5)


# ---- failures ----

@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("batch, logged", [(0, []), (10, [0]), (13, [0, 10]), (29, [0, 10, 20])])
def test_a_loss_that_is_not_finite_ends_the_run_and_the_log_stays_whole(batch, logged, value, new_log):
    given, log, steps = settings(batch_size=2), new_log(), []

    def breaking(model, images, labels):
        measures = driver.classify(model, images, labels)
        if torch.is_grad_enabled():
            steps.append(labels)
            if len(steps) == 30 + batch + 1:
                measures["loss"] = measures["loss"] * value
        return measures

    with pytest.raises(config.UserError, match="epoch 2, batch " + str(batch) + "; .*learning_rate"):
        train_alone(given, "contribution", log, breaking)
    found = log.read()
    assert [(batch.epoch, batch.batch) for batch in found.batches] == [
        *[(1, number) for number in (0, 10, 20)], *[(2, number) for number in logged]]
    assert [epoch.epoch for epoch in found.epochs] == [1]
    assert not re.search("nan|inf", "\n".join(log.lines()))


def test_a_learning_rate_that_is_too_high_ends_the_run(new_log):
    with pytest.raises(config.UserError, match="not finite at epoch 1, batch [12]; .* .now: 1e.20"):
        train_alone(settings(learning_rate=1e20), "none", new_log())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_a_user_error_that_names_the_log(new_log):
    whole, full = new_log(), open("/dev/full", "w")
    with pytest.raises(config.UserError, match="/dev/full: No space"):
        runlog.write([whole.file, full], "a line\n")
    assert whole.lines() == ["a line"]
    with contextlib.suppress(OSError):
        full.close()
