"""The networks, their neuron groups, and the removal of neurons together with the optimizer's state of them."""
from collections import namedtuple

import torch
from torch import nn

# The hidden neurons of one layer: the Linear that produces them and the Linears that consume them.
NeuronGroup = namedtuple("NeuronGroup", "producer consumers")


class FeedForward(nn.Module):
    """Linear layers without biases, a ReLU after each but the last.

    inputs: pixels of an image over all channels. hidden_widths: neurons of each hidden layer. classes: outputs.
    Takes (B, ...) with `inputs` numbers an image, returns logits (B, classes).
    """

    def __init__(self, inputs, hidden_widths, classes):
        super().__init__()
        sizes = [inputs, *hidden_widths, classes]
        self.layers = nn.ModuleList(nn.Linear(n, m, bias=False) for n, m in zip(sizes, sizes[1:]))

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)

    def groups(self):
        return [NeuronGroup(producer, [consumer]) for producer, consumer in zip(self.layers, self.layers[1:])]


class CNN(nn.Module):
    """3x3 convolutions with biases, each with ReLU and 2x2 max-pooling, then a FeedForward.

    image_shape: (channels, height, width). Takes (B, *image_shape), returns logits (B, classes).
    """

    def __init__(self, image_shape, conv_widths, hidden_widths, classes):
        super().__init__()
        channels, height, width = image_shape
        sizes = [channels, *conv_widths]
        self.convolutions = nn.ModuleList(nn.Conv2d(n, m, 3, padding=1) for n, m in zip(sizes, sizes[1:]))
        halvings = 2 ** len(conv_widths)
        self.classifier = FeedForward(sizes[-1] * (height // halvings) * (width // halvings), hidden_widths, classes)

    def forward(self, x):
        for convolution in self.convolutions:
            # ReLU and maximum commute to the bit, gradients too; after the pooling ReLU has a quarter of the work.
            x = nn.functional.max_pool2d(convolution(x), 2).relu()
        return self.classifier(x)

    def groups(self):
        return self.classifier.groups()


def build(image_shape, conv_widths, hidden_widths, classes):
    """The classifier of these sizes: a CNN where there are convolutions, else a FeedForward."""
    if conv_widths:
        return CNN(image_shape, conv_widths, hidden_widths, classes)
    channels, height, width = image_shape
    return FeedForward(channels * height * width, hidden_widths, classes)


def widths(model):
    """The present number of neurons of each group."""
    return [group.producer.out_features for group in model.groups()]


def count_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


# ---- removal: for every model that names its neuron groups ----

def remove(group, keep, optimizer):
    """Remove all neurons of the group but those at the indices `keep`, a 1-D int64 tensor in ascending order.

    Every surviving weight and its state in the optimizer (momentum, moments) keep their values bit for bit; the
    optimizer's parameters stay the model's. Raises ValueError where no neuron would stay.
    """
    if len(keep) == 0:
        raise ValueError("a group keeps at least one neuron")
    keep_outputs(group.producer, keep, optimizer)
    for consumer in group.consumers:
        keep_inputs(consumer, keep, optimizer)


def keep_outputs(layer, keep, optimizer):
    """Keep the rows `keep` of a Linear and their bias entries."""
    keep_slices(layer, "weight", 0, keep, optimizer)
    if layer.bias is not None:
        keep_slices(layer, "bias", 0, keep, optimizer)
    layer.out_features = len(keep)


def keep_inputs(layer, keep, optimizer):
    """Keep the columns `keep` of a Linear."""
    keep_slices(layer, "weight", 1, keep, optimizer)
    layer.in_features = len(keep)


def keep_slices(layer, name, dim, keep, optimizer):
    old = getattr(layer, name)
    keep = keep.to(old.device)
    new = nn.Parameter(old.detach().index_select(dim, keep), requires_grad=old.requires_grad)
    setattr(layer, name, new)
    for settings in optimizer.param_groups:
        settings["params"] = [new if parameter is old else parameter for parameter in settings["params"]]
    if old in optimizer.state:
        # A tensor of the weight's own shape belongs to its entries; a step count belongs to the whole.
        optimizer.state[new] = {
            key: value.index_select(dim, keep) if torch.is_tensor(value) and value.shape == old.shape else value
            for key, value in optimizer.state.pop(old).items()}
