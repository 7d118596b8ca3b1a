"""Which logs plot.py shows together, and which of them are finished runs."""
import contextlib
import glob
import os
import re

from pruning import arms, errors, files, runlog
from pruning.plots.runs import Run, arm_number, first_of_each

PREFIXES = [files.CLASSIFIER_LOG, files.VAE_LOG]


def groups_of_logs(paths):
    """Yield lists of the logs that a figure shows together: each folder's if one folder of folders is given, else all.
    Raises UserError."""
    folders = []
    if len(paths) == 1 and not current_logs(paths[0]):
        folders = sorted(filter(current_logs, glob.glob(os.path.join(glob.escape(paths[0]), "*"))))
    for group in [[folder] for folder in folders] or [paths]:
        logs = [os.path.normpath(log) for path in group for log in logs_at(path, len(group) == 1)]
        yield list(dict.fromkeys(logs))  # a log that is named twice is one log


def logs_at(path, is_alone):
    """A file itself, or the current logs of a folder; says which of the three usual arms a folder that is drawn alone
    lacks."""
    if os.path.isfile(path):
        return [path]
    logs = current_logs(path)
    if not logs:
        looked_for = " or ".join(prefix + "*.txt" for prefix in PREFIXES)
        found = f"no {looked_for} in this folder" if os.path.isdir(path) else "no such file or folder"
        raise errors.UserError(f"{path}: {found}; python driver.py --compare makes logs")
    for prefix in PREFIXES:
        stems = {arm: os.path.splitext(files.log_path(path, "", arm, prefix))[0] for arm in arms.COMPARED}
        missing = [arms.named(arm).words for arm, stem in stems.items()
                   if not any(re.fullmatch(re.escape(stem) + r"(-seed\d+)?\.txt", log) for log in logs)]
        others = [log for log in logs if os.path.basename(log).startswith(prefix)
                  and not any(log.startswith(stem) for stem in stems.values())]
        if is_alone and 0 < len(missing) < len(stems) and not others:  # with others the arms were chosen by name
            print(f"{path}: no {prefix} of these arms, which are left out: {', '.join(missing)}")
    return logs


def current_logs(folder):
    """The logs of a folder without the earlier ones, which files.keep_earlier has numbered."""
    start = os.path.join(glob.escape(folder), "")
    paths = sorted(path for prefix in PREFIXES for path in glob.glob(f"{start}{prefix}*.txt"))
    return [path for path in paths if not re.search(r"\.\d+\.txt$", path)]


def read(paths):
    """The runs of these logs, in the order of their arms: {"": classifiers, "vae_": VAEs}, by how their figures' names
    begin. Says what is wrong with a log that cannot be read, and which run is not finished."""
    kinds = {"": [], "vae_": []}
    for path in paths:
        try:
            cut = []
            run = Run(runlog.parse_log(path, cut.append))
            kinds["" if "accuracy" in run.batches[0].measures else "vae_"].append(run)
            if cut or run.header and not run.summary:  # logs of other programs have neither
                diverged = f", {run.header['diverged']}" if "diverged" in run.header else ""
                print(f"{path}: not finished{', its last line is cut' * bool(cut)}{diverged}; read up to epoch "
                      f"{max(entry.epoch for entry in [*run.batches, *run.epochs])}")
        except runlog.LogError as error:
            if has_just_begun(path):
                print(f"{path}: not finished; "
                      + runlog.read_header(path).get("diverged", "its first epoch has not ended yet"))
            else:
                errors.say(error)
    return {kind: sorted(runs, key=arm_number) for kind, runs in kinds.items() if runs}


def has_just_begun(path):
    """Whether a log holds a header and nothing else."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return bool(runlog.read_header(path)) and all(line.startswith("#") for line in file)
    return False


def finished(runs):
    """The runs that say all that tables and summaries need, one per arm and seed; says why another is left out."""
    lacking = {run.path: run.lacks() for run in runs}
    whole = [run for run in runs if not lacking[run.path]]
    first = first_of_each(whole)
    for run in runs:
        if lacking[run.path]:
            errors.say(f"{run.path} is left out, no finished run of this suite: it has no {lacking[run.path][0]}")
        elif first[run.identity] is not run:
            errors.say(f"{run.path} is left out, of the same arm and seed as {first[run.identity].path}")
    return list(first.values())
