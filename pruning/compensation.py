"""What a round does before it removes neurons, if it compensates: it refits their consumers to those that stay."""
import torch

from pruning.device import fixed_noise
from pruning.layers import in_evaluation, kind_of, matrix, set_matrix
from pruning.passes import with_ridge
from pruning.removal import places

RIDGE = 0.1  # of the mean square of a column; with less, weights grow so much that runs diverge
# What an optimizer keeps of a weight: means of its gradient to these powers.
POWERS = {"momentum_buffer": 1, "exp_avg": 1, "exp_avg_sq": 2}


@torch.no_grad()
def compensate(group, keep, moments):
    """Before remove(): refit every consumer's columns `keep`, by least squares, to its output with all neurons.

    moments: {consumers: H}, as Passes.moments() gives them; a neuron owns a block of columns if it has several places.
    To minimise |A W^T - A[:, keep] W'^T|^2 the new columns are W' = W H[:, keep] H[keep, keep]^-1 = W[:, keep] +
    W[:, gone] H[gone, keep] H[keep, keep]^-1. The second form is solved, so that dead neurons keep their weights, and
    with a RIDGE on H's diagonal.
    """
    for consumers, moment in moments.items():
        if consumers[0] not in group.consumers:
            continue
        keep_here = places(keep, len(moment), group.width).to(moment.device)
        gone = torch.ones(len(moment), dtype=torch.bool, device=moment.device).index_fill(0, keep_here, False)
        among = with_ridge(moment[keep_here][:, keep_here], RIDGE)
        shares = torch.linalg.solve(among, moment[keep_here][:, gone])  # (kept, gone)
        for consumer in consumers:
            new = matrix(consumer).to(moment.device).to(moment.dtype)  # mps has no float64
            new[:, keep_here] = new[:, keep_here] + new[:, gone] @ shares.T
            set_matrix(consumer, new)


def keep_norms(group, norms, *optimizers):
    """Give each neuron's outgoing weights their norm of before the refit, (width,), and its incoming weights what they
    lost or gained by it.

    The outputs of the network stay if is_homogeneous(). Without this, weights that grow at every refit can make the
    steps after it too large, so that a run diverges.
    """
    factors = group.outgoing().norm(dim=1) / norms
    rescale(group, factors.where(factors.isfinite() & (factors > 0), torch.ones_like(factors)), *optimizers)


@torch.no_grad()
def rescale(group, factors, *optimizers):
    """Multiply each neuron's incoming weights, with its bias, by its factor, (width,), and divide its outgoing ones by
    it. The optimizers' means of gradients become those of gradients by the new weights."""
    kind = kind_of(group.producer)
    listed = [(group.producer.weight, kind.outputs, factors), (group.producer.bias, 0, factors)]
    listed += [(consumer.weight, kind_of(consumer).inputs, 1 / factors) for consumer in group.consumers]
    for weight, dimension, by in (entry for entry in listed if entry[0] is not None):
        by = by.to(weight).repeat_interleave(weight.shape[dimension] // group.width)
        by = by.view([-1 if number == dimension else 1 for number in range(weight.dim())])
        weight.mul_(by)
        for state in (optimizer.state.get(weight, {}) for optimizer in optimizers):
            for name in POWERS.keys() & state.keys():
                if state[name] is not None:
                    state[name].div_(by ** POWERS[name])


@torch.no_grad()
def is_homogeneous(model, group, images):
    """Whether what the consumers get doubles if the producer's outputs do, as behind a ReLU and a pooling."""
    def given(factor):
        heard = []
        hooks = [consumer.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0].clone()))
                 for consumer in group.consumers]
        hooks.append(group.producer.register_forward_hook(lambda *call: factor * call[-1]))
        try:
            with in_evaluation(model), fixed_noise(images.device):
                model(images)
        finally:
            for hook in hooks:
                hook.remove()
        return heard

    return all(map(torch.equal, given(2), [2 * x for x in given(1)]))
