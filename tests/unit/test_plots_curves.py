"""The figure against the epoch: what a log says becomes these points, and nothing of it is hidden."""
import re

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.collections import PolyCollection
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
    assert "mean of 3 seeds, 95 % t-interval" in legend_of(axes)
    band = [height for path in bands_of(axes)[-1].get_paths() for epoch, height in path.vertices if epoch == 3]
    assert (min(band), max(band)) == tuple(pytest.approx(points[3, 0].mean + sign * points[3, 0].half)
                                           for sign in (-1, 1))


def test_no_band_goes_beyond_100_percent(figure):
    axes, (line,) = figure(**seeds(99.9, 91.0))
    point = line.measures["accuracy"]["test"][3, 0]
    ends = [height for band in bands_of(axes) for path in band.get_paths() for height in path.vertices[:, 1]]
    assert point.mean + point.half > 101 and max(ends) == 100 and min(ends) >= 0
    assert axes[0].get_ylim()[1] <= 101


def test_a_second_log_of_a_seed_and_a_log_without_one_are_lines_of_their_own(lines_of):
    texts = {**seeds(91.5, 91.0), "again": log_text(torch="x"), "other": log_text("random"),
             "listed": log_text().replace("seed = 30", "seed = [30]")}
    assert [[run.header["seed"] for run in line.runs] for line in lines_of(**texts)] == [[30, 31], [30], [[30]], [30]]


def test_a_mean_is_of_the_points_that_all_seeds_have(lines_of):
    one, two = seeds(91.5, 91.0).values()
    (line,) = lines_of(one=one, two=two.split("Epoch: 3")[0])
    assert list(line.measures["accuracy"]["test"]) == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert list(line.measures["accuracy"]["training"]) == [(1, 0), (2, 0)]


def test_seeds_without_a_point_in_common_leave_an_empty_curve(figure):
    head = "# pruning = 'none'\n# seed = "
    axes, _ = figure(one=head + "1\n" + epoch_text(1, 50.0), two=head + "2\n" + epoch_text(9, 50.0))
    assert legend_of(axes)[0] == "without pruning" and not any(len(line.get_xdata()) for line in axes[0].lines)


def test_from_five_lines_on_the_training_accuracy_is_left_out(figure):
    names = ["none", "contribution", "random", "magnitude", "scratch"]
    _, few = figure(**{name: log_text(name) for name in names[:4]})
    axes, many = figure(**{name: log_text(name) for name in names})
    assert all(set(line.measures["accuracy"]) == {"training", "test"} for line in few)
    assert all(set(line.measures["accuracy"]) == {"test"} for line in many)
    assert axes[0].get_ylabel() == "test accuracy (%)" and len({line.style["color"] for line in many}) == 5
    assert not [words for words in legend_of(axes) if "training" in words]


def test_arms_from_the_fourth_on_differ_by_their_dashes_too(lines_of):
    styles = [line.style["linestyle"] for line in lines_of(**{name: log_text(name) for name in arms.ARMS})]
    assert styles[:3] == ["-"] * 3 and len({*styles[3:], style.DASHED["linestyle"]}) == len(styles) - 2


def test_from_five_lines_on_bars_at_a_few_epochs_stand_for_bands(figure):
    tests = [90.0 + epoch / 9 for epoch in range(40)]
    names = ["none", "contribution", "random", "magnitude", "scratch"]
    axes, _ = figure(**{f"{name}{seed}": log_text(name, seed=seed, tests=[test + seed / 9 for test in tests], rounds=())
                        for name in names for seed in (1, 2, 3)})
    places = [bar[0][0] for bars in axes[0].collections for bar in bars.get_segments()]
    assert not bands_of(axes) and 5 * 9 <= len(places) <= 5 * 11
    assert len(set(places)) > 30  # bars of several arms seldom hide each other


def test_training_accuracy_of_few_epochs_is_left_out(points):
    measures, *_ = points(log_text(tests=[90.0] * 9, training=[(50.0,)]))
    assert list(measures["accuracy"]) == ["test"]


@pytest.mark.parametrize("one, two, words", [
    ({"batch_size": 7}, {"batch_size": 8, "seed": 31}, ["batch_size 7", "batch_size 8"]),
    ({}, {"seed": 31, "batch_size": 7}, ["one.txt", "two.txt"])])  # one does not know its batch_size
def test_two_lines_of_one_arm_are_told_apart_by_settings_or_by_paths(lines_of, one, two, words):
    lines = lines_of(one=log_text(**one), two=log_text(**two))
    assert [line.words for line in lines] == [f"contribution-based pruning, {more}" for more in words]
    assert len({line.style["color"] for line in lines}) == 2


def test_every_data_set_has_panels_and_an_arm_looks_the_same_in_all(figure):
    axes, lines = figure(**{f"{arm}{dataset}": log_text(arm, dataset=dataset) for arm in ("none", "random")
                            for dataset in ("CIFAR10", "FashionMNIST")})
    assert [panel.get_title() for panel in axes[:2]] == ["Fashion-MNIST, seed 30", "CIFAR-10, seed 30"]
    assert legend_of(axes)[:2] == ["without pruning", "randomised pruning"]
    for panel in axes[:4]:  # accuracies, then neurons
        assert list(dict.fromkeys(line.get_color() for line in panel.lines))[:2] == ["#000000", "#E69F00"]


def test_a_log_that_is_named_by_its_path_says_the_part_that_differs(lines_of, tmp_path):
    (tmp_path / "MNIST" / "deep").mkdir(parents=True)
    lines = lines_of(**{"one": HISTORIC, "deep/two": HISTORIC})
    assert style.told_apart([line.runs[0] for line in lines]) == ["one.txt", "deep/two.txt"]
    words, path = style.wrapped("of a/very-long_path/" + 9 * "long_name/" + "log.txt", 30).split("\n")
    assert words == "of" and path.startswith("a/very-long_path") and path.endswith("log.txt") and len(path) < 61


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
    assert axes[0].get_title() == "MNIST, seed not recorded"
    assert legend_of(axes)[:2] == ["randomised pruning", r"_my_\$x_{\$run.txt"]
    assert lines[0].style["color"] == arms.ARMS["random"].colour


# ---- the figure ----

def legend_of(axes):
    (legend,) = axes[0].figure.legends
    return [text.get_text().replace("\n", "").replace("\xa0", " ").strip() for text in legend.get_texts()]


def bands_of(axes):
    return [band for band in axes[0].collections if isinstance(band, PolyCollection)]


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
                               "training (mean of the epoch's batches)", "test", "right after a round",
                               "pruning round", "one seed, no interval"]
    assert [line.get_xdata()[0] for line in axes[1].lines[-2:]] == [1, 2]
    assert axes[1].get_ylabel() == "neurons left" and axes[1].get_ylim()[0] == 0
    assert len(figure(log=HISTORIC)[0]) == 1  # that log does not know its neurons
    assert legend_of(figure(log=log_text(holdout=500))[0])[2] == "held-out"


def test_values_right_after_a_round_are_points_and_the_last_test_point_has_its_marker(figure):
    axes, _ = figure(log=log_text(tests=[90.0 + epoch / 9 for epoch in range(38)], training=[(50.0,)] * 38))
    training, _, test, after, *_ = axes[0].lines
    assert training.is_dashed() and not test.is_dashed() and 37 in test.get_markevery()
    assert (after.get_linestyle(), list(after.get_ydata())) == ("None", [60.5, 88.0])
    assert list(test.get_ydata()[:2]) == [85.0, 90.0]  # before the rounds
    assert 0 < axes[1].get_xlim()[0] < 1 and axes[1].get_xticks()[0] == 1


@pytest.mark.parametrize("count", [20, 21])
def test_more_than_20_rounds_have_no_vertical_lines(figure, count):
    rounds = [(epoch, 90.0, 80.0) for epoch in range(1, count + 1)]
    log = run_log(tests=[90.0] * 30, rounds=())
    log.rounds.extend(runlog.Round(number, *entry, 0.1) for number, entry in enumerate(rounds, 1))
    for number, (epoch, *sides) in enumerate(rounds):
        log.rounds[number] = runlog.Round(number + 1, epoch, *({"test accuracy": side} for side in sides), 0.1)
    axes, _ = figure(log=text_of(log))
    assert ("pruning round" in legend_of(axes)) == (count == 20)
    assert len([line for line in axes[0].lines if len(line.get_xdata()) == 2]) == (count if count == 20 else 0)
    assert any(len(line.get_xdata()) == count and line.get_linestyle() == "None" for line in axes[0].lines)


def test_coinciding_lines_stay_visible(figure):
    axes, _ = figure(**{arm: log_text(arm) for arm in arms.COMPARED})
    for panel, curves_per_arm in ((axes[0], 4), (axes[1], 1)):
        drawn = panel.lines[:3 * curves_per_arm:curves_per_arm]  # a curve and its points
        widths = [line.get_linewidth() for line in drawn]
        assert widths == sorted(set(widths), reverse=True)
        assert [line.get_color() for line in drawn] == ["#000000", "#0072B2", "#E69F00"]


def test_the_legend_covers_no_data_and_leaves_the_axes_their_size(figure):
    height = figure(log=log_text())[0][0].get_window_extent().height
    many = {f"another_file_with_a_long_name_{number}": HISTORIC for number in range(45)}
    for texts in ({name: log_text(name) for name in arms.ARMS}, {"log": log_text(), **many}):
        axes, _ = figure(**texts)
        box, legend = axes[0].figure.bbox, axes[0].figure.legends[0].get_window_extent()
        assert legend.y1 < axes[-1].get_window_extent().y0 and legend.x0 >= 0 and legend.x1 <= box.x1 and legend.y0 >= 0
        assert axes[0].get_window_extent().height > 0.9 * height and axes[0].get_window_extent().width > 0.8 * box.width
        assert box.height < 9 * axes[0].figure.dpi  # inches
    assert "and 26 more, named on the terminal" in legend_of(axes)


def test_a_handle_of_the_legend_looks_as_its_curve(figure):
    for texts, dashed in (({"log": log_text()}, False), ({"log": HISTORIC}, True)):
        axes, _ = figure(**texts)
        handle = axes[0].figure.legends[0].get_lines()[0]
        curve = [line for line in axes[0].lines if len(line.get_xdata())][0 if dashed else 1]
        assert handle.is_dashed() == curve.is_dashed() == dashed
        assert (handle.get_marker(), handle.get_color()) == (curve.get_marker(), curve.get_color())


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
    assert axes[0].get_ylabel() == "accuracy (%)\ncompressed below 96"
    even, _ = figure(log=narrow_band(95.5))
    assert np.ptp(np.diff(heights(even[0], 95.5, 96.0, 96.5, 97.0))) < 1e-9
    assert even[0].get_ylabel() == "accuracy (%)"


def test_losses_have_a_panel_each_and_rare_high_ones_are_compressed_above(figure):
    band = [(245.0, 240.0 + epoch % 3) for epoch in range(60)]
    axes, (line,) = figure(log=text_of(vae_log([(500.0, 500.0), *band])))
    assert [panel.get_ylabel() for panel in axes[:4]] == [
        "test loss (nats)\ncompressed above 255", "test BCE (nats)\ncompressed above 245", "test KLD (nats)",
        "neurons left"]
    for panel, measure in zip(axes, line.measures):
        places = heights(panel, *values_of(line, measure))
        assert (places >= 0).all() and (places <= 1).all()
    best, worst, spike = heights(axes[1], 240.0, 242.0, 500.0)
    assert best < 0.1 and 0.25 < worst < 0.75 < spike < 1


def test_losses_and_accuracies_that_are_no_numbers_are_drawn_as_gaps(figure):
    nan, inf = float("nan"), float("inf")
    assert len(figure(log=runlog.format_batch(1, 0, vae_measures(nan, nan)))[0]) == 3
    text = epoch_text(1, nan, (50.0,)) + epoch_text(2, inf, (60.0,)) + epoch_text(3, 1e308, ())
    axes, (line,) = figure(log=text)
    assert [at.mean for at in line.measures["accuracy"]["training"].values()] == [50.0, 60.0]
    assert axes[0].get_ylim()[0] > 45 and axes[0].get_ylim()[1] < 65
