"""Train a network epoch by epoch, with a round of ranking and removal where the schedule has one."""
import copy
import io
import math
import os
import platform
import subprocess
import sys
import time
from collections import namedtuple

import numpy as np
import torch
from tqdm import tqdm

import models
import ranking
import runlog
from config import UserError, resolve

ARMS = ["none", *ranking.CRITERIA]
LOG_EVERY = 10  # batches between two lines of the log

# Every use of chance has its own stream of numbers, so that one arm's draws never shift another's.
BATCHES, RANDOM_RANKING, NOISE = range(3)

# What is trained on and how it is measured.
# data: the data.Dataset.
# objective: (model, images, labels) -> (the loss to minimise, {measure: mean over the batch}).
# quality: model -> further measures for rounds and summary.
# show: (run, arm, moment), called before and after a round and at the end; moment: "before", "after" or "end".
Task = namedtuple("Task", "data objective quality show")


def stream_seed(config, epoch, use):
    """The seed of a stream that depends on the run's seed, the epoch and its use alone, so a run can go on from any
    epoch."""
    return int(np.random.SeedSequence((config.seed, epoch, use)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(config, epoch, use):
    return torch.Generator().manual_seed(stream_seed(config, epoch, use))


def rounds(config):
    """The epochs after which a round follows: initial_iterations and every increment on, before total_epochs."""
    return range(config.initial_iterations, config.total_epochs, config.increment)


class Run:
    """A network in training: the model, its optimizer, epochs done, rounds done and the seconds they took."""

    def __init__(self, model, optimizer):
        self.model, self.optimizer = model, optimizer
        self.epoch, self.rounds, self.seconds = 0, 0, 0.0


def prepare(program, description):
    """The checked configuration of this command line and the device to train on; every source of chance is seeded."""
    default = "contribution" if ranking.contribBasedPruning else "random"
    settings = resolve(sys.argv[1:], description, program, default, ARMS)
    torch.manual_seed(settings.seed)
    torch.backends.cudnn.deterministic = True  # the same seed gives the same log on a GPU as well
    return settings, pick_device(settings.device)


def compare(config, network, run, task, prefix):
    """Train the arms that the configuration asks for from one start; an arm leaves a log and a network.

    network: the keyword arguments that the model was made with. run: the start, not trained yet. prefix: of the logs'
    names. Raises UserError.
    """
    arms = ARMS if config.compare else [config.pruning]
    device = next(run.model.parameters()).device
    header = {**vars(config), "pruning": ", ".join(arms), "device": device.type, **environment(device)}
    print(runlog.format_header(header), run.model, sep="")
    paths = [runlog.log_path(config.log_folder, config.dataset, arm, prefix) for arm in arms]
    logs = [runlog.create(path, {**header, "pruning": arm}) for arm, path in zip(arms, paths)]

    # The epochs before the first round are the same in every arm: they are trained once and stand in every log.
    train(run, task, config, arms[0], min(config.initial_iterations, config.total_epochs), logs)
    for arm, log in zip(arms, logs):
        train_arm(copy.deepcopy(run) if arm != arms[-1] else run, task, config, arm, network, log)


def train_arm(run, task, config, arm, network, log):
    """Train an arm from the shared start to its end; its network is saved first, then measured and shown."""
    train(run, task, config, arm, config.total_epochs, [log])
    save(runlog.network_path(log.name), {**network, "hidden_widths": models.widths(run.model)}, run.model)
    summary = finish(run, task, [log])
    print(f"{arm}: {runlog.format_summary(summary)}written to {log.name}")
    task.show(run, arm, "end")


def train(run, task, config, arm, last_epoch, logs):
    """Train up to and including `last_epoch`, with the rounds of the arm; every line goes to all of `logs`.

    arm: a name in ARMS. Raises UserError where the loss is not finite.
    """
    schedule = rounds(config)
    batches = math.ceil(len(task.data.train) / config.batch_size)
    with tqdm(total=(last_epoch - run.epoch) * batches, unit="batch", disable=None, leave=False) as bar:
        while run.epoch < last_epoch:
            if run.epoch in schedule:
                task.show(run, arm, "before")
                if arm != "none":
                    prune(run, task, config, arm, logs)
            widths = runlog.format_value("widths", models.widths(run.model))
            bar.set_description(f"{arm} {run.epoch + 1}/{config.total_epochs} {widths}")
            train_epoch(run, task, config, logs, bar)


def train_epoch(run, task, config, logs, bar):
    """One pass over the training set in the order of (seed, epoch), then the measures on the test set."""
    started = time.perf_counter()
    epoch, split = run.epoch + 1, task.data.train
    order = torch.randperm(len(split), generator=generator(config, epoch, BATCHES)).to(split.labels.device)
    torch.manual_seed(stream_seed(config, epoch, NOISE))
    history = None
    run.model.train()
    for batch, (images, labels) in enumerate(split.batches(config.batch_size, order)):
        loss, measures = task.objective(run.model, images, labels)
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        run.optimizer.step()
        if history is None:
            # One tensor for the epoch's numbers: kept apart, they would lie between the batches' large tensors and stop
            # the allocator from using that memory again (a CIFAR-10 run took up to 3.1 GB so, in place of 1.4). They
            # stay on the device until the epoch ends, since reading one would make a GPU wait.
            history = torch.empty(math.ceil(len(split) / config.batch_size), len(measures), device=loss.device)
        history[batch] = torch.stack([measure.detach() for measure in measures.values()])
        if batch % LOG_EVERY == 0 and not bar.disable:
            bar.set_postfix({name: f"{measure.item():.4g}" for name, measure in measures.items()})
        bar.update()

    history = history.cpu()
    write_batches(logs, epoch, list(measures), history, config)
    sizes = torch.full((len(history), 1), config.batch_size, dtype=torch.float64)
    sizes[-1] = len(labels)
    means = (history * sizes).sum(0) / sizes.sum()
    results = {"training " + name: mean for name, mean in zip(measures, means.tolist())}
    results.update(evaluate(run.model, task.data.test, task.objective, "test "))
    if not all(map(math.isfinite, results.values())):
        raise not_finite(epoch, len(history) - 1, config)
    seconds = time.perf_counter() - started
    run.epoch, run.seconds = epoch, run.seconds + seconds
    runlog.write(logs, runlog.format_epoch(epoch, {**results, "time": seconds}))


def write_batches(logs, epoch, names, history, config):
    """Log every tenth batch of `history`, (batches, measures), up to the first that is not finite."""
    broken = (~history.isfinite()).any(1).nonzero().flatten().tolist()
    finite = history[:broken[0]] if broken else history
    runlog.write(logs, "".join(runlog.format_batch(epoch, number * LOG_EVERY, dict(zip(names, values)))
                        for number, values in enumerate(finite[::LOG_EVERY].tolist())))
    if broken:
        raise not_finite(epoch, broken[0], config)


def not_finite(epoch, batch, config):
    return UserError(f"the loss is not finite at epoch {epoch}, batch {batch}; the log keeps what came before; a lower "
                     f"learning_rate may help (now: {config.learning_rate})")


def prune(run, task, config, arm, logs):
    """One round: rank all groups on the frozen network over the whole training set, then remove."""
    before = describe(run, task)
    started = time.perf_counter()
    options = ranking.Options(config.lambda_average, config.lambda_max, generator(config, run.epoch, RANDOM_RANKING))
    survivors = ranking.survivors(run.model, task.data.train.image_batches, arm, options, config.prune_percent)
    for group, keep in zip(run.model.groups(), survivors):
        models.remove(group, keep, run.optimizer)
    seconds = time.perf_counter() - started  # of ranking and removal alone
    run.rounds, run.seconds = run.rounds + 1, run.seconds + seconds
    line = runlog.format_round(run.rounds, run.epoch, before, describe(run, task), seconds)
    runlog.write(logs, line)
    tqdm.write(f"{arm}: {line}", end="")
    task.show(run, arm, "after")


def describe(run, task):
    """Widths, neurons, parameters, the measures over the whole training and test set and the task's further ones."""
    widths = models.widths(run.model)
    return {"widths": widths, "neurons": sum(widths), "parameters": models.count_parameters(run.model),
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
        total = total + len(labels) * torch.stack(list(measures.values())).cpu().double()
    return {prefix + name: mean for name, mean in zip(measures, (total / len(split)).tolist())}


def finish(run, task, logs):
    """Log the summary of a finished run and return it; its `time` is the sum of all epochs' and rounds' times."""
    summary = {"epochs": run.epoch, "rounds": run.rounds, **describe(run, task), "time": run.seconds}
    runlog.write(logs, runlog.format_summary(summary))
    return summary


# ---- files ----

def save(path, network, model):
    """Save sizes and weights for torch.load(path, weights_only=True); the old file stays until the new one is whole.

    network: the keyword arguments that make the model anew.
    """
    content = io.BytesIO()  # old versions of torch do not notice a full disk, a plain file does
    torch.save({"network": network, "weights": model.state_dict()}, content)
    with runlog.whole_file(path) as file:
        file.write(content.getvalue())


# ---- the machine ----

def pick_device(name):
    """The torch device of this name; "auto" takes a GPU if there is one. Raises UserError for one that is not there."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device in available if available[device])
    if not available[name]:
        there = ", ".join(device for device in available if available[device])
        raise UserError(f"device {name}: this machine or this torch has none; available: {there}")
    return torch.device(name)


def environment(device):
    """What the head of a log says about the moment, the versions, the machine and the commit of this code."""
    machine = torch.cuda.get_device_name() if device.type == "cuda" else processor_name()
    return {"started": time.strftime("%Y-%m-%d %H:%M:%S"), "python": platform.python_version(),
            "torch": torch.__version__, "numpy": np.__version__, "machine": machine,
            "threads": torch.get_num_threads(), "commit": commit()}


def processor_name():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line for line in file if line.startswith("model name")).split(":")[1].strip()
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def commit():
    """The commit of this code, with a note where its Python files differ from it."""
    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=os.path.dirname(os.path.abspath(__file__)),
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        head = git("rev-parse", "--short=12", "HEAD")
        changed = git("diff", "--quiet", "HEAD", "--", "*.py").returncode
    except OSError:
        return "unknown"
    return (head.stdout.decode().strip() + (" with changes" if changed else "")) if head.returncode == 0 else "unknown"
