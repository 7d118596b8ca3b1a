"""The figures of finished runs: means over seeds with their intervals, one column of panels per data set."""
import textwrap

import numpy as np
from matplotlib import pyplot
from matplotlib.lines import Line2D

from pruning import menu
from pruning.arms import ARMS
from pruning.errors import UserError
from pruning.plots import style
from pruning.plots.runs import Run, differing, experiments, place
from pruning.plots.statistics import difference, estimate, mean

FINE = {"linewidth": 1.4, "markersize": 5}  # for lines that do not coincide over long stretches
LEGEND_LINE = 0.22  # inches
BEFORE = style.SPLITS["test"]  # the look of what stands before a round
SCHEDULE = ["initial_iterations", "increment", "prune_percent"]  # which decide on the part of the neurons removed


def by_dataset(runs):
    """{what a data set is called: its runs}, in the order of the menu."""
    found = {}
    for run in sorted(runs, key=lambda run: [*menu.DATASETS, run.header["dataset"]].index(run.header["dataset"])):
        found.setdefault(run.dataset, []).append(run)
    return found


def by_variant(runs):
    """{variant: [{seed: Run} of every experiment that has it]}."""
    found = {run.variant: [] for run in sorted(runs, key=place)}
    for variants in experiments(runs).values():
        for variant, seeds in variants.items():
            found[variant].append(seeds)
    return found


def check(runs, kind):
    """Raise UserError if the runs on a data set differ in more than seed and variant, or none of them has a round. Only
    the figure `removed` needs no round and takes several schedules."""
    free = SCHEDULE if kind == "removed" else []
    for name, some in by_dataset(runs).items():
        if kind != "removed" and not any(run.rounds for run in some):
            raise UserError(f"no log of {name} has a round; give those of arms that prune")
        unlike = [setting for setting in differing(experiments(some)) if setting not in free]
        if unlike:
            raise UserError(f"--figure {kind}: logs of {name} differ in {', '.join(unlike)}; give those that do not")


def panels_of(runs, rows=1, height=3.2):
    """A figure with a column of panels per data set: [(its runs, its axes, one per row)]."""
    datasets = by_dataset(runs)
    _, axes = pyplot.subplots(rows, len(datasets), squeeze=False, layout="constrained",
                              figsize=(1 + 4 * len(datasets), 1 + height * rows))
    for some, column in zip(datasets.values(), axes.T):
        heading = style.title(sorted(some, key=lambda run: run.header["seed"]))
        column[0].set_title(style.plain(heading), fontsize="medium")
        for panel in column:
            panel.grid(color="0.92")
    return list(zip(datasets.values(), axes.T))


def looks_of(runs):
    """{variant: matplotlib's options of its lines}, the same in all panels of a figure of these runs."""
    variants = by_variant(runs)
    names = style.name_lines([next(iter(groups[0].values())) for groups in variants.values()])
    return {variant: {**look, **FINE, "label": style.plain(words)} for variant, (words, look) in zip(variants, names)}


def plot_means(axes, places, values, look):
    """A line through the means of lists of values, with the band of their 95 % t-intervals; of one, with a bar."""
    means, halves = zip(*map(estimate, values))
    axes.plot(places, means, **look)
    if len(means) > 1:
        style.fill(axes, places, means, [half or 0 for half in halves], look["color"])
    else:
        axes.errorbar(places, means, halves[0], fmt="none", ecolor=look["color"], capsize=3)


def draw_legend(panels, marks=()):
    """One legend for all panels, below them: their lines, then the marks."""
    lines = [line for _, (axes,) in panels for line in axes.get_legend_handles_labels()[0]]
    handles, columns = list({handle.get_label(): handle for handle in [*lines, *marks]}.values()), 1 + len(panels)
    rows = -(-len(handles) // columns) + any("\n" in handle.get_label() for handle in handles)
    figure, height = panels[0][1][0].figure, 0.1 + LEGEND_LINE * rows
    figure.set_figheight(figure.get_figheight() + height)
    figure.legend(handles=handles, loc="lower center", ncol=columns, frameon=False, fontsize="small", handlelength=3)
    part = height / figure.get_figheight()
    figure.get_layout_engine().set(rect=(0, part, 1, 1 - part))


def band_mark(runs):
    """What the legend says of the bands of these runs, as a list."""
    return style.band_mark([len(seeds) for groups in by_variant(runs).values() for seeds in groups])


def draw_removed(runs):
    """Test accuracy, or a VAE's loss, at the end against the part of the neurons removed, one line per variant."""
    check(runs, "removed")
    panels, looks, squeezed = panels_of(runs), looks_of(runs), []
    for some, (axes,) in panels:
        means = []
        for variant, groups in by_variant(some).items():
            points = sorted((mean([run.percent_removed() for run in seeds.values()]),
                             [run.at_the_end() for run in seeds.values()]) for seeds in groups)
            plot_means(axes, *zip(*points), looks[variant])
            means += [mean(values) for _, values in points]
        axes.set(xlabel="hidden neurons removed (%)", ylabel=f"{some[0].label} at the end")
        style.bound(axes, some[0].measure)
        squeezed += style.squeeze(axes, means, some[0].better, better_part(means, some[0].better))
    draw_legend(panels, band_mark(runs) + squeezed)


def better_part(values, sign):
    """Which part of the values is better than the widest gap between two of them, half a value less; at least 0.5."""
    gaps = np.diff(np.sort(sign * np.array(values)))
    return max(0.5, 1 - (np.argmax(gaps) + 1.5) / len(values)) if gaps.size else 0.5


def draw_rounds(runs):
    """Test accuracy, or a VAE's loss, before and right after every round, one colour per variant."""
    check(runs, "rounds")
    panels, looks = panels_of(runs), looks_of(runs)
    for some, (axes,) in panels:
        for variant, (seeds,) in by_variant([run for run in some if run.rounds]).items():
            rounds = list(zip(*(run.rounds for run in seeds.values())))
            first = rounds[0][0].before["neurons"]
            places = [100 * (1 - entries[0].after["neurons"] / first) for entries in rounds]
            for side, more in (("before", BEFORE), ("after", {})):
                values = [[getattr(entry, side)[some[0].measure] for entry in entries] for entries in rounds]
                plot_means(axes, places, values, {**looks[variant], **more})
        axes.set(xlabel="hidden neurons removed after the round (%)", ylabel=some[0].label)
        style.bound(axes, some[0].measure)
    sides = [Line2D([], [], color=style.GREY, marker="o", label="right after the round"),
             Line2D([], [], color=style.GREY, marker="o", label="before the round", **BEFORE)]
    draw_legend(panels, sides + band_mark([run for run in runs if run.rounds]))


def draw_variants(runs):
    """What a round costs, and test accuracy or loss at the end, one row per variant."""
    def means(some, value):
        return {variant: estimate(list(map(value, seeds.values()))) for variant, (seeds,) in by_variant(some).items()}

    check(runs, "variants")
    for some, _, end in draw_rows(runs, means):
        style.bound(end, some[0].measure, "x")


def draw_differences(runs):
    """What a round costs, and test accuracy or loss at the end, of every other variant minus contribution, by seed."""
    usual = ARMS["contribution"]

    def differences(some, value):
        variants = by_variant(some)
        (control,) = variants.pop(usual.name, [{}])
        rows = {variant: difference(seeds, control, value) for variant, (seeds,) in variants.items()}
        return {variant: row for variant, row in rows.items() if row}

    check(runs, "differences")
    for name, some in by_dataset(runs).items():
        if not differences(some, Run.at_the_end):
            raise UserError(f"--figure differences: {name} needs a log of {usual.words} and one of another arm with "
                            "the same seed")
    for _, *both in draw_rows(runs, differences, f",\nminus {usual.words}"):
        for axes in both:
            axes.axvline(0, color=usual.colour, linewidth=1, zorder=0.5)


def draw_rows(runs, rows_of, minus=""):
    """One row per variant: the mean of what a round costs, above that of what is left at the end, with their intervals.

    rows_of: (runs on a data set, Run -> number) -> {variant: mean and half}. minus: how the axes' labels end. Returns
    (runs, axes of the rounds, axes of the end) of every data set.
    """
    looks = looks_of(runs)
    heights = [sum(0.1 + 0.13 * len(label_lines(looks[variant])) for variant in by_variant(some))
               for some in by_dataset(runs).values()]
    panels = panels_of(runs, 2, 0.9 + max(heights))
    for some, (lost, end) in panels:
        draw_intervals(lost, looks, rows_of([run for run in some if run.rounds], Run.lost_in_a_round))
        draw_intervals(end, looks, rows_of(some, Run.at_the_end))
        change = "lost" if some[0].better > 0 else "added"
        lost.set_xlabel(f"{some[0].label} {change} in a round{minus}")
        end.set_xlabel(f"{some[0].label} at the end{minus}")
    if band_mark(runs):
        lost.figure.supxlabel("means over seeds, with their 95 % t-intervals", fontsize="small")
    for row in zip(*(axes for _, axes in panels)):
        labels = [[label.get_text() for label in axes.get_yticklabels()] for axes in row]
        for axes, own in zip(row[1:], labels[1:]):
            if own == labels[0]:
                axes.set_yticklabels([])
    return [(some, *axes) for some, axes in panels]


def label_lines(look):
    """The lines that a label takes beside the axes."""
    return textwrap.wrap(look["label"], 27)


def draw_intervals(axes, looks, rows):
    """Each row's mean with its interval; rows: {variant: mean and half}."""
    for position, (variant, row) in enumerate(rows.items()):
        look = looks[variant]
        axes.errorbar(row.mean, position, xerr=row.half, color=look["color"], marker=look["marker"], markersize=6,
                      capsize=3)
    axes.set_yticks(range(len(rows)), ["\n".join(label_lines(looks[variant])) for variant in rows], fontsize="small")
    axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)


def draw_seconds(runs):
    """The seconds that an epoch takes along the run, the median over the seeds, one line per variant."""
    panels, looks = panels_of(runs), looks_of(runs)
    for some, (axes,) in panels:
        for variant, groups in by_variant(some).items():
            for seeds in groups:
                epochs = list(zip(*(run.epochs for run in seeds.values())))
                times = [float(np.median([entry.measures["time"] for entry in entries])) for entries in epochs]
                axes.plot([entries[0].epoch for entries in epochs], times, markevery=max(1, len(epochs) // 10),
                          **looks[variant])
        axes.set(xlabel="epoch", ylabel="time of an epoch (s)", ylim=(0, None))
    draw_legend(panels)


KINDS = {"removed": draw_removed, "rounds": draw_rounds, "variants": draw_variants, "differences": draw_differences,
         "seconds": draw_seconds}
