"""Train a network epoch by epoch, with a round of ranking and removal where the schedule has one."""
import math
import os
import shlex
import statistics
import sys
import time
from collections import namedtuple

import numpy as np
import torch
from tqdm import tqdm

import checkpoint
import files
import machine
import models
import ranking
import runlog
from errors import Diverged, Interrupted

LOG_EVERY = 10  # batches between two lines of the log

# Every use of chance has its own stream of numbers, so that one arm's draws never shift another's.
BATCHES, RANDOM_RANKING, NOISE, RANKING_IMAGES = range(4)


class Task(namedtuple("Task", "data objective quality show conclude",
                      defaults=(lambda model: {}, lambda run, arm, moment, path: None, None))):
    """What is trained on and how it is measured.

    data: the data.Dataset.
    objective: (model, images, labels) -> (the loss to minimise, {measure: mean over the batch}).
    quality: model -> further measures for rounds and summary.
    show: (run, arm, moment, path of the log), called "before" and "after" a round and at the "end".
    conclude: (pairs of arm and finished run, path of the first one's log), called at the end of all arms; or None.
    """

    def summed_loss(self, model, images, labels):
        """The sum of the images' losses, as a tensor."""
        return len(labels) * self.objective(model, images, labels)[1]["loss"]


def stream_seed(seed, epoch, use):
    """The seed of a stream that depends on the run's seed, the epoch and its use alone, so a run can go on from any
    epoch."""
    return int(np.random.SeedSequence((seed, epoch, use)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(seed, epoch, use):
    return torch.Generator().manual_seed(stream_seed(seed, epoch, use))


def rounds(config):
    """The epochs after which a round follows: initial_iterations and every increment on, before total_epochs."""
    return range(config.initial_iterations, config.total_epochs, config.increment)


def final_widths(config):
    """The neurons that the schedule leaves in each hidden layer."""
    widths = config.hidden_widths
    for _ in rounds(config):
        if max(widths) == 1:
            break
        widths = [ranking.staying(width, config.prune_percent) for width in widths]
    return widths


class Run:
    """A network in training: the model, its optimizer, its seed, epochs done, rounds done and the seconds they took.

    Of an epoch that was stopped on its way also the batches done, the seconds spent on them, the history of their
    measures and the random states after them. seen: what the task's `show` keeps for later.
    """

    def __init__(self, model, optimizer, seed):
        self.model, self.optimizer, self.seed = model, optimizer, seed
        self.recording = machine.Recording()  # of its step
        self.epoch, self.rounds, self.seconds = 0, 0, 0.0
        self.pause()
        self.seen = {}

    def pause(self, batches=0, spent=0.0, history=None, random=None):
        """Say how far the next epoch is."""
        self.batches, self.spent, self.history, self.random = batches, spent, history, random or {}


def train(run, task, config, arm, last_epoch, logs, stop):
    """Train up to and including `last_epoch`, with the rounds of the arm and checkpoints; all goes to all of `logs`.

    arm: a name in comparison.ARMS. stop: a checkpoint.Stop. Raises Diverged where the loss is not finite, Interrupted
    where the run was asked to stop.
    """
    batches, words = math.ceil(len(task.data.train) / config.batch_size), name_of(run, config, arm)
    with tqdm(total=(last_epoch - run.epoch) * batches, initial=run.batches, unit="batch", leave=False,
              disable=None if config.jobs == 1 else True) as bar:
        while run.epoch < last_epoch:
            if stop.asked:
                interrupt(run, config, logs)
            if is_before_round(run, config, arm):
                task.show(run, arm, "before", logs[0].name)
                if arm in ranking.CRITERIA:
                    line = prune(run, task, config, arm, logs)
                    task.show(run, arm, "after", logs[0].name)
                    checkpoint.write(run, config, logs)
                    tqdm.write(f"{words}: {line}", end="")  # last, since the terminal may have closed meanwhile
            widths = runlog.format_value("widths", models.widths(run.model))
            bar.set_description(f"{words} {run.epoch + 1}/{config.total_epochs} {widths}")
            train_epoch(run, task, config, logs, bar, stop)
            if run.epoch % config.checkpoint_every == 0 or run.epoch == last_epoch:
                checkpoint.write(run, config, logs)


def is_before_round(run, config, arm):
    """Whether a round stands between the last epoch and the next one, and has not been done yet."""
    schedule = rounds(config)
    return run.epoch in schedule and not run.batches and (
        arm not in ranking.CRITERIA or schedule.index(run.epoch) == run.rounds)


def name_of(run, config, arm):
    """What a terminal calls a run."""
    return f"{arm}, seed {run.seed}" if config.seeds > 1 else arm


def train_epoch(run, task, config, logs, bar, stop):
    """What is left of a pass over the training set in the order of (seed, epoch), then the measures on the test set."""
    epoch, split = run.epoch + 1, task.data.train
    device = split.labels.device
    order = torch.randperm(len(split), generator=generator(run.seed, epoch, BATCHES)).to(device)
    torch.manual_seed(stream_seed(run.seed, epoch, NOISE))
    machine.set_random_states(run.random)
    history = None if run.history is None else run.history.to(device)
    started = time.perf_counter() - run.spent
    run.model.train()
    for batch, index in enumerate(order[run.batches * config.batch_size:].split(config.batch_size), run.batches):
        if stop.asked:
            if batch:
                run.pause(batch, time.perf_counter() - started, history, machine.random_states(device))
            interrupt(run, config, logs)
        names, measures = step(run, task, config, index)
        if history is None:
            # One tensor for the epoch's numbers: kept apart, they would lie between the batches' large tensors and stop
            # the allocator from using that memory again (a CIFAR-10 run took up to 3.1 GB so, in place of 1.4). They
            # stay on the device until the epoch ends, but for the bar's, since reading one makes a GPU wait.
            history = torch.zeros(math.ceil(len(split) / config.batch_size), len(measures), device=device)
        history[batch] = measures
        if batch % LOG_EVERY == 0 and not bar.disable:
            bar.set_postfix({name: f"{value:.4g}" for name, value in zip(names, measures.tolist())}, refresh=False)
        bar.update()

    history = history.cpu()
    write_batches(logs, epoch, names, history, config)
    sizes = torch.full((len(history), 1), config.batch_size, dtype=torch.float64)
    sizes[-1] = len(index)
    means = (history * sizes).sum(0) / sizes.sum()
    results = {"training " + name: mean for name, mean in zip(names, means.tolist())}
    results.update(evaluate(run.model, task.data.test, task.objective, "test "))
    if not all(map(math.isfinite, results.values())):
        raise not_finite(epoch, len(history) - 1, config)
    seconds = time.perf_counter() - started
    run.epoch, run.seconds = epoch, run.seconds + seconds
    run.pause()
    files.write(logs, runlog.format_epoch(epoch, {**results, "time": seconds}))


def step(run, task, config, index):
    """One step of the optimizer on the training images at an index (B,); returns the names of its measures and their
    values, a tensor that holds until the next step."""
    def on_batch(its_index):
        images, labels = task.data.train.batch(its_index)
        with machine.autocast(labels.device, config.precision):
            loss, measures = task.objective(run.model, images, labels)
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        run.optimizer.step()
        return list(measures), torch.stack([measure.detach() for measure in measures.values()])

    if index.device.type == "cuda" and config.cuda_graphs:
        return run.recording.run(on_batch, index)
    return on_batch(index)


def try_batches(run, task, config):
    """Train on the first batches, two at least and a second's worth; returns the last one's measures and the median of
    the seconds a batch takes. Raises Diverged where the loss is not finite."""
    times, last = [], time.perf_counter()
    order = torch.randperm(len(task.data.train)).to(task.data.train.labels.device)
    for index in order.split(config.batch_size):
        names, values = step(run, task, config, index)
        measures = dict(zip(names, values.tolist()))
        if not all(map(math.isfinite, measures.values())):
            raise not_finite(1, len(times), config)
        times.append(time.perf_counter() - last)
        last += times[-1]
        if len(times) > 1 and sum(times) > 1:
            break
    return measures, statistics.median(times[1:] or times)  # the first one also warms up


def interrupt(run, config, logs):
    """End a run that was asked to stop, with a checkpoint of this moment."""
    checkpoint.write(run, config, logs)
    quote = shlex.quote if os.name == "posix" else '"{}"'.format
    begun = f" and {run.batches} batches of the next" if run.batches else ""
    raise Interrupted(f"interrupted after epoch {run.epoch}{begun}; go on with: python "
                      f"{quote(sys.argv[0])} --resume {quote(logs[0].name)}")


def write_batches(logs, epoch, names, history, config):
    """Log every tenth batch of `history`, (batches, measures), up to the first that is not finite."""
    broken = (~history.isfinite()).any(1).nonzero().flatten().tolist()
    finite = history[:broken[0]] if broken else history
    files.write(logs, "".join(runlog.format_batch(epoch, number * LOG_EVERY, dict(zip(names, values)))
                        for number, values in enumerate(finite[::LOG_EVERY].tolist())))
    if broken:
        raise not_finite(epoch, broken[0], config)


def not_finite(epoch, batch, config):
    return Diverged(f"the loss is not finite at epoch {epoch}, batch {batch}; the log keeps what came before; a lower "
                     f"learning_rate may help (now: {config.learning_rate})")


def prune(run, task, config, arm, logs):
    """One round: rank all groups on the frozen network over the training set, then remove; returns its line."""
    run.recording = machine.Recording()  # the one before is of weights that go
    before = describe(run, task)
    started = time.perf_counter()
    passes = ranking.Passes(run.model, lambda: ranking_batches(run, task, config), task.summed_loss, config.compensate)
    options = ranking.Options(config.lambda_average, config.lambda_max, generator(run.seed, run.epoch, RANDOM_RANKING))
    survivors = ranking.survivors(passes, arm, options, config.prune_percent)
    if config.compensate:
        for group, keep, moments in zip(passes.groups, survivors, passes.moments()):
            models.compensate(group, keep, moments)
    models.remove(passes.groups, survivors, run.optimizer)
    seconds = time.perf_counter() - started  # of ranking and removal alone
    run.rounds, run.seconds = run.rounds + 1, run.seconds + seconds
    line = runlog.format_round(run.rounds, run.epoch, before, describe(run, task), seconds)
    files.write(logs, line)
    return line


def ranking_batches(run, task, config):
    """The batches of images and labels that a round ranks by."""
    split = task.data.train
    if not config.ranking_images:
        return split.batches()
    order = torch.randperm(len(split), generator=generator(run.seed, run.epoch, RANKING_IMAGES))
    return split.batches(order=order[:config.ranking_images].to(split.labels.device))


def describe(run, task):
    """Widths, neurons, parameters, an image's multiply-adds, the measures over the whole training and test set and the
    task's further ones."""
    widths = models.widths(run.model)
    image, _ = next(task.data.test.batches(1))
    return {"widths": widths, "neurons": sum(widths), "parameters": models.count_parameters(run.model),
            "multiply-adds": models.multiply_adds(run.model, image),
            **evaluate(run.model, task.data.train, task.objective, "training "),
            **evaluate(run.model, task.data.test, task.objective, "test "), **task.quality(run.model)}


@torch.no_grad()
def evaluate(model, split, objective, prefix):
    """{prefix + measure: mean over the split}, in evaluation mode."""
    model.eval()
    torch.manual_seed(0)  # a VAE is measured with the same noise every time; training has a stream of its own an epoch
    total = 0
    for images, labels in split.batches():
        measures = objective(model, images, labels)[1]
        total = total + len(labels) * ranking.exact(torch.stack(list(measures.values())))
    return {prefix + name: mean for name, mean in zip(measures, (total / len(split)).tolist())}


def finish(run, task, logs):
    """Log the summary of a finished run and return it; its `time` is the sum of all epochs' and rounds' times."""
    summary = {"epochs": run.epoch, "rounds": run.rounds, **describe(run, task), "time": run.seconds}
    files.write(logs, runlog.format_summary(summary))
    return summary
