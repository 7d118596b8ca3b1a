"""The figure: what a log says becomes these points, nothing of it is hidden, and what cannot be drawn is named."""
import math
import os
import re
import runpy
import struct
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import pyplot
from processes import type_at_terminal

import config
import figures
import files
import plot
import runlog

PROGRAM = os.path.abspath(plot.__file__)
WIDTHS = [[50, 30], [45, 27], [40, 24]]


@pytest.fixture(autouse=True)
def no_window():
    plot.matplotlib.use("Agg")
    yield
    pyplot.close("all")


def epoch_text(epoch, test, training=(80.0, 90.0)):
    """The batch lines of one epoch and, where `test` is not None, its test line."""
    lines = [runlog.format_batch(epoch, 10 * number, {"loss": 0.5, "accuracy": accuracy})
             for number, accuracy in enumerate(training)]
    if test is not None:
        lines.append(runlog.format_epoch(epoch, {"test accuracy": test, "time": 0.1}))
    return "".join(lines)


def round_text(number, epoch, before, after):
    states = [{"widths": widths, "test accuracy": test} for widths, test in zip(WIDTHS[number - 1:], (before, after))]
    return runlog.format_round(number, epoch, *states, 0.1)


def log_text(arm="contribution", **header):
    """Three epochs with rounds after the first and the second of them, but for the arm without pruning."""
    rounds = ["", ""] if arm == "none" else [round_text(1, 1, 85.0, 60.5), round_text(2, 2, 90.0, 88.0)]
    return (runlog.format_header({"dataset": "MNIST", "pruning": arm, "seed": 30, "holdout": 0,
                                  "hidden_widths": WIDTHS[0], **header})
            + epoch_text(1, 85.0, (70.0, 81.0)) + rounds[0] + epoch_text(2, 90.0) + rounds[1]
            + epoch_text(3, 91.5, (85.0, 90.0)) + runlog.format_summary({"epochs": 3, "time": 1.0}))


def vae_measures(bce, kld, prefix=""):
    return {prefix + "loss": bce + kld, prefix + "BCE": bce, prefix + "KLD": kld}


def vae_text(bces=((300.0, 260.0), (255.0, 250.0)), kld=10.0, **header):
    """An epoch for every pair of BCEs, of its one batch line and of the test set, with a round after the first."""
    text = runlog.format_header({"dataset": "MNIST", "pruning": "contribution", "seed": 30, "hidden_widths": WIDTHS[0],
                                 **header})
    for epoch, (training, test) in enumerate(bces, 1):
        measures = vae_measures(test, kld, "test ")
        text += runlog.format_batch(epoch, 0, vae_measures(training, kld))
        text += runlog.format_epoch(epoch, {**measures, "time": 0.1})
        if epoch == 1:
            before, after = ({"widths": widths, **measures} for widths in WIDTHS[:2])
            text += runlog.format_round(1, 1, before, {**after, **vae_measures(test + 7, kld - 1, "test ")}, 0.1)
    return text


HISTORIC = epoch_text(1, None, (10.0, 20.0)) + epoch_text(2, None, (30.0,)) + epoch_text(1, None, (40.0, 50.0, 60.0))


@pytest.fixture
def write(tmp_path):
    """Write a text, or bytes, below tmp_path; returns the path as a string."""
    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)
    return write


@pytest.fixture
def write_arms(write):
    def write_arms(folder="logs/MNIST", arms=tuple(config.COMPARED), **header):
        return [write(files.log_path(folder, "", arm), log_text(arm, **header)) for arm in arms]
    return write_arms


@pytest.fixture
def run(drive):
    """Run plot.py's main in this process and in tmp_path: (exit status, lines of stdout, lines of stderr)."""
    def run(*arguments):
        status, out, err = drive(*arguments, program="plot.py")
        return status, out.splitlines(), err.splitlines()
    return run


@pytest.fixture
def blank(monkeypatch):
    """A small blank figure in place of the drawing, for the tests that ask for nothing but files and words."""
    monkeypatch.setattr(figures, "draw", lambda lines: pyplot.figure(figsize=(1, 1)))


@pytest.fixture
def figure(write):
    """The axes of the figure of these texts, {name of the file: text}, and the Lines drawn."""
    def figure(**texts):
        logs, = plot.read_logs([write(f"logs/MNIST/{name}.txt", text) for name, text in texts.items()]).values()
        lines = plot.lines_of(logs)
        figures.draw(lines)
        pyplot.gcf().canvas.draw()
        return pyplot.gcf().axes, lines
    return figure


@pytest.fixture
def curves(write):
    def curves(text):
        return plot.curves(runlog.parse_log(write("log.txt", text)))
    return curves


# ---- what a log says ----

def test_points_are_epoch_means_and_the_accuracies_around_each_round(curves):
    assert curves(log_text()) == (
        {"accuracy": {"training": [(1, 75.5), (2, 85.0), (3, 87.5)],
                      "test": [(1, 85.0), (1, 60.5), (2, 90.0), (2, 88.0), (3, 91.5)]}},
        {}, [(0, 80), (1, 72), (2, 64), (3, 64)], [1, 2])


def test_without_rounds_the_neurons_are_those_of_the_header(curves):
    found = curves(log_text("none"))
    assert (found.neurons, found.rounds) == ([(0, 80), (3, 80)], [])
    assert found.measures["accuracy"]["test"] == [(1, 85.0), (2, 90.0), (3, 91.5)]


def test_epochs_that_restart_count_on_and_a_restart_is_a_round(curves):
    assert curves(HISTORIC) == ({"accuracy": {"training": [(1, 15.0), (2, 30.0), (3, 50.0)]}}, {}, [], [2])
    assert curves("# pruning = 'none'\n" + HISTORIC).rounds == []  # there it is the program that began anew


def test_killed_run_is_drawn_up_to_its_end_and_an_epoch_may_lack_lines(curves):
    killed = log_text().split("Epoch: 2")[0] + epoch_text(2, 90.0, ()) + epoch_text(3, None, (85.0,))
    accuracies = {"training": [(1, 75.5), (3, 85.0)], "test": [(1, 85.0), (1, 60.5), (2, 90.0)]}
    assert curves(killed) == ({"accuracy": accuracies}, {}, [(0, 80), (1, 72), (3, 72)], [1])


def test_held_out_images_are_not_called_test(curves, figure):
    assert list(curves(log_text(holdout=500)).measures["accuracy"]) == ["training", "held-out"]
    axes, _ = figure(log=log_text(holdout=500))
    assert legend_of(axes)[1:3] == ["training", "held-out"]


def test_of_a_vae_the_test_loss_and_its_parts_are_drawn(curves):
    assert curves(vae_text()) == (
        {"loss": {"test": [(1, 270.0), (1, 276.0), (2, 260.0)]}, "BCE": {"test": [(1, 260.0), (1, 267.0), (2, 250.0)]},
         "KLD": {"test": [(1, 10.0), (1, 9.0), (2, 10.0)]}}, {}, [(0, 80), (1, 72), (2, 72)], [1])
    assert {name for splits in curves(vae_text(holdout=9)).measures.values() for name in splits} == {"held-out"}
    killed = curves(vae_text().split("After epoch 1")[0])
    assert killed.measures["BCE"] == {"training": [(1, 300.0)]}


# ---- the figure ----

def test_a_seed_that_is_no_number_is_shown_as_it_stands(figure):
    axes, _ = figure(log="# seed = [30]\n" + HISTORIC)
    assert [text.get_text() for text in axes[0].figure.texts] == ["MNIST, seed [30]"]


def legend_of(axes):
    return [text.get_text().strip() for text in axes[0].get_legend().get_texts() if text.get_text().strip()]


def heights(axes, *accuracies):
    """Where accuracies lie on the axis, from 0 at its bottom to 1 at its top."""
    pixels = axes.transData.transform([(1, accuracy) for accuracy in accuracies])[:, 1]
    box = axes.get_window_extent()
    return (pixels - box.y0) / box.height


def narrow_band(deep):
    """100 epochs between 96 and 98, and a round that drops to `deep`."""
    epochs = [epoch_text(epoch, 96.0 + epoch % 3, (97.0,)) for epoch in range(1, 101)]
    return "".join(epochs[:50]) + round_text(1, 50, 96.0, deep) + "".join(epochs[50:])


def test_arms_are_named_in_words_and_rounds_in_the_legend(figure):
    axes, _ = figure(**{arm: log_text(arm) for arm in ("random", "none", "contribution")})
    assert legend_of(axes) == ["without pruning", "contribution-based pruning", "randomised pruning",
                               "training", "test", "pruning round"]
    assert [line.get_xdata()[0] for line in axes[1].lines[-2:]] == [1, 2]


def test_coinciding_lines_stay_visible(figure):
    axes, lines = figure(**{arm: log_text(arm) for arm in config.COMPARED})
    for panel, curves_an_arm in ((axes[0], 2), (axes[1], 1)):
        drawn = panel.lines[:3 * curves_an_arm:curves_an_arm]
        widths = [line.get_linewidth() for line in drawn]
        assert widths == sorted(set(widths), reverse=True)
        assert [line.get_color() for line in drawn] == ["#000000", "#0072B2", "#E69F00"]
    assert axes[0].lines[0].get_linestyle() == "-" and axes[0].lines[1].is_dashed()


def test_legend_covers_no_data(figure):
    axes, _ = figure(log=log_text(), **{f"another_file_with_a_long_name_{number}": HISTORIC for number in range(6)})
    assert axes[0].get_legend().get_window_extent().y0 >= axes[0].get_window_extent().y1
    assert axes[0].get_window_extent().height > 2 * axes[0].figure.dpi  # inches


SHAPES = {"short": log_text(), "narrow": narrow_band(95.5), "drop": narrow_band(46.0), "deep drop": narrow_band(0.0),
          "historic": HISTORIC, "all 100": epoch_text(1, 100.0, (100.0,)), "all 99": epoch_text(1, 99.0, (99.0,))}


@pytest.mark.parametrize("shape", SHAPES)
def test_no_accuracy_lies_outside_the_axis(figure, shape):
    axes, lines = figure(log=SHAPES[shape])
    values = [value for points in lines[0].curves.measures["accuracy"].values() for _, value in points]
    assert len(values) > 0
    assert (heights(axes[0], *values) >= 0).all() and (heights(axes[0], *values) <= 1).all()


def test_narrow_band_is_given_most_of_the_height_and_the_legend_says_so(figure):
    axes, _ = figure(log=narrow_band(46.0))
    bottom, bound, top = heights(axes[0], 46.0, 95.0, 98.0)
    assert 0 < bottom < 0.05 and bound < 0.35 and top > 0.95
    assert legend_of(axes)[-1] == "scale compressed"
    even, _ = figure(log=narrow_band(95.5))
    assert np.ptp(np.diff(heights(even[0], 95.5, 96.0, 96.5, 97.0))) < 1e-9
    assert legend_of(even)[-1] == "pruning round"


def test_losses_have_a_panel_each_and_rare_high_ones_are_compressed_above(figure):
    band = [(245.0, 240.0 + epoch % 3) for epoch in range(60)]
    axes, lines = figure(log=vae_text([(500.0, 500.0), *band]))
    assert [panel.get_ylabel() for panel in axes] == ["loss (nats)", "BCE (nats)", "KLD (nats)", "neurons left"]
    for panel, splits in zip(axes, lines[0].curves.measures.values()):
        places = heights(panel, *(value for _, value in splits["test"]))
        assert (places >= 0).all() and (places <= 1).all()
    best, worst, spike = heights(axes[1], 240.0, 242.0, 500.0)
    assert best < 0.1 and 0.25 < worst < 0.75 < spike < 1
    assert legend_of(axes)[-2:] == ["pruning round", "scale compressed"]


def test_neurons_have_a_panel_only_where_a_log_knows_them(figure):
    axes, _ = figure(log=log_text())
    assert axes[1].get_ylabel() == "neurons left" and axes[1].get_ylim()[0] == 0
    assert len(figure(log=HISTORIC)[0]) == 1


@pytest.mark.parametrize("headers, expected", [
    ([{}], "MNIST, seed 30"),
    ([{"dataset": "CIFAR10"}, {"dataset": "FashionMNIST", "seed": 31}], "CIFAR-10, Fashion-MNIST, seeds 30, 31"),
])
def test_title_says_data_sets_and_seeds(figure, headers, expected):
    axes, _ = figure(**{f"log{number}": log_text(**header) for number, header in enumerate(headers)})
    assert axes[0].figure._suptitle.get_text() == expected


def test_log_without_header_is_named_by_its_path(figure):
    axes, _ = figure(**{"training_logworstPruning": HISTORIC, "_my_$x_{$run": HISTORIC})
    assert axes[0].figure._suptitle.get_text() == "MNIST, seed not recorded"
    assert legend_of(axes)[:2] == ["randomised pruning", r"_my_\$x_{\$run.txt"]


def test_two_logs_of_one_arm_are_named_by_what_they_differ_in(figure):
    _, lines = figure(one=log_text(batch_size=7), two=log_text(seed=31, batch_size=8))
    assert [line.words for line in lines] == [f"contribution-based pruning, batch_size {size}" for size in (7, 8)]
    _, lines = figure(three=log_text(dataset="MNIST"), four=log_text(dataset="FashionMNIST"))
    assert [line.words.split(", ")[-1] for line in lines] == ["MNIST", "Fashion-MNIST"]


def test_nine_arms_leave_the_axes_their_width(figure):
    axes, _ = figure(**{f"log{number}": log_text(pruning=arm) for number, arm in enumerate(runlog.ARM_WORDS)})
    axes[0].figure.canvas.draw()
    width, legend = axes[0].figure.bbox.width, axes[0].get_legend().get_window_extent()
    assert axes[0].get_window_extent().width > 0.8 * width and legend.x1 <= width


def test_two_logs_of_one_arm_differ_in_words_and_colour(figure):
    _, lines = figure(one=log_text(), two=log_text(seed=31, batch_size=7))
    assert [line.words for line in lines] == [f"contribution-based pruning, {line.logs[0].path}" for line in lines]
    assert len({line.style["color"] for line in lines}) == 2


def test_logs_that_differ_in_their_seed_alone_are_one_line_with_a_band(figure):
    texts = {f"log{seed}": log_text(seed=seed, started=str(seed)).replace("accuracy 91.5%", f"accuracy {end}%")
             for seed, end in ((30, 91.5), (31, 91), (32, 94))}
    axes, (line,) = figure(**texts, again=texts["log30"] + "# torch = 'x'\n", other=log_text("random"))[0], figure(
        **texts)[1]
    assert [len(log.path) > 0 for log in line.logs] == 3 * [True]
    points, halves = line.curves.measures["accuracy"]["test"], line.curves.bands["accuracy"]["test"]
    singles = [plot.curves(log).measures["accuracy"]["test"] for log in line.logs]
    assert [epoch for epoch, _ in points] == [epoch for epoch, _ in singles[0]]
    assert points[-1] == (3, pytest.approx((91.5 + 91 + 94) / 3))
    # Standard deviation of 91.5, 91, 94 by hand; t(0.975) with 2 degrees of freedom is 4.303.
    assert halves[-1] == pytest.approx(4.303 * math.sqrt((0.667 ** 2 + 1.167 ** 2 + 1.833 ** 2) / 2 / 3), rel=1e-3)
    assert halves[0] == 0 and "mean of 3 seeds,\n with its 95 % t-interval" in legend_of(axes)
    # The second log of seed 30 and the other arm are lines of their own.
    assert len(axes[1].lines) - len(line.curves.rounds) == 3


def test_from_five_arms_on_the_training_accuracy_is_left_out(figure):
    arms = ["none", "contribution", "random", "magnitude", "scratch"]
    _, few = figure(**{arm: log_text(arm) for arm in arms[:4]})
    axes, many = figure(**{arm: log_text(arm) for arm in arms})
    assert all(set(line.curves.measures["accuracy"]) == {"training", "test"} for line in few)
    assert all(set(line.curves.measures["accuracy"]) == {"test"} for line in many)
    assert "training" not in legend_of(axes) and len({line.style["color"] for line in many}) == 5


def test_a_network_from_scratch_has_its_own_neurons(curves):
    text = log_text("none").replace("# seed", "# initial_widths = [4, 3]\n# seed")
    assert curves(text).neurons == [(0, 7), (3, 7)]


@pytest.mark.parametrize("seeds, words", [
    ([30], "seed 30"), ([30, 31], "seeds 30, 31"), ([33, 30, 32, 31], "seeds 30 to 33"),
    ([1, 2, 3, 5], "seeds 1, 2, 3, 5"),
    (["x", 1, 2, 3, 4], "seeds x, 1, 2, 3, 4")])
def test_seeds_in_words(seeds, words):
    assert figures.seeds_of([runlog.RunLog("", {"seed": seed}, [], [], [], {}) for seed in seeds]) == words


def test_losses_of_a_vae_may_all_be_no_numbers(figure):
    text = runlog.format_batch(1, 0, dict.fromkeys(["loss", "BCE", "KLD"], float("nan")))
    assert len(figure(log=text)[0]) == 3


def test_losses_and_accuracies_that_are_no_numbers_are_drawn_as_gaps(figure):
    nan, inf = float("nan"), float("inf")
    batches = "".join(runlog.format_batch(epoch, 0, {"loss": loss, "accuracy": accuracy})
                      for epoch, loss, accuracy in ((1, nan, 50.0), (2, inf, 60.0)))
    axes, lines = figure(log=batches + epoch_text(1, nan, ()) + epoch_text(2, inf, ()))
    assert lines[0].curves.measures["accuracy"]["training"] == [(1, 50.0), (2, 60.0)]
    assert axes[0].get_ylim()[0] > 45 and axes[0].get_ylim()[1] < 65


# ---- whole runs ----

def chunk(png, name):
    start = png.index(name) + 4
    return png[start:start + 25]


def test_without_arguments_every_data_set_is_drawn_and_again_to_the_byte(tmp_path, write, write_arms, run):
    write_arms()
    write_arms("logs/Digits", dataset="Digits")
    write("logs/Digits/training_logwithPruning.1.txt", "an earlier log that is not drawn")
    (tmp_path / "logs" / "empty").mkdir()
    # A window system that does not exist: whoever asks for a window fails.
    done = subprocess.run([sys.executable, PROGRAM], cwd=str(tmp_path), capture_output=True, text=True, timeout=60,
                          env=dict(os.environ, OMP_NUM_THREADS="1", MPLBACKEND="module://no_such_window_system"))
    assert (done.returncode, done.stderr) == (0, "")
    names = [os.path.join("logs", dataset, "comparison" + end)
             for dataset in ("Digits", "MNIST") for end in (".png", ".pdf")]
    assert re.findall("wrote (.*)", done.stdout) == names
    assert (f"{files.log_path('logs', 'MNIST', 'random')}: randomised pruning, training accuracy 87.50% at epoch 3, "
            "test accuracy 91.50% at epoch 3, 64 of 80 neurons left") in done.stdout.splitlines()

    made = {name: (tmp_path / name).read_bytes() for name in names}
    width, height = struct.unpack(">II", chunk(made[names[0]], b"IHDR")[:8])
    assert width == 9 * 300 and 1.2 < width / height < 1.6
    assert struct.unpack(">II", chunk(made[names[0]], b"pHYs")[:8]) == (11811, 11811)  # pixels a metre: 300 dpi
    assert made[names[1]].startswith(b"%PDF-")
    assert run(os.path.join("logs", "Digits"))[0] == 0
    assert [(tmp_path / name).read_bytes() for name in names[:2]] == [made[name] for name in names[:2]]


def test_start_needs_no_torch():
    code = "import sys, plot; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=os.path.dirname(PROGRAM), timeout=60).returncode == 0


def test_both_kinds_of_logs_in_a_folder_have_a_figure_each(tmp_path, write, write_arms, run, blank):
    write_arms()
    path = write(files.log_path("logs/MNIST", "", "contribution", "vae_log"), vae_text())
    status, out, err = run()
    assert (status, err) == (0, [])
    assert sorted(name.stem for name in (tmp_path / "logs" / "MNIST").glob("*.png")) == ["comparison", "vae_comparison"]
    assert [line for line in out if "left out" in line] == [
        f"{os.path.join('logs', 'MNIST')}: no vae_log of these arms, which are left out: without pruning, "
        "randomised pruning"]
    assert (f"{os.path.relpath(path, str(tmp_path))}: contribution-based pruning, test loss 260.00 at epoch 2, "
            "test BCE 250.00 at epoch 2, test KLD 10.00 at epoch 2, 72 of 80 neurons left") in out
    kinds = plot.read_logs(plot.find_logs(os.path.join("logs", "MNIST")))
    assert [line.style["color"] for logs in kinds.values() for line in plot.lines_of(logs)] == [
        "#000000", "#0072B2", "#E69F00", "#0072B2"]


def test_output_may_name_a_folder(tmp_path, write, run, blank):
    path = write("a/vae.txt", vae_text())
    (tmp_path / "b").mkdir()
    assert run(path, "--output", str(tmp_path / "b" / "figure"))[0] == 0
    assert sorted(os.listdir(str(tmp_path / "b"))) == ["vae_figure.pdf", "vae_figure.png"]
    assert run(path, "--output", os.path.join("new", "figure.png"))[0] == 0  # with one of its endings or without
    assert sorted(os.listdir(str(tmp_path / "a" / "new"))) == ["vae_figure.pdf", "vae_figure.png"]


def test_a_folder_of_folders_has_a_figure_for_each(tmp_path, write_arms, run, blank):
    for dataset in ("Digits", "MNIST"):
        write_arms(f"mine/{dataset}", dataset=dataset)
    assert run("mine")[0] == 0
    assert sorted(path.parent.name for path in tmp_path.glob("mine/*/comparison.png")) == ["Digits", "MNIST"]


@pytest.mark.parametrize("output", ["absolute", os.path.join("..", "one")])
def test_figures_of_several_folders_do_not_replace_each_other(tmp_path, write_arms, run, blank, output):
    for dataset in ("Digits", "MNIST"):
        write_arms(f"logs/{dataset}", dataset=dataset)
    status, out, err = run("--output", str(tmp_path / "one") if output == "absolute" else output)
    assert status == 2 and len(err) == 1 and "figures of several folders would have this name" in err[0]
    assert len([line for line in out if "wrote" in line]) == 2
    assert run("logs/MNIST", "--output", str(tmp_path / "two"))[0] == 0


def test_a_folder_without_what_a_figure_needs_keeps_no_other_from_its_figure(write, run, blank):
    head = "# dataset = {!r}\n# pruning = {!r}\n# seed = 1\n# total_epochs = 1\n# initial_iterations = 1\n"
    head += "# increment = 1\n# prune_percent = 10.0\n# hidden_widths = [10]\n"
    head += "Epoch: 1, Batch: 0, Loss: 1, Accuracy: 50%\n"
    sizes = "neurons {}, parameters 9, training accuracy 9%, test accuracy {}%"
    end = f"Summary: epochs 1, rounds 1, {sizes.format(9, 8)}, time 1 s\n"
    write("logs/Digits/training_logwithoutPruning.txt", head.format("Digits", "none") + end)
    write("logs/MNIST/training_logwithPruning.txt", head.format("MNIST", "contribution") + "Round 1 after epoch 1: "
          "neurons 10 => 9, parameters 10 => 9, test accuracy 9% => 8%, time 1 s\n" + end)
    status, out, err = run("--figure", "rounds")
    assert status == 2 and len(err) == 1 and re.match("plot.py: .*Digits.*round", err[0]), err
    assert [line for line in out if "rounds.png" in line] == [
        f"wrote {os.path.join('logs', 'MNIST', 'comparison_rounds.png')}"]


def test_figure_lies_beside_the_first_file_and_identical_files_are_named(tmp_path, write, run, blank):
    first = write("a/first.txt", log_text())
    copy = write("b/copy.txt", log_text())
    status, out, err = run(first, copy, write("b/other.txt", log_text(seed=31)), "--output", "figure")
    assert (status, err) == (0, [])
    assert f"identical files: {first}, {copy}" in out
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["figure.pdf", "figure.png", "first.txt"]


def test_a_log_that_is_named_twice_is_one_log(write, run, blank):
    path = write("a/training_logwithPruning.txt", log_text())
    folder, name = os.path.split(path)
    once = run(path)
    assert once[0] == 0 and run(path, os.path.join(folder, ".", name), path) == once


def test_missing_arms_are_named_and_left_out(write_arms, run, blank):
    write_arms(arms=["contribution"])
    folder = os.path.join("logs", "MNIST")
    status, out, err = run(folder)
    assert (status, err) == (0, [])
    assert [line for line in out if "no training_log" in line] == [
        f"{folder}: no training_log of these arms, which are left out: without pruning, randomised pruning"]


BAD = {"empty": ("", 1), "foreign": ("Dear reader,\nthis is a letter.\n", 1), "binary": (bytes(range(256)) * 9, None),
       "cut": (log_text()[:-20], log_text().count("\n")), "widths": (log_text("none", hidden_widths="wide"), None)}


def test_bad_logs_are_named_with_their_line_and_the_others_are_drawn(tmp_path, write, run, blank):
    paths = [write(f"logs/{name}.txt", content) for name, (content, _) in BAD.items()]
    status, out, err = run(*paths, write("logs/good.txt", log_text()))
    assert status == 2
    assert [line.split(".txt")[0] for line in err] == [f"plot.py: {path[:-4]}" for path in paths]
    for line, (_, number) in zip(err, BAD.values()):
        assert number is None or f".txt, line {number}: " in line
        assert "expected" in line or "legal" in line
    assert (tmp_path / "logs" / "comparison.png").exists() and "64 of 80 neurons left" in "".join(out)


def test_log_cut_anywhere_in_a_line_is_not_drawn(write, capsys):
    text = log_text()
    start = text.index("Epoch: 2")
    number = text[:start].count("\n") + 1
    for end in range(start + 1, text.index("\n", start) - 1):
        assert plot.read_logs([write("cut.txt", text[:end])]) == {}
        assert re.match(rf"plot\.py: .*cut\.txt, line {number}: .* expected a line like .*\n$", capsys.readouterr().err)


@pytest.mark.parametrize("arguments", [[], ["logs"], ["missing"], ["missing.txt"], [os.path.join("logs", "MNIST")]])
def test_no_logs_say_what_to_do(tmp_path, run, arguments):
    (tmp_path / "logs" / "MNIST").mkdir(parents=True)
    status, out, err = run(*arguments)
    assert (status, out, len(err)) == (2, [], 1)
    assert (arguments or ["logs"])[0] + ":" in err[0] and "python driver.py" in err[0]


def test_unwritable_output_is_one_line(tmp_path, write_arms, run, blank):
    write_arms()
    (tmp_path / "logs" / "MNIST" / "comparison.png").mkdir()
    status, _, err = run()
    assert (status, len(err)) == (2, 1) and "comparison.png: " in err[0]


def test_unknown_flag_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [PROGRAM, "--colour"])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(PROGRAM, run_name="__main__")
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "--colour" in err


def test_a_window_opens_only_with_show(write_arms, run, monkeypatch, blank):
    shown = []
    monkeypatch.setattr(pyplot, "show", lambda: shown.append(len(pyplot.get_fignums())))
    monkeypatch.setattr(pyplot, "get_backend", lambda: "TkAgg")
    path = write_arms(arms=["none"])[0]
    assert run(path)[0] == 0 and shown == []
    pyplot.close("all")
    assert run(path, "--show")[0] == 0 and shown == [1]
    monkeypatch.setattr(pyplot, "get_backend", lambda: "agg")
    status, out, err = run(path, "--show")
    assert (status, len(err)) == (2, 1) and "no display" in err[0] and out[-1].startswith("wrote ")


def test_at_a_terminal_it_writes_the_figure_and_opens_no_window(tmp_path, write_arms):
    write_arms("logs/MNIST")
    status, screen = type_at_terminal(tmp_path, ["plot.py", "logs/MNIST"], [])
    assert status == 0 and "\x1b" not in screen
    assert screen.splitlines()[-2:] == ["wrote logs/MNIST/comparison.png", "wrote logs/MNIST/comparison.pdf"]
