"""The look of all figures, an arm a colour and a marker, and the figure that plot.py draws against the epoch."""
import itertools
import os
import textwrap
from collections import namedtuple

import numpy as np
from matplotlib import pyplot, ticker
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

import runlog
import table
from errors import UserError, reason

# The colours of Okabe and Ito can be told apart by the colour-blind; the first three differ in grey as well.
ARMS = {"none": ("#000000", "o"), "contribution": ("#0072B2", "s"), "random": ("#E69F00", "^"),
        "reversed": ("#D55E00", "v"), "magnitude": ("#009E73", "D"), "activation": ("#CC79A7", "P"),
        "taylor": ("#56B4E9", "X"), "apoz": ("#8C6D1F", "p"), "scratch": ("#7F7F7F", "*")}
# For further logs of an arm, from Tol's muted colours, with other markers than its first.
SPARE_COLOURS, SPARE_MARKERS = ["#882255", "#44AA99", "#999933", "#332288"], "DvPX*"
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
Line = namedtuple("Line", "logs curves words style")  # of one log, or of several that differ in their seed alone
# measures: {measure: {split: points (epoch, value)}}; bands: of means over seeds the same with half the widths of their
# 95 % t-intervals; neurons: points; rounds: epochs.
Curves = namedtuple("Curves", "measures bands neurons rounds")

GREY = "0.55"
TOO_FAR = 1e300  # from 0 to be drawn: on an axis that long matplotlib's numbers overflow
COLUMN = 5  # arms in a column of the legend
SQUEEZED = 0.3  # of the height, for the few values that are far worse than the others


def name_arms(arms):
    """Words and style of every arm, of pairs (arm, its first log); where several are of one arm, their ways of ranking,
    what else they differ in or their paths tell them apart."""
    spare = zip(itertools.cycle(SPARE_COLOURS), itertools.cycle(SPARE_MARKERS))
    seen, names = [], [table.words_of(log, arm) for arm, log in arms]
    for position, ((arm, log), name) in enumerate(zip(arms, names)):
        alike = [other for (_, other), its in zip(arms, names) if its == name]
        words = f"{name}, {told_apart(alike)[alike.index(log)]}" if len(alike) > 1 else name
        colour, marker = ARMS[arm] if arm in ARMS and arm not in seen else next(spare)
        seen.append(arm)
        # Where curves coincide, the earlier one shows on both sides of the later, thinner one.
        width = 1.2 + 0.6 * min(2, len(arms) - 1 - position)
        yield words, {"color": colour, "marker": marker, "linewidth": width, "markersize": 3 + 1.2 * width}


def told_apart(logs):
    """What the settings of logs differ in, as a text each; their paths where that says nothing or too much."""
    names = table.differing([dict(table.settings_of(log)) for log in logs])
    if len(names) > 3 or not all(name in log.header for name in names for log in logs):
        return [log.path for log in logs]
    texts = [", ".join(runlog.words(log.header[name]) if name == "dataset" else f"{name} {log.header[name]}"
                       for name in names) for log in logs]
    return texts if len(set(texts)) == len(logs) else [log.path for log in logs]


# ---- against the epoch ----

def draw(lines):
    """The legend, the measures, and neurons left where a log knows them."""
    measures = list(lines[0].curves.measures)
    heights = [PANELS[measure].height for measure in measures]
    figure = pyplot.figure(figsize=(9, 3 + sum(heights)), layout="constrained")
    with_neurons = [line for line in lines if line.curves.neurons]
    panels = figure.subplots(len(heights) + bool(with_neurons), sharex=True, squeeze=False,
                             gridspec_kw={"height_ratios": heights + [1] * bool(with_neurons)})[:, 0]
    figure.suptitle(plain(title([log for line in lines for log in line.logs])))
    for axes, measure in zip(panels, measures):
        draw_measure(axes, lines, measure)
    if with_neurons:
        draw_neurons(panels[-1], with_neurons)
    marks = mark_rounds(panels, lines) + band_mark([len(line.logs) for line in lines])
    values = ([value for line in lines for points in line.curves.measures[measure].values() for _, value in points]
              for measure in measures)
    squeezed = [squeeze(axes, some, PANELS[measure].better) for axes, some, measure in zip(panels, values, measures)]
    draw_legend(panels[0], lines, marks + next(filter(None, squeezed), []))
    panels[-1].set_xlabel("epoch")
    panels[-1].locator_params(axis="x", integer=True)
    panels[-1].set_xlim(left=0)


def title(logs):
    """The data sets and the seeds, each once."""
    datasets = [log.header.get("dataset", os.path.basename(os.path.dirname(os.path.abspath(log.path)))) for log in logs]
    datasets = dict.fromkeys(runlog.words(name) for name in datasets)
    return f"{', '.join(datasets)}, {seeds_of(logs)}"


def seeds_of(logs):
    """seed 30; seeds 7, 30; seeds 30 to 39."""
    seeds = [log.header.get("seed", "not recorded") for log in logs]
    seeds = list(dict.fromkeys(seed if type(seed) is int else str(seed) for seed in seeds))
    numbers = sorted(seed for seed in seeds if type(seed) is int)
    if len(numbers) == len(seeds) > 3 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        return f"seeds {numbers[0]} to {numbers[-1]}"
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


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
            halves = line.curves.bands.get(measure, {}).get(split)
            if halves:
                fill(axes, epochs, values, halves, line.style["color"])
    axes.set_ylabel(PANELS[measure].label)
    bound(axes, measure)
    axes.grid(axis="y", color="0.9")


def bound(axes, measure, axis="y"):
    """End the axis of an accuracy just beyond 0 and 100 %: an interval of few seeds may go further."""
    if "accuracy" in measure:
        low, high = getattr(axes, f"get_{axis}lim")()
        axes.set(**{f"{axis}lim": (max(-1, low), min(101, high))})


def fill(axes, places, values, halves, colour):
    low, high = ([value + sign * half for value, half in zip(values, halves)] for sign in (-1, 1))
    axes.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)


def band_mark(counts):
    """What the legend says of the bands, as a list. counts: of how many seeds each line is."""
    counts = sorted(set(counts) - {1})
    if not counts:
        return []
    words = f" mean of {' or '.join(map(str, counts))} seeds,\n with its 95 % t-interval"
    return [Patch(color=GREY, alpha=0.3, linewidth=0, label=words)]


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


def squeeze(axes, values, sign, part=0.9):
    """Where more than this part of the values lie in a narrow band, give it most of the height and keep the few worse
    ones in view; sign: 1 where higher ones are better, -1 where lower ones are, 0 where neither.

    Returns what the legend says of it, as a list.
    """
    values = np.array(values)
    values = sign * values[np.abs(values) < TOO_FAR]  # higher is better
    if not values.size:
        return []
    low, high = values.min(), values.max()
    bounds = ticker.MaxNLocator(100, steps=[1, 2, 5, 10]).tick_values(low, high)
    # Below the best value: a band without height would be stretched without end.
    bound = max(bound for bound in (-np.inf, *bounds)
                if high - bound > 0.001 * (high - low) and np.mean(values >= bound) > part)
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
    rest = [splits + marks] if len(arms) > COLUMN else [splits, marks]  # four columns would run out of the figure
    columns = [column for column in (arms[:COLUMN], arms[COLUMN:], *rest) if column]
    height = max(map(len, columns))
    lines_of_text = max(sum(handle.get_label().count("\n") + 1 for handle in column) for column in columns)
    axes.figure.set_figheight(axes.figure.get_figheight() + 0.2 * lines_of_text)
    blank = Line2D([], [], linestyle="none", label=" ")
    axes.legend(handles=[handle for column in columns for handle in (column + height * [blank])[:height]],
                loc="lower left", bbox_to_anchor=(0, 1), ncol=len(columns), frameon=False, handlelength=3.5)


def save(stem, **options):
    """The present figure as PNG and PDF, without date and version, so that the same logs give the same bytes. Raises
    UserError."""
    for extension, metadata in ((".png", {"Software": None}), (".pdf", {"CreationDate": None})):
        try:
            pyplot.savefig(stem + extension, metadata=metadata, **options)
        except OSError as error:
            raise UserError(f"{stem}{extension}: {reason(error)}")
        print(f"wrote {stem}{extension}")
