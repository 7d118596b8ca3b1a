"""Rank the hidden neurons of a network: by how much they contribute to the next layer, at random, or as others do it.

A criterion is one function (groups, passes, options) -> scores, one tensor of shape (N,) per group; rank 1 is the
highest score. `passes` runs the training set through the network if the criterion asks for it. To add a criterion,
write one more such function and name it in CRITERIA.
"""
import math

import torch
from torch.nn.functional import threshold

from pruning.device import exact, single
from pruning.elimination import steps_of_removal
from pruning.layers import apply, by_neuron, channel, kind_of
from pruning.passes import mean_over_passes

contribBasedPruning = True  # True: the neurons of least contribution go; False: random ones (the control)


def contribution(groups, passes, options):
    """lambda_average * C_avg + lambda_max * C_max of every neuron (equations 1 and 2 of the report).

    A consumer without its bias, with |W| and |a|, gives D[f, j]; the part of it that comes from neuron k is its share:
        ratio[f, j, k] = |W[j, k]| |a[f, k]| / D[f, j], 0 where D[f, j] is 0
        C_avg[k] = mean of ratio[f, j, k] over f and j;  C_max[k] = its maximum
    For a filter, whose activation is a map, j goes over all places of the consumer's outputs. The tensor of all ratios
    is never made: the sum of neuron k's is |a[k]| d(sum of log D) / d|a[k]|. Neurons with one place are scored in
    float64, where products of float32 numbers cannot underflow. Of those with several the layer's products are in the
    precision of training, and the sum over images is in float64.
    """
    totals, maxima, counts = [0] * len(groups), [torch.zeros(())] * len(groups), [0] * len(groups)
    for heard in passes.inputs():
        for number, group in enumerate(groups):
            for consumer in group.consumers:
                total, largest, count = shares(consumer, heard[consumer], group.width, options.lambda_max > 0)
                totals[number] = totals[number] + total
                maxima[number] = torch.maximum(maxima[number], largest)
                counts[number] += count
    return [options.lambda_average * passes.total(total) / passes.total(torch.tensor(count))
            + options.lambda_max * passes.largest(maximum) for total, maximum, count in zip(totals, maxima, counts)]


def shares(consumer, x, width, with_largest):
    """Of each neuron the sum of its shares in a consumer's outputs for a batch of inputs x, and the largest one if that
    is asked for, else 0: float64 (width,) each; and how many outputs there are."""
    number = exact if x.shape[1:] == (width,) else single
    a, w = number(x).abs().requires_grad_(), number(consumer.weight.detach()).abs()
    with torch.enable_grad():
        outputs = apply(consumer, a, w)                                # D
    tiny = torch.finfo(w.dtype).tiny / torch.finfo(w.dtype).eps
    inverse = threshold(outputs.detach(), tiny, math.inf).reciprocal_()  # 0 where it would overflow
    gradient, = torch.autograd.grad(outputs, a, inverse)               # d(sum of log D) / d|a|
    a = a.detach()
    total = exact(by_neuron(a * gradient, consumer, width).reshape(len(a), width, -1).sum(2)).sum(0)
    largest = torch.zeros_like(total)
    if with_largest:  # neuron by neuron, so that the part of it in D fits in a processor's cache
        each = zip(a.chunk(width, channel(consumer)), w.chunk(width, kind_of(consumer).inputs))
        largest = exact(torch.stack([(apply(consumer, its_a, its_w) * inverse).max() for its_a, its_w in each]))
    return total, largest, outputs.numel()


def randomised(groups, passes, options):
    """Uniformly random scores: every set of neurons is equally likely to go."""
    return [torch.rand(group.width, generator=options.generator, dtype=torch.float64) for group in groups]


def reversed_contribution(groups, passes, options):
    """Minus the contribution: the most contributing neurons go first, the worst case by this measure."""
    return [-scores for scores in contribution(groups, passes, options)]


def magnitude(groups, passes, options):
    """The L2 norm of a neuron's incoming weights (Li et al., Pruning Filters for Efficient ConvNets, 2017: L1)."""
    return [group.incoming().norm(dim=1) for group in groups]


def activation(groups, passes, options):
    """The mean absolute activation over the training set (Tan and Motani, DropNet, 2020)."""
    return mean_over_passes(passes.activations(), torch.abs)


def apoz(groups, passes, options):
    """Minus the share of passes in which a neuron gives 0 (Hu et al., Network Trimming, 2016)."""
    return mean_over_passes(passes.activations(), lambda a: -(a == 0).double())


def taylor(groups, passes, options):
    """|the mean over the training set of activation times the loss's gradient by it|: to first order, the change of the
    loss if the neuron gave 0 (Molchanov et al., Pruning Convolutional Neural Networks, 2017, who take the absolute
    value of every image's product first)."""
    products = ([a * gradient for a, gradient in pairs] for pairs in passes.gradients())
    return [mean.abs() for mean in mean_over_passes(products, lambda product: product)]


def obs(groups, passes, options):
    """When a neuron goes if they go one by one, each time the one that the others replace best: whose removal changes
    the consumers' outputs least, in the mean square, once the weights of those that are left have been refitted
    (Hassibi and Stork, Optimal Brain Surgeon, 1993, for weights; Kurtic et al., ZipLM, 2023, for units)."""
    moments = passes.moments()
    return [steps_of_removal(group, moments, {}) for group in groups]


def kfac(groups, passes, options):
    """Like obs, but the change counts by the curvature of the loss, K-FAC's mean of g g^T over the gradients g of the
    images' losses by the consumers' outputs (Martens and Grosse, 2015; Wang et al., EigenDamage, 2019)."""
    curvatures = passes.curvatures()
    moments = passes.moments()
    return [steps_of_removal(group, moments, curvatures) for group in groups]


CRITERIA = {"contribution": contribution, "random": randomised, "reversed": reversed_contribution,
            "magnitude": magnitude, "activation": activation, "taylor": taylor, "apoz": apoz, "obs": obs, "kfac": kfac}
