"""What the code must agree with, computed number by number or with torch's functions alone."""
import torch
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
