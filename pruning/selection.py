"""Which neurons stay: a criterion's scores, checked and ranked."""
from collections import namedtuple

import torch

from pruning.errors import UserError
from pruning.schedule import staying

# lambda_average and lambda_max weigh C_avg and C_max; generator is the run's own, for random choices.
Options = namedtuple("Options", "lambda_average lambda_max generator")


def survivors(passes, arm, options, prune_percent):
    """Rank by the arm's criterion; returns the neurons that stay: ascending int64 indices, one tensor per group.

    Raises UserError if the criterion does not give every neuron a finite score, or changes the network.
    """
    before = {name: tensor.clone() for name, tensor in passes.model.state_dict().items()}
    scores = list(arm.criterion(passes.groups, passes, options))
    found = [tuple(some.shape) if torch.is_tensor(some) else type(some).__name__ for some in scores]
    expected = [(group.producer.out_features,) for group in passes.groups]
    named = f"the criterion {arm.name} in ranking.py"
    if found != expected:
        raise UserError(f"{named} gives scores of the shapes {found}; expected one tensor per group, {expected}")
    if not all(some.isfinite().all() for some in scores):
        raise UserError(f"{named} gives scores that are not finite; every neuron needs a number")
    if not all(torch.equal(tensor, before[name]) for name, tensor in passes.model.state_dict().items()):
        raise UserError(f"{named} changes the network's weights; it may only read them, or change copies")
    return [highest(some, prune_percent) for some in scores]


def highest(scores, prune_percent):
    """Ascending indices of the neurons of the highest scores, which stay; of equal scores the lower index stays."""
    count = staying(len(scores), prune_percent)
    return scores.cpu().sort(descending=True, stable=True).indices[:count].sort().values
