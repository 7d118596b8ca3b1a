"""The trial of neuron groups before training: can their neurons be removed from the model without a change of the rest?
"""
import copy
import dataclasses
from collections import Counter

import torch
from torch import nn

from pruning.device import fixed_noise
from pruning.errors import UserError
from pruning.layers import apply, channel, follows, kind_of
from pruning.removal import places, remove, tensors_of


def mistakes_in(model, groups, example):
    """{number of a group: why its neurons cannot be removed from a model}."""
    found = {number: unfit(model, group) for number, group in enumerate(groups)}
    fit = [number for number, reason in found.items() if not reason]
    if fit and trial(model, [groups[number] for number in fit], example):  # all at once, since a copy takes its time
        found.update((number, trial(model, [groups[number]], example)) for number in fit)
    return {number: reason for number, reason in found.items() if reason}


def unfit(model, group):
    """Why a group's layers are none that neurons can be removed from, or None."""
    layers = [group.producer, *group.consumers]
    for layer in [*layers, *group.followers]:
        name = name_in(model, layer)
        if layer not in model.modules():
            return f"{type(layer).__name__} is no layer of the network"
        if not (kind_of(layer) if layer in layers else follows(layer)):
            return f"{name} is a {type(layer).__name__}, whose neurons cannot be removed"
        if getattr(layer, "groups", 1) > 1:
            return f"{name} is a grouped convolution"
        if isinstance(getattr(layer, "weight", None), torch.Tensor) and "weight" not in layer._parameters:
            return f"{name} computes its weight from others, as weight_norm does"
    for module, name, _ in tensors_of(group):
        for other in model.modules():
            if other is not module and memory(getattr(module, name)) in map(memory, other._parameters.values()):
                return f"{name_in(model, module)} shares its {name} with {name_in(model, other)}"
    return None


def memory(tensor):
    """Where the numbers of a tensor are, for tensors that share them."""
    if tensor is None or tensor.numel() == 0:
        return object()
    return (tensor.untyped_storage if hasattr(tensor, "untyped_storage") else tensor.storage)().data_ptr()


def trial(model, groups, example):
    """Why the neurons of these groups cannot be removed together, or None.

    A copy of the model without some neurons must give what it gives with their activations set to zero, and must still
    run in training mode. Few neurons go first, then more. The weights of the copy are moved a little, since the zeros
    and ones of a new network hide what they are multiplied with.
    """
    example, chance = as_tuple(example), torch.Generator().manual_seed(0)
    try:
        copied, groups = copy.deepcopy((model, groups))
        move(copied, chance)
        trains = runs(copied.train(), example)
        for share in (0.99, 0.67):
            keeps = [torch.randperm(width, generator=chance)[:max(1, int(share * width))].sort().values
                     for width in (group.width for group in groups)]
            masked = Masked(copied, groups, keeps)
            before = outputs_of(copied, example)
            masked.end()
            if masked.mistake():
                return masked.mistake()
            remove(groups, keeps)
            for x, y in zip(before, outputs_of(copied, example)):
                if x.shape != y.shape or not (x - y).abs().max() <= torch.finfo(x.dtype).eps ** 0.5 * x.abs().max():
                    return ("without some of its neurons the network gives other outputs than with their activations "
                            "set to zero; other layers may read them")
    except UserError:
        raise
    except Exception as error:  # whatever torch or the model's own code says
        return f"without some of its neurons the network fails: {words_of(error)}"
    if trains and not runs(copied.train(), example):
        return "without some of its neurons the network fails in training mode"
    return None


class Masked:
    """A model whose consumers get zeros for all neurons that do not stay; it watches how they are called."""

    def __init__(self, model, groups, keeps):
        self.model, self.read, self.odd = model, [], None
        self.calls = Counter({layer: 0 for group in groups for layer in (group.producer, *group.consumers)})
        self.hooks = [layer.register_forward_pre_hook(lambda layer, _: self.calls.update([layer]))
                      for layer in self.calls]
        for group, keep in zip(groups, keeps):
            gone = torch.tensor(sorted({*range(group.width)} - {*keep.tolist()}), dtype=torch.int64)
            for consumer in group.consumers:
                self.hooks += [consumer.register_forward_pre_hook(self.mask(gone, group.width)),
                               consumer.register_forward_hook(self.compare)]

    def mask(self, gone, width):
        def to_zero(layer, inputs):
            x = inputs[0]
            self.read.append((layer, x, x._version))
            index = places(gone, x.shape[channel(layer)], width).to(x.device)
            return (x.index_fill(channel(layer), index, 0), *inputs[1:])
        return to_zero

    def compare(self, layer, inputs, output):
        """Criteria compute a layer's outputs anew, so it must do what its kind does."""
        plain = apply(layer, inputs[0], layer.weight)
        if layer.bias is not None:
            plain = plain + layer.bias.view([-1] + [1] * (0 if isinstance(layer, nn.Linear) else 2))
        if plain.shape != output.shape or not torch.allclose(plain, output, rtol=0.1, atol=1e-3, equal_nan=True):
            self.odd = layer

    def end(self):
        for hook in self.hooks:
            hook.remove()

    def mistake(self):
        """What is wrong with the calls, or None."""
        for layer, count in self.calls.items():
            if count != 1:
                return f"{name_in(self.model, layer)} is called {count} times in a forward pass"
        for layer, x, version in self.read:
            if x._version != version:
                return f"{name_in(self.model, layer)} reads a tensor that is overwritten in place afterwards"
        if self.odd:
            return f"{name_in(self.model, self.odd)} has a forward pass of its own"
        return None


def move(model, chance):
    """Move all weights and statistics of a model a little."""
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=chance).to(tensor)
            tensor.data.copy_(torch.where(tensor == 0, 0.1 * noise, tensor * (1 + 0.2 * noise)))


@torch.no_grad()
def runs(model, example):
    try:
        model(*example)
    except Exception:  # such as a loss that training mode wants labels for
        return False
    return True


@torch.no_grad()
def outputs_of(model, example):
    """The tensors that a model gives for an example in evaluation mode, with the same noise each time."""
    model.eval()
    with fixed_noise(example[0].device):
        return tensors_in(model(*example))


def tensors_in(result):
    """The floating-point tensors of nested tuples, lists, dicts and dataclasses. Raises UserError if there are none."""
    def parts(value):
        if torch.is_tensor(value):
            yield from [torch.view_as_real(value)] if value.is_complex() else [value] * value.is_floating_point()
        elif dataclasses.is_dataclass(value) or isinstance(value, dict):
            yield from parts(list((value if isinstance(value, dict) else vars(value)).values()))
        elif isinstance(value, (tuple, list)):
            for part in value:
                yield from parts(part)

    found = list(parts(result))
    if not found:
        raise UserError(f"the network returns {type(result).__name__} without a floating-point tensor, by which its "
                        "groups could be checked")
    return found


def as_tuple(example):
    return example if isinstance(example, tuple) else (example,)


def words_of(error):
    """The first line of an error, or its kind."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def name_in(model, module):
    """What a module is called in a model."""
    return next((name for name, other in model.named_modules() if other is module), "") or type(module).__name__
