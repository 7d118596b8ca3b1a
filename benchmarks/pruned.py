"""What an epoch costs before the first round and after the last, with the parameters and multiply-adds.

    python benchmarks/pruned.py

Networks, values and schedules are those of constants.py, the images are random. In turn with both epochs it times what
no pruning can save: the epoch of a network with one neuron left per hidden layer, and in it the fixed cost of a step
and the reading of the images. About a minute on 2 cores.
"""
import itertools
import math
import statistics
import sys
from collections import namedtuple
from unittest import mock

import side_by_side  # puts the suite's folder on the path
import torch
from torch import nn
from tqdm import tqdm

import driver
import vae
from pruning import comparison, datasets, groups, measures, training
from pruning.checkpoint import Outputs
from pruning.removal import remove
from pruning.schedule import final_widths
from pruning.signals import Stop

# name: in the table; program, dataset: what trains on what; shape: (height, width, channels) of an image; images: in an
# epoch; timed: how many of them are timed; flags: of the program; wanted: bounds of the epoch's and the multiply-adds'
# ratio.
Case = namedtuple("Case", "name program dataset shape images timed flags wanted", defaults=((), ("", "")))
MORE = 10 if side_by_side.ON_GPU else 1
CASES = [Case("MNIST", driver, "MNIST", (28, 28, 1), 60000, 60000),
         Case("CIFAR-10", driver, "CIFAR10", (32, 32, 3), 50000, min(50000, 5120 * MORE)),
         *(Case(f"CIFAR-10 with filters, {precision}", driver, "CIFAR10", (32, 32, 3), 50000, min(50000, 5120 * MORE),
                ("--prune-filters", "True", "--increment", "15", "--precision", precision), (wanted, ">= 2.5"))
           for precision, wanted in zip(side_by_side.PRECISIONS, (">= 1.7", ">= 1.6"))),
         Case("VAE of MNIST", vae, "MNIST", (28, 28, 1), 60000, 2560 * MORE),
         Case("VAE of CIFAR-10", vae, "CIFAR10", (32, 32, 3), 50000, 2560 * MORE)]

# What a program trains: its settings, a TrainingState, its Workload and its Arm.
Prepared = namedtuple("Prepared", "settings state workload arm")


def prepare(program, shape, count, *flags):
    """What a program would train on the device with these flags, but on `count` random images, and with one to test
    on."""
    def load(settings, device, mean, std):
        return datasets.Dataset(*(datasets.Split(
            torch.randint(256, (number, *shape), dtype=torch.uint8), torch.randint(10, (number,)), device, mean, std)
            for number in (count, 1)), 10)

    line = [program.__name__ + ".py", "--device", side_by_side.DEVICE.type, "--pruning", "contribution", *flags]
    with mock.patch.object(sys, "argv", line), mock.patch.object(datasets, "load", load), \
            mock.patch.object(comparison, "compare") as compare:
        program.main()
    command, workload = compare.call_args[0]
    arm = command.arms[command.settings.pruning]
    state = comparison.Comparison(command.settings.seed, command, workload, None, None).fresh(arm)
    return Prepared(command.settings, state, workload, arm)


def epoch(prepared):
    """A function that trains an epoch as the programs do."""
    settings, state, workload, _ = prepared
    outputs, bar = Outputs(logs=[], checkpoint=None, about={}, terminal=None), tqdm(disable=True)
    return lambda: training.train_epoch(state, workload, settings, outputs, bar, Stop())


def prune(prepared, widths):
    """Leave only the first neurons of each group, as many as widths say, which may go on for ever."""
    of_model = prepared.state.groups
    remove(of_model, [torch.arange(width) for _, width in zip(of_model, widths)], prepared.state.optimizer)


def multiply_adds(prepared):
    """The multiply-adds of one image's forward pass, and those of them in convolutions."""
    model = prepared.state.model
    count = measures.multiply_adds(model, next(prepared.workload.dataset.test.batches(1))[0])
    return count, count - sum(layer.weight.numel() for layer in model.modules() if isinstance(layer, nn.Linear))


def rows():
    for case in CASES:
        yield from rows_of(case)


def rows_of(case):
    def fresh(count=case.timed, *flags):
        return prepare(case.program, case.shape, count, "--dataset", case.dataset, *case.flags, *flags)

    def read():
        for index in order.split(batch_size):
            read_batch(index)

    before, after, least = fresh(), fresh(), fresh()
    batch_size, train = before.settings.batch_size, before.workload.dataset.train
    order, read_batch = torch.randperm(case.timed).to(train.labels.device), side_by_side.as_a_step(train.batch)
    steps = math.ceil(case.timed / batch_size)
    of_one_image = fresh(steps, "--batch-size", "1")
    prune(after, final_widths(groups.widths_of(before.state.groups), before.settings))
    for prepared in (least, of_one_image):
        prune(prepared, itertools.repeat(1))
    times = side_by_side.in_turn(*map(epoch, (before, after, least, of_one_image)), read)
    was, now, rest, fixed, reading = (case.images / case.timed * statistics.median(some) for some in times)
    gain = side_by_side.medians(times[1], times[0])[2]

    widths = ["-".join(map(str, groups.widths_of(prepared.state.groups))) for prepared in (before, after)]
    scaled = "" if case.timed == case.images else f", scaled from {case.timed:,}"
    yield side_by_side.Row(f"{case.name}, {' => '.join(widths)}: epoch after the last round against before the first, "
                           f"{case.images:,} images{scaled}",
                           side_by_side.duration(now), side_by_side.duration(was), gain, case.wanted[0])
    less, more = (measures.count_parameters(prepared.state.model) for prepared in (after, before))
    yield side_by_side.Row(f"{case.name}: parameters", f"{less:,}", f"{more:,}", more / less, "")
    (less, _), (more, convolutions) = map(multiply_adds, (after, before))
    yield side_by_side.Row(f"{case.name}: multiply-adds of an image's forward pass", f"{less:,}", f"{more:,}",
                           more / less, case.wanted[1])

    work = f"convolutions and the like {{:.0%}} ({convolutions / more:.0%} of the multiply-adds)"
    work = (work if convolutions else "first and last layer {:.0%}").format(max(0, rest - fixed - reading) / was)
    verdict = "" if gain > 1.05 else "fewer neurons do not mean less time here; "
    yield side_by_side.Row(
        f"{case.name}: {verdict}epoch with 1 neuron per hidden layer, the least that pruning can reach, against before "
        f"the first round: {rest / was:.0%} of its time, made of {steps * case.images // case.timed:,} steps of 1 "
        f"image {fixed / was:.0%}, reading images {reading / was:.0%}, {work}",
        side_by_side.duration(rest), side_by_side.duration(was), was / rest, "")


if __name__ == "__main__":
    side_by_side.main(rows)
