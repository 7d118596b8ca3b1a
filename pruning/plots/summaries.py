"""The figures of finished runs: means over seeds with their intervals, one column of panels per data set."""
import numpy as np
from matplotlib.lines import Line2D

from pruning.arms import named
from pruning.errors import UserError
from pruning.plots import style
from pruning.plots.runs import SCHEDULE, Run, by_dataset, by_variant, unlike
from pruning.plots.statistics import difference, estimate, mean

LEAST_HEIGHT = 1.8  # inches of a panel, so that the label at its right fits
FINE = {"linewidth": 1.4, "markersize": 5}  # for lines that do not coincide over long stretches
AFTER = {**style.DASHED, **style.HOLLOW}  # the look of what stands right after a round
SHIFT, BESIDE = 0.3, "\n(arms shifted sideways to keep them apart)"  # of the places on an axis; what it says of that


def check(runs, kind):
    """Raise UserError if the runs on a data set differ in more than seed and variant, or none of them has a round. Only
    the figure `removed` needs no round and takes several schedules."""
    free = SCHEDULE if kind == "removed" else []
    for name, some in by_dataset(runs).items():
        if kind != "removed" and not any(run.rounds for run in some):
            raise UserError(f"no log of {name} has a round; give those of arms that prune")
        names = [setting for setting in unlike(some) if setting not in free]
        if names:
            raise UserError(f"--figure {kind}: logs of {name} differ in {', '.join(names)}; give those that do not")


def panels_of(runs, rows=1, height=3.2):
    """A figure with a column of panels per data set: [(its runs, its axes, one per row)]."""
    groups = by_dataset(runs).values()
    columns = style.panels_of(groups, rows * [height])
    for axes in columns.flat:
        axes.grid(color="0.92")
    return list(zip(groups, columns))


def looks_of(runs):
    """{variant: matplotlib's options of its lines}, the same in all panels of a figure of these runs."""
    variants = by_variant(runs)
    names = style.name_lines([next(iter(groups[0].values())) for groups in variants.values()])
    # The space is for an arm's name that begins with _: the legend would leave it out.
    return {variant: {**look, **FINE, "label": f" {words}"} for variant, (words, look) in zip(variants, names)}


def draw_means(axes, places, values, look, measure, shift=0):
    """A line through the means of lists of values, with the bars of their 95 % t-intervals; returns the means and the
    ends of the bars. shift: positions to the right, so that bars of several arms lie side by side."""
    ends = style.ends_of(map(estimate, values), measure)
    places = np.array(places) + shift * SHIFT
    axes.plot(places, ends[0], **look)
    style.draw_bars(axes, places, ends, look["color"])
    return ends


def draw_legend(panels, runs, marks=(), bars=True):
    """One legend for all panels: their lines, what else is to be said, and what the bars are."""
    lines = [line for _, (axes,) in panels for line in axes.get_legend_handles_labels()[0]]
    counts = [len(seeds) for groups in by_variant(runs).values() for seeds in groups]
    style.draw_legend(panels[0][1][0].figure, lines, [*marks, *(style.interval_marks(counts, True) if bars else [])])


def draw_removed(runs):
    """Test accuracy, or a VAE's loss, at the end against the part of the neurons removed, one line per variant; rows
    if every variant removes one part alone."""
    check(runs, "removed")
    if all(len(groups) == 1 for some in by_dataset(runs).values() for groups in by_variant(some).values()):
        return draw_parts(runs)
    panels, looks = panels_of(runs), looks_of(runs)
    for some, (axes,) in panels:
        drawn, variants = [], by_variant(some)
        for position, (variant, groups) in enumerate(variants.items()):
            points = sorted((mean([run.percent_removed() for run in seeds.values()]),
                             [run.at_the_end() for run in seeds.values()]) for seeds in groups)
            shift = (len(points) > 1) * (position - (len(variants) - 1) / 2)
            drawn.append(draw_means(axes, *zip(*points), looks[variant], some[0].measure, shift))
        axes.set(xlabel=f"neurons removed (%){BESIDE}", ylabel=some[0].label("at the end"))
        style.bound(axes, some[0].measure)
        ends = np.concatenate(drawn, axis=1)
        style.squeeze(axes, ends.flat, some[0].better, better_part(ends[0], some[0].better))
    draw_legend(panels, runs)


def draw_parts(runs):
    """The same, as rows with the part removed at their right ends."""
    for some, (axes,) in draw_rows(runs, means_of, [at_the_end]):
        parts = [mean([run.percent_removed() for run in seeds.values()]) for (seeds,) in by_variant(some).values()]
        right = axes.secondary_yaxis("right")
        right.set_yticks(range(len(parts)), [f"{part:.1f}" for part in parts], fontsize="small")
        right.set_ylabel("neurons removed (%)")


def better_part(values, sign):
    """Which part of the values is better than the widest gap between two of them, half a value less; at least 0.5."""
    gaps = np.diff(np.sort(sign * np.array(values)))
    return max(0.5, 1 - (np.argmax(gaps) + 1.5) / len(values)) if gaps.size else 0.5


def draw_rounds(runs):
    """Test accuracy, or a VAE's loss, before and right after every round, one colour per variant."""
    check(runs, "rounds")
    panels, looks = panels_of(runs), looks_of(runs)
    for some, (axes,) in panels:
        variants = by_variant([run for run in some if run.rounds])
        for position, (variant, (seeds,)) in enumerate(variants.items()):
            rounds = list(zip(*(run.rounds for run in seeds.values())))
            first = rounds[0][0].before["neurons"]
            places = [100 * (1 - entries[0].after["neurons"] / first) for entries in rounds]
            for side, more in (("after", AFTER), ("before", {})):  # the legend shows the latter
                values = [[getattr(entry, side)[some[0].measure] for entry in entries] for entries in rounds]
                draw_means(axes, places, values, {**looks[variant], **more}, some[0].measure,
                           position - (len(variants) - 1) / 2)
        axes.set(xlabel=f"neurons removed after the round (%){BESIDE}", ylabel=some[0].label())
        style.bound(axes, some[0].measure)
    sides = [Line2D([], [], color=style.GREY, marker="o", label=" before the round"),
             Line2D([], [], color=style.GREY, marker="o", label=" right after the round", **AFTER)]
    draw_legend(panels, [run for run in runs if run.rounds], sides)


# ---- rows ----

def lost_in_a_round(runs):
    """The panel of what a round costs: its runs, what it shows of each, and how its axis names that."""
    return ([run for run in runs if run.rounds], Run.lost_in_a_round,
            "lost in a round" if runs[0].better > 0 else "added in a round")


def at_the_end(runs):
    """The panel of what is left at the end."""
    return runs, Run.at_the_end, "at the end"


def means_of(runs, value):
    return {variant: estimate(list(map(value, seeds.values()))) for variant, (seeds,) in by_variant(runs).items()}


def draw_variants(runs):
    """What a round costs, and test accuracy or loss at the end, one row per variant."""
    check(runs, "variants")
    draw_rows(runs, means_of, BOTH)


def draw_differences(runs, control="contribution"):
    """What a round costs, and test accuracy or loss at the end, of every other variant minus a control, by seed."""
    arm = named(control)

    def differences(some, value):
        variants = by_variant(some)
        (subtracted,) = variants.pop(control, [{}])
        rows = {variant: difference(seeds, subtracted, value) for variant, (seeds,) in variants.items()}
        return {variant: row for variant, row in rows.items() if row}

    check(runs, "differences")
    for name, some in by_dataset(runs).items():
        if not differences(some, Run.at_the_end):
            raise UserError(f"--figure differences: {name} needs a log of {arm.words} and one of another arm with "
                            "the same seed; --control names another arm to subtract")
    for some, panels in draw_rows(runs, differences, BOTH):
        for axes, better in zip(panels, (-1, some[0].better)):
            words = f"better than {control} \u2192" if better > 0 else f"\u2190 better than {control}"
            axes.set_xlabel(f"{axes.get_xlabel()},\nminus {arm.words}\n{words}")
            axes.axvline(0, color=arm.colour, linewidth=1, zorder=0.5)


def draw_rows(runs, rows_of, quantities):
    """A panel per quantity, with a row per variant: its mean with its interval.

    rows_of: (runs, Run -> number) -> {variant: mean and half}; quantities: of lost_in_a_round and at_the_end. Returns
    what panels_of does.
    """
    looks = looks_of(runs)
    row = 0.12 + 0.13 * max(len(label_lines(look)) for look in looks.values())
    panels = panels_of(runs, len(quantities), max(LEAST_HEIGHT, 0.9 + row * max(
        len(by_variant(some)) for some in by_dataset(runs).values())))
    for some, column in panels:
        for axes, quantity in zip(column, quantities):
            chosen, value, words = quantity(some)
            is_change = value is not Run.at_the_end or rows_of is not means_of
            draw_intervals(axes, looks, rows_of(chosen, value), "" if is_change else some[0].measure)
            axes.set_xlabel(some[0].label(words, is_change))
    one = max(len(seeds) for groups in by_variant(runs).values() for seeds in groups) == 1
    panels[0][1][0].figure.supxlabel(
        "one seed, no interval" if one else "means over seeds, with their 95 % t-intervals", fontsize="small")
    for row in zip(*(column for _, column in panels)):
        labels = [[label.get_text() for label in axes.get_yticklabels()] for axes in row]
        for axes, own in zip(row[1:], labels[1:]):
            if own == labels[0]:
                axes.set_yticklabels([])
    return panels


def label_lines(look):
    """The lines that a label takes beside the axes."""
    return style.wrapped(look["label"].strip(), 27).split("\n")


def draw_intervals(axes, looks, rows, measure):
    """Each row's mean with its interval; rows: {variant: mean and half}."""
    for position, (variant, (middle, low, high)) in enumerate(zip(rows, style.ends_of(rows.values(), measure).T)):
        look = looks[variant]
        axes.errorbar(middle, position, xerr=None if np.isnan(low) else [[middle - low], [high - middle]],
                      color=look["color"], marker=look["marker"], markersize=6, capsize=3)
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
        axes.set(ylabel="time of an epoch (s), median of the seeds", ylim=(0, None))
        style.count_epochs(axes, max(entry.epoch for run in some for entry in run.epochs))
    draw_legend(panels, runs, bars=False)


BOTH = [lost_in_a_round, at_the_end]
KINDS = {"removed": draw_removed, "rounds": draw_rounds, "variants": draw_variants, "differences": draw_differences,
         "seconds": draw_seconds}
