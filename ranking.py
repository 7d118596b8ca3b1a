"""Rank the hidden neurons of a network: by how much they contribute to the next layer, at random, or as others do it.

A criterion is one function (groups, passes, options) -> scores, one tensor of shape (N,) per group; rank 1 is the
highest score. `passes` runs the training set through the network if the criterion asks for it. To add a criterion,
write one more such function and name it in CRITERIA.
"""
import torch

from pruning.device import exact
from pruning.passes import mean_over_passes

contribBasedPruning = True  # True: the neurons of least contribution go; False: random ones (the control)

CACHED = 2 ** 16  # float64 numbers, half a megabyte: with their products they fit in a core's own cache


def contribution(groups, passes, options):
    """lambda_average * C_avg + lambda_max * C_max of every neuron (equations 1 and 2 of the report).

    With a of shape (F, N) and W of shape (M, N), all consumers' rows together:
        ratio[f, j, k] = |W[j, k]| |a[f, k]| / sum_i |W[j, i]| |a[f, i]|, 0 where the sum is 0
        C_avg[k] = mean of ratio[f, j, k] over f and j;  C_max[k] = its maximum
    The (F, M, N) tensor is never made. In float64, where products of float32 numbers cannot underflow.
    """
    weights = [exact(torch.cat([consumer.weight.detach() for consumer in group.consumers])).abs() for group in groups]
    totals, maxima = ([torch.zeros_like(w[0]) for w in weights] for _ in range(2))
    count = 0
    for blocks in passes.activations():
        for a, w, total, maximum in zip(map(exact, blocks), weights, totals, maxima):
            a = a.abs()
            sums = a @ w.T                                           # (F, M), the denominators
            inverse = torch.where(sums > 0, 1 / sums, torch.zeros_like(sums))
            total += (inverse.T @ a * w).sum(0)
            if options.lambda_max > 0:
                raise_maxima(maximum, a.T.contiguous(), inverse.T.contiguous(), w)
        count += len(a)
    return [options.lambda_average * total / (count * len(w)) + options.lambda_max * maximum
            for w, total, maximum in zip(weights, totals, maxima)]


def raise_maxima(maxima, a, inverse, w):
    """Raise each maximum (N,) to the largest w[j, k] a[k, f] inverse[j, f] over j and f, if that is higher.

    No matrix product does this. A processor takes as many neurons at a time as stay in its cache while all consumers
    use them; a GPU takes all at once, for fewer kernels.
    """
    neurons = max(1, CACHED // a.shape[1]) if a.device.type == "cpu" else len(a)
    for maximum, block, columns in zip(maxima.split(neurons), a.split(neurons), w.split(neurons, 1)):
        for factors, column in zip(inverse, columns):
            torch.max(maximum, (block * factors).amax(1) * column, out=maximum)


def randomised(groups, passes, options):
    """Uniformly random scores: every set of neurons is equally likely to go."""
    return [torch.rand(group.producer.out_features, generator=options.generator, dtype=torch.float64)
            for group in groups]


def reversed_contribution(groups, passes, options):
    """Minus the contribution: the most contributing neurons go first, the worst case by this measure."""
    return [-scores for scores in contribution(groups, passes, options)]


def magnitude(groups, passes, options):
    """The L2 norm of a neuron's incoming weights (Li et al., Pruning Filters for Efficient ConvNets, 2017: L1)."""
    return [exact(group.producer.weight.detach()).norm(dim=1) for group in groups]


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


CRITERIA = {"contribution": contribution, "random": randomised, "reversed": reversed_contribution,
            "magnitude": magnitude, "activation": activation, "taylor": taylor, "apoz": apoz}
