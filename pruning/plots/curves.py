"""The figure against the epoch: the points that logs have, their means over seeds, and how they are drawn."""
import itertools
from collections import namedtuple

import numpy as np
from matplotlib.lines import Line2D

from pruning import runlog
from pruning.plots import style
from pruning.plots.runs import TERMINAL, by_dataset, by_variant, cut, first_of_each, unlike, unpruned
from pruning.plots.statistics import estimate

ROUNDS = 20  # rounds up to which a panel has a vertical line at each
AFTER = {"linestyle": "none", **style.HOLLOW}  # the look of the points right after a round

# runs: one, or several that differ only in their seed; measures: {measure: {split: {(epoch, moment): Estimate}}}, with
# moment 1 right after a round and else 0; neurons: the corners of a step line; rounds: their epochs; words: its name;
# style: of matplotlib's lines.
Line = namedtuple("Line", "runs measures neurons rounds words style")


def lines_of(runs):
    """A Line for all runs that differ only in their seed; a run without a seed, or with one that an earlier run has,
    is a line of its own."""
    seeded = list(first_of_each(run for run in runs if run.seed is not None).values())
    groups = [list(seeds.values()) for groups in by_variant(seeded).values() for seeds in groups]
    groups += [[run] for run in runs if run not in seeded]
    groups.sort(key=lambda group: runs.index(group[0]))
    names = style.name_lines([group[0] for group in groups])
    many = max(map(len, by_dataset(groups, lambda group: group[0]).values())) >= style.MANY
    return [Line(group, measures_of(group, many), *neurons_and_rounds(group[0]), *name)
            for group, name in zip(groups, names)]


def measures_of(group, many):
    """Line.measures: the means over a group of runs at the points that all of them have.

    With many lines, three measures, or batches of few epochs, the test set is enough for a figure.
    """
    measures = {}
    for measure in ["accuracy"] if "accuracy" in group[0].batches[0].measures else ["loss", "BCE", "KLD"]:
        training, test = ([points(run, measure) for run in group] for points in (training_points, test_points))
        splits = {split: {key: estimate([one[key] for one in points])
                          for key in points[0] if all(key in one for one in points)}
                  for split, points in (("training", training), (group[0].tested_on, test))}
        if splits[group[0].tested_on] and (many or measure != "accuracy" or 2 * len(training[0]) < len(test[0])):
            del splits["training"]
        measures[measure] = {split: points for split, points in splits.items() if points}
    return measures


def training_points(run, measure):
    """The means over the batches of every epoch."""
    values = {}
    for epoch, batch in zip(runlog.clock(run.batches)[0], run.batches):
        values.setdefault((epoch, 0), []).append(batch.measures[measure])
    return {key: sum(some) / len(some) for key, some in sorted(values.items())}


def test_points(run, measure):
    """One point per epoch; two if a round follows, before it and right after it."""
    points = {(entry.epoch, 0): entry.measures for entry in run.epochs}
    for entry in run.rounds:
        points[entry.epoch, 0], points[entry.epoch, 1] = entry.before, entry.after
    name = "test " + measure
    return {key: points[key][name] for key in sorted(points) if name in points[key]}


def neurons_and_rounds(run):
    """The neurons left from epoch 0 to the last, if the log knows them, and the epochs of the rounds; where the epochs
    of a foreign log restart, it has a round."""
    epochs, restarts = runlog.clock(run.batches)
    rounds = [entry.epoch for entry in run.rounds] + (restarts if run.arm.name not in ("none", "scratch") else [])
    known = [entry for entry in run.rounds if "widths" in entry.before]
    widths = (known[0].before["widths"] if known else
              run.header.get("initial_widths") or unpruned(run.header))
    if not widths:
        return [], rounds
    points = [(0, sum(widths))] + [(entry.epoch, sum(entry.after["widths"])) for entry in known]
    last = max(epochs + rounds + [entry.epoch for entry in run.epochs])
    return points + [(last, points[-1][1])], rounds


def say_what_differs(runs):
    """Say in what the runs on a data set differ besides seed and arm, since one figure shows them together."""
    for dataset, some in by_dataset(runs).items():
        names = unlike([run for run in some if run.settings])  # another program's log says none
        if names:
            print(f"{dataset}: these logs are drawn together, but differ in {', '.join(names)}")


def describe(lines):
    """Print where every line ends, and which files are identical."""
    alike, several = {}, len({line.runs[0].dataset for line in lines}) > 1
    for line in lines:
        measure, splits = next(iter(line.measures.items()))  # accuracy or loss
        ends = [f"{split} {measure} {list(points.values())[-1].mean:.2f}{runlog.UNITS.get(measure, '')}, "
                for split, points in splits.items()]
        left = f"{line.neurons[-1][1]} of {line.neurons[0][1]} neurons, " if line.neurons else ""
        end = f": {''.join(ends[-1:])}{left}{len(line.runs)} seed{'s' * (len(line.runs) > 1)}"
        words = f"{line.runs[0].dataset}, {line.words}" if several else line.words
        print(cut(words, TERMINAL - len(end)) + end)
        for run in line.runs:
            with open(run.path, "rb") as file:
                alike.setdefault(file.read(), []).append(run.path)
    for paths in alike.values():
        if len(paths) > 1:
            print(f"identical files: {', '.join(paths)}")


def draw(lines):
    """Per data set a column of panels, the measures and the neurons left if a log knows them; and the legend."""
    datasets, measures = by_dataset(lines, lambda line: line.runs[0]), list(lines[0].measures)
    heights = [style.PANELS[measure].height for measure in measures] + [1] * any(line.neurons for line in lines)
    columns = style.panels_of([[run for line in some for run in line.runs] for some in datasets.values()], heights, 8,
                              sharex="col")
    for some, panels in zip(datasets.values(), columns):
        for axes, measure in zip(panels, measures):
            draw_measure(axes, some, measure)
        if len(panels) > len(measures):
            draw_neurons(panels[-1], [line for line in some if line.neurons])
        for axes, epoch in itertools.product(panels, rounds_of(some)):
            axes.axvline(epoch, color=style.GREY, linewidth=0.6, zorder=0.5)
        epochs = {epoch for line in some for points in line.measures[measures[0]].values() for epoch, _ in points}
        style.count_epochs(panels[-1], max(epochs, default=1), min({1} | epochs))
    # The space is for a file's name that begins with _: its label would be left out.
    handles = [Line2D([], [], label=f" {line.words}", **look_of(line, *list(line.measures[measures[0]])[-1:]))
               for line in lines]
    style.draw_legend(columns[0][0].figure, handles, marks_of(datasets.values()))


def look_of(line, split="test"):
    return {**line.style, **(style.DASHED if split == "training" else {})}


def draw_measure(axes, lines, measure):
    """Curves through the ends of the epochs, with bands or, of many lines, bars; points right after the rounds."""
    drawn, splits = [], {split for line in lines for split in line.measures[measure]}
    many, rounds = len(lines) >= style.MANY, rounds_of(lines)
    for position, line in enumerate(lines):
        for split, points in line.measures[measure].items():
            look = look_of(line, split)
            (epochs, ends), (places, after) = (ends_at(points, moment, measure) for moment in (0, 1))
            step = max(1, len(epochs) // 10)
            marked = list(range(position * step // len(lines), len(epochs), step))
            axes.plot(epochs, ends[0], markevery=sorted({*marked, len(epochs) - 1}), **look)
            axes.plot(places, after[0], **{**look, **AFTER})
            if many:
                style.draw_bars(axes, epochs[marked], ends[:, marked], look["color"])
            elif len(line.runs) > 1:
                axes.fill_between(epochs, *ends[1:], color=look["color"], alpha=0.18, linewidth=0)
            if rounds and not many:  # more bars would hide the curves
                style.draw_bars(axes, places, after, look["color"])
                drawn += [*after[1:].flat]
            drawn += [*ends.flat, *after[0]]
    axes.set_ylabel(" ".join([*splits][:len(splits) == 1] + [style.PANELS[measure].label]))
    axes.grid(axis="y", color="0.9")
    style.bound(axes, measure)
    style.squeeze(axes, drawn, style.PANELS[measure].better)


def ends_at(points, moment, measure):
    """The epochs at whose end, or right after whose round, there are points; and style.ends_of these."""
    found = {epoch: at for (epoch, when), at in points.items() if when == moment}
    return np.array(list(found)), style.ends_of(found.values(), measure)


def draw_neurons(axes, lines):
    for line in lines:
        axes.step(*zip(*line.neurons), where="post", color=line.style["color"],
                  linewidth=2 * line.style["linewidth"], zorder=line.style["zorder"])
    initial = {line.neurons[0][1] for line in lines}
    axes.set_ylim(0, 1.1 * max(initial, default=1))
    axes.set_ylabel("neurons left")
    axes.grid(axis="y", color="0.9")
    if len(initial) == 1:
        percent = 100 / initial.pop()
        right = axes.secondary_yaxis("right", functions=(lambda y: y * percent, lambda y: y / percent))
        right.set_yticks([0, 25, 50, 75, 100])
        right.set_ylabel("% of initial")


def rounds_of(lines):
    """The epochs of the rounds, for a vertical line at each; none if they are too many to be told apart."""
    epochs = sorted({epoch for line in lines for epoch in line.rounds})
    return epochs if len(epochs) <= ROUNDS else []


def marks_of(groups):
    """What the legend says of splits, rounds and intervals; groups: the lines of each data set."""
    lines, grey = [line for group in groups for line in group], {"color": style.GREY, "marker": "o"}
    drawn = [points for line in lines for splits in line.measures.values() for points in splits.items()]
    splits, marks = dict.fromkeys(split for split, _ in drawn), []
    if "training" in splits:  # else the axis says what is drawn
        marks += [Line2D([], [], **grey, **style.DASHED, label=" training (mean of the epoch's batches)")]
        marks += [Line2D([], [], **grey, label=f" {split}") for split in splits if split != "training"]
    if any(moment for _, points in drawn for _, moment in points):
        marks.append(Line2D([], [], **grey, **AFTER, label=" right after a round"))
    if any(map(rounds_of, groups)):
        marks.append(Line2D([], [], **{**grey, "marker": "|"}, linestyle="none", markersize=12, label=" pruning round"))
    return marks + style.interval_marks([len(line.runs) for line in lines], max(map(len, groups)) >= style.MANY)
