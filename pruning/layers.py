"""The kinds of layers whose outputs can be pruned: where neurons stand in their weights and inputs."""
import contextlib
import functools
from collections import namedtuple

import torch
from torch import nn
from torch.nn import functional

# The dimensions of a layer's weight that belong to its outputs and to its inputs, and what their sizes are called.
Kind = namedtuple("Kind", "outputs inputs output_size input_size")
KINDS = {nn.Linear: Kind(0, 1, "out_features", "in_features"),
         nn.Conv2d: Kind(0, 1, "out_channels", "in_channels"),
         nn.ConvTranspose2d: Kind(1, 0, "out_channels", "in_channels")}
# Layers that treat every neuron by itself but hold numbers of each: what their number of neurons is called.
FOLLOWERS = {nn.modules.batchnorm._NormBase: "num_features", nn.PReLU: "num_parameters"}


def kind_of(layer):
    """The layer's Kind, None for other modules."""
    return of_class(type(layer))[0]


@functools.lru_cache(maxsize=None)
def of_class(wanted):
    """What KINDS and FOLLOWERS say of a class or one that it derives from, None each if nothing."""
    return [next((value for known, value in table.items() if issubclass(wanted, known)), None)
            for table in (KINDS, FOLLOWERS)]


def follows(module):
    """The name of a follower's size, None for other modules, and for a PReLU whose one slope is that of all neurons."""
    if getattr(module, "num_parameters", None) == 1:
        return None
    return of_class(type(module))[1]


@contextlib.contextmanager
def in_evaluation(model):
    """A model in evaluation mode; afterwards each of its modules is in its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def channel(module):
    """The dimension of a module's input that its channels are in."""
    return -1 if isinstance(module, nn.Linear) else 1


def by_neuron(x, module, width):
    """What a module gets from `width` neurons as (passes, width) or, with several places per neuron, (passes, width,
    places). x: (..., width * places) of a Linear, else (passes, width * channels, ...)."""
    if isinstance(module, nn.Linear):
        x = x.flatten(0, -2)
    return x if x.shape[1:] == (width,) else x.reshape(len(x), width, -1)


def apply(layer, x, weight):
    """The layer's output for x with this weight and without a bias."""
    if isinstance(layer, nn.Linear):
        return functional.linear(x, weight)
    if isinstance(layer, nn.ConvTranspose2d):
        return functional.conv_transpose2d(x, weight, None, layer.stride, layer.padding, layer.output_padding,
                                           layer.groups, layer.dilation)
    return functional.conv2d(padded(layer, x), weight, None, layer.stride, 0, layer.dilation, layer.groups)


def padded(convolution, x):
    """x with the padding of a Conv2d, of any mode, around it."""
    mode = "constant" if convolution.padding_mode == "zeros" else convolution.padding_mode
    return functional.pad(x, convolution._reversed_padding_repeated_twice, mode)


def columns(layer, x):
    """x as (rows, inputs), so that the layer's output is columns @ matrix(layer).T: one row per place of its output,
    with a block of inputs per neuron."""
    if isinstance(layer, nn.Linear):
        return x.flatten(0, -2)
    if isinstance(layer, nn.ConvTranspose2d):  # it is a convolution of x with zeros between its places
        patches = functional.unfold(stretched(layer, x), layer.kernel_size, layer.dilation)
    else:
        patches = functional.unfold(padded(layer, x), layer.kernel_size, layer.dilation, 0, layer.stride)
    return patches.transpose(1, 2).flatten(0, 1)


def stretched(layer, x):
    """x with the zeros between and around its places over which a ConvTranspose2d moves its kernel in steps of 1."""
    between = x.new_zeros(*x.shape[:2], *((size - 1) * stride + 1 for size, stride in zip(x.shape[2:], layer.stride)))
    between[:, :, ::layer.stride[0], ::layer.stride[1]] = x
    margins = [dilation * (size - 1) - padding for size, dilation, padding in
               zip(layer.kernel_size, layer.dilation, layer.padding)]
    around = [margin + more for margin, extra in zip(margins, layer.output_padding) for more in (0, extra)]
    return functional.pad(between, around[2:] + around[:2])


def matrix(layer):
    """The layer's weight as (outputs, inputs), see columns()."""
    if isinstance(layer, nn.ConvTranspose2d):
        return layer.weight.flip(2, 3).transpose(0, 1).flatten(1)
    return layer.weight.flatten(1)


@torch.no_grad()
def set_matrix(layer, new):
    """Set the weight of a layer so that `new`, (outputs, inputs), is its matrix()."""
    shape = layer.weight.shape
    if isinstance(layer, nn.ConvTranspose2d):
        new = new.view(shape[1], shape[0], *shape[2:]).transpose(0, 1).flip(2, 3)
    layer.weight.copy_(new.reshape(shape))


def rows_of(layer, output):
    """A layer's output, or the gradient by it, as (rows, outputs): one row per place, as columns() has them."""
    return output.movedim(channel(layer), -1).flatten(0, -2)
