"""The schedule, the shared start, seeds, means and failures, in runs on a small random data set and in their logs."""
import argparse
import contextlib
import copy
import os
import re
import shutil
import subprocess
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

import checkpoint
import data
import driver
import errors
import files
import machine
import models
import runlog
import training
import vae

GO_ON = checkpoint.Stop()  # nobody asks for it


def settings(**changes):
    values = {"total_epochs": 6, "initial_iterations": 2, "increment": 2, "prune_percent": 10.0, "lambda_average": 1.0,
              "lambda_max": 0.0, "seed": 30, "batch_size": 25, "learning_rate": 0.1, "momentum": 0.9,
              "ranking_images": 0, "compensate": False, "seeds": 1, "jobs": 1, "precision": "float32",
              "checkpoint_every": 1000, "flags": {}, "environment": {}}
    return argparse.Namespace(**{**values, **changes})


def random_split(count, seed):
    chance = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, 4, 4, 1), generator=chance, dtype=torch.uint8)
    return data.Split(images, torch.randint(3, (count,), generator=chance), "cpu", 0.5, 0.5)


def classifier(given):
    torch.manual_seed(given.seed)
    model = models.build((1, 4, 4), [], [50, 30], 3)
    return training.Run(model, torch.optim.SGD(model.parameters(), lr=given.learning_rate, momentum=given.momentum),
                        given.seed)


def autoencoder(given):
    torch.manual_seed(given.seed)
    model = models.VAE((1, 4, 4), [2], [50, 40, 30, 20], 3)
    return training.Run(model, torch.optim.Adam(model.parameters(), lr=0.01), given.seed)


def elbo(model, images, labels):
    """A loss with three measures, which draws noise; the pixels back in [0, 1]."""
    return vae.negative_elbo(model, (images + 1) / 2, 1.0)


# A network in training and its objective.
KINDS = {"classifier": (classifier, driver.classify), "VAE": (autoencoder, elbo)}


def task(objective=driver.classify, quality=lambda model: {}, show=lambda run, arm, moment, path: None,
         train=60):
    return training.Task(data.Dataset(random_split(train, 0), random_split(20, 1), 3), objective, quality, show, None)


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


def train_alone(given, arm, log, objective=driver.classify, start=classifier, **options):
    run, small = start(given), task(objective, **options)
    training.train(run, small, given, arm, given.total_epochs, [log.file], GO_ON)
    training.finish(run, small, [log.file])
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


@pytest.mark.parametrize("kind", KINDS)
def test_an_arm_after_the_shared_start_equals_the_arm_alone(kind, new_log):
    start, objective = KINDS[kind]
    given, small = settings(), task(objective)
    shared, logs = start(given), [new_log() for _ in ARMS]
    training.train(shared, small, given, "none", given.initial_iterations, [log.file for log in logs], GO_ON)
    for arm, log in zip(ARMS, logs):
        run = copy.deepcopy(shared)
        training.train(run, small, given, arm, given.total_epochs, [log.file], GO_ON)
        training.finish(run, small, [log.file])
        alone = new_log()
        weights = train_alone(given, arm, alone, objective, start).model.state_dict()
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
    everything = sorted(next(task().data.train.batches())[0].flatten(1).tolist())
    orders = [torch.cat(run[3 * epoch:3 * epoch + 3]).tolist() for run in (seen["none"], other) for epoch in range(6)]
    assert all(map(torch.equal, seen["contribution"], seen["none"]))
    assert all(map(torch.equal, seen["random"], seen["none"]))
    assert [[len(images) for images in run] for run in [*seen.values(), other]] == 4 * [6 * [25, 25, 10]]
    assert all(sorted(order) == everything for order in orders)
    assert len({str(order) for order in orders}) == 12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arm", ARMS)
def test_a_seed_fixes_the_log_and_another_seed_changes_it(arm, kind, new_log):
    start, objective = KINDS[kind]
    first, again, other = new_log(), new_log(), new_log()
    train_alone(settings(), arm, first, objective, start)
    torch.rand(7)  # a run draws from generators of its own
    train_alone(settings(), arm, again, objective, start)
    train_alone(settings(seed=31), arm, other, objective, start)
    assert first.lines() == again.lines() != other.lines()


def test_another_seed_gives_other_noise(new_log):
    # The same first weights and one batch of all images an epoch: but for its noise the first step would be the same.
    logs = new_log(), new_log()
    for log, seed in zip(logs, (30, 31)):
        run = autoencoder(settings())
        run.seed = seed
        training.train(run, task(elbo), settings(batch_size=60), "none", 1, [log.file], GO_ON)
    first, other = (log.read().batches[0].measures for log in logs)
    assert first["KLD"] == pytest.approx(other["KLD"], rel=1e-5)
    assert abs(first["BCE"] - other["BCE"]) > 1e-5


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
    steps, evaluations = zip(*(noise_drawn(settings(), arm, new_log()) for arm in ARMS))
    other, _ = noise_drawn(settings(seed=31), "none", new_log())
    assert steps[0] == steps[1] == steps[2]
    assert len(set(map(tuple, steps[0] + other))) == 36  # two runs of 6 epochs of 3 batches
    # An epoch's end evaluates once, a run's end twice, both moments of a round twice; each in one batch.
    assert [len(draws) for draws in evaluations] == [6 + 2, 6 + 2 * 4 + 2, 6 + 2 * 4 + 2]
    assert len({tuple(draw) for draws in evaluations for draw in draws}) == 1


# ---- measures ----

def test_an_evaluation_is_the_mean_over_all_images_in_evaluation_mode():
    split = random_split(data.EVALUATION_BATCH + 37, 5)
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


@pytest.mark.parametrize("kind, names", [("classifier", ["loss", "accuracy"]), ("VAE", ["loss", "BCE", "KLD"])])
def test_batch_lines_and_means_of_an_epoch_are_those_of_its_steps(kind, names, new_log):
    # 150 images make 21 batches of 7 and one of 3.
    start, objective = KINDS[kind]
    given, log, steps = settings(total_epochs=2, batch_size=7), new_log(), []

    def recording(model, images, labels):
        loss, measures = objective(model, images, labels)
        if torch.is_grad_enabled():
            assert model.training
            steps.append((len(labels), {name: measure.item() for name, measure in measures.items()}))
        return loss, measures

    run, small = start(given), task(recording, train=150)
    training.train(run, small, given, "none", 2, [log.file], GO_ON)
    log = log.read()
    assert [size for size, _ in steps] == 2 * [*(21 * [7]), 3]
    assert all(list(measures) == names for _, measures in steps)
    assert log.batches == [runlog.Batch(epoch, batch, steps[22 * (epoch - 1) + batch][1])
                           for epoch in (1, 2) for batch in (0, 10, 20)]
    for epoch, of_epoch in zip(log.epochs, [steps[:22], steps[22:]]):
        for name in names:
            mean = sum(size * measures[name] for size, measures in of_epoch) / 150
            assert epoch.measures["training " + name] == pytest.approx(mean, rel=1e-5)  # the log has six digits
    tested = training.evaluate(run.model, small.data.test, objective, "test ")
    assert list(tested) == ["test " + name for name in names]
    for name, value in tested.items():
        assert log.epochs[1].measures[name] == pytest.approx(value, rel=1e-5)


def test_the_loss_that_is_minimised_need_not_be_a_measure(new_log):
    # As a VAE's, which is summed over the batch while its measures are means.
    def zero(model, images, labels):
        loss, measures = driver.classify(model, images, labels)
        return 0 * loss, measures

    run, given = classifier(settings()), settings()
    train_alone(given, "none", new_log(), zero, lambda given: run)
    assert all(map(torch.equal, run.model.parameters(), classifier(given).model.parameters()))


@pytest.mark.parametrize("arm", ["contribution", "random"])
def test_the_quality_before_and_after_a_round_and_at_the_end_stands_in_the_log(arm, new_log):
    calls, log = [], new_log()

    def quality(model):
        calls.append(models.widths(model))
        return {"test PSNR": 10.5 + len(calls), "active units": len(calls)}

    train_alone(settings(), arm, log, quality=quality)
    log = log.read()
    assert calls == [[50, 30], [45, 27], [45, 27], [40, 24], [40, 24]]
    moments = [measures for round in log.rounds for measures in (round.before, round.after)] + [log.summary]
    assert [(found["test PSNR"], found["active units"]) for found in moments] == [
        (10.5 + number, number) for number in range(1, 6)]


@pytest.mark.parametrize("arm", ARMS)
def test_a_run_is_shown_around_every_round_and_without_pruning_at_the_same_epochs(arm, new_log):
    calls = []
    train_alone(settings(), arm, new_log(), show=lambda run, arm, moment, path: calls.append(
        (arm, moment, run.epoch, run.rounds, models.widths(run.model))))
    if arm == "none":
        assert calls == [(arm, "before", 2, 0, [50, 30]), (arm, "before", 4, 0, [50, 30])]
    else:
        assert calls == [(arm, "before", 2, 0, [50, 30]), (arm, "after", 2, 1, [45, 27]),
                         (arm, "before", 4, 1, [45, 27]), (arm, "after", 4, 2, [40, 24])]


# ---- failures ----

@pytest.mark.parametrize("value, measure", [(float("nan"), "loss"), (float("inf"), "loss"), (float("nan"), "accuracy")])
@pytest.mark.parametrize("batch, logged", [(0, []), (10, [0]), (13, [0, 10]), (29, [0, 10, 20])])
def test_a_loss_that_is_not_finite_ends_the_run_and_the_log_stays_whole(
        batch, logged, value, measure, new_log):
    given, log, steps = settings(batch_size=2), new_log(), []

    def breaking(model, images, labels):
        loss, measures = driver.classify(model, images, labels)
        if torch.is_grad_enabled():
            steps.append(labels)
            if len(steps) == 30 + batch + 1:
                measures[measure] = measures[measure] * value
        return loss, measures

    with pytest.raises(errors.UserError, match="epoch 2, batch " + str(batch) + "; .*learning_rate"):
        train_alone(given, "contribution", log, breaking)
    found = log.read()
    assert [(batch.epoch, batch.batch) for batch in found.batches] == [
        *[(1, number) for number in (0, 10, 20)], *[(2, number) for number in logged]]
    assert [epoch.epoch for epoch in found.epochs] == [1]
    assert not re.search("nan|inf", "\n".join(log.lines()))


def test_a_learning_rate_that_is_too_high_ends_the_run(new_log):
    with pytest.raises(errors.UserError, match="not finite at epoch 1, batch [12]; .* .now: 1e.20"):
        train_alone(settings(learning_rate=1e20), "none", new_log())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_a_user_error_that_names_the_log(new_log):
    whole, full = new_log(), open("/dev/full", "w")
    with pytest.raises(errors.UserError, match="/dev/full: No space"):
        files.write([whole.file, full], "a line\n")
    assert whole.lines() == ["a line"]
    with contextlib.suppress(OSError):
        full.close()


def test_a_round_begins_a_new_recording_of_the_step(new_log):
    run, log = classifier(settings()), new_log()
    before = run.recording
    training.prune(run, task(), settings(), "random", [log.file])
    assert type(run.recording) is machine.Recording and run.recording is not before


# ---- precision ----

def test_bfloat16_rounds_the_products_and_keeps_weights_and_measures_in_float32(new_log):
    def step_of(precision):
        run, measures = classifier(settings()), []
        for _ in range(2):
            names, values = training.step(run, task(), settings(precision=precision), torch.arange(25))
            measures.append(values[names.index("loss")])
        state = [value for entry in run.optimizer.state.values() for value in entry.values()]
        assert {value.dtype for value in [*run.model.parameters(), *state, *measures]} == {torch.float32}
        return measures[0].item()

    images, labels = next(task().data.train.batches(25))
    x = images.flatten(1).bfloat16().double()
    for layer in classifier(settings()).model.layers:
        x = (x @ layer.weight.detach().bfloat16().double().T).bfloat16().double()
        x = x.relu() if layer.out_features != 3 else x
    assert step_of("bfloat16") == pytest.approx(functional.cross_entropy(x, labels).item(), rel=1e-3)
    assert step_of("bfloat16") != step_of("float32")


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_fixes_the_log_in_bfloat16_too(kind, new_log):
    start, objective = KINDS[kind]
    logs = [new_log() for _ in range(3)]
    for log, precision in zip(logs, ("bfloat16", "bfloat16", "float32")):
        train_alone(settings(precision=precision), "contribution", log, objective, start)
    assert logs[0].lines() == logs[1].lines() != logs[2].lines()


@pytest.mark.parametrize("name, device, convolutions, flags, picked", [
    ("auto", "cpu", True, "fpu amx_bf16 sse", "bfloat16"), ("auto", "cpu", True, "avx512_bf16", "bfloat16"),
    ("auto", "cpu", True, "avx512f", "float32"), ("auto", "cpu", False, "amx_bf16", "float32"),
    ("auto", "mps", True, "", "float32"), ("bfloat16", "cpu", False, "", "bfloat16"),
    ("float32", "cpu", True, "amx_bf16", "float32")])
def test_auto_takes_bfloat16_where_it_pays(name, device, convolutions, flags, picked, monkeypatch):
    monkeypatch.setattr(machine, "processor_line", {"flags": flags}.get)
    assert machine.pick_precision(name, torch.device(device), convolutions) == picked


@pytest.mark.parametrize("device", ["mps", "cuda"])
def test_bfloat16_is_refused_where_torch_or_the_gpu_has_none(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    with pytest.raises(errors.UserError, match=f"not on the device {device}"):
        machine.pick_precision("bfloat16", torch.device(device), True)


def test_on_the_processor_cuda_is_not_even_asked_for(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("this starts CUDA"))
    assert machine.pick_device("cpu") == torch.device("cpu") and os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_a_gpu_for_which_torch_has_no_kernels_is_named(monkeypatch):
    def ones(*sizes, device):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nand more")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", ones)
    for name in ("cuda", "auto"):
        with pytest.raises(errors.UserError, match="^device cuda: CUDA error: no kernel image .*; take --device cpu$"):
            machine.pick_device(name)


def test_an_older_glibc_keeps_as_large_tensors_as_it_can(monkeypatch):
    taken = {}

    def mallopt(parameter, value):  # 1: taken
        if parameter == -3 and value > 2 ** 25:
            return 0
        taken[parameter] = value
        return 1
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    machine.keep_freed_memory()
    assert taken == {-1: 2 ** 30, -3: 2 ** 25}


@pytest.mark.skipif(not shutil.which("git"), reason="there is no git")
def test_the_commit_is_that_of_the_repository_which_holds_this_code(tmp_path, monkeypatch):
    def git(*arguments):
        return subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a", *arguments], cwd=str(tmp_path),
                              check=True, capture_output=True, text=True).stdout.strip()
    folder = tmp_path / "suite"
    folder.mkdir()
    file = folder / "machine.py"
    file.write_text("here = 1\n")
    monkeypatch.setattr(machine, "__file__", str(file))
    assert machine.commit() == "unknown"
    git("init")
    assert machine.commit() == "unknown"
    git("commit", "--allow-empty", "-m", "of something else")
    assert machine.commit() == "unknown"
    git("add", ".")
    git("commit", "-m", "of this code")
    assert machine.commit() == git("rev-parse", "--short=12", "HEAD")
    file.write_text("here = 2\n")
    assert machine.commit() == git("rev-parse", "--short=12", "HEAD") + " with changes"
