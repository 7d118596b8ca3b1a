"""Rank the hidden neurons of a network by how much they contribute to the next layer, or at random.

A criterion is one function (groups, activations, options) -> scores, a tensor of shape (N,) a group, where rank 1 is
the highest score. `activations()` runs the training set through the network and yields, batch by batch, a list of one
(B, N) tensor a group. A further criterion is one more such function, named in CRITERIA.
"""
import contextlib
from collections import namedtuple
from fractions import Fraction

import torch

contribBasedPruning = True  # True: the neurons of least contribution go; False: random ones (the control)

CACHED = 2 ** 16  # float64 numbers, half a megabyte: with their products they fit in a core's own cache

# lambda_average and lambda_max weigh C_avg and C_max; generator is the run's own, for random choices.
Options = namedtuple("Options", "lambda_average lambda_max generator")


def contribution(groups, activations, options):
    """lambda_average * C_avg + lambda_max * C_max of every neuron (equations 1 and 2 of the report).

    With a of shape (F, N) and W of shape (M, N), all consumers' rows together:
        ratio[f, j, k] = |W[j, k]| |a[f, k]| / sum_i |W[j, i]| |a[f, i]|, 0 where the sum is 0
        C_avg[k] = mean of ratio[f, j, k] over f and j;  C_max[k] = its maximum
    The (F, M, N) tensor is never made. In float64, where products of float32 numbers cannot underflow.
    """
    weights = [exact(torch.cat([consumer.weight.detach() for consumer in group.consumers])).abs() for group in groups]
    totals, maxima = ([torch.zeros_like(w[0]) for w in weights] for _ in range(2))
    passes = 0
    for blocks in activations():
        for a, w, total, maximum in zip(map(exact, blocks), weights, totals, maxima):
            a = a.abs()
            sums = a @ w.T                                           # (F, M), the denominators
            inverse = torch.where(sums > 0, 1 / sums, torch.zeros_like(sums))
            total += (inverse.T @ a * w).sum(0)
            if options.lambda_max > 0:
                raise_maxima(maximum, a.T.contiguous(), inverse.T.contiguous(), w)
        passes += len(a)
    return [options.lambda_average * total / (passes * len(w)) + options.lambda_max * maximum
            for w, total, maximum in zip(weights, totals, maxima)]


def raise_maxima(maxima, a, inverse, w):
    """Raise maxima (N,) to the largest w[j, k] a[k, f] inverse[j, f] over j and f, where they are lower.

    No matrix product does this. On a processor as many neurons at a time as stay in its cache while all consumers use
    them; on a GPU all at once, for fewer kernels.
    """
    neurons = max(1, CACHED // a.shape[1]) if a.device.type == "cpu" else len(a)
    for maximum, block, columns in zip(maxima.split(neurons), a.split(neurons), w.split(neurons, 1)):
        for factors, column in zip(inverse, columns):
            torch.max(maximum, (block * factors).amax(1) * column, out=maximum)


def exact(tensor):
    """The tensor in float64, on the processor where its device knows no float64 (mps)."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def randomised(groups, activations, options):
    """Uniformly random scores: every set of neurons is equally likely to go."""
    return [torch.rand(group.producer.out_features, generator=options.generator, dtype=torch.float64)
            for group in groups]


CRITERIA = {"contribution": contribution, "random": randomised}


def survivors(model, batches, criterion, options, prune_percent):
    """Rank every group of the model and say which neurons stay: one ascending int64 tensor of indices a group.

    batches: a function that yields the images of the whole training set in batches that the model takes; they are run
    through the frozen model once, and only if the criterion asks for activations.
    """
    groups = model.groups()
    scores = CRITERIA[criterion](groups, lambda: activations(model, groups, batches()), options)
    return [highest(score, prune_percent) for score in scores]


class Reached(Exception):
    """Ends a forward pass where all activations are known: a VAE's transposed convolutions need not run."""


@torch.no_grad()
def activations(model, groups, batches):
    """Yield the activations of a batch as the consumers get them, after the ReLU and in evaluation mode: [(B, N), ...].

    A VAE decodes posterior means. Batches are not collected: CelebA's activations together would take 8 GB.
    """
    def catch(module, inputs):
        blocks.append(inputs[0])
        if len(blocks) == len(groups):
            raise Reached

    training, hooks = model.training, [group.consumers[0].register_forward_pre_hook(catch) for group in groups]
    model.eval()
    try:
        for images in batches:
            blocks = []
            with contextlib.suppress(Reached):
                model(images)
            yield blocks
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()


def highest(scores, prune_percent):
    """Indices, ascending, of the neurons of rank <= (1 - prune_percent/100) N, and of rank 1 in any case.

    Rank 1 is the highest score; of equal scores the lower index ranks first.
    """
    count = staying(len(scores), prune_percent)
    return scores.cpu().sort(descending=True, stable=True).indices[:count].sort().values


def staying(width, prune_percent):
    """How many of `width` neurons a round leaves."""
    return max(1, int(width * (100 - Fraction(str(prune_percent))) / 100))  # floats keep 41 of 125 at 66.4 %, not 42
