"""Train a network epoch by epoch, with the rounds of ranking and removal that its schedule has."""
import math
import os
import shlex
import statistics
import sys
import time
from collections import namedtuple

import numpy as np
import torch

from pruning import checkpoint, files, runlog, spread
from pruning.compensation import compensate, is_homogeneous, keep_norms
from pruning.cuda_graph import Recording
from pruning.datasets import random_views
from pruning.device import autocast, random_states, set_random_states
from pruning.errors import Diverged, Interrupted
from pruning.measures import describe, evaluate
from pruning.optimizers import is_recordable, set_rate
from pruning.passes import Passes
from pruning.removal import remove
from pruning.schedule import learning_rate, rounds
from pruning.selection import Options, survivors
from pruning.tensorboard import Boards
from pruning.terminal import short

LOG_EVERY = 10  # batches between two lines of the log
EXAMPLE = 8     # images that show how a network works

# Every use of chance has its own stream of numbers, so that one arm's draws never shift another's.
BATCHES, RANDOM_RANKING, NOISE, RANKING_IMAGES, AUGMENTATION = range(5)


class Workload(namedtuple(
        "Workload", "dataset scale network build make_optimizer objective quality show conclude summed",
        defaults=(lambda model: {}, lambda *shown: None, lambda states, path: None, False))):
    """What is trained, on what, and how it is measured.

    dataset: a datasets.Dataset; scale: {"mean": ..., "std": ...}, with which its pixels are normalised.
    network, build: build(**network) makes the model.
    make_optimizer: model -> the optimizer of its parameters.
    objective: (model, images, labels) -> (the loss to minimise, {measure: mean over the batch}).
    quality: model -> further measures for rounds and summary.
    show: (state, arm, moment, path of the log) -> the path of a picture or None; called "before" and "after" a round
        and at the "end".
    conclude: (pairs of arm and finished state, path of the first one's log), called at the end of all arms.
    summed: whether the loss to minimise is a sum over the images of a batch, not their mean.
    """

def stream_seed(seed, epoch, use):
    """The seed of a stream, by the run's seed, the epoch and the use alone, so that a run can go on from any epoch."""
    return int(np.random.SeedSequence((seed, epoch, use)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(seed, epoch, use):
    return torch.Generator().manual_seed(stream_seed(seed, epoch, use))


class TrainingState:
    """A network in training: the model, its optimizer, its seed, the groups that are pruned, epochs done, rounds done
    and the seconds they took.

    For an epoch that was stopped on its way also the batches done, the seconds spent on them, the history of their
    measures and the random states after them. seen: what the workload's `show` keeps for later.
    """

    def __init__(self, model, optimizer, seed, groups):
        self.model, self.optimizer, self.seed, self.groups = model, optimizer, seed, groups
        self.forget()
        self.epoch, self.rounds, self.seconds = 0, 0, 0.0
        self.pause()
        self.seen = {}

    def forget(self):
        """Forget what is made for a step with the present weights: its recording, and the network spread over several
        processes."""
        self.recording, self.parallel = Recording(), None

    def pause(self, batches=0, spent=0.0, history=None, random=None):
        """Say how far the next epoch is."""
        self.batches, self.spent, self.history, self.random = batches, spent, history, random or {}


def train(state, workload, settings, arm, last_epoch, outputs, stop):
    """Train up to and including `last_epoch`, with the rounds of the arm and with checkpoints.

    Raises Diverged if the loss is not finite, Interrupted if the run was asked to stop.
    """
    batches, words = math.ceil(len(workload.dataset.train) / settings.batch_size), name_of(state, settings, arm)
    log = outputs.logs[0].name
    boards = Boards(outputs.terminal.tensorboard, outputs.logs, state.epoch)
    with boards, outputs.terminal.bar(total=(last_epoch - state.epoch) * batches, initial=state.batches) as bar:
        while state.epoch < last_epoch:
            if stop.asked:
                interrupt(state, outputs)
            if is_before_round(state, settings, arm):
                pictures = [show(workload, state, arm, "before", log)]
                if arm.criterion:
                    before, after = prune(state, workload, settings, arm, outputs.logs)
                    pictures.append(show(workload, state, arm, "after", log))
                    checkpoint.write(state, outputs)
                    boards.add(state.epoch, before, "before a round")
                    boards.add(state.epoch, after, "after a round")
                    outputs.terminal.after_round(words, state.rounds, before, after)  # last: it may be closed
                for picture in pictures:
                    boards.add_picture(state.epoch, picture)
            bar.set_description_str(f"{words} {state.epoch + 1}/{settings.total_epochs}")
            try:
                results = train_epoch(state, workload, settings, outputs, bar, stop)
            except Diverged as error:
                files.write(outputs.logs, runlog.format_header({"diverged": str(error).partition(";")[0]}))
                raise
            outputs.terminal.after_epoch(words, state.epoch, results)
            boards.add(state.epoch, results)
            if state.epoch % settings.checkpoint_every == 0 or state.epoch == last_epoch:
                checkpoint.write(state, outputs)


def show(workload, state, arm, moment, log):
    """The path of a picture or None, see Workload; only the first process of a run draws one."""
    return workload.show(state, arm, moment, log) if spread.is_first() else None


def is_before_round(state, settings, arm):
    """Whether a round comes between the last epoch and the next one, and has not been done yet."""
    schedule = rounds(settings)
    return state.epoch in schedule and not state.batches and (
        arm.criterion is None or schedule.index(state.epoch) == state.rounds)


def name_of(state, settings, arm):
    """What the terminal calls a run."""
    return f"{arm.name}, seed {state.seed}" if settings.seeds > 1 else arm.name


def finish(state, workload, log):
    """Log the summary of a finished run; its `time` is the sum of all epochs' and rounds' times."""
    summary = {"epochs": state.epoch, "rounds": state.rounds, **describe(state, workload), "time": state.seconds}
    files.write([log], runlog.format_summary(summary))


def train_epoch(state, workload, settings, outputs, bar, stop):
    """The rest of a pass over the training set in the order of (seed, epoch), then the measures on the test set;
    returns all measures of the epoch."""
    epoch, split = state.epoch + 1, workload.dataset.train
    device, batches = split.labels.device, math.ceil(len(split) / settings.batch_size)
    order = order_of(split, settings, state.seed, epoch)
    torch.manual_seed(stream_seed(state.seed, epoch, NOISE))
    set_random_states(state.random)
    history = None if state.history is None else state.history.to(device)
    started = time.perf_counter() - state.spent
    state.model.train()
    left = order[state.batches * settings.batch_size:].split(settings.batch_size)
    for batch, index in enumerate(left, state.batches):
        if stop.asked:
            if batch:
                gather(history, state)
                state.pause(batch, time.perf_counter() - started, history, random_states(device))
            interrupt(state, outputs)
        if settings.learning_rate_schedule != "constant":
            set_rate(state.optimizer, learning_rate(settings, epoch, batch, batches))
        names, measures = step(state, workload, settings, index)
        if history is None:
            # One tensor holds the epoch's numbers. Single ones would lie between the batches' large tensors and stop
            # the allocator from using that memory again: a CIFAR-10 run then took 3.1 GB in place of 1.4. They stay on
            # the device until the epoch ends, since reading one makes a GPU wait; the bar reads every tenth.
            exactly = torch.float64 if spread.is_on() else measures.dtype  # the shares of 100 % shall be 100 %
            history = torch.zeros(batches, len(measures), dtype=exactly, device=device)
        history[batch] = spread.share(len(index)).weight * measures.to(history.dtype)
        if batch % LOG_EVERY == 0 and not bar.disable:
            said = [f"{name} {short(name, value)}" for name, value in zip(names, measures.tolist())]
            bar.set_postfix_str(", ".join(said), refresh=False)
        bar.update()

    gather(history, state)
    history = history.cpu().to(measures.dtype)
    write_batches(outputs.logs, epoch, names, history, settings)
    sizes = torch.full((len(history), 1), settings.batch_size, dtype=torch.float64)
    sizes[-1] = len(index)
    means = (history * sizes).sum(0) / sizes.sum()
    results = {"training " + name: mean for name, mean in zip(names, means.tolist())}
    results.update(evaluate(state.model, workload.dataset.test, workload.objective, "test "))
    if not all(map(math.isfinite, results.values())):
        raise not_finite(epoch, len(history) - 1, settings)
    seconds = time.perf_counter() - started
    state.epoch, state.seconds = epoch, state.seconds + seconds
    state.pause()
    files.write(outputs.logs, runlog.format_epoch(epoch, {**results, "time": seconds}))
    return results


def gather(history, state):
    """Make the shares in the measures of an epoch's batches since state.batches the measures of whole batches."""
    history[state.batches:] = spread.total(history[state.batches:])


def order_of(split, settings, seed, epoch):
    """The numbers of the training images in the order of an epoch, (N,); with augmentation each has its view beside it,
    (N, 4)."""
    order = torch.randperm(len(split), generator=generator(seed, epoch, BATCHES))
    if getattr(settings, "augment", False):  # vae.py has no such setting
        views = random_views(len(split), generator(seed, epoch, AUGMENTATION))
        order = torch.cat([order[:, None], views], 1)
    return order.to(split.labels.device)


def step(state, workload, settings, index):
    """One step of the optimizer on the training images at an index of order_of(); returns the names of its measures and
    their values on this process's share of the images, a tensor that holds until the next step."""
    def on_batch(its_index):
        images, labels = workload.dataset.train.batch(its_index)
        with autocast(labels.device, settings.precision):
            loss, measures = workload.objective(state.parallel, images, labels)
        state.optimizer.zero_grad(set_to_none=True)
        share.scaled(loss, workload.summed).backward()
        state.optimizer.step()
        spread.average_buffers(state.model, share)
        return list(measures), torch.stack([measure.detach() for measure in measures.values()])

    if state.parallel is None:
        state.parallel = spread.parallel(state.model)
    share = spread.share(len(index))
    index = index[share.rows]
    recordable = index.device.type == "cuda" and settings.cuda_graphs and is_recordable(state.optimizer, settings)
    return state.recording.run(on_batch, index) if recordable and not spread.is_on() else on_batch(index)


def try_batches(state, workload, settings):
    """Train on the first batches, for a second and at least two of them; returns the last one's measures and the median
    of the seconds per batch. Raises Diverged if the loss is not finite."""
    times, last = [], time.perf_counter()
    order = order_of(workload.dataset.train, settings, state.seed, 1)
    for index in order.split(settings.batch_size):
        names, values = step(state, workload, settings, index)
        measures = dict(zip(names, values.tolist()))
        if not all(map(math.isfinite, measures.values())):
            raise not_finite(1, len(times), settings)
        times.append(time.perf_counter() - last)
        last += times[-1]
        if len(times) > 1 and sum(times) > 1:
            break
    return measures, statistics.median(times[1:] or times)  # the first one also warms up


def interrupt(state, outputs):
    """End a run that was asked to stop, with a checkpoint of this moment."""
    checkpoint.write(state, outputs)
    quote = shlex.quote if os.name == "posix" else '"{}"'.format
    begun = f" and {state.batches} batches of the next" if state.batches else ""
    raise Interrupted(spread.first_says(
        lambda: f"interrupted after epoch {state.epoch}{begun}; go on with: python {quote(sys.argv[0])} --resume "
                f"{quote(outputs.logs[0].name)}"))


def write_batches(logs, epoch, names, history, settings):
    """Log every tenth batch of `history`, (batches, measures), up to the first that is not finite."""
    broken = (~history.isfinite()).any(1).nonzero().flatten().tolist()
    finite = history[:broken[0]] if broken else history
    files.write(logs, "".join(runlog.format_batch(epoch, number * LOG_EVERY, dict(zip(names, values)))
                              for number, values in enumerate(finite[::LOG_EVERY].tolist())))
    if broken:
        raise not_finite(epoch, broken[0], settings)


def not_finite(epoch, batch, settings):
    return Diverged(f"the loss is not finite at epoch {epoch}, batch {batch}; the log keeps what came before; a lower "
                    f"learning_rate may help (now: {settings.learning_rate})")


def prune(state, workload, settings, arm, logs):
    """One round: rank all groups on the frozen network over the training set, then remove; returns what describes the
    network before and after."""
    state.forget()
    before = describe(state, workload)
    started = time.perf_counter()
    passes, keeps = ranked(state, workload, settings, arm, ranking_images(state, workload, settings))
    if settings.compensate:
        moments, (images, _) = passes.moments(), next(workload.dataset.train.batches(EXAMPLE))
        for group, keep in zip(state.groups, keeps):
            norms = group.outgoing().norm(dim=1)
            compensate(group, keep, moments)
            if is_homogeneous(state.model, group, images):
                keep_norms(group, norms, state.optimizer)
    remove(state.groups, keeps, state.optimizer)
    spread.require_agreement(keeps, state.model)
    seconds = time.perf_counter() - started  # of ranking and removal alone
    state.rounds, state.seconds = state.rounds + 1, state.seconds + seconds
    after = describe(state, workload)
    files.write(logs, runlog.format_round(state.rounds, state.epoch, before, after, seconds))
    return before, after


def ranked(state, workload, settings, arm, images):
    """The Passes of images, a Split, and who survives an arm's ranking by them, in the precision of training."""
    def loss(model, images, labels):
        return workload.objective(model, images, labels)[1]["loss"]

    passes = Passes(state.model, state.groups, images, loss, settings.compensate)
    options = Options(settings.lambda_average, settings.lambda_max, generator(state.seed, state.epoch, RANDOM_RANKING))
    with autocast(workload.dataset.train.labels.device, settings.precision):
        return passes, survivors(passes, arm, options, settings.prune_percent)


def ranking_images(state, workload, settings):
    """The part of the training set that a round ranks by."""
    split = workload.dataset.train
    if not settings.ranking_images:
        return split
    order = torch.randperm(len(split), generator=generator(state.seed, state.epoch, RANKING_IMAGES))
    return split.part(order[:settings.ranking_images])
