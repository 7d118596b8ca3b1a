"""The neuron groups of a network, and the network's size."""
from collections import namedtuple

import torch
from torch import nn

# The hidden neurons of one layer: the Linear that produces them and the Linears that consume them.
NeuronGroup = namedtuple("NeuronGroup", "producer consumers")


def chain(layers):
    """The groups of consecutive layers, each of which feeds the next one alone."""
    return [NeuronGroup(producer, [consumer]) for producer, consumer in zip(layers, layers[1:])]


def widths_of(model):
    """The present number of neurons of each group."""
    return [group.producer.out_features for group in model.groups()]


def count_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def multiply_adds(model, image):
    """The multiply-adds of all linear layers and convolutions in the forward pass of an image (1, channels, height,
    width). A kernel's products with the padding count too."""
    def count(layer, inputs, output):
        # Each number of the output (of a transposed convolution: of the input) is multiplied by a part of the weight.
        numbers = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        counts.append(numbers.numel() * layer.weight[0].numel())

    counts = []
    hooks = [layer.register_forward_hook(count) for layer in model.modules()
             if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d))]
    model(image)
    for hook in hooks:
        hook.remove()
    return sum(counts)
