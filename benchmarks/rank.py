"""The ranking against the loop of published code, a training epoch and its own matrix products; and its memory.

    python benchmarks/rank.py

It ranks 784-50-30-10 on 60,000 random images of MNIST's shape, and the VAE's large groups on random activations. The
loop takes a few hundred images, and its time is scaled to 60,000. About a minute on 2 cores.
"""
import json
import subprocess
import sys
import time

import side_by_side  # puts the suite's folder on the path
import torch
from side_by_side import duration
from torch import nn

# isort: split
import pruned

import driver
import ranking
from pruning import training
from pruning.datasets import EVALUATION_BATCH
from pruning.elimination import steps_of_removal
from pruning.groups import NeuronGroup
from pruning.passes import Passes, with_ridge
from pruning.selection import Options, survivors

IMAGES = 60000
LOOPED = 100 if side_by_side.ON_GPU else 500  # images; a GPU is slower at the loop
FILTERED = 5120  # images of the ranking with filters
BATCHES = 10  # of the VAE's activations
AVERAGE, MAXIMUM = Options(1.0, 0.0, None), Options(0.0, 1.0, None)


class Given:
    """Given inputs of the consumers in the place of Passes."""

    total, largest = staticmethod(Passes.total), staticmethod(Passes.largest)

    def __init__(self, batches):
        self.inputs = lambda: batches


def prepare():
    return pruned.prepare(driver, (28, 28, 1), IMAGES, "--dataset", "MNIST")


@torch.no_grad()
def by_loop(weights, activations, is_maximum):
    """C_avg or C_max as published code computes it: image by image and consumer by consumer, all neurons at once."""
    scores = torch.zeros_like(weights[0])
    for passed in activations:
        for row in weights:
            products = (row * passed).abs()
            total = products.sum()
            if total > 0:
                shares = products / total
                scores = torch.maximum(scores, shares) if is_maximum else scores + shares
    return scores if is_maximum else scores / (len(activations) * len(weights))


def rows():
    torch.manual_seed(30)
    settings, state, workload, arm = prepared = prepare()
    split, network = workload.dataset.train, state.model

    def ranked(options):
        return lambda: survivors(Passes(network, state.groups, split), arm, options, 10)

    yield side_by_side.compared(f"784-50-30-10, {IMAGES} images: C_avg with its forward passes, and a training epoch "
                                f"in batches of {settings.batch_size}",
                                *side_by_side.in_turn(ranked(AVERAGE), pruned.epoch(prepared)), "> 1")
    for precision in side_by_side.PRECISIONS:
        yield side_by_side.compared(f"CIFAR-10's network with its filters, {FILTERED} images: C_avg with its forward "
                                    f"passes, and a training epoch in {precision}",
                                    *time_criterion("contribution", "CIFAR10", (32, 32, 3), FILTERED, "--prune-filters",
                                                    "True", "--precision", precision), "> 1")
    for criterion in ("obs", "kfac"):
        for dataset, shape, images in (("MNIST", (28, 28, 1), IMAGES), ("CIFAR10", (32, 32, 3), FILTERED)):
            yield side_by_side.compared(f"{dataset}'s network, {images} images: {criterion} with its passes, and a "
                                        "training epoch", *time_criterion(criterion, dataset, shape, images), "> 1")
    for neurons in (2048, 4096):
        took = side_by_side.seconds(elimination(neurons))
        yield side_by_side.Row(f"{neurons} neurons: the order of their removal from their moments, run once",
                               duration(took), "", "", "")
    for name, options, wanted in (("C_avg", AVERAGE, ">= 300"), ("C_max", MAXIMUM, ">= 100")):
        loop = checked_loop(state, split, options)
        took, other, ratio = side_by_side.medians(*side_by_side.in_turn(ranked(options), loop))
        yield side_by_side.Row(f"MNIST's network, {IMAGES} images: {name}, and the naive loop, which is given the "
                               f"activations and scaled from {LOOPED} images",
                               duration(took), duration(other * IMAGES / LOOPED), ratio * IMAGES / LOOPED, wanted)
    peak, added, size = measured_memory()
    yield side_by_side.Row(f"MNIST's network, {IMAGES} images: C_max, peak memory of the {side_by_side.HOLDER} "
                           "without the images; what the ranking adds", f"{peak - size} MB; {added} MB", "", "",
                           "< 1000 MB")
    for neurons, consumers in ((2048, 4096), (4096, 2048)):
        yield side_by_side.compared(f"{neurons} neurons, {consumers} consumers, a batch of {EVALUATION_BATCH} "
                                    "images: C_avg, and its matrix products alone; ratio: their part",
                                    *time_products(neurons, consumers), "")


def time_criterion(criterion, dataset, shape, images, *flags):
    """The seconds of a criterion's ranking of a data set's network, and of a training epoch, timed in turn."""
    prepared = pruned.prepare(driver, shape, images, "--dataset", dataset, "--pruning", criterion, *flags)
    settings, state, workload, arm = prepared
    return side_by_side.in_turn(lambda: training.ranked(state, workload, settings, arm, workload.dataset.train),
                                pruned.epoch(prepared))


def elimination(neurons):
    """A function that finds the order in which neurons go that are read by half as many others."""
    consumer = nn.Linear(neurons, neurons // 2, bias=False).to(side_by_side.DEVICE)
    group, activations = NeuronGroup(nn.Linear(1, neurons), [consumer]), torch.randn(2 * neurons, neurons).relu()
    moment = with_ridge(activations.double().T @ activations.double() / len(activations))
    moments = {(consumer,): moment.to(side_by_side.DEVICE)}
    return lambda: steps_of_removal(group, moments, {})


def checked_loop(state, split, options):
    """A function that runs the loop over the first images for all groups. Its scores are first checked against those of
    the ranking."""
    groups = state.groups
    inputs = next(Passes(state.model, groups, split.batches(LOOPED)).inputs())

    def loop():
        return [by_loop(group.consumers[0].weight, inputs[group.consumers[0]], options.lambda_max > 0)
                for group in groups]

    for own, other in zip(ranking.contribution(groups, Given([inputs]), options), loop()):
        torch.testing.assert_close(own.float(), other, rtol=1e-4, atol=0)
    return loop


def time_products(neurons, consumers):
    """The seconds of C_avg for each of BATCHES batches, and of its matrix products alone, timed in turn."""
    group = NeuronGroup(nn.Linear(1, neurons), [nn.Linear(neurons, consumers, bias=False)])
    nn.ModuleList([group.producer, *group.consumers]).to(side_by_side.DEVICE)
    activations = torch.randn(EVALUATION_BATCH, neurons, device=side_by_side.DEVICE).relu()
    a, w = activations.double(), group.consumers[0].weight.detach().double().abs()
    inverse = 1 / (a @ w.T)
    own, bare = [], []

    def products():
        return a @ w.T, inverse.T @ a

    def batches():
        for _ in range(1 + BATCHES):
            bare.append(side_by_side.seconds(products))
            started = time.perf_counter()
            yield {group.consumers[0]: activations}  # contribution() works on them before it asks for the next ones
            side_by_side.finish_work()
            own.append(time.perf_counter() - started)

    ranking.contribution([group], Given(batches()), AVERAGE)
    return own[1:], bare[1:]  # the first batch warms up


# ---- memory ----

def measured_memory():
    """measure_memory() in a process of its own."""
    return json.loads(subprocess.check_output([sys.executable, __file__, "memory"]))


def measure_memory():
    """In MB: the most that the process held, how much the ranking added, and the size of the images."""
    _, state, workload, arm = prepare()
    split, options = workload.dataset.train, Options(0.5, 0.5, None)
    passes = Passes(state.model, state.groups, split)
    peak, added = peak_memory(lambda: survivors(passes, arm, options, 10))
    return round(peak), round(added), split.images.numel() // 10 ** 6


def peak_memory(function):
    """In MB: the most memory that a GPU, or this process on Linux, holds during a call, and how much more that is than
    before.

    Writing a 5 makes Linux count anew (proc(5)). resource.getrusage would give the most since the process started; for
    a child it even includes what its parent held then.
    """
    if side_by_side.ON_GPU:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 1e6
        function()
        peak = torch.cuda.max_memory_allocated() / 1e6
        return peak, peak - before
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = status_megabytes("VmRSS")
    function()
    peak = status_megabytes("VmHWM")
    return peak, peak - before


def status_megabytes(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 / 1e6 for line in file if line.startswith(field + ":"))


if __name__ == "__main__":
    if sys.argv[1:] == ["memory"]:
        side_by_side.run_as_programs_do()
        print(json.dumps(measure_memory()))
    else:
        side_by_side.main(rows)
