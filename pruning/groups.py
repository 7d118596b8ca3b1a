"""The neuron groups of a network: those that are found in it, or that it names itself."""
from collections import defaultdict, namedtuple

import torch
from torch import nn

from pruning.device import exact, fixed_noise
from pruning.errors import UserError, mistakes_in_one_line
from pruning.layers import by_neuron, channel, follows, in_evaluation, kind_of
from pruning.trial import as_tuple, mistakes_in, name_in, tensors_in, words_of

NOT_CALLED = "its own forward pass is not called; another module may use its weight"


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
    """The groups of a model that are pruned, and {layer's name: why it stays whole}.

    They are those that the model's method groups() names, checked, or without one those that are found; without
    prune_filters only those of Linear layers. Raises UserError for wrong groups, and for none.
    """
    if callable(getattr(model, "groups", None)):
        groups, left = named(model, example), {}
    else:
        groups, left = find_groups(model, example)
    pruned = [group for group in groups if prune_filters or isinstance(group.producer, nn.Linear)]
    if not pruned:
        hint = "; prune_filters = True prunes its filters" * bool(groups)
        reasons = "".join(f"; {name}: {reason}" for name, reason in left.items())
        raise UserError(f"{type(model).__name__} has no hidden neurons that can be pruned{hint}{reasons}")
    return pruned, left


def named(model, example):
    """The groups that a model's method groups() names. Raises UserError for wrong ones."""
    method = f"{type(model).__name__}.groups()"
    try:
        groups = [NeuronGroup(producer, list(consumers), *map(list, followers))
                  for producer, consumers, *followers in model.groups()]
    except (TypeError, ValueError):
        raise UserError(f"{method} must return a list of NeuronGroup(producer, consumers, followers)")
    producers = [group.producer for group in groups]
    for producer in producers:
        if producers.count(producer) > 1:
            raise UserError(f"{method} names the neurons of {name_in(model, producer)} twice")
    for number, mistake in mistakes_in(model, groups, example).items():
        raise UserError(f"{method}, {name_in(model, groups[number].producer)}: {mistake}")
    return groups


def find_groups(model, example):
    """The neuron groups of a model, in the order of its forward pass, and why its other layers stay whole.

    example: inputs for several images, a tensor or a tuple of tensors. Returns a list of NeuronGroups and {layer's
    name: reason}. Raises UserError if the model cannot process the example.
    """
    wiring = Wiring(model, example)
    reasons = dict.fromkeys(filter(kind_of, model.modules()), NOT_CALLED)
    reasons.update((layer, wiring.obstacle(layer)) for layer in filter(kind_of, wiring.calls))
    groups = [NeuronGroup(layer, *(list(filter(which, wiring.readers[layer])) for which in (kind_of, follows)))
              for layer in wiring.calls if kind_of(layer) and not reasons[layer]]
    reasons.update((groups[number].producer, reason) for number, reason in mistakes_in(model, groups, example).items())
    return ([group for group in groups if not reasons[group.producer]],
            {name_in(model, layer): reason for layer, reason in reasons.items() if reason})


class Wiring:
    """Which layers of a model read which other layer's outputs, in evaluation mode.

    It is found by trial, so that a forward pass may be any Python code. All layers give what they gave on the example,
    and one of them, the source, other numbers for half of its neurons. The inputs that change are then those that read
    the source directly, and the neurons that change in them tell whether its neurons stay apart.

    outputs: {layer: its outputs, one per call}. calls: {layer or follower: its inputs, one per call}, in the order of
    the forward pass. result: the model's outputs. readers: {source: modules that read it}; a source is a layer or
    INPUT. mixed: {source: a reader in which its neurons do not stay apart}. ends: the sources that are outputs of the
    model. turns: the sources by whose numbers the forward pass takes another way.
    """

    INPUT = "the input"

    def __init__(self, model, example):
        self.model, self.example, self.outputs = model, as_tuple(example), {}
        try:
            with mistakes_in_one_line(), torch.no_grad(), in_evaluation(model):
                model(*self.example)  # with the run's own random numbers: it may initialise lazy layers
            self.run(self.example, record=True)
            self.calls, self.result = self.run(self.example)
        except UserError:
            raise
        except Exception as error:  # whatever torch says
            shapes = ", ".join(str(tuple(getattr(tensor, "shape", ())[1:])) for tensor in self.example)
            raise UserError(f"{type(model).__name__} cannot process an image of the shape {shapes}: {words_of(error)}")
        self.readers, self.mixed, self.ends, self.turns = defaultdict(list), {}, set(), set()
        self.follow(self.INPUT, [tensor.flip(0) for tensor in self.example], {}, None)
        chance = torch.Generator().manual_seed(0)
        for layer, outputs in self.outputs.items():
            half = torch.rand(outputs[0].shape[channel(layer)], generator=chance).argsort() % 2 == 0
            for neurons in (half, ~half):
                others = [changed(output, channel(layer), neurons, chance) for output in outputs]
                self.follow(layer, self.example, {layer: others}, neurons)

    @torch.no_grad()
    def run(self, example, others=(), record=False):
        """One forward pass in which every layer gives its recorded outputs, or `others`; its calls and result."""
        def hear(module, inputs):
            if not inputs:
                raise UserError(f"{name_in(self.model, module)} gets its input by keyword; call it as layer(x)")
            calls.setdefault(module, []).append(inputs[0].clone())

        calls, modules = {}, list(self.model.modules())
        hooks = [module.register_forward_pre_hook(hear) for module in modules if kind_of(module) or follows(module)]
        if record:
            hooks += [layer.register_forward_hook(
                lambda layer, _, output: self.outputs.setdefault(layer, []).append(output.clone()))
                for layer in filter(kind_of, modules)]
        given = {} if record else {**self.outputs, **dict(others)}
        own = {layer: vars(layer)["forward"] for layer in given if "forward" in vars(layer)}
        for layer, outputs in given.items():
            copies = map(torch.clone, outputs)  # a ReLU may work in place
            layer.forward = lambda *_, copies=copies, **__: next(copies)
        try:
            with in_evaluation(self.model), fixed_noise(example[0].device):
                return calls, tensors_in(self.model(*example))
        finally:
            for layer in given:
                del layer.forward
                vars(layer).update({"forward": own[layer]} if layer in own else {})
            for hook in hooks:
                hook.remove()

    def follow(self, source, example, others, neurons):
        """Note what changes with an example and other outputs, for these neurons of a source: a mask (width,)."""
        try:
            calls, result = self.run(example, others)
        except Exception:  # whatever the model's own code makes of other numbers
            self.turns.add(source)
            return
        for module, inputs in self.calls.items():
            after = calls.get(module, [])
            if [x.shape for x in inputs] != [x.shape for x in after]:
                self.turns.add(source)
            changes = [x != y for x, y in zip(inputs, after) if x.shape == y.shape]
            if any(change.any() for change in changes):
                self.readers[source] += [module] * (module not in self.readers[source])
                if neurons is not None and not all(stay_apart(change, module, neurons) for change in changes):
                    self.mixed[source] = module
        if any(x.shape != y.shape or (x != y).any() for x, y in zip(self.result, result)):
            self.ends.add(source)

    def obstacle(self, layer):
        """Why a layer's neurons cannot be removed by the way they are read, or None."""
        def name(source):
            return source if source is self.INPUT else name_in(self.model, source)

        if layer in self.turns:
            return "the forward pass takes another way by its numbers"
        if layer in self.ends:
            return "its neurons are outputs of the network"
        if not any(map(kind_of, self.readers[layer])):
            return "no layer reads its neurons"
        for module in [layer, *self.readers[layer]]:
            if len(self.calls[module]) > 1:
                return f"{name(module)} is called {len(self.calls[module])} times in a forward pass"
        for module in self.readers[layer]:
            for source, readers in list(self.readers.items()):
                if source is not layer and module in readers:
                    return f"its neurons are added to or joined with those of {name(source)} before {name(module)}"
        if layer in self.mixed:
            return f"its neurons do not stay apart on their way to {name(self.mixed[layer])}"
        return None


def changed(output, dimension, neurons, chance):
    """An output with other numbers, small and large ones of both signs, for `neurons`, a mask (channels,)."""
    size = 10 ** (3 * torch.rand(output.shape, generator=chance) - 1)
    others = (size * torch.randn(output.shape, generator=chance)).to(output)
    mask = neurons.to(output.device).view([-1] + [1] * (output.dim() - 1 - dimension % output.dim()))
    return output.clone().copy_(torch.where(mask, others, output))  # in its layout, for the same rounding on its way


def stay_apart(change, module, neurons):
    """Whether an input of a module has changed for no other than `neurons`, a mask (width,)."""
    if change.shape[channel(module)] % len(neurons):
        return False
    found = by_neuron(change, module, len(neurons)).transpose(0, 1).flatten(1).any(1).cpu()
    return not (found & ~neurons).any()
