"""Removal of 10 % of the neurons with the optimizer's state, on the published VAE and against torch-pruning.

    python benchmarks/remove.py

torch-pruning is optional: pip install torch-pruning==1.6.0 --no-deps. Its removal includes a trace of the network. Ours
includes the optimizer, which torch-pruning leaves as it was. About a minute and 4 GB on 2 cores.
"""
import copy
import functools
import json
import statistics
import subprocess
import sys

import rank
import side_by_side  # puts the suite's folder on the path
import torch
from torch import nn

# isort: split
import models
from pruning.groups import NeuronGroup, find_groups, widths_of
from pruning.measures import count_parameters
from pruning.removal import remove
from pruning.schedule import staying
from pruning.selection import highest

try:
    import torch_pruning
except ImportError:
    torch_pruning = None

PERCENT = 10
NETWORKS = [("784-50-30-10", lambda: models.FeedForward(784, [50, 30], 10), (784,), ">= 3"),
            ("3072-4096-2048-10", lambda: models.FeedForward(3072, [4096, 2048], 10), (3072,), ">= 1.7"),
            ("VGG-16's 13 convolutions with BatchNorm", lambda: vgg(WIDTHS), (3, 32, 32), "> 1")]
WIDTHS = [64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512, "pool"]


def vgg(widths, channels=3, classes=10):
    """Convolutions of these widths with BatchNorm and ReLU, pooling between them, and a Linear (Simonyan and Zisserman,
    2015, as it is used for CIFAR-10)."""
    layers = []
    for width in widths:
        if width == "pool":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels, classes))


def rows():
    torch.manual_seed(30)
    network, optimizer, groups, keeps = published_vae()

    def fresh():
        _, state, its = copied(network, optimizer, groups)
        return lambda: remove(its, keeps, state)

    took, = map(median, side_by_side.made_in_turn(fresh))
    yield side_by_side.Row(f"removal of {PERCENT} %, VAE of 85,183,619 parameters, Adam", took, "", "", "< 1 s")
    added, size = json.loads(subprocess.check_output([sys.executable, __file__, "memory"]))
    yield side_by_side.Row("peak memory that this removal adds, and the memory of the weights",
                           f"{added} MB", f"{size} MB", size / added, "> 0.5")
    for network in NETWORKS:
        yield from against_torch_pruning(*network)


def copied(network, optimizer, groups):
    """A network, its optimizer and its groups, copied together."""
    network, optimizer, plain = copy.deepcopy((network, optimizer, list(map(tuple, groups))))
    return network, optimizer, [NeuronGroup(*group) for group in plain]


def median(times):
    return side_by_side.duration(statistics.median(times))


def with_state(network, optimizer, image):
    """The network, the optimizer after a step with random gradients, so that it has state, the groups of all its
    neurons, and the neurons to keep."""
    for parameter in network.parameters():
        parameter.grad = torch.rand_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    groups, _ = find_groups(network, image)
    return network, optimizer, groups, [highest(torch.rand(width), staying(width, PERCENT))
                                        for width in widths_of(groups)]


def published_vae():
    network = models.VAE((3, 64, 64), [32, 64], [2048, 4096, 4096, 2048], 100).to(side_by_side.DEVICE)
    assert count_parameters(network) == 85183619
    network, optimizer, groups, keeps = with_state(network, torch.optim.Adam(network.parameters()),
                                                   torch.rand(2, 3, 64, 64, device=side_by_side.DEVICE))
    hidden = [isinstance(group.producer, nn.Linear) for group in groups]  # as the published method
    return network, optimizer, *([x for x, linear in zip(some, hidden) if linear] for some in (groups, keeps))


def measure_memory():
    """In MB: the most that a removal holds beyond what was held before, and the size of the weights before it.

    This process returns freed memory to the system. The programs keep it, so their removal takes the memory of the last
    step's gradients and needs no more.
    """
    network, optimizer, groups, keeps = published_vae()
    size = 4 * count_parameters(network) / 1e6
    return round(rank.peak_memory(lambda: remove(groups, keeps, optimizer))[1]), round(size)


# ---- torch-pruning ----

def against_torch_pruning(name, make, shape, wanted):
    network, image = make().to(side_by_side.DEVICE), torch.rand(2, *shape, device=side_by_side.DEVICE)
    network, optimizer, groups, keeps = with_state(
        network, torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9), image)
    removed = [sorted(set(range(group.width)) - set(keep.tolist())) for group, keep in zip(groups, keeps)]
    missing = [] if torch_pruning else ["not installed"]
    latest = {}  # {side: (its copy of the network, the copy's optimizer, made before the removal)}

    def fresh(side, has_gradients):
        its_network, state, its = copied(network, optimizer, groups)
        latest[side] = its_network, state
        for parameter in its_network.parameters() if has_gradients else []:
            parameter.grad = torch.rand_like(parameter)
        return lambda: remove(its, keeps, state) if side == "ours" else prune(its_network, its, removed, image)

    for has_gradients, when in ((False, "no gradients there"), (True, "with a step's gradients, which both slice")):
        makers = [functools.partial(fresh, side, has_gradients) for side in ("ours", "theirs")]
        times = side_by_side.made_in_turn(*makers[:len(makers) - len(missing)], repeats=25)
        yield side_by_side.Row(f"removal of {PERCENT} %, {name}, with SGD's momentum, and torch-pruning's with its "
                               f"trace, {when}", *map(median, times), *missing,
                               "" if missing else side_by_side.medians(*times)[2], wanted)
    yield side_by_side.Row("weights of it that a step of the optimizer from before still trains",
                           *(count_trained(*side, image) for side in latest.values()), *missing, "", "all")


def prune(network, groups, removed, image):
    """torch-pruning's removal of the neurons at the indices `removed`, one list per group."""
    dependencies = torch_pruning.DependencyGraph().build_dependency(network, example_inputs=image)
    for group, indices in zip(groups, removed):
        out = (torch_pruning.prune_linear_out_channels if isinstance(group.producer, nn.Linear)
               else torch_pruning.prune_conv_out_channels)
        dependencies.get_pruning_group(group.producer, out, idxs=indices).prune()


def count_trained(network, optimizer, image):
    """How many of the network's weights a step of the optimizer changes, as a text."""
    before = [parameter.detach().clone() for parameter in network.parameters()]
    network(image).square().sum().backward()
    optimizer.step()
    changed = [not torch.equal(old, new) for old, new in zip(before, network.parameters())]
    return f"{sum(changed)} of {len(changed)}"


if __name__ == "__main__":
    if sys.argv[1:] == ["memory"]:
        print(json.dumps(measure_memory()))
    else:
        side_by_side.main(rows)
