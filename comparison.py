"""The arms of a run: started from one state, gone on with from their checkpoints, or tried for a moment."""
import copy
import math
import os
import shutil
import sys
import tempfile
import time

import torch

import checkpoint
import data
import machine
import models
import ranking
import runlog
import training
from config import UserError, check_unchanged, resolve, values_of

ARMS = ["none", *ranking.CRITERIA]


def prepare(program, description):
    """The checked configuration of this command line and the device to train on; every source of chance is seeded."""
    default = "contribution" if ranking.contribBasedPruning else "random"
    settings = resolve(sys.argv[1:], description, program, default, ARMS, checkpoint.read)
    machine.keep_freed_memory()
    machine.repeat_exactly(settings.deterministic)
    torch.manual_seed(settings.seed)
    device, earlier = machine.pick_device(settings.device), settings.environment
    settings.device = device.type
    settings.precision = machine.pick_precision(settings.precision, device, bool(settings.conv_widths))
    settings.environment = machine.environment(device)
    settings.environment.update((name, earlier[name]) for name in ["started"] if name in earlier)
    return settings, device


def compare(config, network, run, task, prefix):
    """Train the arms that the configuration asks for from one start; an arm leaves a log, a checkpoint and a network.

    network: the keyword arguments that the model was made with. run: the start, not trained yet. prefix: of the logs'
    names. With config.dry_run it only tries. Raises UserError, and Interrupted for a run that was asked to stop.
    """
    arms = ARMS if config.compare else [config.pruning]
    paths = [runlog.log_path(config.log_folder, config.dataset, arm, prefix) for arm in arms]
    config.environment["data"] = data.fingerprint(task.data)
    header = {**values_of(config), **config.environment}
    print(runlog.format_header(header), run.model, sep="")
    if config.dry_run:
        return rehearse(config, run, task, arms, paths)

    with checkpoint.Stop() as stop:
        if config.resume:
            logs, start = go_on(config, run, paths)
        else:
            logs = runlog.create({path: {**header, "pruning": arm} for arm, path in zip(arms, paths)})
            checkpoint.write(run, config, logs)
            start = copy.deepcopy(run)
        shared_epochs = min(config.initial_iterations, config.total_epochs)
        # The epochs before the first round are the same in every arm: they are trained once and stand in every log.
        training.train(start, task, config, arms[0], shared_epochs, logs, stop)
        del start
        for arm, log in zip(arms, logs):
            own = checkpoint.restore(copy.deepcopy(run), checkpoint.read(log.name))
            train_arm(own, task, config, arm, network, log, stop)


def go_on(config, fresh, paths):
    """Open the logs of an earlier run, cut back to their checkpoints; returns them and the run to go on with.

    A checkpoint of the shared epochs is one of all logs, a later one of its own. fresh: a run that is not trained yet.
    Raises UserError, and changes nothing, where anything does not fit.
    """
    asked, *names = (os.path.abspath(runlog.checkpoint_path(path)) for path in [config.resume, *paths])
    if asked not in names:
        raise UserError(f"{config.resume}: a run goes on under the names that it began with; give the files of all its "
                        f"arms names like {paths[0]} again")
    logs = runlog.reopen(paths)  # locked from here on, before their checkpoints are read
    states = {path: checked(config, fresh, path) for path in paths if os.path.exists(runlog.checkpoint_path(path))}
    # Of a run that was killed while it wrote them, the checkpoints of the shared epochs may differ, or be missing yet.
    furthest = max(states, key=lambda path: (states[path]["epoch"], states[path]["batches"]))
    parts = [(path, [log]) for path, log in zip(paths, logs)]
    if len(states[furthest]["extents"]) == len(logs):
        parts = [(furthest, logs)]
    for path in [path for path, _ in parts if path not in states]:
        checkpoint.read(path)  # says that it is missing
    runlog.cut(logs, [states[path]["extents"][os.path.basename(log.name)] for path, part in parts for log in part])

    for path, part in parts:
        note_changes(config, states[path], part)
        run = checkpoint.restore(copy.deepcopy(fresh), checkpoint.read(path))
        checkpoint.write(run, config, part)
        print(f"{', '.join(log.name for log in part)}: goes on after epoch {run.epoch}")
    return logs, run


def checked(config, fresh, path):
    """What a checkpoint says, without its tensors. Raises UserError where it is not one of this run that can go on."""
    state = checkpoint.read(path)
    if state["environment"].get("started") != config.environment["started"] or (
            os.path.basename(path) not in state["extents"]):
        raise UserError(f"{path} and its checkpoint are not of the same run as {config.resume}, so that cannot go on")
    check_unchanged(values_of(config), state["config"], path)
    check_unchanged(*({"data": environment.get("data")} for environment in (config.environment, state["environment"])),
                    path)
    checkpoint.restore(copy.deepcopy(fresh), state)
    return {name: state[name] for name in ("config", "environment", "extents", "epoch", "batches")}


def note_changes(config, state, logs):
    """Log what is no longer as the checkpoint says: more epochs, another number of threads."""
    then = {**state["config"], **state["environment"]}
    now = {**values_of(config), **config.environment}
    runlog.write(logs, runlog.format_header({name: value for name, value in now.items() if value != then.get(name)
                                             and name not in ("log_folder", "dataset_folder")}))


def train_arm(run, task, config, arm, network, log, stop):
    """Train an arm from the shared start to its end; its network is saved first, then measured and shown."""
    training.train(run, task, config, arm, config.total_epochs, [log], stop)
    checkpoint.save_network(runlog.network_path(log.name), network, run.model)
    summary = training.finish(run, task, [log])
    print(f"{arm}: {runlog.format_summary(summary)}written to {log.name}")
    task.show(run, arm, "end")


# ---- --dry-run ----

def rehearse(config, run, task, arms, paths):
    """Do some batches, a round and a checkpoint in a temporary folder, and print what the run will take.

    The time is that of the unpruned network throughout, so a pruned run should take less. Raises UserError where the
    disk has no room for the run, and for whatever else stands in its way.
    """
    widths, pruning = models.widths(run.model), [arm for arm in arms if arm != "none"]
    rounds = training.rounds(config) if pruning else range(0)
    epochs = config.total_epochs + (len(arms) - 1) * (config.total_epochs - config.initial_iterations)
    batches = math.ceil(len(task.data.train) / config.batch_size)

    with runlog.held(paths):
        pass
    folder = os.path.abspath(os.path.dirname(paths[0]))
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    task = task._replace(show=lambda run, arm, moment: None)
    with tempfile.TemporaryDirectory(dir=folder) as temporary, open(os.path.join(temporary, "log.txt"), "w") as log:
        measures, batch_time = training.try_batches(run, task, config)
        test_time, _ = timed(training.evaluate, run.model, task.data.test, task.objective, "test ")
        checkpoint_time, _ = timed(checkpoint.write, run, config, [log])
        checkpoint.save_network(runlog.network_path(log.name), {}, run.model)
        size = sum(os.path.getsize(entry.path) for entry in os.scandir(temporary))
        round_time = timed(training.prune, run, task, config, pruning[0], [log])[0] if rounds else 0
    line = runlog.format_batch(config.total_epochs, batches, measures)
    size += config.total_epochs * (1 + math.ceil(batches / training.LOG_EVERY)) * len(line)

    epoch_time = batches * batch_time + test_time
    seconds = epochs * epoch_time + len(pruning) * len(rounds) * (round_time + checkpoint_time)
    needed, free = size * len(arms), shutil.disk_usage(folder).free
    if needed + size > free:  # a checkpoint is written beside the one that it replaces
        raise UserError(f"{config.log_folder}: the run needs about {megabytes(needed)}, the disk has "
                        f"{megabytes(free)}; free some or give another log_folder")
    print(f"""dry run: all that the run needs is there; nothing was kept
data: {config.dataset}, {len(task.data.train)} training and {len(task.data.test)} test images
arms: {', '.join(arms)}; {epochs} epochs in all, {len(rounds)} rounds an arm
rounds after epochs: {listed(rounds)}
widths: {' => '.join(runlog.format_value('widths', sizes) for sizes in (widths, last(widths, rounds, config)))}
time: about {minutes(seconds)} ({epoch_time:.2g} s an epoch, {round_time:.2g} s a round)
disk: about {megabytes(needed)} in {config.log_folder}, {megabytes(free)} free""")


def last(widths, rounds, config):
    """The widths after all rounds."""
    for _ in rounds:
        if max(widths) == 1:
            break
        widths = [ranking.staying(width, config.prune_percent) for width in widths]
    return widths


def listed(numbers):
    """A range as text, its middle left out where it is long."""
    return ", ".join(map(str, numbers if len(numbers) < 12 else [*numbers[:3], "...", numbers[-1]])) or "none"


def timed(function, *arguments):
    """The seconds that a call takes, and what it returns."""
    started = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - started, result


def minutes(seconds):
    return f"{seconds / 60:.1f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def megabytes(size):
    return f"{size / 1e6:.3g} MB" if size < 1e9 else f"{size / 1e9:.3g} GB"
