"""Which neurons stay: a criterion's scores, checked and ranked."""
import inspect
from collections import namedtuple

import torch

from pruning.errors import UserError, mistakes_in_one_line
from pruning.groups import widths_of
from pruning.schedule import staying
from pruning.spread import clear_faults

# What a criterion may use: the weights of C_avg and C_max, and the run's own generator for random choices.
Options = namedtuple("Options", "lambda_average lambda_max generator", defaults=(1.0, 0.0, None))


def survivors(passes, arm, options, prune_percent):
    """Rank by the arm's criterion; returns the neurons that stay: ascending int64 indices, one tensor per group.

    Raises UserError for a mistake in the criterion, and if it does not give every neuron a finite score or changes the
    network.
    """
    named = f"the criterion {arm.name} in ranking.py"
    try:
        inspect.signature(arm.criterion).bind(passes.groups, passes, options)
    except (TypeError, ValueError) as error:  # the latter of a partial with a wrong keyword
        raise UserError(f"{named} cannot be called with (groups, passes, options): {error}")
    before = {name: tensor.clone() for name, tensor in passes.model.state_dict().items()}
    with mistakes_in_one_line(), clear_faults():
        scores = arm.criterion(passes.groups, passes, options)
    if not isinstance(scores, (list, tuple)):
        raise UserError(f"{named} returns {type(scores).__name__}; expected a list of one tensor per group")
    found = [tuple(some.shape) if torch.is_tensor(some) else type(some).__name__ for some in scores]
    expected = [(width,) for width in widths_of(passes.groups)]
    if found != expected:
        raise UserError(f"{named} gives scores of the shapes {found}; expected one tensor per group, {expected}")
    if not all(some.isfinite().all() for some in scores):
        raise UserError(f"{named} gives scores that are not finite; every neuron needs a number")
    if not all(torch.equal(tensor, before[name]) for name, tensor in passes.model.state_dict().items()):
        raise UserError(f"{named} changes the network's weights; it may only read them, or change copies")
    return [highest(some, staying(len(some), prune_percent)) for some in scores]


def highest(scores, count):
    """Ascending indices of the `count` neurons of the highest scores; of equal scores the lower index stays."""
    return scores.cpu().sort(descending=True, stable=True).indices[:count].sort().values
