"""What a network is measured by: its size, and means over whole data sets."""
import torch

from pruning.device import exact, fixed_noise
from pruning.groups import count_parameters, multiply_adds, widths_of


def describe(state, workload):
    """The size of a network, the measures over the whole training and test set, and the workload's further ones."""
    model, dataset, objective = state.model.eval(), workload.dataset, workload.objective
    widths, (image, _) = widths_of(model), next(dataset.test.batches(1))
    return {"widths": widths, "neurons": sum(widths), "parameters": count_parameters(model),
            "multiply-adds": multiply_adds(model, image), **evaluate(model, dataset.train, objective, "training "),
            **evaluate(model, dataset.test, objective, "test "), **workload.quality(model)}


@torch.no_grad()
def evaluate(model, split, objective, prefix):
    """{prefix + measure: mean over the split}, in evaluation mode; a VAE samples the same noise every time."""
    model.eval()
    total = 0
    with fixed_noise(split.labels.device):
        for images, labels in split.batches():
            measures = objective(model, images, labels)[1]
            total = total + len(labels) * exact(torch.stack(list(measures.values())))
    return {prefix + name: mean for name, mean in zip(measures, (total / len(split)).tolist())}
