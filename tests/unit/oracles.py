"""What the code must agree with, computed number by number or with torch's functions alone."""
import itertools

import torch
from torch import nn
from torch.nn import functional

import models


def by_loops(weights, activations, lambda_average, lambda_max):
    """Equations 1 and 2, number by number; Python's numbers are float64."""
    weights, activations = weights.tolist(), activations.tolist()
    totals, maxima = [0.0] * len(weights[0]), [0.0] * len(weights[0])
    for a in activations:
        for row in weights:
            products = [abs(w) * abs(x) for w, x in zip(row, a)]
            denominator = sum(products)
            for k, product in enumerate(products):
                ratio = product / denominator if denominator else 0.0
                totals[k] += ratio
                maxima[k] = max(maxima[k], ratio)
    count = len(weights) * len(activations)
    return torch.tensor([lambda_average * total / count + lambda_max * maximum
                         for total, maximum in zip(totals, maxima)], dtype=torch.float64)


def parts_by_loops(layer, x):
    """For every number of a layer's output, {channel of its input: its part} with |W|, |x| and no bias, one list per
    image; convolutions have zero padding."""
    x, w = x.abs().tolist(), layer.weight.detach().abs().double()
    if isinstance(layer, nn.Linear):
        return [[{k: row[k] * image[k] for k in range(len(image))} for row in w.tolist()] for image in x]
    transposed = isinstance(layer, nn.ConvTranspose2d)
    w = (w.transpose(0, 1) if transposed else w).tolist()  # by output, then by input
    (stride, _), (padding, _), (dilation, _), (size, _) = layer.stride, layer.padding, layer.dilation, layer.kernel_size
    found = []
    for image in x:
        height, width = len(image[0]), len(image[0][0])
        parts = {}
        for j, kernels in enumerate(w):
            for k, kernel in enumerate(kernels):
                for y, z, dy, dz in itertools.product(range(30), range(30), range(size), range(size)):
                    # From the input's place (y, z) of a transposed convolution, to the output's of another.
                    here, there = (y, z), (y * stride - padding + dy * dilation, z * stride - padding + dz * dilation)
                    if not transposed:
                        here, there = there, here
                    rows, columns = output_size(layer, height), output_size(layer, width)
                    if (0 <= here[0] < height and 0 <= here[1] < width and 0 <= there[0] < rows
                            and 0 <= there[1] < columns):
                        part = parts.setdefault((j, *there), dict.fromkeys(range(len(kernels)), 0.0))
                        part[k] += kernel[dy][dz] * image[k][here[0]][here[1]]
        found.append(list(parts.values()))
    return found


def output_size(layer, size):
    """Places of a convolution's output along a side of its input."""
    stride, padding, dilation, kernel = (
        pair[0] for pair in (layer.stride, layer.padding, layer.dilation, layer.kernel_size))
    if isinstance(layer, nn.ConvTranspose2d):
        return (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def shares_by_loops(group, inputs):
    """C_avg and C_max of a group's neurons, number by number. inputs: {consumer: what it gets}."""
    totals, maxima, count = [0.0] * group.width, [0.0] * group.width, 0
    for consumer in group.consumers:
        for image in parts_by_loops(consumer, inputs[consumer]):
            for parts in image:
                block, denominator = len(parts) // group.width, sum(parts.values())
                count += 1
                for k in range(group.width if denominator else 0):
                    share = sum(parts[block * k + place] for place in range(block)) / denominator
                    totals[k] += share
                    maxima[k] = max(maxima[k], share)
    return (torch.tensor([total / count for total in totals], dtype=torch.float64),
            torch.tensor(maxima, dtype=torch.float64))


def best(scores, count):
    """Indices of the highest scores; of equal scores the lower index."""
    scores = scores.tolist()
    return sorted(sorted(range(len(scores)), key=lambda k: (-scores[k], k))[:count])


def relu(x, *layers):
    """The output of linear layers with a ReLU after the last of them alone."""
    for layer in layers:
        x = x @ layer.weight.detach().T
    return x.clamp(min=0)


def activations_by_hand(model, images):
    """The activations of every group; a VAE's decoder gets the posterior mean."""
    if isinstance(model, models.FeedForward):
        first = relu(images.flatten(1), model.layers[0])
        return [first, relu(first, model.layers[1])]
    for convolution in model.convolutions:
        images = functional.conv2d(images, convolution.weight.detach(), convolution.bias.detach(), 2, 1).clamp(min=0)
    first = relu(images.flatten(1), model.encoder[0])
    second = relu(first, model.encoder[1])
    third = relu(second, model.mean, model.decoder[0])
    return [first, second, third, relu(third, model.decoder[1])]
