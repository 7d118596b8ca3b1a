"""The figures of finished runs that plot.py --figure and the report draw: means over seeds with a band, a panel a data
set."""
import textwrap

import numpy as np
from matplotlib import pyplot
from matplotlib.lines import Line2D

import config
import errors
import runlog
import table
from figures import ARMS, GREY, PANELS, SPLITS, band_mark, bound, fill, name_arms, plain, squeeze, title

FINE = {"linewidth": 1.4, "markersize": 5}  # where no line coincides with another over long stretches
LEGEND_LINE = 0.22  # inches
BEFORE = SPLITS["test"]  # the look of what stands before a round


def by_dataset(logs):
    """{what a data set is called: its logs}."""
    found = {}
    for log in sorted(logs, key=lambda log: [*config.DATASETS, log.header["dataset"]].index(log.header["dataset"])):
        found.setdefault(runlog.words(log.header["dataset"]), []).append(log)
    return found


def arms_of(some, logs):
    """Of some runs [(words, style, [{seed: RunLog} of every experiment that has it])]; logs: all runs of the figure, in
    whose panels an arm looks the same."""
    found, everywhere = runs_of_arms(some), runs_of_arms(logs)
    keys = sorted(everywhere, key=table.place)
    named = name_arms([(arm, next(iter(everywhere[arm, words][0].values()))) for arm, words in keys])
    return [(*name, found[key]) for key, name in zip(keys, named) if key in found]


def runs_of_arms(logs):
    """{(arm, what it is called): [{seed: RunLog} of every experiment that has it]}."""
    found = {}
    for arms in table.experiments(logs).values():
        for key, runs in arms.items():
            found.setdefault(key, []).append(runs)
    return found


def panels_of(logs, rows=1, height=3.2, **options):
    """A figure with a column of panels a data set: [(its logs, its axes, one a row)]."""
    datasets = by_dataset(logs)
    figure, axes = pyplot.subplots(rows, len(datasets), squeeze=False, layout="constrained", **options,
                                   figsize=(1 + 4 * len(datasets), 1 + height * rows))
    for some, column in zip(datasets.values(), axes.T):
        column[0].set_title(plain(title(sorted(some, key=lambda log: log.header["seed"]))), fontsize="medium")
        for panel in column:
            panel.grid(color="0.92")
    return list(zip(datasets.values(), axes.T))


def label_of(log):
    """What the axis of the measure by which runs are compared is called, with its unit."""
    measure = table.called(table.measures_of(log)[0], log)
    return f"{measure} ({'%' if 'accuracy' in measure else 'nats'})"


def named(words, style):
    """A handle of the legend."""
    return Line2D([], [], label=plain(words), **{**style, **FINE})


def below(panels, handles):
    """One legend for all panels, below them."""
    handles, columns = list({handle.get_label(): handle for handle in handles}.values()), 1 + len(panels)
    lines = -(-len(handles) // columns) + any("\n" in handle.get_label() for handle in handles)
    figure, height = panels[0][1][0].figure, 0.1 + LEGEND_LINE * lines
    figure.set_figheight(figure.get_figheight() + height)
    figure.legend(handles=handles, loc="lower center", ncol=columns, frameon=False, fontsize="small", handlelength=3)
    part = height / figure.get_figheight()
    figure.get_layout_engine().set(rect=(0, part, 1, 1 - part))


def plot_means(axes, places, values, style, **more):
    """A line through the means of lists of values, with the band of their 95 % t-intervals; of one, with a bar."""
    means, halves = list(map(table.mean, values)), list(map(table.half_width, values))
    axes.plot(places, means, **{**style, **FINE, **more})
    if len(means) > 1:
        fill(axes, places, means, [half or 0 for half in halves], style["color"])
    else:
        axes.errorbar(places, means, halves[0], fmt="none", ecolor=style["color"], capsize=3)


def need_rounds(logs):
    """Raise UserError where no log of a data set has a round."""
    for name, some in by_dataset(logs).items():
        if not any(log.rounds for log in some):
            raise errors.UserError(f"no log of {name} has a round; give those of arms that prune")


def need_likeness(logs, kind, free=()):
    """Raise UserError where the runs on a data set differ in more than arm, way of ranking and what `free` names."""
    for name, some in by_dataset(logs).items():
        names = table.differing([dict(settings) for _, settings in table.experiments(some)])
        unlike = [setting for setting in names if setting not in free]
        if unlike:
            raise errors.UserError(f"--figure {kind}: logs of {name} differ in {', '.join(unlike)}; give those that do "
                                   "not")


def better_part(values, sign):
    """Which part of the values is better than the widest gap between two of them, half a value less; at least 0.5."""
    gaps = np.diff(np.sort(sign * np.array(values)))
    return max(0.5, 1 - (np.argmax(gaps) + 1.5) / len(values)) if gaps.size else 0.5


def draw_removed(logs):
    """Test accuracy, or a VAE's loss, at the end against the part of the neurons removed, an arm a line."""
    need_likeness(logs, "removed", ["initial_iterations", "increment", "prune_percent"])
    panels, handles, counts, squeezed = panels_of(logs), [], [], []
    for some, (axes,) in panels:
        main, means = table.measures_of(some[0])[0], []
        for words, style, experiments in arms_of(some, logs):
            points = sorted((table.mean([table.percent_removed(log) for log in runs.values()]),
                             [log.summary[main] for log in runs.values()]) for runs in experiments)
            plot_means(axes, *zip(*points), style)
            means += [table.mean(values) for _, values in points]
            counts += map(len, experiments)
            handles.append(named(words, style))
        axes.set(xlabel="hidden neurons removed (%)", ylabel=f"{label_of(some[0])} at the end")
        bound(axes, main)
        sign = PANELS[main.split()[-1]].better
        squeezed += squeeze(axes, means, sign, better_part(means, sign))
    below(panels, handles + band_mark(counts) + squeezed)


def draw_rounds(logs):
    """Test accuracy, or a VAE's loss, before and right after every round, an arm a colour."""
    need_rounds(logs)
    need_likeness(logs, "rounds")
    panels, handles, counts = panels_of(logs), [], []
    for some, (axes,) in panels:
        main = table.measures_of(some[0])[0]
        for words, style, (runs,) in arms_of([log for log in some if log.rounds], logs):
            rounds = list(zip(*(log.rounds for log in runs.values())))
            first = rounds[0][0].before["neurons"]
            places = [100 * (1 - entries[0].after["neurons"] / first) for entries in rounds]
            for side, look in (("before", BEFORE), ("after", {})):
                values = [[getattr(entry, side)[main] for entry in entries] for entries in rounds]
                plot_means(axes, places, values, style, **look)
            counts.append(len(runs))
            handles.append(named(words, style))
        axes.set(xlabel="hidden neurons removed after the round (%)", ylabel=label_of(some[0]))
        bound(axes, main)
    sides = [Line2D([], [], color=GREY, marker="o", label="right after the round"),
             Line2D([], [], color=GREY, marker="o", label="before the round", **BEFORE)]
    below(panels, handles + sides + band_mark(counts))


def draw_variants(logs):
    """What a round costs, and test accuracy or loss at the end, an arm or a way of ranking a row."""
    def values(some, value):
        return [(words, style, list(map(value, runs.values()))) for words, style, (runs,) in arms_of(some, logs)]
    for _, end, main in draw_rows(logs, "variants", values):
        bound(end, main, "x")


def draw_differences(logs):
    """What a round costs, and test accuracy or loss at the end, of every other arm minus contribution, by seed."""
    usual = runlog.ARM_WORDS["contribution"]

    def differences(some, value):
        arms = arms_of(some, logs)
        control = next((runs for words, _, (runs,) in arms if words == usual), {})
        rows = [(words, style, table.paired(runs, control, value)) for words, style, (runs,) in arms
                if runs is not control]
        rows = [row for row in rows if row[2]]
        if not rows and value is table.at_the_end:  # rounds may be those of contribution alone
            raise errors.UserError(f"--figure differences: {runlog.words(some[0].header['dataset'])} needs a log of "
                                   f"{usual} and one of another arm with the same seed")
        return rows
    for lost, end, _ in draw_rows(logs, "differences", differences, f",\nminus {usual}"):
        for axes in (lost, end):
            axes.axvline(0, color=ARMS["contribution"][0], linewidth=1, zorder=0.5)


def draw_rows(logs, kind, values, minus=""):
    """A row an arm: the mean of what a round costs, above that of what is left at the end, with 95 % t-intervals.

    values: (logs of a data set, log -> number) -> [(words, style, numbers)]. minus: how the axes' labels end. Returns
    (axes of the rounds, axes of the end, measure) of every data set.
    """
    need_rounds(logs)
    need_likeness(logs, kind)
    heights = [sum(0.1 + 0.13 * len(label_lines(words)) for words, _, _ in arms_of(some, logs))
               for some in by_dataset(logs).values()]
    panels, drawn = panels_of(logs, 2, 0.9 + max(heights)), []
    for some, (lost, end) in panels:
        main = table.measures_of(some[0])[0]
        draw_intervals(lost, values([log for log in some if log.rounds], table.lost_in_a_round))
        draw_intervals(end, values(some, table.at_the_end))
        lost.set_xlabel(f"{label_of(some[0])} {'lost' if 'accuracy' in main else 'added'} in a round{minus}")
        end.set_xlabel(f"{label_of(some[0])} at the end{minus}")
        drawn.append((lost, end, main))
    if any(len(runs) > 1 for experiments in runs_of_arms(logs).values() for runs in experiments):
        lost.figure.supxlabel("means over seeds, with their 95 % t-intervals", fontsize="small")
    for row in zip(*(axes for _, axes in panels)):
        labels = [[label.get_text() for label in axes.get_yticklabels()] for axes in row]
        for axes, own in zip(row[1:], labels[1:]):
            if own == labels[0]:
                axes.set_yticklabels([])
    return drawn


def label_lines(words):
    """The lines that an arm's name takes beside the axes."""
    return textwrap.wrap(plain(words), 27)


def draw_intervals(axes, rows):
    """The mean of a row's numbers with its 95 % t-interval; rows: [(words, style, numbers)]."""
    for place, (_, style, values) in enumerate(rows):
        axes.errorbar(table.mean(values), place, xerr=table.half_width(values), color=style["color"],
                      marker=style["marker"], markersize=6, capsize=3)
    axes.set_yticks(range(len(rows)), ["\n".join(label_lines(words)) for words, _, _ in rows], fontsize="small")
    axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)


def draw_seconds(logs):
    """The seconds that an epoch takes along the run, the median over the seeds, an arm a line."""
    panels, handles = panels_of(logs), []
    for some, (axes,) in panels:
        for words, style, experiments in arms_of(some, logs):
            for runs in experiments:
                epochs = list(zip(*(log.epochs for log in runs.values())))
                times = [float(np.median([entry.measures["time"] for entry in entries])) for entries in epochs]
                axes.plot([entries[0].epoch for entries in epochs], times,
                          **{**style, **FINE, "markevery": max(1, len(epochs) // 10)})
            handles.append(named(words, style))
        axes.set(xlabel="epoch", ylabel="time of an epoch (s)", ylim=(0, None))
    below(panels, handles)


KINDS = {"removed": draw_removed, "rounds": draw_rounds, "variants": draw_variants, "differences": draw_differences,
         "seconds": draw_seconds}
