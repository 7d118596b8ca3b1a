"""The removal of neurons, together with the optimizer's state of their weights."""
import torch
from torch import nn

from pruning.layers import follows, kind_of


def remove(groups, survivors, *optimizers):
    """Remove all neurons of every group except its `survivors`, a 1-D int64 tensor of ascending indices.

    Every surviving weight keeps its value bit for bit, and so do its gradient and its state in an optimizer (momentum,
    moments); an optimizer's parameters stay the model's. Raises ValueError, and changes nothing, if the survivors are
    not indices of at least one neuron of every group, or for an optimizer whose state cannot be cut.
    """
    check(groups, survivors, optimizers)
    cuts = {}  # of every tensor, {dimension: the indices that stay}
    for group, keep in zip(groups, survivors):
        width = group.width
        for module, name, dimension in tensors_of(group) if len(keep) < width else []:
            tensor = getattr(module, name)
            index = places(keep, tensor.shape[dimension], width).to(tensor.device)
            cuts.setdefault((module, name), {})[dimension] = index
    for (module, name), cut in cuts.items():
        keep_slices(module, name, cut, optimizers)


def check(groups, survivors, optimizers):
    """Raise ValueError for what remove() cannot do."""
    for optimizer in optimizers:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise ValueError(f"{type(optimizer).__name__} is no optimizer of torch")
        if isinstance(optimizer, torch.optim.LBFGS):
            raise ValueError("LBFGS keeps one state of all weights together, which cannot be cut; make it anew after "
                             "a removal without an optimizer")
    if len(groups) != len(survivors):
        raise ValueError(f"{len(survivors)} lists of survivors for {len(groups)} groups; give one per group")
    for group, keep in zip(groups, survivors):
        if keep.dtype != torch.int64 or keep.dim() != 1:
            raise ValueError(f"survivors are 1-D int64 tensors, not {keep.dtype} of the shape {tuple(keep.shape)}")
        indices = [-1, *keep.tolist(), group.width]
        if len(indices) < 3 or any(this >= following for this, following in zip(indices, indices[1:])):
            raise ValueError(f"survivors are ascending indices of neurons below {group.width}, each once and at least "
                             f"one, not {keep.tolist()}")
        for module, name, _ in tensors_of(group):
            weight = getattr(module, name)
            for value in (value for optimizer in optimizers for value in optimizer.state.get(weight, {}).values()):
                if torch.is_tensor(value) and value.numel() > 1 and value.dim() != weight.dim():
                    raise ValueError(f"the optimizer keeps a tensor of the shape {tuple(value.shape)} for a weight of "
                                     f"{tuple(weight.shape)}, which cannot be cut; make it anew after the removal")


def tensors_of(group):
    """Yield where a group's neurons have entries: (module, name of its tensor, dimension)."""
    producer = group.producer
    candidates = [(producer, "weight", kind_of(producer).outputs), (producer, "bias", 0)]
    candidates += [(follower, name, 0) for follower in group.followers
                   for name in ("weight", "bias", "running_mean", "running_var")]
    candidates += [(consumer, "weight", kind_of(consumer).inputs) for consumer in group.consumers]
    return (place for place in candidates if getattr(place[0], place[1], None) is not None)


def places(keep, size, width):
    """The indices of the neurons `keep` in a dimension of this size, which has a block of equal length for each of
    `width` neurons."""
    block = size // width
    return keep if block == 1 else (block * keep[:, None] + torch.arange(block, device=keep.device)).flatten()


def keep_slices(module, name, cut, optimizers):
    """Keep of a module's tensor what a cut leaves, {dimension: indices}, and so of its gradient and its state in the
    optimizers."""
    old = getattr(module, name)
    new = replace(module, name, kept(old.detach(), cut), optimizers)
    if old.grad is not None:
        new.grad = kept(old.grad, cut)
    for optimizer in (optimizer for optimizer in optimizers if old in optimizer.state):
        # A tensor belongs to the weight's entries in the dimensions in which it has the weight's size. A step count
        # belongs to the whole; each of Adafactor's moments has a dimension of size 1.
        optimizer.state[new] = {
            key: kept(value, {dimension: index for dimension, index in cut.items()
                              if value.shape[dimension] == old.shape[dimension]})
            if torch.is_tensor(value) and value.dim() == old.dim() else value
            for key, value in optimizer.state.pop(old).items()}


def replace(module, name, tensor, optimizers=()):
    """Put a tensor in the place of a module's parameter or buffer, also in the optimizers' lists, and return that. The
    module's sizes follow."""
    old = getattr(module, name)
    new = nn.Parameter(tensor, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else tensor
    setattr(module, name, new)
    for settings in (settings for optimizer in optimizers for settings in optimizer.param_groups):
        settings["params"] = [new if parameter is old else parameter for parameter in settings["params"]]
    kind = kind_of(module)
    if kind and name == "weight":
        setattr(module, kind.output_size, tensor.shape[kind.outputs])
        setattr(module, kind.input_size, tensor.shape[kind.inputs])
    if follows(module):
        setattr(module, follows(module), len(tensor))
    return new


def load_weights(model, weights):
    """model.load_state_dict for weights of a network from which neurons have been removed. Raises RuntimeError if they
    are of another network."""
    for module_name, module in model.named_modules():
        for name in [*module._parameters, *module._buffers]:
            tensor, saved = getattr(module, name), weights.get(f"{module_name}.{name}".lstrip("."))
            if tensor is not None and saved is not None and tensor.shape != saved.shape and (
                    tensor.dim() == saved.dim() and all(map(int.__le__, saved.shape, tensor.shape))):
                replace(module, name, torch.empty_like(saved, device=tensor.device))
    model.load_state_dict(weights)


def kept(tensor, cut):
    """A copy of what a tensor has at the indices of a cut, {dimension: indices}. For the columns of a matrix gather
    uses all threads and took two thirds of index_select's time (2048 x 4096 on 2 cores)."""
    for dimension, index in sorted(cut.items()):
        if tensor.dim() == 2 and dimension == 1:
            tensor = tensor.gather(1, index.expand(len(tensor), -1))
        else:
            tensor = tensor.index_select(dimension, index)
    return tensor
