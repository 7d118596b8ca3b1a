"""--dry-run: try everything for a moment, say what the run will take, leave nothing."""
import math
import os
import shutil
import statistics
import tempfile
import time

from pruning import checkpoint, files, runlog, training
from pruning.device import THREADS
from pruning.errors import UserError
from pruning.measures import evaluate
from pruning.schedule import rounds


def rehearse(command, comparisons, workload):
    """Do some batches, a round of every arm and a checkpoint in a temporary folder, and print what the run will take.

    Epochs are timed on the unpruned network, so a pruned run should take less. Raises UserError if the disk has no room
    for the run, and for whatever else stands in its way.
    """
    settings, first = command.settings, comparisons[0]
    paths = [path for comparison in comparisons for path in comparison.paths.values()]
    pruned = [arm for arm in first.arms if arm.criterion]
    schedule = rounds(settings) if pruned else range(0)
    state, dataset = first.fresh(first.arms[0]), workload.dataset
    shared = settings.initial_iterations * max(0, len(first.sharing) - 1)  # epochs of a seed that are trained once only
    epochs = len(comparisons) * (len(first.arms) * settings.total_epochs - shared)
    batches = math.ceil(len(dataset.train) / settings.batch_size)

    with files.held(paths):
        pass
    folder = os.path.abspath(os.path.dirname(paths[0]))
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    with tempfile.TemporaryDirectory(dir=folder) as temporary, open(os.path.join(temporary, "log.txt"), "w") as log:
        measures, batch_time = training.try_batches(state, workload, settings)
        test_time, _ = timed(evaluate, state.model, dataset.test, workload.objective, "test ")
        outputs = checkpoint.Outputs([log], files.checkpoint_path(log.name), first.about, first.terminal)
        checkpoint_time, _ = timed(checkpoint.write, state, outputs)
        checkpoint.save_network(files.network_path(log.name), {}, state, {})
        size = sum(os.path.getsize(entry.path) for entry in os.scandir(temporary))
        round_times = [timed(training.prune, state, workload, settings, arm, [log])[0] for arm in pruned if schedule]
    line = runlog.format_batch(settings.total_epochs, batches, measures)
    size += settings.total_epochs * (1 + math.ceil(batches / training.LOG_EVERY)) * len(line)

    epoch_time = batches * batch_time + test_time
    seconds_of_rounds = len(schedule) * sum(took + checkpoint_time for took in round_times)
    seconds = epochs * epoch_time + len(comparisons) * seconds_of_rounds
    round_time = statistics.mean(round_times or [0])
    needed, free = size * len(paths), shutil.disk_usage(folder).free
    if needed + size > free:  # a checkpoint is written beside the one that it replaces, and the start beside the arms'
        raise UserError(f"{settings.log_folder}: the run needs about {megabytes(needed)}, the disk has "
                        f"{megabytes(free)}; free some or give another log_folder")
    at_once = min(settings.jobs, THREADS, len(paths))
    together = settings.initial_iterations * epoch_time * bool(first.sharing)  # of a seed
    alone = (seconds - len(comparisons) * together) / len(paths)
    elapsed = math.ceil(len(comparisons) / at_once) * together + math.ceil(len(paths) / at_once) * alone
    side_by_side = f", {at_once} runs at a time" if at_once > 1 else ""
    print(f"""work     {epochs} epochs in all, {len(schedule)} rounds per arm
time     about {duration(elapsed)} ({epoch_time:.3g} s per epoch, {round_time:.3g} s per round{side_by_side})
disk     about {megabytes(needed)} in {settings.log_folder}, {megabytes(free)} free
This was a dry run: all that the run needs is there; nothing was kept.""")


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
