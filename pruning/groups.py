"""The neuron groups of a network: how they are found, and how they are checked."""
import copy
from collections import defaultdict, namedtuple

import torch
from torch import nn

from pruning.device import exact, fixed_noise
from pruning.errors import UserError
from pruning.layers import by_neuron, channel, follows, in_evaluation, kind_of
from pruning.removal import places, remove, tensors_of

TOLERANCE = 1e-3  # of the largest output: float32 sums in another order


class NeuronGroup(namedtuple("NeuronGroup", "producer consumers followers", defaults=((),))):
    """The neurons of one layer: outputs of a Linear or filters of a convolution.

    producer: the Linear, Conv2d or ConvTranspose2d whose outputs they are. consumers: the layers, of the same kinds,
    that read them; in a Linear behind a flatten a neuron owns a block of columns. followers: the layers between them
    that hold numbers of each neuron, such as a BatchNorm.
    """

    @property
    def width(self):
        """The present number of neurons."""
        return self.producer.weight.shape[kind_of(self.producer).outputs]

    def incoming(self):
        """The weights of each neuron in its producer: float64 (width, inputs)."""
        return exact(self.producer.weight.detach()).transpose(0, kind_of(self.producer).outputs).flatten(1)

    def outgoing(self):
        """The weights of each neuron in all consumers: float64 (width, outputs)."""
        weights = [exact(consumer.weight.detach()).transpose(0, kind_of(consumer).inputs).reshape(self.width, -1)
                   for consumer in self.consumers]
        return torch.cat(weights, 1)


def widths_of(groups):
    return [group.width for group in groups]


def groups_of(model, example, prune_filters):
    """The groups of a model that are pruned: those that its method groups() names, checked, or without one those that
    are found; without prune_filters only those of Linear layers. Raises UserError for wrong groups, and for none."""
    left = {}
    if hasattr(model, "groups"):
        groups = list(model.groups())
        for group in groups:
            mistake = mistake_in(model, group, example)
            if mistake:
                raise UserError(f"{type(model).__name__}.groups(), {name_in(model, group.producer)}: {mistake}")
    else:
        groups, left = find_groups(model, example)
    pruned = [group for group in groups if prune_filters or isinstance(group.producer, nn.Linear)]
    if not pruned:
        hint = "; prune_filters = True prunes its filters" * bool(groups)
        reasons = "".join(f"; {name}: {reason}" for name, reason in left.items())
        raise UserError(f"{type(model).__name__} has no hidden neurons that can be pruned{hint}{reasons}")
    return pruned


def find_groups(model, example):
    """The neuron groups of a model, in the order of its forward pass, and why its other layers stay whole.

    example: inputs for two or more images, a tensor or a tuple of tensors. Returns a list of NeuronGroups and {layer's
    name: reason}. Raises UserError if the model cannot process the example.
    """
    wiring, groups = Wiring(model, example), []
    left = {name: "it is not called in a forward pass" for name, module in model.named_modules()
            if kind_of(module) and module not in wiring.calls}
    for layer in filter(kind_of, wiring.calls):
        reason, readers = wiring.obstacle(layer), wiring.readers[layer]
        if not reason:
            group = NeuronGroup(layer, list(filter(kind_of, readers)), list(filter(follows, readers)))
            reason = mistake_in(model, group, example)
        if reason:
            left[name_in(model, layer)] = reason
        else:
            groups.append(group)
    return groups, left


class Wiring:
    """Which layers of a model read which other layer's outputs, in evaluation mode.

    It is found by trial, so that a forward pass may be any Python code. All layers give what they gave on the example,
    and one of them, its source, other numbers for half of its neurons. The inputs that change are then those that read
    the source directly, and the neurons that change in them tell whether its neurons stay apart.

    calls: {module: its inputs, one per call}, in the order of the forward pass, of layers and followers. readers:
    {source: modules that read it}; a source is a layer or INPUT. mixed: {source: a reader in which its neurons do not
    stay apart}. ends: the sources that are outputs of the model.
    """

    INPUT = "the input"

    def __init__(self, model, example):
        self.model, self.example = model, example if isinstance(example, tuple) else (example,)
        self.outputs = {}
        try:
            self.run(self.example, record=True)
        except RuntimeError as error:
            shapes = ", ".join(str(tuple(tensor.shape[1:])) for tensor in self.example)
            raise UserError(f"{type(model).__name__} cannot process an image of the shape {shapes}: "
                            + str(error).splitlines()[0])
        self.calls, self.result = self.run(self.example)
        self.readers, self.sources, self.mixed, self.ends = defaultdict(list), defaultdict(list), {}, set()
        self.follow(self.INPUT, self.run([tensor.flip(0) for tensor in self.example]), None)
        chance = torch.Generator().manual_seed(0)
        for layer, outputs in self.outputs.items():
            half = torch.rand(outputs[0].shape[channel(layer)], generator=chance).argsort() % 2 == 0
            for some in (half, ~half):
                self.follow(layer, self.run(self.example, {layer: [changed(output, channel(layer), some, chance)
                                                                   for output in outputs]}), some)

    @torch.no_grad()
    def run(self, example, others=None, record=False):
        """One forward pass in which every layer gives its recorded outputs, or `others`: all inputs and the result."""
        heard, model = {}, self.model
        layers = list(filter(kind_of, model.modules()))
        watched = layers + list(filter(follows, model.modules()))
        hooks = [module.register_forward_pre_hook(
            lambda module, inputs: heard.setdefault(module, []).append(inputs[0].clone())) for module in watched]
        if record:
            hooks += [layer.register_forward_hook(
                lambda layer, _, output: self.outputs.setdefault(layer, []).append(output.clone())) for layer in layers]
        given = {} if record else {**self.outputs, **(others or {})}
        for layer, outputs in given.items():
            copies = map(torch.clone, outputs)  # a ReLU may work in place
            layer.forward = lambda *_, copies=copies: next(copies)
        try:
            with in_evaluation(model), fixed_noise(next(model.parameters()).device):
                return heard, tensors_in(model(*example))
        finally:
            for layer in given:
                del layer.forward
            for hook in hooks:
                hook.remove()

    def follow(self, source, run, some):
        """Note what has changed by other numbers of `some` neurons, a mask (width,), of a source."""
        calls, result = run
        for module, inputs in self.calls.items():
            changes = [before != after for before, after in zip(inputs, calls[module])]
            if any(change.any() for change in changes):
                if module not in self.readers[source]:
                    self.readers[source].append(module)
                    self.sources[module].append(source)
                if some is not None and not all(stay_apart(change, module, some) for change in changes):
                    self.mixed[source] = module
        if any((before != after).any() for before, after in zip(self.result, result)):
            self.ends.add(source)

    def obstacle(self, layer):
        """Why a layer's neurons cannot be removed by the way they are read, or None."""
        def name(source):
            return source if source is self.INPUT else name_in(self.model, source)

        if layer in self.ends:
            return "its neurons are outputs of the network"
        if not any(map(kind_of, self.readers[layer])):
            return "no layer reads its neurons"
        for module in [layer, *self.readers[layer]]:
            if len(self.calls[module]) > 1:
                return f"{name(module)} is called {len(self.calls[module])} times in a forward pass"
        for module in self.readers[layer]:
            others = [name(source) for source in self.sources[module] if source is not layer]
            if others:
                return f"its neurons are added to or joined with those of {others[0]} before {name(module)}"
        if layer in self.mixed:
            return f"its neurons do not stay apart on their way to {name(self.mixed[layer])}"
        return None


def changed(output, dimension, some, chance):
    """An output with other, positive numbers, which pass a ReLU, for `some` channels, a mask."""
    others = output.abs() + 1 + torch.rand(output.shape, generator=chance).to(output)
    mask = some.to(output.device).view([-1] + [1] * (output.dim() - 1 - dimension % output.dim()))
    return torch.where(mask, others, output)


def stay_apart(change, module, some):
    """Whether an input of a module has changed for no other neurons than `some`, a mask (width,)."""
    channels = change.shape[channel(module)]
    if channels % len(some):
        return False
    neurons = by_neuron(change, module, len(some)).transpose(0, 1).flatten(1).any(1).cpu()
    return not (neurons & ~some).any()


def mistake_in(model, group, example):
    """Why a group's neurons cannot be removed from a model, or None.

    They can if a copy of the model gives the same without every second neuron as with its activations set to zero.
    """
    example = example if isinstance(example, tuple) else (example,)
    layers = [group.producer, *group.consumers]
    for layer in [*layers, *group.followers]:
        if layer not in model.modules():
            return f"{type(layer).__name__} is no layer of the network"
        if not (kind_of(layer) if layer in layers else follows(layer)):
            return f"{name_in(model, layer)} is a {type(layer).__name__}, whose neurons cannot be removed"
        if getattr(layer, "groups", 1) > 1:
            return f"{name_in(model, layer)} is a grouped convolution"
        if isinstance(getattr(layer, "weight", None), torch.Tensor) and "weight" not in layer._parameters:
            return f"{name_in(model, layer)} computes its weight from others, as weight_norm does"
    for module, name, _ in tensors_of(group):
        tensor = getattr(module, name)
        sharing = [other for other in model.modules() if other is not module
                   and any(parameter is tensor for parameter in other._parameters.values())]
        if sharing:
            return f"{name_in(model, module)} shares its {name} with {name_in(model, sharing[0])}"
    copied, plain = copy.deepcopy((model, tuple(group)))
    its, calls = NeuronGroup(*plain), []
    keep, gone = torch.arange(group.width)[::2], torch.arange(group.width)[1::2]

    def mask(layer, inputs):
        calls.append(layer)
        index = places(gone, inputs[0].shape[channel(layer)], group.width).to(inputs[0].device)
        return (inputs[0].index_fill(channel(layer), index, 0), *inputs[1:])

    hooks = [consumer.register_forward_pre_hook(mask) for consumer in its.consumers]
    hooks.append(its.producer.register_forward_pre_hook(lambda layer, _: calls.append(layer)))
    masked = outputs_of(copied, example)
    for hook in hooks:
        hook.remove()
    for layer, own in zip([its.producer, *its.consumers], layers):
        if calls.count(layer) != 1:
            return f"{name_in(model, own)} is called {calls.count(layer)} times in a forward pass"
    try:
        remove([its], [keep])
        pruned = outputs_of(copied, example)
    except (RuntimeError, ValueError) as error:
        return f"without some of its neurons the network fails: {str(error).splitlines()[0]}"
    for before, after in zip(masked, pruned):
        if before.shape != after.shape or (before - after).abs().max() > TOLERANCE * before.abs().max():
            return ("without some of its neurons the network gives other outputs than with their activations set to "
                    "zero; other layers may read them")
    return None


@torch.no_grad()
def outputs_of(model, example):
    """The tensors that a model gives for an example in evaluation mode, with the same noise each time."""
    model.eval()
    with fixed_noise(next(model.parameters()).device):
        return tensors_in(model(*example))


def tensors_in(result):
    """The floating-point tensors of nested tuples, lists and dicts."""
    if torch.is_tensor(result):
        return [result] if result.is_floating_point() else []
    parts = result.values() if isinstance(result, dict) else result if isinstance(result, (tuple, list)) else []
    return [tensor for part in parts for tensor in tensors_in(part)]


def name_in(model, module):
    """What a module is called in a model."""
    return next((name for name, other in model.named_modules() if other is module), "") or type(module).__name__
