"""The look that all figures share: names and colours of lines, bands, compressed scales; and how a figure is saved."""
import itertools
from collections import namedtuple

import numpy as np
from matplotlib import pyplot, ticker
from matplotlib.patches import Patch

from pruning import files
from pruning.plots.runs import differing

# For further lines of an arm and for arms without a look of their own: Tol's muted colours, with other markers than
# arms.ARMS has first.
SPARE_COLOURS, SPARE_MARKERS = ["#882255", "#44AA99", "#999933", "#332288"], "DvPX*"
SPLITS = {
    "training": {"linestyle": "solid"},
    "test": {"linestyle": (0, (4, 1.6)), "markerfacecolor": "white"},
    "held-out": {"linestyle": (0, (4, 1.2, 1, 1.2)), "markerfacecolor": "white"},
}
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


def name_lines(runs):
    """(words, style) of each line of a figure; runs: the first run of each.

    Lines of one arm and one way of ranking are told apart by what else they differ in, or by their paths.
    """
    spare = zip(itertools.cycle(SPARE_COLOURS), itertools.cycle(SPARE_MARKERS))
    seen = set()
    for position, run in enumerate(runs):
        alike = [other for other in runs if other.words == run.words]
        words = f"{run.words}, {told_apart(alike)[alike.index(run)]}" if len(alike) > 1 else run.words
        own = run.arm.colour and run.arm.name not in seen
        colour, marker = (run.arm.colour, run.arm.marker) if own else next(spare)
        seen.add(run.arm.name)
        # Where curves coincide, the earlier one shows on both sides of the later, thinner one.
        width = 1.2 + 0.6 * min(2, len(runs) - 1 - position)
        yield words, {"color": colour, "marker": marker, "linewidth": width, "markersize": 3 + 1.2 * width}


def told_apart(runs):
    """What the settings of runs differ in, one text per run; their paths if that says nothing or too much."""
    names = differing([run.settings for run in runs])
    if len(names) > 3 or not all(name in run.header for name in names for run in runs):
        return [run.path for run in runs]
    texts = [", ".join(run.dataset if name == "dataset" else f"{name} {run.header[name]}" for name in names)
             for run in runs]
    return texts if len(set(texts)) == len(runs) else [run.path for run in runs]


def title(runs):
    """The data sets and the seeds, each once: MNIST, seed 30; or seeds 7, 30; or seeds 30 to 39."""
    datasets = ", ".join(dict.fromkeys(run.dataset for run in runs))
    seeds = [run.header.get("seed", "not recorded") for run in runs]
    seeds = list(dict.fromkeys(seed if type(seed) is int else str(seed) for seed in seeds))
    numbers = sorted(seed for seed in seeds if type(seed) is int)
    if len(numbers) == len(seeds) > 3 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        return f"{datasets}, seeds {numbers[0]} to {numbers[-1]}"
    return f"{datasets}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def plain(text):
    """A text without what would begin a formula, and without the parts of a file's name that are no text."""
    return text.replace("$", r"\$").encode(errors="replace").decode()


def bound(axes, measure, axis="y"):
    """End the axis of an accuracy just beyond 0 and 100 %: an interval of few seeds may go further."""
    if "accuracy" in measure:
        low, high = getattr(axes, f"get_{axis}lim")()
        axes.set(**{f"{axis}lim": (max(-1, low), min(101, high))})


def fill(axes, places, values, halves, colour):
    """A band around a line, half its height on either side."""
    low, high = ([value + sign * half for value, half in zip(values, halves)] for sign in (-1, 1))
    axes.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)


def band_mark(counts):
    """What the legend says of the bands, as a list. counts: the number of seeds of each line."""
    counts = sorted(set(counts) - {1})
    if not counts:
        return []
    words = f" mean of {' or '.join(map(str, counts))} seeds,\n with its 95 % t-interval"
    return [Patch(color=GREY, alpha=0.3, linewidth=0, label=words)]


def squeeze(axes, values, sign, part=0.9):
    """If more than this part of the values lie in a narrow band, give it most of the height and keep the few worse ones
    in view; sign: Panel.better.

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


def save(stem, **options):
    """Save the present figure as PNG and PDF, without date and version: the same logs give the same bytes. Raises
    UserError."""
    for form, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
        with files.whole_file(f"{stem}.{form}") as file:
            pyplot.savefig(file, format=form, metadata=metadata, **options)
        print(f"wrote {stem}.{form}")
