"""What an evaluation measures, and that it leaves no trace."""
import pytest
import torch
from torch import nn
from torch.nn import functional
from unit_helpers import classifier, random_split, random_workload

import driver
from pruning import datasets, measures


def test_an_evaluation_is_the_mean_over_all_images_in_evaluation_mode():
    split = random_split(datasets.EVALUATION_BATCH + 37, 5)
    split.labels[datasets.EVALUATION_BATCH:] = 0  # the smaller batch differs from the rest
    torch.manual_seed(2)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3))
    measured = measures.evaluate(model, split, driver.classify, "test ")

    inputs = (split.images.double() / 255 - 0.5) / 0.5
    logits = inputs.flatten(1) @ model[2].weight.detach().double().T + model[2].bias.detach().double()
    right = sum(row.index(max(row)) == label for row, label in zip(logits.tolist(), split.labels.tolist()))
    assert measured == pytest.approx({"test loss": functional.cross_entropy(logits, split.labels).item(),
                                      "test accuracy": 100 * right / len(split)}, rel=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_evaluation_leaves_the_global_random_state_and_draws_the_same_each_time():
    drawn = []

    def drawing(model, images, labels):
        drawn.append(torch.randn(3).tolist())
        return driver.classify(model, images, labels)

    model, split = classifier().model, random_split(20, 0)
    for _ in range(2):
        torch.rand(5)
        before = torch.get_rng_state()
        measures.evaluate(model, split, drawing, "")
        assert torch.equal(torch.get_rng_state(), before)
    assert drawn[0] == drawn[1]


def test_a_description_has_sizes_measures_and_the_workloads_own():
    workload = random_workload(quality=lambda model: {"active units": 7})
    assert {name: value for name, value in measures.describe(classifier(), workload).items() if " " not in name} == {
        "widths": [50, 30], "neurons": 80, "parameters": 16 * 50 + 50 * 30 + 30 * 3,
        "multiply-adds": 16 * 50 + 50 * 30 + 30 * 3}
    assert [name for name in measures.describe(classifier(), workload) if " " in name] == [
        "training loss", "training accuracy", "test loss", "test accuracy", "active units"]


def test_a_description_leaves_running_statistics_alone():
    state = classifier()
    first = state.model.layers[0]
    state.model.layers[0] = nn.Sequential(first, nn.BatchNorm1d(50))  # in training mode it fails on one image
    state.model.groups = list
    measures.describe(state, random_workload())
    assert state.model.layers[0][1].num_batches_tracked == 0
