"""Rank the hidden neurons of a network by how much they contribute to the next layer, or at random.

A criterion is one function (group, activations, options) -> scores of shape (N,), where rank 1 is the highest score and
`activations()` returns the group's activations over the training set as a list of (F, N) blocks. A further criterion
is one more such function, named in CRITERIA.
"""
import functools
from collections import namedtuple
from fractions import Fraction

import torch

contribBasedPruning = True  # True: the neurons of least contribution go; False: random ones (the control)

# lambda_average and lambda_max weigh C_avg and C_max; generator is the run's own, for random choices.
Options = namedtuple("Options", "lambda_average lambda_max generator")


def contribution(group, activations, options):
    """lambda_average * C_avg + lambda_max * C_max of every neuron (equations 1 and 2 of the report).

    With a of shape (F, N) and W of shape (M, N), all consumers' rows together:
        ratio[f, j, k] = |W[j, k]| |a[f, k]| / sum_i |W[j, i]| |a[f, i]|, 0 where the sum is 0
        C_avg[k] = mean of ratio[f, j, k] over f and j;  C_max[k] = its maximum
    The (F, M, N) tensor is never made. In float64, where products of float32 numbers cannot underflow.
    """
    weights = exact(torch.cat([consumer.weight.detach() for consumer in group.consumers])).abs()
    total, maximum, passes = torch.zeros_like(weights[0]), torch.zeros_like(weights[0]), 0
    for a in activations():
        a = exact(a).abs()
        sums = a @ weights.T                                         # (f, M), the denominators
        inverse = torch.where(sums > 0, 1 / sums, torch.zeros_like(sums))
        total += (inverse.T @ a * weights).sum(0)
        if options.lambda_max > 0:
            for j, row in enumerate(weights):
                maximum = torch.max(maximum, (a * inverse[:, j:j + 1]).amax(0) * row)
        passes += len(a)
    return options.lambda_average * total / (passes * len(weights)) + options.lambda_max * maximum


def exact(tensor):
    """The tensor in float64, on the processor where its device knows no float64 (mps)."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def randomised(group, activations, options):
    """Uniformly random scores: every set of neurons is equally likely to go."""
    return torch.rand(group.producer.out_features, generator=options.generator, dtype=torch.float64)


CRITERIA = {"contribution": contribution, "random": randomised}


def survivors(model, batches, criterion, options, prune_percent):
    """Rank every group of the model and say which neurons stay: one ascending int64 tensor of indices a group.

    batches: images of the whole training set in batches that the model takes; they are run through the frozen model
    once, and only if the criterion asks for activations. All groups are ranked before any neuron is removed.
    """
    @functools.lru_cache(maxsize=None)
    def collected():
        return collect_activations(model, batches)

    scores = [CRITERIA[criterion](group, lambda number=number: collected()[number], options)
              for number, group in enumerate(model.groups())]
    return [highest(score, prune_percent) for score in scores]


def collect_activations(model, batches):
    """The activations of every group after its ReLU, in evaluation mode: a list of (B, N) tensors a group."""
    blocks, hooks, training = [], [], model.training
    for group in model.groups():
        blocks.append([])
        hooks.append(group.consumers[0].register_forward_pre_hook(
            lambda module, inputs, into=blocks[-1]: into.append(inputs[0])))
    model.eval()
    with torch.no_grad():
        for images in batches:
            model(images)
    model.train(training)
    for hook in hooks:
        hook.remove()
    return blocks


def highest(scores, prune_percent):
    """Indices, ascending, of the neurons of rank <= (1 - prune_percent/100) N, and of rank 1 in any case.

    Rank 1 is the highest score; of equal scores the lower index ranks first.
    """
    staying = len(scores) * (100 - Fraction(str(prune_percent))) / 100  # floats keep 41 of 125 at 66.4 %, not 42
    count = max(1, int(staying))
    return scores.cpu().sort(descending=True, stable=True).indices[:count].sort().values
