"""Rank the hidden neurons of a network: by how much they contribute to the next layer, at random, or as others do it.

A criterion is one function (groups, passes, options) -> scores, a tensor of shape (N,) a group, where rank 1 is the
highest score. `passes` runs the training set through the network if the criterion asks for it. A further criterion is
one more such function, named in CRITERIA.
"""
import contextlib
from collections import namedtuple
from fractions import Fraction

import torch

from errors import UserError

contribBasedPruning = True  # True: the neurons of least contribution go; False: random ones (the control)

CACHED = 2 ** 16  # float64 numbers, half a megabyte: with their products they fit in a core's own cache

# lambda_average and lambda_max weigh C_avg and C_max; generator is the run's own, for random choices.
Options = namedtuple("Options", "lambda_average lambda_max generator")


# ---- the criteria ----

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
    """Raise maxima (N,) to the largest w[j, k] a[k, f] inverse[j, f] over j and f, where they are lower.

    No matrix product does this. On a processor as many neurons at a time as stay in its cache while all consumers use
    them; on a GPU all at once, for fewer kernels.
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
    """The L2 norm of a neuron's incoming weights (for filters and the L1 norm: Li et al., Pruning Filters for Efficient
    ConvNets, 2017)."""
    return [exact(group.producer.weight.detach()).norm(dim=1) for group in groups]


def activation(groups, passes, options):
    """The mean absolute activation over the training set (Tan and Motani, DropNet, 2020)."""
    return mean_over_passes(passes.activations(), torch.abs)


def apoz(groups, passes, options):
    """Minus the average percentage of zeros, the share of passes in which a neuron gives 0 (Hu et al., Network
    Trimming, 2016)."""
    return mean_over_passes(passes.activations(), lambda a: -(a == 0).double())


def taylor(groups, passes, options):
    """|the mean over the training set of activation times the loss's gradient by it|: the change of the loss, to first
    order, if the neuron gave 0 (Molchanov et al., Pruning Convolutional Neural Networks, 2017, where the absolute value
    is taken of every image apart)."""
    products = ([a * gradient for a, gradient in pairs] for pairs in passes.gradients())
    return [mean.abs() for mean in mean_over_passes(products, lambda product: product)]


def mean_over_passes(batches, function):
    """The mean over all passes of a function of the numbers, (B, N) -> (B, N), a tensor (N,) a group."""
    totals, count = [], 0
    for blocks in batches:
        totals = added(totals, [function(exact(block)).sum(0) for block in blocks])
        count += len(blocks[0])
    return [total / count for total in totals]


def added(totals, terms):
    """Totals and one more term of each; [] are no totals yet."""
    return [total + term for total, term in zip(totals, terms)] if totals else terms


CRITERIA = {"contribution": contribution, "random": randomised, "reversed": reversed_contribution,
            "magnitude": magnitude, "activation": activation, "taylor": taylor, "apoz": apoz}


def exact(tensor):
    """The tensor in float64, on the processor where its device knows no float64 (mps)."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


# ---- the training set's way through the network ----

class Passes:
    """Forward passes of the training set through a frozen model in evaluation mode, batch by batch.

    batches: a function that yields images, as the model takes them, and labels. loss: (model, images, labels) -> the
    sum of the images' losses. with_moments: whether `activations` also gathers what `moments` gives. Batches are not
    collected: CelebA's activations together would take 8 GB.
    """

    def __init__(self, model, batches, loss, with_moments=False):
        self.model, self.groups, self.batches, self.loss = model, model.groups(), batches, loss
        self.with_moments, self.gathered = with_moments, None

    @torch.no_grad()
    def activations(self):
        """Yield the activations of a batch as the consumers get them, after the ReLU: [(B, N), ...], one a group.

        A VAE decodes posterior means.
        """
        with self.listening(to_the_end=False) as heard:
            for images, _ in self.batches():
                heard.clear()
                with contextlib.suppress(Reached):
                    self.model(images)
                if self.with_moments:
                    squares, count = self.gathered or ([], 0)
                    self.gathered = added(squares, [a.T @ a for a in map(exact, heard)]), count + len(heard[0])
                yield list(heard)

    def gradients(self):
        """Yield pairs of the activations of a batch and the gradients of its images' losses by them, one a group.

        As in training, a VAE samples one latent an image.
        """
        torch.manual_seed(0)  # a VAE's loss draws noise: the same at every round
        with self.listening(to_the_end=True) as heard:
            for images, labels in self.batches():
                heard.clear()
                with torch.enable_grad():
                    gradients = torch.autograd.grad(self.loss(self.model, images, labels), heard)
                yield [(block.detach(), gradient) for block, gradient in zip(heard, gradients)]

    @contextlib.contextmanager
    def listening(self, to_the_end):
        """Gives a list to which a forward pass adds the activations of every group; in evaluation mode meanwhile."""
        def hear(module, inputs):
            heard.append(inputs[0])
            if len(heard) == len(self.groups) and not to_the_end:
                raise Reached

        heard, training = [], self.model.training
        hooks = [group.consumers[0].register_forward_pre_hook(hear) for group in self.groups]
        self.model.eval()
        try:
            yield heard
        finally:
            self.model.train(training)
            for hook in hooks:
                hook.remove()

    def moments(self):
        """A^T A / F of all F activations A (F, N), float64, a tensor (N, N) a group: of the criterion's own pass where
        it made one without gradients."""
        if self.gathered is None:
            for _ in self.activations():
                pass
        squares, count = self.gathered
        return [total / count for total in squares]


class Reached(Exception):
    """Ends a forward pass where all activations are known: a VAE's transposed convolutions need not run."""


# ---- who stays ----

def survivors(passes, criterion, options, prune_percent):
    """Rank every group and say which neurons stay: one ascending int64 tensor of indices a group. Raises UserError
    where a criterion does not give every neuron a score."""
    scores = list(CRITERIA[criterion](passes.groups, passes, options))
    shapes = [tuple(some.shape) if torch.is_tensor(some) else type(some).__name__ for some in scores]
    wanted = [(group.producer.out_features,) for group in passes.groups]
    if shapes != wanted:
        raise UserError(f"the criterion {criterion} in ranking.py gives scores of the shapes {shapes}; expected a "
                        f"tensor a group, {wanted}")
    if not all(some.isfinite().all() for some in scores):
        raise UserError(f"the criterion {criterion} in ranking.py gives scores that are no finite numbers")
    return [highest(some, prune_percent) for some in scores]


def highest(scores, prune_percent):
    """Indices, ascending, of the neurons of rank <= (1 - prune_percent/100) N, and of rank 1 in any case.

    Rank 1 is the highest score; of equal scores the lower index ranks first.
    """
    count = staying(len(scores), prune_percent)
    return scores.cpu().sort(descending=True, stable=True).indices[:count].sort().values


def staying(width, prune_percent):
    """How many of `width` neurons a round leaves."""
    return max(1, int(width * (100 - Fraction(str(prune_percent))) / 100))  # floats keep 41 of 125 at 66.4 %, not 42
