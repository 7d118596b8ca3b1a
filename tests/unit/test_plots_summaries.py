"""The figures of finished runs: what stands at which place, of which arm, with which band."""
import warnings

import pytest
from matplotlib import pyplot
from matplotlib.collections import LineCollection
from plot_logs import run

from pruning.arms import ARMS
from pruning.errors import UserError
from pruning.plots import style
from pruning.plots.statistics import estimate
from pruning.plots.summaries import KINDS, SHIFT

LOST = {"none": 0.0, "contribution": 1.0, "random": 2.0}  # what an arm loses
BARS = "mean of 3 seeds, 95 % t-interval"


@pytest.fixture(autouse=True)
def no_window():
    pyplot.switch_backend("Agg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    pyplot.close("all")


def runs(*arms, seeds=(1, 2, 3), increment=2, **header):
    """Runs that lose 10 % of their neurons at epoch 2 and again, if `increment` is 2, at epoch 4."""
    found = []
    for arm in arms:
        lost = LOST.get(arm, 3.0)
        for seed in seeds:
            rounds = [(2 * number, 90.0 - seed, 80.0 - seed - number * lost) for number in (1, 2)][:4 // increment]
            found.append(run(arm, seed, tests=[90.0] * 6, rounds=rounds, end=95.0 + seed - increment - lost,
                             initial_iterations=2, increment=increment, **header))
    return found


def drawn(kind, *arguments):
    """The axes of a figure of these runs, laid out, and the words of its legend."""
    KINDS[kind](*arguments)
    figure = pyplot.gcf()
    figure.canvas.draw()
    words = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return figure.axes, [text.replace("\n", "").replace("\xa0", " ").strip() for text in words]


def points(line):
    return list(zip(line.get_xdata(), line.get_ydata()))


def names(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


HALF = estimate([1, 2, 3]).half


@pytest.mark.parametrize("kind", ["removed", "rounds", "variants", "differences"])
def test_axes_say_whether_the_test_set_or_held_out_images_were_tested_on(kind):
    for holdout, wanted, other in ((0, "test accuracy", "held-out"), (500, "held-out accuracy", "test")):
        axes, _ = drawn(kind, runs(*LOST, holdout=holdout))
        labels = [word for panel in axes for word in (panel.get_xlabel(), panel.get_ylabel()) if "accuracy" in word]
        assert labels and all(wanted in word and other not in word for word in labels)


def test_every_arm_has_a_line_through_its_accuracies_at_the_parts_removed():
    (axes,), words = drawn("removed", [*runs(*LOST), *runs("contribution", increment=4)])
    lines = {line.get_color(): points(line) for line in reversed(axes.lines)}  # an arm's own before its bar's ends
    near = SHIFT * len(LOST)  # arms lie side by side
    assert [lines[ARMS[arm].colour] for arm in ("none", "random", "contribution")] == [
        [(0, 95.0)], [(pytest.approx(20), 93.0)],
        [(pytest.approx(10, abs=near), 92.0), (pytest.approx(20, abs=near), 94.0)]]
    assert words == [*(ARMS[arm].words for arm in LOST), BARS]
    assert [height for _, height in axes.collections[1].get_segments()[1]] == pytest.approx([94 - HALF, 94 + HALF])
    low, high = axes.get_ylim()
    assert all(low < height < high for bars in axes.collections for bar in bars.get_segments() for _, height in bar)
    assert axes.get_ylabel() == "test accuracy at the end (%)"
    assert pyplot.gcf().legends[0].findobj(LineCollection)  # bars, as in the axes


def test_arms_that_all_remove_one_part_are_rows_that_say_it():
    axes, words = drawn("removed", [*runs(*LOST), *runs("contribution", compensate=True)])
    assert words == [] and names(axes[0]) == [
        "without pruning", "contribution-based pruning", "contribution-based pruning,\ncompensated",
        "randomised pruning"]
    (right,) = axes[0].child_axes
    assert names(right) == ["0.0", "20.0", "20.0", "20.0"] and right.get_ylabel() == "neurons removed (%)"


@pytest.mark.parametrize("kind", KINDS)
def test_an_arm_looks_the_same_in_the_panels_of_all_data_sets(kind):
    # On Fashion-MNIST alone the compensated arm would be the first to take a spare colour.
    shared = [{"dataset": dataset, **header} for dataset in ("MNIST", "FashionMNIST") for header in
              ({}, {"compensate": True})]
    some = [run for header in shared for run in runs("contribution", "random", **header)]
    axes, _ = drawn(kind, [*some, *runs("contribution", ranking_images=5)])
    mnist, fashion = ({(line.get_color(), line.get_marker()) for line in panel.lines if line.get_marker() in "sDv^P"}
                      for panel in axes[:2])
    assert fashion < mnist and mnist - fashion == {(style.SPARE_COLOURS[0], style.SPARE_MARKERS[0])}


def test_one_seed_has_no_interval():
    (lost, end), _ = drawn("variants", [*runs("contribution"), *runs("random", seeds=[1])])
    assert all(len(panel.collections) == 1 for panel in (lost, end))
    assert lost.figure._supxlabel.get_text() == "means over seeds, with their 95 % t-intervals"
    (lost, end), _ = drawn("variants", runs("contribution", "random", seeds=[1]))
    assert not (lost.collections or end.collections)
    assert lost.figure._supxlabel.get_text() == "one seed, no interval"
    (axes,), words = drawn("rounds", runs("contribution", "random", seeds=[1]))
    assert not axes.collections and words[-1] == "one seed, no interval"


@pytest.mark.parametrize("contribution", [1.0, 0.0])  # 0: two arms share the best value
def test_a_collapse_takes_no_more_than_a_third_of_the_height(monkeypatch, contribution):
    monkeypatch.setitem(LOST, "random", 80.0)
    monkeypatch.setitem(LOST, "contribution", contribution)
    (axes,), _ = drawn("removed", [*runs(*LOST), *runs("contribution", increment=4)])
    assert "at the end (%)\ncompressed below 9" in axes.get_ylabel()
    low, high = axes.get_ylim()
    ends = axes.transData.transform([(0, low), (0, 15.0), (0, 92.0), (0, 95.0), (0, high)])[:, 1]
    assert low < 15 and high > 95 and list(ends) == sorted(set(ends))
    assert contribution == 0 or ends[3] - ends[2] > 0.5 * (ends[2] - ends[1])  # 3 points against 77


def test_rounds_show_both_sides_of_every_round():
    (axes,), words = drawn("rounds", runs(*LOST))
    after, before = [line for line in axes.lines if line.get_label() == f" {ARMS['random'].words}"]
    ten, twenty = (pytest.approx(part, abs=SHIFT * 2) for part in (10, 20))
    assert points(before) == [(ten, 88.0), (twenty, 88.0)] and not before.is_dashed()
    assert points(after) == [(ten, 76.0), (twenty, 74.0)] and after.is_dashed()
    assert "without pruning" not in words and words[-3:] == ["before the round", "right after the round", BARS]
    handles = pyplot.gcf().legends[0].get_lines()
    assert [handle.is_dashed() for handle in handles] == [False, False, False, True]


def test_variants_are_rows_with_intervals():
    (lost, end), _ = drawn("variants", [*runs("none", "contribution"), *runs("contribution", compensate=True)])
    assert names(end) == [
        "without pruning", "contribution-based pruning", "contribution-based pruning,\ncompensated"]
    assert names(lost) == names(end)[1:]
    # Rounds lose 11 and 12 points; at the end seeds differ by 1 point.
    assert [points(line)[0] for line in lost.lines[::3]] == [(11.5, 0), (11.5, 1)]
    (left, right), = (path for path in end.collections[0].get_segments())
    assert (right[0] - left[0]) / 2 == pytest.approx(HALF)
    assert lost.get_xlabel() == "test accuracy lost in a round (points)"


def test_differences_are_to_contribution_of_the_same_seed():
    (lost, end), _ = drawn("differences", [*runs("none", "contribution"), *runs("random", seeds=(2, 3, 9))])
    assert (names(end), names(lost)) == (["without pruning", "randomised pruning"], ["randomised pruning"])
    assert lost.get_xlabel() == (
        "test accuracy lost in a round (points),\nminus contribution-based pruning\n\u2190 better than contribution")
    assert end.get_xlabel().endswith("\nbetter than contribution \u2192")
    # An arm's point, before the ends of its bar; the last line marks 0.
    assert [points(line)[0] for line in end.lines[:-1:3]] == [(1.0, 0), (-1.0, 1)]
    assert [points(line)[0] for line in lost.lines[:-1:3]] == [(1.5, 0)]  # 12 and 14 points against 11 and 12
    assert all(left[0] == right[0] for bar in end.collections for left, right in bar.get_segments())  # equal pairs
    assert [line.get_xdata() for line in (lost.lines[-1], end.lines[-1])] == [[0, 0], [0, 0]]
    (lost, end), _ = drawn("differences", runs("none", "contribution"))  # no other arm has rounds
    assert names(lost) == [] and len(names(end)) == 1
    (lost, end), _ = drawn("differences", runs("none", "contribution"), "none")
    assert end.get_xlabel().endswith("\nminus without pruning\nbetter than none \u2192")
    assert [points(line)[0] for line in end.lines[:-1:3]] == [(-1.0, 0)] and names(lost) == []


def test_no_interval_of_an_accuracy_goes_beyond_0_and_100_percent():
    (axes,), _ = drawn("rounds", runs("random", seeds=(1, 60)))
    ends = [height for bars in axes.collections for bar in bars.get_segments() for _, height in bar]
    assert (min(ends), max(ends), *axes.get_ylim()) == (0, 100, -1, 101)


def test_what_a_round_loses_may_be_negative():
    (lost, _), _ = drawn("variants", [run("random", seed, rounds=[(2, 80.0, 80.0 + seed)]) for seed in (1, 2, 3)])
    assert [x for x, _ in lost.collections[0].get_segments()[0]] == pytest.approx([-2 - HALF, -2 + HALF])


def test_seconds_are_the_medians_of_the_epochs():
    (axes,), _ = drawn("seconds", runs("random", seeds=(1, 2, 9)))
    assert points(axes.lines[0]) == [(epoch, pytest.approx(epoch + 0.2)) for epoch in range(1, 7)]
    assert axes.get_ylim()[0] == 0


def test_every_data_set_has_a_panel_in_the_order_of_the_menu():
    axes, words = drawn("rounds", [*runs("random", dataset="CIFAR10"), *runs("random")])
    assert [panel.get_title() for panel in axes] == ["MNIST, seeds 1, 2, 3", "CIFAR-10, seeds 1, 2, 3"]
    assert words == ["randomised pruning", "before the round", "right after the round", BARS]


OTHERS = [*runs("random", batch_size=7), *runs("random", batch_size=8)]
OTHER_SEEDS = [*runs("contribution", seeds=[1]), *runs("random", seeds=[2])]


@pytest.mark.parametrize("kind, some, message", [
    *((kind, OTHERS, f"--figure {kind}: logs of MNIST differ in batch_size; give those that do not")
      for kind in ("rounds", "variants", "differences", "removed")),
    *((kind, runs("none"), "no log of MNIST has a round; give those of arms that prune")
      for kind in ("rounds", "variants", "differences")),
    *(("differences", some, "--figure differences: MNIST needs a log of contribution-based pruning and one of another "
       "arm with the same seed; --control names another arm to subtract")
      for some in (runs("random", "none"), runs("contribution"), OTHER_SEEDS))])
def test_runs_that_make_no_such_figure_are_refused(kind, some, message):
    with pytest.raises(UserError) as caught:
        KINDS[kind](some)
    assert str(caught.value) == message


@pytest.mark.parametrize("kind", KINDS)
def test_no_legend_runs_out_of_the_figure(kind):
    criteria = [arm for arm in ARMS if arm not in ("none", "scratch")]
    some = runs(*ARMS, seeds=(1, 2)) + runs(*criteria, seeds=(1, 2), compensate=True)
    axes, _ = drawn(kind, some + runs("contribution", "reversed", seeds=(1, 2), lambda_average=0.5, lambda_max=0.5))
    figure = pyplot.gcf()
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 < axes[0].get_window_extent().y0


def test_data_sets_with_the_same_arms_share_the_names_of_the_rows():
    axes, _ = drawn("variants", [*runs("random", "none"), *runs("random", "none", dataset="CIFAR10")])
    assert [names(panel) for panel in axes] == [
        ["randomised pruning"], [""], ["without pruning", "randomised pruning"], ["", ""]]
