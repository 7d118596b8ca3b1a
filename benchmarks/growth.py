"""How the times of an epoch and of a ranking grow with the width of the hidden layers and the number of images.

    python benchmarks/growth.py

It trains 784-w-w-10 and 784-50-30-10 on random images, with the values of constants.py for MNIST. Wide networks get few
images, and their times are scaled. It draws growth.png beside this file, on a GPU growth_gpu.png, and prints the
exponents: the slope of the least-squares line through the larger half of the points, both axes logarithmic. Under two
minutes on 2 cores.
"""
import os
import statistics

import numpy as np
import pruned
import side_by_side
from matplotlib.figure import Figure

import driver
from pruning.passes import Passes
from pruning.selection import Options, survivors

NAME = "growth_gpu.png" if side_by_side.ON_GPU else "growth.png"
SHAPE, EPOCH = (28, 28, 1), 60000
WIDTHS = [50, 128, 256, 512, 1024, 2048, 4096, 8192]
SAMPLES = [1000, 2000, 4000, 8000, 15000, 30000, 60000]
STYLES = {"training epoch": ("#0072B2", "s"), "ranking": ("#E69F00", "^")}  # as in plot.py, for the colour-blind


def rows():
    by_width, work = {}, []
    for width in WIDTHS:
        images = max(500, min(20000, 4000000 // width // 500 * 500))
        prepared = prepare(images, width, width)
        by_width[width] = [EPOCH / images * took for took in measure(prepared)]
        work.append(products(prepared))
    by_samples = {images: measure(prepare(images)) for images in SAMPLES}
    draw(by_width, by_samples)
    for position, what in enumerate(STYLES):
        values = [times[position] for times in by_width.values()]
        yield row(f"{what}, 784-w-w-10, w = {{}}: time grows as", "w", WIDTHS, values,
                  f"its multiply-adds: w^{exponent(WIDTHS, [products[position] for products in work]):.2f}")
        values = [times[position] for times in by_samples.values()]
        yield row(f"{what}, 784-50-30-10, n = {{}} images: time grows as", "n", SAMPLES, values,
                  "its multiply-adds: n^1")


def row(what, name, sizes, values, theirs):
    few = larger_half(sizes)
    return side_by_side.Row(what.format(f"{few[0]:,} to {few[-1]:,}"), f"{name}^{exponent(sizes, values):.2f}", theirs,
                            "", "")


def prepare(images, *widths):
    flags = ["--hidden-widths", "-".join(map(str, widths))] if widths else []
    return pruned.prepare(driver, SHAPE, images, "--dataset", "MNIST", *flags)


def products(prepared):
    """The multiply-adds per image of a training epoch and of a ranking.

    An epoch goes forward, and backward without the image's gradient. A ranking goes forward through all but the last
    layer, and C_avg takes two products per group.
    """
    first, *later = [weight.numel() for weight in prepared.state.model.parameters()]
    return 2 * first + 3 * sum(later), first + sum(later[:-1]) + 2 * sum(later)


def measure(prepared):
    """The median seconds of an epoch and of a ranking."""
    settings, state, workload, arm = prepared
    options = Options(settings.lambda_average, settings.lambda_max, None)

    def rank():
        survivors(Passes(state.model, state.groups, workload.dataset.train), arm, options, settings.prune_percent)
    return [statistics.median(times) for times in side_by_side.in_turn(pruned.epoch(prepared), rank)]


def larger_half(values):
    return values[len(values) // 2:]


def exponent(sizes, values):
    return np.polyfit(np.log(larger_half(sizes)), np.log(larger_half(values)), 1)[0]


def draw(by_width, by_samples):
    figure = Figure(figsize=(8, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_panel(left, by_width, "w", f"time for {EPOCH:,} images (s)")
    left.set(xlabel="neurons per hidden layer, $w$", title="784-$w$-$w$-10")
    draw_panel(right, by_samples, "n", "time (s)")
    right.set(xlabel="training images, $n$", title="784-50-30-10")
    figure.suptitle(side_by_side.setting(), fontsize="small")
    figure.savefig(os.path.join(os.path.dirname(os.path.abspath(__file__)), NAME), dpi=200, metadata={"Software": None})


def draw_panel(axes, times, name, label):
    sizes = list(times)
    for (what, (colour, marker)), values in zip(STYLES.items(), zip(*times.values())):
        axes.loglog(sizes, values, color=colour, marker=marker,
                    label=f"{what}, grows as ${name}^{{{exponent(sizes, values):.2f}}}$")
    axes.set_ylabel(label)
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45)
    axes.minorticks_off()
    axes.grid(color="0.9")
    axes.legend(frameon=False)


if __name__ == "__main__":
    side_by_side.main(rows)
