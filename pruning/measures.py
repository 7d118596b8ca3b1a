"""What a network is measured by: its size, and means over whole data sets."""
import torch
from torch import nn

from pruning import spread
from pruning.device import exact, fixed_noise
from pruning.groups import widths_of
from pruning.layers import in_evaluation, kind_of


def describe(state, workload):
    """The size of a network, the measures over the whole training and test set, and the workload's further ones."""
    model, dataset, objective = state.model, workload.dataset, workload.objective
    widths, (image, _) = widths_of(state.groups), next(dataset.test.batches(1))
    return {"widths": widths, "neurons": sum(widths), "parameters": count_parameters(model),
            "multiply-adds": multiply_adds(model, image), **evaluate(model, dataset.train, objective, "training "),
            **evaluate(model, dataset.test, objective, "test "), **workload.quality(model)}


@torch.no_grad()
def evaluate(model, split, objective, prefix):
    """{prefix + measure: mean over the split}, in evaluation mode; a VAE samples the same noise every time."""
    total = 0
    with in_evaluation(model), fixed_noise(split.labels.device):
        for images, labels in split:
            measures = objective(model, images, labels)[1]
            total = total + len(labels) * exact(torch.stack(list(measures.values())))
    total = spread.total(total)
    return {prefix + name: mean for name, mean in zip(measures, (total / len(split)).tolist())}


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
    hooks = [layer.register_forward_hook(count) for layer in model.modules() if kind_of(layer)]
    with in_evaluation(model):
        model(image)
    for hook in hooks:
        hook.remove()
    return sum(counts)
