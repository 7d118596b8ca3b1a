"""The figures of finished runs: what stands at which place, of which arm, with which band."""
import warnings

import pytest
from matplotlib import pyplot

import errors
import figures
import finished
import runlog
import table
from runlog import Batch, Epoch, Round, RunLog

ARMS = {"none": 0.0, "contribution": 1.0, "random": 2.0}  # an arm, and what it loses
BAND = " mean of 3 seeds,\n with its 95 % t-interval"


@pytest.fixture(autouse=True)
def no_window():
    pyplot.switch_backend("Agg")
    yield
    pyplot.close("all")


def log(arm, seed, increment=2, dataset="MNIST", **header):
    """A run of 100 neurons that loses 10 at epoch 2, and 10 more at epoch 4 where `increment` is 2."""
    rounds = [Round(number, epoch, {"neurons": 110 - 10 * number, "test accuracy": 90.0 - seed},
                    {"neurons": 100 - 10 * number, "test accuracy": 80.0 - seed - number * ARMS.get(arm, 3.0)}, 0.5)
              for number, epoch in ((1, 2), (2, 4))[:4 // increment]] if arm != "none" else []
    epochs = [Epoch(epoch, {"test accuracy": 90.0, "time": epoch + seed / 10}) for epoch in range(1, 7)]
    return RunLog(f"{arm}{seed}.txt", {"dataset": dataset, "total_epochs": 6, "initial_iterations": 2,
                                       "increment": increment, "prune_percent": 10.0, "pruning": arm, "seed": seed,
                                       "hidden_widths": [60, 40], **header},
                  [Batch(1, 0, {"loss": 1.0, "accuracy": 50.0})], epochs, rounds,
                  {"neurons": 100 - 10 * len(rounds), "parameters": 9, "training accuracy": 99.0,
                   "test accuracy": 95.0 + seed - increment - ARMS.get(arm, 3.0), "time": 9.0})


def runs(*arms, seeds=(1, 2, 3), **header):
    return [log(arm, seed, **header) for arm in arms for seed in seeds]


def drawn(kind, logs):
    """The axes of a figure of these logs, laid out, and the words of its legend."""
    finished.KINDS[kind](logs)
    figure = pyplot.gcf()
    figure.canvas.draw()
    return figure.axes, [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def points(line):
    return list(zip(line.get_xdata(), line.get_ydata()))


@pytest.mark.parametrize("kind", ["removed", "rounds", "variants", "differences"])
def test_axes_say_held_out_where_training_images_stood_in_for_the_test_set(kind):
    for holdout, wanted, other in ((0, "test accuracy", "held-out"), (500, "held-out accuracy", "test")):
        axes, _ = drawn(kind, runs(*ARMS, holdout=holdout))
        labels = [word for panel in axes for word in (panel.get_xlabel(), panel.get_ylabel()) if "accuracy" in word]
        assert labels and all(wanted in word and other not in word for word in labels)


def test_every_arm_has_a_line_through_its_accuracies_at_the_parts_removed():
    (axes,), words = drawn("removed", [*runs("none", *ARMS), *runs("contribution", increment=4)][3:])
    lines = {line.get_color(): points(line) for line in reversed(axes.lines)}  # an arm's own before its bar's ends
    assert lines[figures.ARMS["contribution"][0]] == [(pytest.approx(10), 92.0), (pytest.approx(20), 94.0)]
    assert lines[figures.ARMS["random"][0]] == [(pytest.approx(20), 93.0)]
    assert lines[figures.ARMS["none"][0]] == [(0, 95.0)]
    assert words == [*(runlog.ARM_WORDS[arm] for arm in ARMS), BAND]
    heights = [height for path in axes.collections[0].get_paths() for _, height in path.vertices]
    assert (min(heights), max(heights)) == (pytest.approx(95 - table.half_width([1, 2, 3])),
                                            pytest.approx(95 + table.half_width([1, 2, 3])))
    assert axes.get_ylabel() == "test accuracy (%) at the end"


@pytest.mark.parametrize("kind", list(finished.KINDS))
def test_an_arm_looks_the_same_in_the_panels_of_all_data_sets(kind):
    # On Fashion-MNIST alone the compensated arm would be the first to take a spare colour.
    logs = [*runs("contribution", "random"), *runs("contribution", ranking_images=5),
            *runs("contribution", compensate=True)]
    logs += [log(**{**some.header, "arm": some.header["pruning"], "dataset": "FashionMNIST"}) for some in logs
             if "ranking_images" not in some.header]
    axes, _ = drawn(kind, logs)
    mnist, fashion = ({(line.get_color(), line.get_marker()) for line in panel.lines if line.get_marker() in "sDv^P"}
                      for panel in axes[:2])
    assert fashion < mnist and mnist - fashion == {(figures.SPARE_COLOURS[0], figures.SPARE_MARKERS[0])}


def test_one_seed_has_no_interval():
    (lost, end), _ = drawn("variants", [*runs("contribution"), *runs("random", seeds=[1])])
    assert all(len(panel.collections) == 1 for panel in (lost, end)) and lost.figure.texts
    (lost, end), _ = drawn("variants", runs("contribution", "random", seeds=[1]))
    assert not (lost.collections or end.collections or lost.figure.texts)
    (axes,), words = drawn("removed", runs("contribution", "random", seeds=[1]))
    assert not axes.collections and BAND not in words


def test_a_collapse_takes_no_more_than_a_third_of_the_height(monkeypatch):
    monkeypatch.setitem(ARMS, "random", 80.0)
    (axes,), words = drawn("removed", runs(*ARMS))
    assert words[-1].strip() == "scale compressed"
    ends = axes.transData.transform([(0, 13.0), (0, 92.0), (0, 95.0)])[:, 1]  # random, contribution, none
    assert ends[2] - ends[1] > 2 * (ends[1] - ends[0]) > 0


def test_arms_that_share_the_best_value_have_a_height_to_lie_in(monkeypatch):
    monkeypatch.setitem(ARMS, "contribution", 0.0)  # as none
    monkeypatch.setitem(ARMS, "random", 80.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (axes,), _ = drawn("removed", runs(*ARMS))
    low, high = axes.get_ylim()
    assert low < 15 and high > 95
    ends = axes.transData.transform([(0, low), (0, 15.0), (0, 95.0), (0, high)])[:, 1]
    assert list(ends) == sorted(ends) and len(set(ends)) == 4


def test_rounds_show_both_sides_of_every_round():
    (axes,), words = drawn("rounds", runs("none", "contribution", "random"))
    before, after, *_ = [line for line in axes.lines if line.get_color() == figures.ARMS["random"][0]]
    assert points(before) == [(pytest.approx(10), 88.0), (pytest.approx(20), 88.0)] and before.is_dashed()
    assert points(after) == [(pytest.approx(10), 76.0), (pytest.approx(20), 74.0)] and not after.is_dashed()
    assert "without pruning" not in words and words[-3:] == ["right after the round", "before the round", BAND]


def test_variants_are_rows_with_intervals():
    (lost, end), _ = drawn("variants", [*runs("none", "contribution"), *runs("contribution", compensate=True)])
    names = ["without pruning", "contribution-based pruning", "contribution-based pruning,\ncompensated"]
    assert [label.get_text() for label in end.get_yticklabels()] == names
    assert [label.get_text() for label in lost.get_yticklabels()] == names[1:]
    # Rounds lose 11 and 12 points; at the end seeds differ by 1 point.
    assert [points(line)[0] for line in lost.lines[::3]] == [(11.5, 0), (11.5, 1)]
    (left, right), = (path for path in end.collections[0].get_segments())
    assert (right[0] - left[0]) / 2 == pytest.approx(table.half_width([1, 2, 3]), rel=1e-3)
    assert lost.get_xlabel() == "test accuracy (%) lost in a round"


def test_differences_are_to_contribution_of_the_same_seed():
    (lost, end), _ = drawn("differences", [*runs("none", "contribution"), *runs("random", seeds=(2, 3, 9))])
    assert [label.get_text() for label in end.get_yticklabels()] == ["without pruning", "randomised pruning"]
    assert [label.get_text() for label in lost.get_yticklabels()] == ["randomised pruning"]
    assert lost.get_xlabel() == "test accuracy (%) lost in a round,\nminus contribution-based pruning"
    # An arm's point, before the ends of its bar; the last line marks 0.
    assert [points(line)[0] for line in end.lines[:-1:3]] == [(1.0, 0), (-1.0, 1)]
    assert [points(line)[0] for line in lost.lines[:-1:3]] == [(1.5, 0)]  # 12 and 14 points against 11 and 12
    assert all(left[0] == right[0] for bar in end.collections for left, right in bar.get_segments())  # equal pairs
    assert [line.get_xdata() for line in (lost.lines[-1], end.lines[-1])] == [[0, 0], [0, 0]]


def test_without_another_arms_rounds_no_difference_of_them_is_drawn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (lost, end), _ = drawn("differences", runs("none", "contribution"))
    assert lost.get_yticklabels() == [] and len(end.get_yticklabels()) == 1


@pytest.mark.parametrize("logs", [["random", "none"], ["contribution"]])
def test_differences_need_contribution_and_another_arm(logs):
    with pytest.raises(errors.UserError, match="differences: MNIST needs a log of contribution-based pruning and one"):
        finished.KINDS["differences"](runs(*logs))
    with pytest.raises(errors.UserError, match="with the same seed"):
        finished.KINDS["differences"]([*runs("contribution", seeds=[1]), *runs("random", seeds=[2])])


def test_no_accuracy_axis_follows_a_band_far_beyond_100_percent():
    (axes,), _ = drawn("rounds", runs("random", seeds=(1, 60)))
    band = [height for path in axes.collections[0].get_paths() for _, height in path.vertices]
    assert max(band) > 300 and min(band) < -200 and axes.get_ylim() == (-1, 101)


def test_seconds_are_the_medians_of_the_epochs():
    (axes,), _ = drawn("seconds", runs("random", seeds=(1, 2, 9)))
    assert points(axes.lines[0]) == [(epoch, pytest.approx(epoch + 0.2)) for epoch in range(1, 7)]
    assert axes.get_ylim()[0] == 0


def test_every_data_set_has_a_panel():
    axes, words = drawn("removed", [*runs("random"), *runs("random", dataset="CIFAR10")])
    assert [panel.get_title() for panel in axes] == ["MNIST, seeds 1, 2, 3", "CIFAR-10, seeds 1, 2, 3"]
    assert words == ["randomised pruning", BAND]
    for panel in axes:  # one part alone has a bar in place of a band
        (bar,) = panel.collections
        half = table.half_width([1, 2, 3])
        assert bar.get_segments()[0].tolist() == [pytest.approx([20, end]) for end in (93 - half, 93 + half)]


@pytest.mark.parametrize("kind", ["rounds", "variants", "differences", "removed"])
def test_runs_that_differ_in_more_than_the_figure_shows_are_refused(kind):
    with pytest.raises(errors.UserError, match=f"--figure {kind}: logs of MNIST differ in batch_size; give those"):
        finished.KINDS[kind]([*runs("random", batch_size=7), *runs("random", batch_size=8)])


@pytest.mark.parametrize("kind", ["rounds", "variants", "differences"])
def test_figures_of_rounds_need_one(kind):
    with pytest.raises(errors.UserError, match="no log of MNIST has a round"):
        finished.KINDS[kind](runs("none"))


@pytest.mark.parametrize("kind", finished.KINDS)
def test_no_legend_runs_out_of_the_figure(kind):
    drawn(kind, runs(*runlog.ARM_WORDS, seeds=(1, 2)))
    figure = pyplot.gcf()
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0


def test_the_order_of_the_values_in_constants_is_no_difference():
    first, second = log("random", 1, batch_size=10, momentum=0.5), log("random", 2, momentum=0.5, batch_size=10)
    assert len(table.experiments([first, second])) == 1
    axes, words = drawn("rounds", [first, second])
    assert len(words) == 1 + 3


def test_data_sets_with_the_same_arms_share_the_names_of_the_rows():
    axes, _ = drawn("variants", [*runs("random", "none"), *runs("random", "none", dataset="CIFAR10")])
    names = [[label.get_text() for label in panel.get_yticklabels()] for panel in axes]
    assert names == [["randomised pruning"], [""], ["without pruning", "randomised pruning"], ["", ""]]
