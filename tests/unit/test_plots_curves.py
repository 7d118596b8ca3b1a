"""The figure against the epoch: what a log says becomes these points, and nothing of it is hidden."""
import re

import numpy as np
import pytest
from matplotlib import pyplot
from plot_logs import HISTORIC, epoch_text, log_text, run_log, text_of, vae_log, vae_measures

from pruning import arms, runlog
from pruning.plots import curves, find, style
from pruning.plots.runs import Run
from pruning.plots.statistics import estimate


@pytest.fixture(autouse=True)
def no_window():
    pyplot.switch_backend("Agg")
    yield
    pyplot.close("all")


@pytest.fixture
def lines_of(tmp_path):
    """The lines of the logs with these texts, {name of the file: text}."""
    def lines_of(**texts):
        (tmp_path / "MNIST").mkdir(exist_ok=True)
        paths = [tmp_path / "MNIST" / f"{name}.txt" for name in texts]
        for path, text in zip(paths, texts.values()):
            path.write_text(text)
        (runs,) = find.read(map(str, paths)).values()
        return curves.lines_of(runs)
    return lines_of


@pytest.fixture
def figure(lines_of):
    """The axes of the figure of these texts, laid out, and its lines."""
    def figure(**texts):
        lines = lines_of(**texts)
        curves.draw(lines)
        pyplot.gcf().canvas.draw()
        return pyplot.gcf().axes, lines
    return figure


@pytest.fixture
def points(lines_of):
    """{measure: {split: [(epoch, value)]}} of the log with this text, its neurons and its rounds."""
    def points(text):
        (line,) = lines_of(log=text)
        measures = {measure: {split: [(epoch, at.mean) for (epoch, _), at in some.items()]
                              for split, some in splits.items()} for measure, splits in line.measures.items()}
        return measures, line.neurons, line.rounds
    return points


# ---- what a log says ----

def test_points_are_epoch_means_and_the_accuracies_around_each_round(points):
    for text in (log_text(), re.sub("After epoch 1: .*\n", "", log_text())):  # the round's line says the same
        assert points(text) == (
            {"accuracy": {"training": [(1, 75.5), (2, 85.0), (3, 87.5)],
                          "test": [(1, 85.0), (1, 60.5), (2, 90.0), (2, 88.0), (3, 91.5)]}},
            [(0, 80), (1, 72), (2, 64), (3, 64)], [1, 2])


def test_without_rounds_the_neurons_are_those_of_the_header(points):
    measures, *rest = points(log_text("none"))
    assert rest == [[(0, 80), (3, 80)], []]
    assert measures["accuracy"]["test"] == [(1, 85.0), (2, 90.0), (3, 91.5)]
    assert points(log_text("scratch", initial_widths=[4, 3]))[1] == [(0, 7), (3, 7)]


def test_epochs_that_restart_count_on_and_a_restart_is_a_round(points):
    assert points(HISTORIC) == ({"accuracy": {"training": [(1, 15.0), (2, 30.0), (3, 50.0)]}}, [], [2])
    assert points("# pruning = 'none'\n" + HISTORIC)[2] == []  # there it is the program that began anew


def test_a_killed_run_is_drawn_up_to_its_end_and_an_epoch_may_lack_lines(points):
    killed = log_text().split("Epoch: 2")[0] + epoch_text(2, 90.0, ()) + epoch_text(3, None, (85.0,))
    accuracies = {"training": [(1, 75.5), (3, 85.0)], "test": [(1, 85.0), (1, 60.5), (2, 90.0)]}
    assert points(killed) == ({"accuracy": accuracies}, [(0, 80), (1, 72), (3, 72)], [1])


def test_of_a_vae_the_test_loss_and_its_parts_are_drawn(points):
    assert points(text_of(vae_log())) == (
        {"loss": {"test": [(1, 270.0), (1, 276.0), (2, 260.0)]}, "BCE": {"test": [(1, 260.0), (1, 267.0), (2, 250.0)]},
         "KLD": {"test": [(1, 10.0), (1, 9.0), (2, 10.0)]}}, [(0, 80), (1, 72), (2, 72)], [1])
    held_out, *_ = points(text_of(vae_log(holdout=9)))
    assert {split for splits in held_out.values() for split in splits} == {"held-out"}
    killed, *_ = points(text_of(vae_log()).split("After epoch 1")[0])
    assert killed["BCE"] == {"training": [(1, 300.0)]}


# ---- lines ----

def seeds(*ends, first=30, **header):
    return {f"log{seed}": log_text(seed=seed, end=end, tests=(85.0, 90.0, end), started=str(seed), **header)
            for seed, end in enumerate(ends, first)}


def test_logs_that_differ_in_their_seed_alone_are_one_line_with_a_band(figure):
    texts = seeds(91.5, 91.0, 94.0)
    axes, (line,) = figure(**texts)
    assert [run.seed for run in line.runs] == [30, 31, 32]
    points = line.measures["accuracy"]["test"]
    assert list(points) == [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0)]
    assert points[3, 0] == estimate([91.5, 91.0, 94.0]) and points[1, 1] == (60.5, 0.0)
    assert "mean of 3 seeds,\n with its 95 % t-interval" in legend_of(axes)
    band = [height for path in axes[0].collections[-1].get_paths() for epoch, height in path.vertices if epoch == 3]
    assert (min(band), max(band)) == tuple(pytest.approx(points[3, 0].mean + sign * points[3, 0].half)
                                           for sign in (-1, 1))


def test_a_second_log_of_a_seed_and_a_log_without_one_are_lines_of_their_own(lines_of):
    texts = {**seeds(91.5, 91.0), "again": log_text(torch="x"), "other": log_text("random"),
             "listed": log_text().replace("seed = 30", "seed = [30]")}
    assert [[run.header["seed"] for run in line.runs] for line in lines_of(**texts)] == [[30, 31], [30], [[30]], [30]]


def test_a_mean_is_of_the_points_that_all_seeds_have(lines_of):
    one, two = seeds(91.5, 91.0).values()
    (line,) = lines_of(one=one, two=two.split("Epoch: 3")[0])
    assert list(line.measures["accuracy"]["test"]) == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert list(line.measures["accuracy"]["training"]) == [(1, 0), (2, 0)]


def test_from_five_lines_on_the_training_accuracy_is_left_out(figure):
    names = ["none", "contribution", "random", "magnitude", "scratch"]
    _, few = figure(**{name: log_text(name) for name in names[:4]})
    axes, many = figure(**{name: log_text(name) for name in names})
    assert all(set(line.measures["accuracy"]) == {"training", "test"} for line in few)
    assert all(set(line.measures["accuracy"]) == {"test"} for line in many)
    assert "training" not in legend_of(axes) and len({line.style["color"] for line in many}) == 5


@pytest.mark.parametrize("one, two, words", [
    ({"batch_size": 7}, {"batch_size": 8, "seed": 31}, ["batch_size 7", "batch_size 8"]),
    ({"dataset": "MNIST"}, {"dataset": "FashionMNIST"}, ["MNIST", "Fashion-MNIST"]),
    ({}, {"seed": 31, "batch_size": 7}, None)])  # one does not know its batch_size
def test_two_lines_of_one_arm_are_told_apart_by_settings_or_by_paths(lines_of, one, two, words):
    lines = lines_of(one=log_text(**one), two=log_text(**two))
    assert [line.words for line in lines] == [f"contribution-based pruning, {more}" for more in
                                              words or [line.runs[0].path for line in lines]]
    assert len({line.style["color"] for line in lines}) == 2


@pytest.mark.parametrize("seeds, words", [
    ([30], "MNIST, seed 30"), ([7, 30], "MNIST, seeds 7, 30"), ([33, 30, 32, 31], "MNIST, seeds 30 to 33"),
    ([1, 2, 3, 5], "MNIST, seeds 1, 2, 3, 5"), (["x", 1, 2, 3, 4], "MNIST, seeds x, 1, 2, 3, 4"),
    ([[30]], "MNIST, seed [30]")])
def test_the_title_says_data_sets_and_seeds(seeds, words):
    runs = [Run(run_log()._replace(header={"dataset": "MNIST", "seed": seed})) for seed in seeds]
    assert style.title(runs) == words
    other = Run(run_log()._replace(header={"dataset": "CIFAR10", "seed": seeds[0]}))
    assert style.title([*runs, other]) == words.replace("MNIST", "MNIST, CIFAR-10")


def test_a_log_without_header_is_named_by_its_path(figure):
    axes, lines = figure(**{"training_logworstPruning": HISTORIC, "_my_$x_{$run": HISTORIC})
    assert axes[0].figure._suptitle.get_text() == "MNIST, seed not recorded"
    assert legend_of(axes)[:2] == ["randomised pruning", r"_my_\$x_{\$run.txt"]
    assert lines[0].style["color"] == arms.ARMS["random"].colour


# ---- the figure ----

def legend_of(axes):
    return [text.get_text().strip() for text in axes[0].get_legend().get_texts() if text.get_text().strip()]


def heights(axes, *values):
    """Where values lie on the axis, from 0 at its bottom to 1 at its top."""
    pixels = axes.transData.transform([(1, value) for value in values])[:, 1]
    box = axes.get_window_extent()
    return (pixels - box.y0) / box.height


def values_of(line, measure="accuracy"):
    return [at.mean for points in line.measures[measure].values() for at in points.values()]


def narrow_band(deep):
    """100 epochs between 96 and 98, and a round that drops to `deep`."""
    return log_text(tests=[96.0 + epoch % 3 for epoch in range(1, 101)], rounds=[(50, 96.0, deep)],
                    training=[(97.0,)] * 100)


def test_arms_are_named_in_words_and_rounds_in_the_legend(figure):
    axes, _ = figure(**{arm: log_text(arm) for arm in ("random", "none", "contribution")})
    assert legend_of(axes) == ["without pruning", "contribution-based pruning", "randomised pruning",
                               "training", "test", "pruning round"]
    assert [line.get_xdata()[0] for line in axes[1].lines[-2:]] == [1, 2]
    assert axes[1].get_ylabel() == "neurons left" and axes[1].get_ylim()[0] == 0
    assert len(figure(log=HISTORIC)[0]) == 1  # that log does not know its neurons
    assert legend_of(figure(log=log_text(holdout=500))[0])[1:3] == ["training", "held-out"]


def test_coinciding_lines_stay_visible(figure):
    axes, _ = figure(**{arm: log_text(arm) for arm in arms.COMPARED})
    for panel, curves_per_arm in ((axes[0], 2), (axes[1], 1)):
        drawn = panel.lines[:3 * curves_per_arm:curves_per_arm]
        widths = [line.get_linewidth() for line in drawn]
        assert widths == sorted(set(widths), reverse=True)
        assert [line.get_color() for line in drawn] == ["#000000", "#0072B2", "#E69F00"]
    assert axes[0].lines[0].get_linestyle() == "-" and axes[0].lines[1].is_dashed()


def test_the_legend_covers_no_data_and_leaves_the_axes_their_size(figure):
    axes, _ = figure(log=log_text(), **{f"another_file_with_a_long_name_{number}": HISTORIC for number in range(6)})
    assert axes[0].get_legend().get_window_extent().y0 >= axes[0].get_window_extent().y1
    assert axes[0].get_window_extent().height > 2 * axes[0].figure.dpi  # inches
    height = figure(log=log_text())[0][0].get_window_extent().height
    axes, _ = figure(**{name: log_text(name) for name in arms.ARMS})
    assert axes[0].get_window_extent().height > 0.9 * height
    width, legend = axes[0].figure.bbox.width, axes[0].get_legend().get_window_extent()
    assert axes[0].get_window_extent().width > 0.8 * width and legend.x1 <= width
    assert legend.height < 1.5 * axes[0].figure.dpi  # several columns


@pytest.mark.parametrize("text", [log_text(), narrow_band(95.5), narrow_band(46.0), narrow_band(0.0), HISTORIC,
                                  epoch_text(1, 100.0, (100.0,)), epoch_text(1, 99.0, (99.0,))],
                         ids=["short", "narrow", "drop", "deep drop", "historic", "all 100", "all 99"])
def test_no_accuracy_lies_outside_the_axis(figure, text):
    axes, (line,) = figure(log=text)
    places = heights(axes[0], *values_of(line))
    assert len(places) and (places >= 0).all() and (places <= 1).all()


def test_a_narrow_band_is_given_most_of_the_height_and_the_legend_says_so(figure):
    axes, _ = figure(log=narrow_band(46.0))
    bottom, bound, top = heights(axes[0], 46.0, 95.0, 98.0)
    assert 0 < bottom < 0.05 and bound < 0.35 and top > 0.95
    assert legend_of(axes)[-1] == "scale compressed"
    even, _ = figure(log=narrow_band(95.5))
    assert np.ptp(np.diff(heights(even[0], 95.5, 96.0, 96.5, 97.0))) < 1e-9
    assert legend_of(even)[-1] == "pruning round"


def test_losses_have_a_panel_each_and_rare_high_ones_are_compressed_above(figure):
    band = [(245.0, 240.0 + epoch % 3) for epoch in range(60)]
    axes, (line,) = figure(log=text_of(vae_log([(500.0, 500.0), *band])))
    assert [panel.get_ylabel() for panel in axes] == ["loss (nats)", "BCE (nats)", "KLD (nats)", "neurons left"]
    for panel, measure in zip(axes, line.measures):
        places = heights(panel, *values_of(line, measure))
        assert (places >= 0).all() and (places <= 1).all()
    best, worst, spike = heights(axes[1], 240.0, 242.0, 500.0)
    assert best < 0.1 and 0.25 < worst < 0.75 < spike < 1
    assert legend_of(axes)[-2:] == ["pruning round", "scale compressed"]


def test_losses_and_accuracies_that_are_no_numbers_are_drawn_as_gaps(figure):
    nan, inf = float("nan"), float("inf")
    assert len(figure(log=runlog.format_batch(1, 0, vae_measures(nan, nan)))[0]) == 3
    text = epoch_text(1, nan, (50.0,)) + epoch_text(2, inf, (60.0,)) + epoch_text(3, 1e308, ())
    axes, (line,) = figure(log=text)
    assert [at.mean for at in line.measures["accuracy"]["training"].values()] == [50.0, 60.0]
    assert axes[0].get_ylim()[0] > 45 and axes[0].get_ylim()[1] < 65
