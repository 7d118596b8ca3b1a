"""How a run goes on: which checkpoint each of its logs belongs to, and whether all of it is as it was."""
import os

from pruning import checkpoint, files, runlog
from pruning.arms import named
from pruning.errors import UserError
from pruning.settings import RESULTLESS, check_unchanged


def recall(log):
    """What a checkpoint says of how the run of this log was started: its own, else the start or a checkpoint of an arm
    that it is compared with. Raises UserError."""
    if not os.path.exists(log):
        raise UserError(f"{log}: no such log; give one that a run of this program has written")
    own, header = files.checkpoint_path(log), runlog.read_header(log)
    folder, name = os.path.split(log)
    arm, compared = str(header.get("pruning")), header.get("compare")
    logs = [os.path.join(folder, name.replace(named(arm).log_word, named(str(other)).log_word))
            for other in (compared if isinstance(compared, list) else [])]
    paths = [own, *map(files.start_path, logs), *map(files.checkpoint_path, logs)]
    saved = checkpoint.read(next(filter(os.path.exists, paths), own))
    return {name: saved[name] for name in ("flags", "settings", "provenance")}


def reopen(comparisons, command):
    """Open the logs of all the seeds that have begun, and cut them back to their checkpoints. Raises UserError, and
    changes nothing, if anything does not fit."""
    log = command.request.resume  # None after a restart
    if log and not any(is_of(log, comparison) for comparison in comparisons):
        raise UserError(f"{log}: a run goes on under the names that it began with; rename the files of all its arms to "
                        f"names like {next(iter(comparisons[0].paths.values()))}")
    begun = [comparison for comparison in comparisons if has_begun(comparison) or log and is_of(log, comparison)]
    for comparison in begun:
        comparison.logs = dict(zip(comparison.arms, files.reopen(list(comparison.paths.values()))))
        comparison.finished = [arm for arm in comparison.arms if check(arm, comparison, log)]
    for comparison in begun:
        cut(comparison)


def is_of(log, comparison):
    """Whether this is the path of one of a comparison's logs, or of its checkpoint."""
    asked, *own = (os.path.abspath(files.checkpoint_path(path)) for path in [log, *comparison.paths.values()])
    return asked in own


def has_begun(comparison):
    """Whether any log of a comparison is of the run that goes on."""
    started = comparison.about["provenance"]["started"]
    return any(runlog.read_header(path).get("started") == started for path in comparison.paths.values())


def check(arm, comparison, named_log):
    """Whether an arm is finished: its log goes on after the last epoch's checkpoint with the summary. Raises UserError
    if its log and the checkpoint that it goes on from are not of this run, or do not fit each other or the network."""
    path, log, source = comparison.paths[arm], comparison.logs[arm], comparison.source(arm)
    if source is None:
        if "\nEpoch: " in files.rest(log, files.NOTHING):
            checkpoint.read(files.checkpoint_path(path))  # says that it is missing
        return False
    saved = checkpoint.read(source)
    if (saved["provenance"].get("started") != comparison.about["provenance"]["started"]
            or saved["seed"] != comparison.seed or os.path.basename(path) not in saved["extents"]):
        raise UserError(f"{path} and its checkpoint are not of the same run as {named_log or 'its header says'}; put "
                        "that run's files back, or start anew")
    check_unchanged(comparison.about["settings"], saved["settings"], path)
    if arm.name == "scratch" and saved["widths"] != comparison.initial_widths(arm):
        raise UserError(f"{path}: with {comparison.settings.total_epochs} epochs the other arms end with other widths "
                        "than this network has, so that this comparison cannot be extended; start it anew")
    checkpoint.restore(comparison.fresh(arm), saved)
    extent = saved["extents"][os.path.basename(path)]
    files.check_beginning(log, extent)
    return saved["epoch"] == comparison.settings.total_epochs and runlog.is_summary(files.rest(log, extent))


def cut(comparison):
    """Cut the logs back to their checkpoints, and let these say that the run goes on from there. Finished logs stay;
    the log of an arm that has no checkpoint begins anew."""
    sources = {}
    for arm in comparison.arms:
        if arm in comparison.finished:
            comparison.terminal.say(f"{comparison.paths[arm]}: finished")
        else:
            sources.setdefault(comparison.source(arm), []).append(arm)
    for arm in sources.pop(None, []):
        files.cut(comparison.logs[arm], files.NOTHING)
        comparison.write_header(arm)
    for source, arms in sources.items():
        outputs, saved = comparison.outputs(arms, source), checkpoint.read(source)
        for log in outputs.logs:
            files.cut(log, saved["extents"][os.path.basename(log.name)])
        now, then = ({**which["settings"], **which["provenance"]} for which in (outputs.about, saved))
        files.write(outputs.logs, runlog.format_header({  # such as more epochs, or another number of threads
            name: value for name, value in now.items() if value != then.get(name) and name not in RESULTLESS}))
        state = checkpoint.restore(comparison.fresh(arms[0]), saved)
        checkpoint.write(state, outputs)
        names = ", ".join(log.name for log in outputs.logs)
        comparison.terminal.say(f"going on after epoch {state.epoch}: {names}")
