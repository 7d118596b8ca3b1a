"""The look that all figures share: panels, names and colours of lines, intervals, compressed scales, legends, files."""
import itertools
import os
import textwrap
from collections import namedtuple

import numpy as np
from matplotlib import pyplot, ticker
from matplotlib.collections import LineCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pruning import files
from pruning.plots.runs import cut, differing

# For further lines of an arm and for arms without a look of their own: Tol's muted colours, with other markers than
# arms.ARMS has first.
SPARE_COLOURS, SPARE_MARKERS = ["#882255", "#44AA99", "#999933", "#332288"], "DvPX*"
MANY = 5  # lines from which on they are thinner, and have bars in place of bands
NAMED = 20  # lines that a legend names
UNNAMED = {"color": "0.8", "marker": ".", "linewidth": 0.8, "markersize": 3, "zorder": 1}
DASHED = {"linestyle": (0, (4, 1.6))}
HOLLOW = {"markerfacecolor": "white"}
# label: of the axis, with the unit; height: of the panel; better: 1 if higher values are, -1 if lower ones are, 0 if
# neither is.
Panel = namedtuple("Panel", "label height better")
PANELS = {
    "accuracy": Panel("accuracy (%)", 3, 1),
    "loss": Panel("loss (nats)", 3, -1),
    "BCE": Panel("BCE (nats)", 2, -1),
    "KLD": Panel("KLD (nats)", 2, 0),
}

GREY = "0.55"
TOO_FAR = 1e300  # from 0 to be drawn: on an axis that long matplotlib's numbers overflow
SQUEEZED = 0.3  # of the height, for the few values that are far worse than the others
LABEL = 34  # characters in a line of the legend
# The forms of a figure's file, and what leaves date and version out: the same logs give the same bytes.
FORMS = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


# ---- panels ----

def panels_of(groups, heights, width=6.5, **options):
    """The columns of a new figure, one for the runs of each data set, with a panel per height; heights and the least
    width are in inches."""
    _, axes = pyplot.subplots(len(heights), len(groups), squeeze=False, layout="constrained", **options,
                              figsize=(max(width, 1 + 4 * len(groups)), 1 + sum(heights)),
                              gridspec_kw={"height_ratios": heights})
    for runs, column in zip(groups, axes.T):
        column[0].set_title(wrapped(title(runs), 50), fontsize="medium")
    return axes.T


def title(runs):
    """The data sets and the seeds, each once: MNIST, seed 30; or seeds 7, 30; or seeds 30 to 39."""
    datasets = ", ".join(dict.fromkeys(run.dataset for run in runs))
    seeds = [run.header.get("seed", "not recorded") for run in runs]
    seeds = list(dict.fromkeys(seed if type(seed) is int else str(seed) for seed in seeds))
    numbers = sorted(seed for seed in seeds if type(seed) is int)
    if len(numbers) == len(seeds) > 3 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        return f"{datasets}, seeds {numbers[0]} to {numbers[-1]}"
    seeds = numbers if len(numbers) == len(seeds) else seeds
    return f"{datasets}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


# ---- lines ----

def name_lines(runs):
    """(words, style) of each line of a figure; runs: the first run of each.

    Lines of one arm and one way of ranking are told apart by what else they differ in, or by their paths. Those of the
    same words, in the panels of several data sets, look the same; those beyond NAMED are grey.
    """
    names = []
    for run in runs:
        alike = [other for other in runs if (other.words, other.dataset) == (run.words, run.dataset)]
        names.append(f"{run.words}, {told_apart(alike)[alike.index(run)]}" if len(alike) > 1 else run.words)
    spare = zip(itertools.cycle(SPARE_COLOURS), itertools.cycle(SPARE_MARKERS))
    looks, seen = {}, set()
    for words, run in zip(names, runs):
        if words not in looks:
            own = run.arm.colour and run.arm.name not in seen
            colour, marker = (run.arm.colour, run.arm.marker) if own else next(spare)
            dashes = own and run.arm.dashes
            seen.add(run.arm.name)
            # Where curves coincide, the earlier one shows on both sides of the later, thinner one.
            width = (1.2 if len(set(names)) < MANY else 0.8) * (1 + min(2, len(set(names)) - 1 - len(looks)) / 2)
            looks[words] = UNNAMED if len(looks) >= NAMED else {
                "color": colour, "marker": marker, "linestyle": (0, dashes) if dashes else "-", "linewidth": width,
                "markersize": 3 + 1.2 * width, "zorder": 2}
    return [(words, looks[words]) for words in names]


def told_apart(runs):
    """What the settings of runs differ in, one text per run; their paths if that says nothing or too much."""
    names = differing([run.settings for run in runs])
    texts = [", ".join(f"{name} {run.header.get(name)}" for name in names) for run in runs]
    if len(set(texts)) == len(runs) and len(names) < 4 and all(name in run.header for name in names for run in runs):
        return texts
    paths = [os.path.abspath(run.path) for run in runs]
    shared = os.path.commonprefix([os.path.dirname(path).split(os.sep) for path in paths])
    return ["/".join(path.split(os.sep)[len(shared):]) for path in paths]


def plain(text):
    """A text without what would begin a formula, and without the parts of a file's name that are no text."""
    return text.replace("$", r"\$").encode(errors="replace").decode()


def wrapped(text, width):
    """A text in lines of whole words; one that is far longer, such as a path, is cut."""
    lines = textwrap.wrap(text.replace(" : ", "\u00a0:\u00a0"), width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(plain(cut(line, 2 * width)) for line in lines)


# ---- intervals ----

def ends_of(estimates, measure):
    """The means, and both ends of their intervals: NaN of a single value or too far to be drawn. No interval of an
    accuracy goes beyond 0 and 100 %."""
    found = np.array([[at.mean, *(np.nan if at.half is None else float(at.mean) + sign * at.half for sign in (-1, 1))]
                      for at in estimates]).reshape(-1, 3).T
    found[~(np.abs(found) < TOO_FAR)] = np.nan
    if "accuracy" in measure:
        found[1:] = found[1:].clip(0, 100)
    return found


def draw_bars(axes, places, ends, colour):
    """The intervals, as bars along the vertical axis; ends: of ends_of."""
    has = ~np.isnan(ends).any(axis=0)
    if has.any():
        means, low, high = ends[:, has]
        axes.errorbar(np.array(places)[has], means, [means - low, high - means], fmt="none", ecolor=colour,
                      elinewidth=1, capsize=2)


def interval_marks(counts, bars):
    """What the legend says of the intervals, as a list. counts: the numbers of seeds of the lines."""
    counts = sorted(set(counts) - {1})
    if not counts:
        return [Line2D([], [], linestyle="none", label=" one seed, no interval")]
    words = f" mean of {' or '.join(map(str, counts))} seeds, 95\u00a0%\u00a0t-interval"  # no line breaks there
    cap, bar = Line2D([], [], color=GREY, linestyle="none", markersize=6), LineCollection([], colors=GREY)
    return [ErrorbarContainer((None, [cap], [bar]), has_yerr=True, label=words) if bars else
            Patch(color=GREY, alpha=0.3, linewidth=0, label=words)]


# ---- axes ----

def bound(axes, measure, axis="y"):
    """End the axis of an accuracy just beyond 0 and 100 %."""
    if "accuracy" in measure:
        low, high = getattr(axes, f"get_{axis}lim")()
        axes.set(**{f"{axis}lim": (max(-1, low), min(101, high))})


def count_epochs(axes, last, first=1):
    """Begin the axis of the epochs at the first one, and write that there."""
    axes.set_xlabel("epoch")
    axes.set_xlim(first - 0.02 * max(1, last - first), last + 0.02 * max(1, last - first))
    ticks = ticker.MaxNLocator(6, integer=True).tick_values(first, last)
    axes.set_xticks([first, *(tick for tick in ticks if first + 0.05 * (last - first) < tick <= last)])


def squeeze(axes, values, sign, part=0.9):
    """If more than this part of the values lie in a narrow band, give it most of the height and keep the few worse ones
    in view, on a grey ground; the axis says so. sign: Panel.better."""
    values = np.array(values)
    values = sign * values[np.abs(values) < TOO_FAR]  # higher is better
    if not values.size:
        return
    low, high = values.min(), values.max()
    bounds = ticker.MaxNLocator(100, steps=[1, 2, 5, 10]).tick_values(low, high)
    # Below the best value: a band without height would be stretched without end.
    bound = max(bound for bound in (-np.inf, *bounds)
                if high - bound > 0.001 * (high - low) and np.mean(values >= bound) > part)
    if sign == 0 or high - bound >= 0.4 * (high - low):
        return
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
    axes.set_ylabel(f"{axes.get_ylabel()}\ncompressed {'below' if sign > 0 else 'above'} {sign * bound:g}")


# ---- the whole ----

def draw_legend(figure, lines, marks):
    """Below the panels, in as many columns as fit: the lines, one of each name, then what else is to be said."""
    lines = list({line.get_label(): line for line in lines}.values())
    more = [Line2D([], [], **UNNAMED, label=f" and {len(lines) - NAMED} more, named on the terminal")]
    handles = [*lines[:NAMED], *more[:len(lines) > NAMED], *marks]
    labels = [wrapped(handle.get_label(), LABEL).replace("\n", "\n ") for handle in handles]
    for columns in range(int(figure.get_figwidth() / 2.5), 0, -1):
        legend = figure.legend(handles, labels, loc="lower center", ncol=columns, frameon=False, fontsize="small",
                               handlelength=4)
        box = legend.get_window_extent()
        if box.width <= figure.bbox.width or columns == 1:
            break
        legend.remove()
    height = 0.1 + box.height / figure.dpi
    figure.set_figheight(figure.get_figheight() + height)
    part = height / figure.get_figheight()
    figure.get_layout_engine().set(rect=(0, part, 1, 1 - part))


def save(stem, forms=("png", "pdf"), **options):
    """Save the present figure in these forms. Raises UserError."""
    pyplot.rcParams["svg.hashsalt"] = "plot.py"
    for form in forms:
        with files.whole_file(f"{stem}.{form}") as file:
            pyplot.savefig(file, format=form, metadata=FORMS[form], **options)
        print(f"wrote {stem}.{form}")
