"""The figure against the epoch: the points that logs have, their means over seeds, and how they are drawn."""
import itertools
import textwrap
from collections import namedtuple

import numpy as np
from matplotlib import pyplot
from matplotlib.lines import Line2D

from pruning import runlog
from pruning.plots import style
from pruning.plots.runs import experiments, first_of_each
from pruning.plots.statistics import estimate

MANY = 5  # lines from which on a figure shows no training accuracy beside that of the test set
COLUMN = 5  # lines in a column of the legend

# runs: one, or several that differ only in their seed; measures: {measure: {split: {(epoch, moment): Estimate}}}, with
# moment 1 right after a round and else 0; neurons: the corners of a step line; rounds: their epochs; words: its name;
# style: of matplotlib's lines.
Line = namedtuple("Line", "runs measures neurons rounds words style")


def lines_of(runs):
    """A Line for all runs that differ only in their seed; a run without a seed, or with one that an earlier run has,
    is a line of its own."""
    first = list(first_of_each(run for run in runs if run.seed is not None).values())
    groups = [list(seeds.values()) for variants in experiments(first).values() for seeds in variants.values()]
    groups += [[run] for run in runs if run not in first]
    groups.sort(key=lambda group: runs.index(group[0]))
    names = style.name_lines([group[0] for group in groups])
    return [Line(group, measures_of(group, len(groups) >= MANY), *neurons_and_rounds(group[0]), *name)
            for group, name in zip(groups, names)]


def measures_of(group, many):
    """Line.measures: the means over a group of runs at the points that all of them have.

    With many lines, or three measures, the test set is enough for a figure.
    """
    measures = {}
    for measure in ["accuracy"] if "accuracy" in group[0].batches[0].measures else ["loss", "BCE", "KLD"]:
        training, test = ([points(run, measure) for run in group] for points in (training_points, test_points))
        splits = {split: {key: estimate([one[key] for one in points])
                          for key in points[0] if all(key in one for one in points)}
                  for split, points in (("training", training), (group[0].tested_on, test))}
        if splits[group[0].tested_on] and (many or measure != "accuracy"):
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
              run.header.get("initial_widths") or run.header.get("hidden_widths"))
    if not widths:
        return [], rounds
    points = [(0, sum(widths))] + [(entry.epoch, sum(entry.after["widths"])) for entry in known]
    last = max(epochs + rounds + [entry.epoch for entry in run.epochs])
    return points + [(last, points[-1][1])], rounds


def describe(lines):
    """Print where every line ends, and which files are identical."""
    alike = {}
    for line in lines:
        values = [f"{split} {measure} {at.mean:.2f}{runlog.UNITS.get(measure, '')} at epoch {epoch}"
                  for measure, splits in line.measures.items() for split, points in splits.items()
                  for (epoch, _), at in list(points.items())[-1:]]
        values += [f"{left[-1][1]} of {left[0][1]} neurons left" for left in [line.neurons] if left]
        others = f" and {len(line.runs) - 1} of other seeds, means" if len(line.runs) > 1 else ""
        print(f"{line.runs[0].path}{others}: {line.words}, {', '.join(values)}")
        for run in line.runs:
            with open(run.path, "rb") as file:
                alike.setdefault(file.read(), []).append(run.path)
    for paths in alike.values():
        if len(paths) > 1:
            print(f"identical files: {', '.join(paths)}")


def draw(lines):
    """The legend, the measures, and the neurons left if a log knows them."""
    measures = list(lines[0].measures)
    heights = [style.PANELS[measure].height for measure in measures]
    figure = pyplot.figure(figsize=(9, 3 + sum(heights)), layout="constrained")
    with_neurons = [line for line in lines if line.neurons]
    panels = figure.subplots(len(heights) + bool(with_neurons), sharex=True, squeeze=False,
                             gridspec_kw={"height_ratios": heights + [1] * bool(with_neurons)})[:, 0]
    figure.suptitle(style.plain(style.title([run for line in lines for run in line.runs])))
    for axes, measure in zip(panels, measures):
        draw_measure(axes, lines, measure)
    if with_neurons:
        draw_neurons(panels[-1], with_neurons)
    marks = mark_rounds(panels, lines) + style.band_mark([len(line.runs) for line in lines])
    values = ([at.mean for line in lines for points in line.measures[measure].values() for at in points.values()]
              for measure in measures)
    squeezed = [style.squeeze(axes, some, style.PANELS[measure].better)
                for axes, some, measure in zip(panels, values, measures)]
    draw_legend(panels[0], lines, marks + next(filter(None, squeezed), []))
    panels[-1].set_xlabel("epoch")
    panels[-1].locator_params(axis="x", integer=True)
    panels[-1].set_xlim(left=0)


def draw_measure(axes, lines, measure):
    for position, line in enumerate(lines):
        for split, points in line.measures[measure].items():
            after_round = [number for number, (_, moment) in enumerate(points) if moment]
            step = max(1, len(points) // 10)
            marked = after_round or list(range(position * step // len(lines), len(points), step))
            epochs = [epoch for epoch, _ in points]
            values = [at.mean if abs(at.mean) < style.TOO_FAR else np.nan for at in points.values()]
            axes.plot(epochs, values, **style.SPLITS[split], markevery=marked, **line.style)
            if len(line.runs) > 1:
                style.fill(axes, epochs, values, [at.half for at in points.values()], line.style["color"])
    axes.set_ylabel(style.PANELS[measure].label)
    style.bound(axes, measure)
    axes.grid(axis="y", color="0.9")


def draw_neurons(axes, lines):
    for line in lines:
        axes.step(*zip(*line.neurons), where="post", color=line.style["color"],
                  linewidth=2 * line.style["linewidth"])
    initial = {line.neurons[0][1] for line in lines}
    axes.set_ylim(0, 1.1 * max(initial))
    axes.set_ylabel("neurons left")
    axes.grid(axis="y", color="0.9")
    if len(initial) == 1:
        percent = 100 / initial.pop()
        right = axes.secondary_yaxis("right", functions=(lambda y: y * percent, lambda y: y / percent))
        right.set_yticks([0, 25, 50, 75, 100])
        right.set_ylabel("% of initial")


def mark_rounds(panels, lines):
    """A thin vertical line at every round. Returns what the legend says of it, as a list."""
    epochs = sorted({epoch for line in lines for epoch in line.rounds})
    for axes, epoch in itertools.product(panels, epochs):
        axes.axvline(epoch, color=style.GREY, linewidth=0.6, zorder=0.5)
    handle = Line2D([], [], color=style.GREY, linestyle="none", marker="|", markersize=12, label=" pruning round")
    return [handle] if epochs else []


def draw_legend(axes, lines, marks):
    """Above the axes, where it covers no data: lines, splits and marks, in columns filled up to one height."""
    # The space is for a file's name that begins with _: its label would be left out.
    arms = [Line2D([], [], label=textwrap.fill(style.plain(line.words), 30, initial_indent=" ", subsequent_indent=" "),
                   **line.style) for line in lines]
    splits = [Line2D([], [], color=style.GREY, marker="o", label=f" {split}", **look)
              for split, look in style.SPLITS.items()
              if any(split in drawn for line in lines for drawn in line.measures.values())]
    rest = [splits + marks] if len(arms) > COLUMN else [splits, marks]  # four columns would run out of the figure
    columns = [column for column in (arms[:COLUMN], arms[COLUMN:], *rest) if column]
    height = max(map(len, columns))
    lines_of_text = max(sum(handle.get_label().count("\n") + 1 for handle in column) for column in columns)
    axes.figure.set_figheight(axes.figure.get_figheight() + 0.2 * lines_of_text)
    blank = Line2D([], [], linestyle="none", label=" ")
    axes.legend(handles=[handle for column in columns for handle in (column + height * [blank])[:height]],
                loc="lower left", bbox_to_anchor=(0, 1), ncol=len(columns), frameon=False, handlelength=3.5)
