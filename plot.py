"""Draw accuracy, or a VAE's loss and its parts, and neurons left against the epoch, from the text logs.

    python plot.py                     every data set that has logs: logs/<data set>/comparison.png and comparison.pdf
    python plot.py logs/Digits         the logs of one folder
    python plot.py one.txt two.txt     these logs in one figure, saved beside the first
    python plot.py --figure KIND ...   another figure of finished runs: removed (accuracy at the end against the part of
                                       the neurons removed), rounds (before and right after each round), variants
                                       (ways of ranking: other lambdas, fewer images, compensated), differences (of
                                       every arm to contribution, paired by seed), seconds (an epoch)
    python plot.py --table ...         no figure but tables of these logs, printed and written as .md, .csv and .tex:
                                       means over seeds, intervals, differences

Logs that differ in their seed alone are drawn as their mean, with a band. Logs of vae.py have a figure of their own,
vae_comparison. A log that cannot be read is named and left out; the exit status is then 2.
"""
import argparse
import glob
import os
import re
import sys

import matplotlib
from matplotlib import pyplot

import config
import errors
import figures
import files
import finished
import runlog
import table
from figures import Curves, Line

PREFIXES = [config.CLASSIFIER.log, config.VAE.log]
MANY = 5  # arms from which on a figure shows no training accuracy beside that of the test set


def main():
    parser = config.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", nargs="*", help="log files, or folders of logs; or one folder of such folders (now: "
                        "the log_folder of constants.py)")
    parser.add_argument("--output", metavar="NAME", default="comparison",
                        help="the files' name, from the first log's folder on (now: comparison)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--figure", choices=["epochs", *finished.KINDS], default="epochs",
                      help="what is drawn (now: epochs)")
    what.add_argument("--table", action="store_true", help="print and write tables of the logs instead (needs scipy)")
    parser.add_argument("--show", action="store_true", help="open a window as well")
    arguments = parser.parse_args()
    if not arguments.show:
        matplotlib.use("Agg")
    complete, stems = True, set()
    for paths in find_groups(arguments.logs or [config.load_constants()["log_folder"]]):
        paths = list(dict.fromkeys(map(os.path.normpath, paths)))  # a log named twice is one log
        kinds = read_logs(paths)
        complete = complete and sum(map(len, kinds.values())) == len(paths)
        for kind, logs in kinds.items():
            folder, name = os.path.split(re.sub(r"\.(png|pdf|md|csv|tex)$", "", arguments.output))
            folder = os.path.join(os.path.dirname(paths[0]), folder)
            os.makedirs(folder or ".", exist_ok=True)
            stem = os.path.normpath(os.path.join(folder, kind + name))
            if stem in stems:
                raise errors.UserError(f"--output {arguments.output}: the figures of several folders would have this "
                                       "name; give one folder, or a name without a path")
            stems.add(stem)
            if arguments.figure == "epochs" and not arguments.table:
                lines = lines_of(logs)
                describe(lines)
                figures.draw(lines)
                figures.save(stem, dpi=300)
                continue
            ended = distinct([log for log in logs if is_finished(log)])
            complete = complete and len(ended) == len(logs)
            if ended and arguments.table:
                write_tables(ended, stem)
            elif ended:
                try:
                    finished.KINDS[arguments.figure](ended)
                except errors.UserError as error:  # of one folder; others may have what this figure needs
                    errors.say(error)
                    complete = False
                else:
                    figures.save(f"{stem}_{arguments.figure}", dpi=300)
    if arguments.show:
        pyplot.show()
        if pyplot.get_backend().lower() == "agg":
            raise errors.UserError("--show: there is no display for a window; the files are written")
    if not complete:
        sys.exit(2)


# ---- the files ----

def find_groups(paths):
    """The logs that make a figure together, as lists: of one folder with a folder a data set those of each, else of all
    paths."""
    if len(paths) == 1 and not current(paths[0]):
        folders = [folder for folder in sorted(glob.glob(os.path.join(glob.escape(paths[0]), "*"))) if current(folder)]
        if folders:
            return map(find_logs, folders)
    return [sum(map(find_logs, paths), [])]


def find_logs(path):
    """A file itself, or the current logs of a folder; says which of the three usual arms a folder lacks."""
    if os.path.isfile(path):
        return [path]
    logs = current(path)
    if not logs:
        looked_for = " or ".join(prefix + "*.txt" for prefix in PREFIXES)
        found = f"no {looked_for} in this folder" if os.path.isdir(path) else "no such file or folder"
        raise errors.UserError(f"{path}: {found}; python driver.py --compare makes logs")
    for prefix in PREFIXES:
        stems = {arm: os.path.splitext(files.log_path(path, "", arm, prefix))[0] for arm in config.COMPARED}
        missing = [runlog.ARM_WORDS[arm] for arm, stem in stems.items()
                   if not any(re.fullmatch(re.escape(stem) + r"(-seed\d+)?\.txt", log) for log in logs)]
        if 0 < len(missing) < len(stems):
            print(f"{path}: no {prefix} of these arms, which are left out: {', '.join(missing)}")
    return logs


def current(folder):
    """The logs of a folder but for the earlier ones, which files.keep_earlier has numbered."""
    start = os.path.join(glob.escape(folder), "")
    paths = sorted(path for prefix in PREFIXES for path in glob.glob(f"{start}{prefix}*.txt"))
    return [path for path in paths if not re.search(r"\.\d+\.txt$", path)]


def read_logs(paths):
    """{start of the output's name: the logs, in the order of figures.ARMS}; a VAE's logs have outputs of their own.

    Says what is wrong with the logs that cannot be read.
    """
    kinds = {"": [], "vae_": []}
    for path in paths:
        try:
            log = runlog.parse_log(path)
            kinds["" if "accuracy" in log.batches[0].measures else "vae_"].append(log)
        except runlog.LogError as error:
            print(f"plot.py: {error}", file=sys.stderr)
    for logs in kinds.values():
        logs.sort(key=lambda log: [*figures.ARMS, arm_of(log)].index(arm_of(log)))
    return {kind: logs for kind, logs in kinds.items() if logs}


def is_finished(log):
    """Whether it says all that tables and the figures of finished runs need; says what it lacks."""
    lacking = table.lacks(log)
    if lacking:
        print(f"plot.py: {log.path} is left out, no finished run of this suite: it has no {lacking[0]}",
              file=sys.stderr)
    return not lacking


def distinct(logs):
    """The logs without those of an arm and a seed that another one has; says which."""
    first = {}
    for log in logs:
        twin = first.setdefault(table.identity(log), log)
        if twin is not log:
            print(f"plot.py: {log.path} is left out, of the same arm and seed as {twin.path}", file=sys.stderr)
    return list(first.values())


def write_tables(logs, stem):
    tables = list(table.tables(logs))
    text = table.markdown(tables)
    print(text)
    for extension, content in ((".md", text), (".csv", table.comma_separated(tables)), (".tex", table.latex(tables))):
        with files.whole_file(stem + extension) as file:
            file.write(content.encode())
        print(f"wrote {stem}{extension}")


def describe(lines):
    """Where every line ends, and which files are identical."""
    alike = {}
    for line in lines:
        values = [f"{split} {measure} {points[-1][1]:.2f}{runlog.UNITS.get(measure, '')} at epoch {points[-1][0]}"
                  for measure, splits in line.curves.measures.items() for split, points in splits.items()]
        values += [f"{left[-1][1]} of {left[0][1]} neurons left" for left in [line.curves.neurons] if left]
        others = f" and {len(line.logs) - 1} of other seeds, means" if len(line.logs) > 1 else ""
        print(f"{line.logs[0].path}{others}: {line.words}, {', '.join(values)}")
        for log in line.logs:
            with open(log.path, "rb") as file:
                alike.setdefault(file.read(), []).append(log.path)
    for paths in alike.values():
        if len(paths) > 1:
            print(f"identical files: {', '.join(paths)}")


# ---- what logs say ----

def arm_of(log):
    """The arm by the header, else by the file's name, else the file's name itself."""
    name = os.path.basename(log.path)
    by_name = [arm for arm, word in files.FILE_WORDS.items() if word in name]
    return str(log.header.get("pruning", (by_name + [name])[0]))


def lines_of(logs):
    """A Line of every log, but one of all logs that differ in nothing but their seed."""
    groups = {}
    for log in logs:
        arm, seed = arm_of(log), log.header.get("seed")
        # A log without a seed, and a second one of a seed, are lines of their own.
        key = (arm, table.words_of(log, arm), table.settings_of(log)) if type(seed) is int else log.path
        if any(other.header["seed"] == seed for other in groups.get(key, []) if type(seed) is int):
            key = log.path
        groups.setdefault(key, []).append(log)
    drawn = [over_seeds([curves(log) for log in some]) for some in groups.values()]
    if len(drawn) >= MANY:
        drawn = list(map(without_training, drawn))
    firsts = [(arm_of(some[0]), some[0]) for some in groups.values()]
    return [Line(some, curve, words, style) for some, curve, (words, style)
            in zip(groups.values(), drawn, figures.name_arms(firsts))]


def curves(log):
    """The points that a log draws; a split is absent, and a list empty, where the log does not know.

    Of a VAE the test set alone is drawn, where the log has it: three measures of three arms are enough for a figure.
    """
    epochs, restarts = runlog.clock(log.batches)
    rounds = [entry.epoch for entry in log.rounds] + (restarts if arm_of(log) not in ("none", "scratch") else [])
    last = max(epochs + rounds + [entry.epoch for entry in log.epochs])
    test = "held-out" if log.header.get("holdout") else "test"
    measures = {}
    for measure in ["accuracy"] if "accuracy" in log.batches[0].measures else ["loss", "BCE", "KLD"]:
        splits = {"training": epoch_means(epochs, log.batches, measure), test: test_points(log, measure)}
        if measure != "accuracy" and splits[test]:
            del splits["training"]
        measures[measure] = {split: points for split, points in splits.items() if points}
    return Curves(measures, {}, neuron_points(log, last), rounds)


def over_seeds(some):
    """The means of several logs' curves, with bands, where all of them have a point."""
    if len(some) == 1:
        return some[0]
    measures, bands = {}, {}
    for measure, splits in some[0].measures.items():
        measures[measure], bands[measure] = {}, {}
        for split in splits:
            numbered = [dict(numbered_points(one.measures[measure].get(split, []))) for one in some]
            shared = [key for key in numbered[0] if all(key in points for points in numbered)]
            values = [[points[key] for points in numbered] for key in shared]
            if shared:
                measures[measure][split] = [(epoch, table.mean(at)) for (epoch, _), at in zip(shared, values)]
                bands[measure][split] = list(map(table.half_width, values))
    return Curves(measures, bands, some[0].neurons, some[0].rounds)


def numbered_points(points):
    """Every point's epoch, with the number of the earlier points there, and its value."""
    counts = {}
    for epoch, value in points:
        counts[epoch] = counts.get(epoch, -1) + 1
        yield (epoch, counts[epoch]), value


def without_training(curve):
    """The curves of the test set alone, where it has any."""
    def of(measures):
        return {measure: {split: points for split, points in splits.items() if split != "training"} or splits
                for measure, splits in measures.items()}
    return curve._replace(measures=of(curve.measures), bands=of(curve.bands))


def epoch_means(epochs, batches, measure):
    values = {}
    for epoch, batch in zip(epochs, batches):
        values.setdefault(epoch, []).append(batch.measures[measure])
    return [(epoch, sum(some) / len(some)) for epoch, some in sorted(values.items())]


def test_points(log, measure):
    """One point an epoch; where a round follows two, before it and right after it."""
    points = {(entry.epoch, 0): entry.measures for entry in log.epochs}
    for entry in log.rounds:
        points[entry.epoch, 0], points[entry.epoch, 1] = entry.before, entry.after
    name = "test " + measure
    return [(key[0], points[key][name]) for key in sorted(points) if name in points[key]]


def neuron_points(log, last):
    """The corners of a step line from epoch 0 to the last."""
    rounds = [entry for entry in log.rounds if "widths" in entry.before]
    widths = (rounds[0].before["widths"] if rounds else
              log.header.get("initial_widths") or log.header.get("hidden_widths"))
    if not widths:
        return []
    points = [(0, sum(widths))] + [(entry.epoch, sum(entry.after["widths"])) for entry in rounds]
    return points + [(last, points[-1][1])]


if __name__ == "__main__":
    errors.run_command(main)
