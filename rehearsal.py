"""--dry-run: try everything for a moment, say what the run will take, leave nothing."""
import math
import os
import shutil
import statistics
import tempfile
import time

import torch

import checkpoint
import files
import jobs
import ranking
import runlog
import training
from errors import UserError


def rehearse(config, seeds, task):
    """Do some batches, a round of every arm and a checkpoint in a temporary folder, and print what the run will take.

    seeds: of comparison.Seed. Epochs are timed on the unpruned network, and an arm's round on what the rounds of the
    arms before it have left, so a pruned run should take less.
    Raises UserError where the disk has no room for the run, and for whatever else stands in its way.
    """
    paths, arms = [path for seed in seeds for path in seed.paths.values()], seeds[0].arms
    pruning, first = [arm for arm in arms if arm in ranking.CRITERIA], seeds[0].parts[0][0]
    rounds = training.rounds(config) if pruning else range(0)
    run = seeds[0].fresh(first)
    shared = min(config.initial_iterations, config.total_epochs) * max(0, len(seeds[0].together) - 1)
    epochs = len(seeds) * (len(arms) * config.total_epochs - shared)
    batches = math.ceil(len(task.data.train) / config.batch_size)

    with files.held(paths):
        pass
    folder = os.path.abspath(os.path.dirname(paths[0]))
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    with tempfile.TemporaryDirectory(dir=folder) as temporary, open(os.path.join(temporary, "log.txt"), "w") as log:
        torch.set_num_threads(config.environment["threads"])  # of each run; nothing is forked from here on
        measures, batch_time = training.try_batches(run, task, config)
        test_time, _ = timed(training.evaluate, run.model, task.data.test, task.objective, "test ")
        checkpoint_time, _ = timed(checkpoint.write, run, config, [log])
        checkpoint.save_network(files.network_path(log.name), {}, run.model)
        size = sum(os.path.getsize(entry.path) for entry in os.scandir(temporary))
        round_times = [timed(training.prune, run, task, config, arm, [log])[0] for arm in pruning if rounds]
    line = runlog.format_batch(config.total_epochs, batches, measures)
    size += config.total_epochs * (1 + math.ceil(batches / training.LOG_EVERY)) * len(line)

    epoch_time = batches * batch_time + test_time
    seconds = epochs * epoch_time + len(seeds) * len(rounds) * sum(took + checkpoint_time for took in round_times)
    round_time = statistics.mean(round_times or [0])
    needed, free = size * len(paths), shutil.disk_usage(folder).free
    if needed + size > free:  # a checkpoint is written beside the one that it replaces
        raise UserError(f"{config.log_folder}: the run needs about {megabytes(needed)}, the disk has "
                        f"{megabytes(free)}; free some or give another log_folder")
    initial = seeds[0].initial_widths(first)
    widths = [initial, training.final_widths(config) if rounds or "scratch" in arms else initial]
    at_once = min(config.jobs, jobs.THREADS, len(paths))
    together = min(config.initial_iterations, config.total_epochs) * epoch_time * bool(seeds[0].together)  # of a seed
    alone = (seconds - len(seeds) * together) / len(paths)
    elapsed = math.ceil(len(seeds) / at_once) * together + math.ceil(len(paths) / at_once) * alone
    of_seeds = f", with {len(seeds)} seeds each" if len(seeds) > 1 else ""
    side_by_side = f", {at_once} runs at a time" if at_once > 1 else ""
    print(f"""dry run: all that the run needs is there; nothing was kept
data: {config.dataset}, {len(task.data.train)} training and {len(task.data.test)} test images
arms: {', '.join(arms)}{of_seeds}; {epochs} epochs in all, {len(rounds)} rounds an arm
rounds after epochs: {listed(rounds)}
widths: {' => '.join(runlog.format_value('widths', sizes) for sizes in widths)}
time: about {duration(elapsed)} ({epoch_time:.2g} s an epoch, {round_time:.2g} s a round{side_by_side})
disk: about {megabytes(needed)} in {config.log_folder}, {megabytes(free)} free""")


def listed(numbers):
    """A range as text, its middle left out where it is long."""
    return ", ".join(map(str, numbers if len(numbers) < 12 else [*numbers[:3], "...", numbers[-1]])) or "none"


def timed(function, *arguments):
    """The seconds that a call takes, and what it returns."""
    started = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - started, result


def duration(seconds):
    if seconds < 60:
        return f"{math.ceil(seconds)} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def megabytes(size):
    return f"{size / 1e6:.3g} MB" if size < 1e9 else f"{size / 1e9:.3g} GB"
