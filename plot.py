"""Draw accuracy, or a VAE's loss and its parts, and neurons left against the epoch, from the text logs.

    python plot.py                   every data set that has logs: logs/<data set>/comparison.png and comparison.pdf
    python plot.py logs/Digits       the logs of one folder
    python plot.py one.txt two.txt   these logs in one figure, saved beside the first
    python plot.py --table ...       no figure but a table of these logs: means over seeds, intervals, differences

Logs of vae.py have a figure of their own, vae_comparison. A log that cannot be read is named and left out; the exit
status is then 2.
"""
import argparse
import glob
import itertools
import os
import re
import sys
import textwrap
from collections import namedtuple

import matplotlib
import numpy as np
from matplotlib import pyplot, ticker
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

import config
import files
import runlog
import table

# The colours of Okabe and Ito can be told apart by the colour-blind; these three differ in grey as well.
ARMS = {"none": ("#000000", "o"), "contribution": ("#0072B2", "s"), "random": ("#E69F00", "^")}
SPARE_COLOURS, SPARE_MARKERS = ["#CC79A7", "#009E73", "#56B4E9", "#D55E00"], "DvPX*"  # for logs of other arms
SPLITS = {
    "training": {"linestyle": "solid"},
    "test": {"linestyle": (0, (4, 1.6)), "markerfacecolor": "white"},
    "held-out": {"linestyle": (0, (4, 1.2, 1, 1.2)), "markerfacecolor": "white"},
}
# label: of the axis, with the unit; height: of the panel; better: 1 where higher values are, -1 where lower ones are,
# 0 where neither is.
Panel = namedtuple("Panel", "label height better")
PANELS = {
    "accuracy": Panel("accuracy (%)", 3, 1),
    "loss": Panel("loss (nats)", 3, -1),
    "BCE": Panel("BCE (nats)", 2, -1),
    "KLD": Panel("KLD (nats)", 2, 0),
}
PREFIXES = [config.CLASSIFIER.log, config.VAE.log]
GREY = "0.55"
TOO_FAR = 1e300  # from 0 to be drawn: on an axis that long matplotlib's numbers overflow
SQUEEZED = 0.3  # of the height, for the few values that are far worse than the others

Line = namedtuple("Line", "log curves words style")
Curves = namedtuple("Curves", "measures neurons rounds")  # {measure: {split: points (epoch, value)}}, points, epochs


def main():
    parser = config.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", nargs="*", help="log files, or folders of logs")
    parser.add_argument("--output", metavar="NAME", default="comparison", help="the files' name (now: comparison)")
    parser.add_argument("--table", action="store_true", help="print a table of the logs instead (needs scipy)")
    parser.add_argument("--show", action="store_true", help="open a window as well")
    arguments = parser.parse_args()
    if not arguments.show:
        matplotlib.use("Agg")
    complete = True
    for paths in [sum(map(find_logs, arguments.logs), [])] if arguments.logs else find_folders():
        figures = read_logs(paths)
        complete = complete and sum(map(len, figures.values())) == len(paths)
        if arguments.table:
            complete = print_tables([line.log for lines in figures.values() for line in lines]) and complete
            continue
        for prefix, lines in figures.items():
            describe(lines)
            draw(lines)
            folder, name = os.path.split(arguments.output)
            save(os.path.join(os.path.dirname(paths[0]), folder, prefix + name))
    if arguments.show:
        pyplot.show()
        if pyplot.get_backend().lower() == "agg":
            raise config.UserError("--show: there is no display for a window; the files are written")
    if not complete:
        sys.exit(2)


# ---- the files ----

def find_folders():
    """The logs of every data set that has any, a list a data set."""
    log_folder = config.load_constants()["log_folder"]
    folders = [folder for folder in sorted(glob.glob(os.path.join(glob.escape(log_folder), "*"))) if current(folder)]
    if not folders:
        raise config.UserError(f"{log_folder}: no logs there; python driver.py --compare makes them")
    return map(find_logs, folders)


def find_logs(path):
    """A file itself, or the current logs of a folder; says which arms a folder lacks."""
    if os.path.isfile(path):
        return [path]
    logs = current(path)
    if not logs:
        looked_for = " or ".join(prefix + "*.txt" for prefix in PREFIXES)
        found = f"no {looked_for} in this folder" if os.path.isdir(path) else "no such file or folder"
        raise config.UserError(f"{path}: {found}; python driver.py --compare makes logs")
    for prefix in PREFIXES:
        missing = [runlog.ARM_WORDS[arm] for arm in ARMS if files.log_path(path, "", arm, prefix) not in logs]
        if 0 < len(missing) < len(ARMS):
            print(f"{path}: no {prefix} of these arms, which are left out: {', '.join(missing)}")
    return logs


def current(folder):
    """The logs of a folder but for the earlier ones, which files.keep_earlier has numbered."""
    start = os.path.join(glob.escape(folder), "")
    paths = sorted(path for prefix in PREFIXES for path in glob.glob(f"{start}{prefix}*.txt"))
    return [path for path in paths if not re.search(r"\.\d+\.txt$", path)]


def read_logs(paths):
    """{start of the figure's name: a Line for every log that it draws, in the order of ARMS}; a VAE's logs have a
    figure of their own. Says what is wrong with the logs that cannot be read."""
    kinds = {"": [], "vae_": []}
    for path in paths:
        try:
            log = runlog.parse_log(path)
            drawn = curves(log)
            kinds["" if "accuracy" in drawn.measures else "vae_"].append((log, drawn))
        except runlog.LogError as error:
            print(f"plot.py: {error}", file=sys.stderr)
    for read in kinds.values():
        read.sort(key=lambda pair: [*ARMS, arm_of(pair[0])].index(arm_of(pair[0])))
    return {kind: [Line(*pair, *named) for pair, named in zip(read, name_arms([log for log, _ in read]))]
            for kind, read in kinds.items() if read}


def print_tables(logs):
    """Print the tables of the finished runs; says which logs are left out, and returns whether none is."""
    lacking = {log.path: table.lacks(log) for log in logs}
    for path, names in lacking.items():
        if names:
            print(f"plot.py: {path} is left out, no finished run of this suite: it has no {names[0]}", file=sys.stderr)
    print(*table.tables([log for log in logs if not lacking[log.path]]), sep="\n", end="")
    return not any(lacking.values())


def describe(lines):
    """Where every log ends, and which files are identical."""
    alike = {}
    for line in lines:
        values = [f"{split} {measure} {points[-1][1]:.2f}{runlog.UNITS.get(measure, '')} at epoch {points[-1][0]}"
                  for measure, splits in line.curves.measures.items() for split, points in splits.items()]
        values += [f"{left[-1][1]} of {left[0][1]} neurons left" for left in [line.curves.neurons] if left]
        print(f"{line.log.path}: {line.words}, {', '.join(values)}")
        with open(line.log.path, "rb") as file:
            alike.setdefault(file.read(), []).append(line.log.path)
    for paths in alike.values():
        if len(paths) > 1:
            print(f"identical files: {', '.join(paths)}")


def save(stem):
    """PNG and PDF without date and version, so that the same logs give the same bytes."""
    for extension, metadata in ((".png", {"Software": None}), (".pdf", {"CreationDate": None})):
        try:
            pyplot.savefig(stem + extension, dpi=300, metadata=metadata)
        except OSError as error:
            raise config.UserError(f"{stem}{extension}: {error.strerror}")
        print(f"wrote {stem}{extension}")


# ---- what a log says ----

def arm_of(log):
    """The arm by the header, else by the file's name, else the file's name itself."""
    name = os.path.basename(log.path)
    by_name = [arm for arm, word in files.FILE_WORDS.items() if word in name]
    return str(log.header.get("pruning", (by_name + [name])[0]))


def curves(log):
    """The points that a log draws; a split is absent, and a list empty, where the log does not know.

    Of a VAE the test set alone is drawn, where the log has it: three measures of three arms are enough for a figure.
    """
    epochs, restarts = runlog.clock(log.batches)
    rounds = [entry.epoch for entry in log.rounds] + restarts
    last = max(epochs + rounds + [entry.epoch for entry in log.epochs])
    test = "held-out" if log.header.get("holdout") else "test"
    measures = {}
    for measure in ["accuracy"] if "accuracy" in log.batches[0].measures else ["loss", "BCE", "KLD"]:
        splits = {"training": epoch_means(epochs, log.batches, measure), test: test_points(log, measure)}
        if measure != "accuracy" and splits[test]:
            del splits["training"]
        measures[measure] = {split: points for split, points in splits.items() if points}
    return Curves(measures, neuron_points(log, last), rounds)


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
    if rounds:
        widths = rounds[0].before["widths"]
    elif "hidden_widths" in log.header:
        widths = log.header["hidden_widths"]
    else:
        return []
    points = [(0, sum(widths))] + [(entry.epoch, sum(entry.after["widths"])) for entry in rounds]
    return points + [(last, points[-1][1])]


# ---- the figure ----

def name_arms(logs):
    """Words and style of every log; where several are of one arm, their paths tell them apart."""
    names = [arm_of(log) for log in logs]
    spare = zip(itertools.cycle(SPARE_COLOURS), itertools.cycle(SPARE_MARKERS))
    for position, (log, name) in enumerate(zip(logs, names)):
        words = runlog.ARM_WORDS.get(name, name) + f", {log.path}" * (names.count(name) > 1)
        own = name in ARMS and name not in names[:position]
        colour, marker = ARMS[name] if own else next(spare)
        # Where curves coincide, the earlier one shows on both sides of the later, thinner one.
        width = 1.2 + 0.6 * min(2, len(logs) - 1 - position)
        yield words, {"color": colour, "marker": marker, "linewidth": width, "markersize": 3 + 1.2 * width}


def draw(lines):
    """The legend, the measures, and neurons left where a log knows them."""
    measures = list(lines[0].curves.measures)
    heights = [PANELS[measure].height for measure in measures]
    figure = pyplot.figure(figsize=(9, 3 + sum(heights)), layout="constrained")
    with_neurons = [line for line in lines if line.curves.neurons]
    panels = figure.subplots(len(heights) + bool(with_neurons), sharex=True, squeeze=False,
                             gridspec_kw={"height_ratios": heights + [1] * bool(with_neurons)})[:, 0]
    figure.suptitle(plain(title([line.log for line in lines])))
    for axes, measure in zip(panels, measures):
        draw_measure(axes, lines, measure)
    if with_neurons:
        draw_neurons(panels[-1], with_neurons)
    marks = mark_rounds(panels, lines)
    squeezed = [squeeze(axes, lines, measure) for axes, measure in zip(panels, measures)]
    draw_legend(panels[0], lines, marks + next(filter(None, squeezed), []))
    panels[-1].set_xlabel("epoch")
    panels[-1].locator_params(axis="x", integer=True)
    panels[-1].set_xlim(left=0)


def title(logs):
    """The data sets and the seeds, each once."""
    datasets = [log.header.get("dataset", os.path.basename(os.path.dirname(os.path.abspath(log.path)))) for log in logs]
    datasets = dict.fromkeys(runlog.DATASET_WORDS.get(str(name), str(name)) for name in datasets)
    seeds = dict.fromkeys(str(log.header.get("seed", "not recorded")) for log in logs)
    return f"{', '.join(datasets)}, seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}"


def plain(text):
    """A text without what would begin a formula, and without the parts of a file's name that are no text."""
    return text.replace("$", r"\$").encode(errors="replace").decode()


def draw_measure(axes, lines, measure):
    for position, line in enumerate(lines):
        for split, points in line.curves.measures[measure].items():
            after_round = [i for i in range(1, len(points)) if points[i][0] == points[i - 1][0]]
            step = max(1, len(points) // 10)
            marked = after_round or list(range(position * step // len(lines), len(points), step))
            epochs, values = zip(*points)
            values = [value if abs(value) < TOO_FAR else np.nan for value in values]
            axes.plot(epochs, values, **SPLITS[split], markevery=marked, **line.style)
    axes.set_ylabel(PANELS[measure].label)
    axes.grid(axis="y", color="0.9")


def draw_neurons(axes, lines):
    for line in lines:
        axes.step(*zip(*line.curves.neurons), where="post", color=line.style["color"],
                  linewidth=2 * line.style["linewidth"])
    initial = {line.curves.neurons[0][1] for line in lines}
    axes.set_ylim(0, 1.1 * max(initial))
    axes.set_ylabel("neurons left")
    axes.grid(axis="y", color="0.9")
    if len(initial) == 1:
        percent = 100 / initial.pop()
        right = axes.secondary_yaxis("right", functions=(lambda y: y * percent, lambda y: y / percent))
        right.set_yticks([0, 25, 50, 75, 100])
        right.set_ylabel("% of initial")


def mark_rounds(panels, lines):
    """A thin vertical line a round. Returns what the legend says of it, as a list."""
    epochs = sorted({epoch for line in lines for epoch in line.curves.rounds})
    for axes, epoch in itertools.product(panels, epochs):
        axes.axvline(epoch, color=GREY, linewidth=0.6, zorder=0.5)
    handle = Line2D([], [], color=GREY, linestyle="none", marker="|", markersize=12, label=" pruning round")
    return [handle] if epochs else []


def squeeze(axes, lines, measure):
    """Where nearly all values lie in a narrow band, give it most of the height and keep the few worse ones in view.

    Returns what the legend says of it, as a list.
    """
    sign = PANELS[measure].better
    values = np.array([value for line in lines for points in line.curves.measures[measure].values()
                       for _, value in points])
    values = sign * values[np.abs(values) < TOO_FAR]  # higher is better
    if not values.size:
        return []
    low, high = values.min(), values.max()
    bounds = ticker.MaxNLocator(100, steps=[1, 2, 5, 10]).tick_values(low, high)
    bound = max(bound for bound in (-np.inf, *bounds) if np.mean(values >= bound) > 0.9)
    if sign == 0 or high - bound >= 0.4 * (high - low):
        return []
    slope = SQUEEZED / (1 - SQUEEZED) * (high - bound) / (bound - low)

    def scale(factor):
        return lambda y: sign * np.where(sign * y < bound, bound + (sign * y - bound) * factor, sign * y)

    axes.set_yscale("function", functions=(scale(slope), scale(1 / slope)))
    few, many = (ticker.MaxNLocator(count, steps=[1, 2, 5, 10]).tick_values(*ends)
                 for count, *ends in ((3, low, bound), (6, bound, high)))
    few = few[few < bound - 0.2 * (bound - low)]  # nearer ones would be written over the others
    axes.set_yticks(sign * np.concatenate([few, many[many >= bound]]))
    ends = low - 0.1 * (bound - low), high + 0.03 * (high - bound)
    axes.set_ylim(sorted(sign * end for end in ends))
    axes.axhspan(sign * ends[0], sign * bound, color="0.95", zorder=0)
    return [Patch(color="0.9", label=" scale compressed")]


def draw_legend(axes, lines, marks):
    """Above the axes, where it covers no data: arms, measures and marks, in columns filled up to one height."""
    # The space is for a file's name that begins with _: its label would be left out.
    arms = [Line2D([], [], label=textwrap.fill(plain(line.words), 30, initial_indent=" ", subsequent_indent=" "),
                   **line.style) for line in lines]
    splits = [Line2D([], [], color=GREY, marker="o", label=f" {split}", **style) for split, style in SPLITS.items()
              if any(split in drawn for line in lines for drawn in line.curves.measures.values())]
    columns = [column for column in (arms, splits, marks) if column]
    height = max(map(len, columns))
    lines_of_text = sum(handle.get_label().count("\n") + 1 for handle in arms)
    axes.figure.set_figheight(axes.figure.get_figheight() + 0.2 * lines_of_text)
    blank = Line2D([], [], linestyle="none", label=" ")
    axes.legend(handles=[handle for column in columns for handle in (column + height * [blank])[:height]],
                loc="lower left", bbox_to_anchor=(0, 1), ncol=len(columns), frameon=False, handlelength=3.5)


if __name__ == "__main__":
    config.run_command(main)
