"""The removal of neurons, together with the optimizer's state of their weights."""
import torch
from torch import nn

RIDGE = 1e-6  # of the mean square of the survivors' activations, see compensate()


@torch.no_grad()
def compensate(group, keep, moments):
    """Before remove(): refit every consumer's columns `keep`, by least squares, to its output with all neurons.

    moments: H = A^T A / F of the group's activations A (F, N), float64. To minimise |A W^T - A[:, keep] W'^T|^2 the new
    columns are W' = W H[:, keep] H[keep, keep]^-1 = W[:, keep] + W[:, gone] H[gone, keep] H[keep, keep]^-1. The second
    form is solved, with a ridge, so that dead neurons keep their old weights.
    """
    keep = keep.to(moments.device)
    gone = torch.ones(len(moments), dtype=torch.bool, device=moments.device).index_fill(0, keep, False)
    among, across = moments[keep][:, keep], moments[gone][:, keep]
    ridge = RIDGE * among.diagonal().mean().clamp(min=1e-30)  # above 0 even if no survivor is ever active
    shares = torch.linalg.solve(among + ridge * torch.eye(len(among)).to(among), across.T)  # (kept, gone)
    for consumer in group.consumers:
        old = consumer.weight.to(moments.device).to(moments.dtype)  # mps has no float64
        consumer.weight[:, keep] = (old[:, keep] + old[:, gone] @ shares.T).to(consumer.weight)


def remove(groups, survivors, optimizer):
    """Remove all neurons of every group except its `survivors`, a 1-D int64 tensor of ascending indices.

    Every surviving weight and its state in the optimizer (momentum, moments) keep their values bit for bit; the
    optimizer's parameters stay the model's. Raises ValueError, and changes nothing, if a group would lose all neurons.
    """
    if not all(map(len, survivors)):
        raise ValueError("a group keeps at least one neuron")
    rows, columns = {}, {}  # of each layer's weight, the indices that stay
    for group, keep in zip(groups, survivors):
        rows[group.producer] = keep.to(group.producer.weight.device)
        columns.update((consumer, keep.to(consumer.weight.device)) for consumer in group.consumers)
    for layer in {**rows, **columns}:
        keep_slices(layer, "weight", rows.get(layer), columns.get(layer), optimizer)
        if layer.bias is not None and layer in rows:
            keep_slices(layer, "bias", rows[layer], None, optimizer)
        layer.out_features, layer.in_features = layer.weight.shape


def keep_slices(layer, name, rows, columns, optimizer):
    """Put the rows and columns at these indices in the place of a layer's parameter, in the optimizer too."""
    old = getattr(layer, name)
    new = nn.Parameter(kept(old.detach(), rows, columns), requires_grad=old.requires_grad)
    setattr(layer, name, new)
    for settings in optimizer.param_groups:
        settings["params"] = [new if parameter is old else parameter for parameter in settings["params"]]
    if old in optimizer.state:
        # A tensor of the weight's own shape belongs to its entries; a step count belongs to the whole.
        optimizer.state[new] = {
            key: kept(value, rows, columns) if torch.is_tensor(value) and value.shape == old.shape else value
            for key, value in optimizer.state.pop(old).items()}


def kept(tensor, rows, columns):
    """A copy of the rows and columns at these indices; None stands for all. For columns gather uses all threads and
    took two thirds of index_select's time (2048 x 4096 on 2 cores)."""
    if rows is not None:
        tensor = tensor.index_select(0, rows)
    return tensor if columns is None else tensor.gather(1, columns.expand(len(tensor), -1))
