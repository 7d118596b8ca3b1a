"""obs and kfac against removing every neuron in turn, with a refit by torch.linalg.lstsq."""
import copy

import pytest
import torch
from test_removal import MODELS, Trained
from torch import nn
from unit_helpers import options

import ranking
from pruning import compensation
from pruning.compensation import compensate
from pruning.elimination import LAG, steps_of_removal
from pruning.groups import NeuronGroup
from pruning.layers import apply, columns, matrix, rows_of, set_matrix
from pruning.passes import RIDGE, Passes, with_ridge

LAYERS = [
    nn.Linear(5, 3), nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(4, 3, (3, 2), stride=(2, 1), padding=(2, 1), dilation=2),
    nn.Conv2d(4, 2, 3, padding=1, padding_mode="circular"), nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1),
    nn.ConvTranspose2d(4, 3, (3, 2), stride=(3, 2), padding=(0, 3), output_padding=(2, 1), dilation=(2, 1))]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_a_layer_is_a_product_of_its_columns_and_its_matrix(layer):
    layer = copy.deepcopy(layer).double()
    x = torch.randn(2, 7, 5).double() if isinstance(layer, nn.Linear) else torch.randn(2, 4, 6, 7).double()
    rows = columns(layer, x)
    torch.testing.assert_close(rows @ matrix(layer).T, rows_of(layer, apply(layer, x, layer.weight)))
    new = torch.randn_like(matrix(layer))
    set_matrix(layer, new)
    assert torch.equal(matrix(layer), new)
    torch.testing.assert_close(rows @ new.T, rows_of(layer, apply(layer, x, layer.weight)))


def order_by_trial(width, parts):
    """The step at which each neuron goes, if every one that is left is removed in turn and all weights are refitted.

    parts: (inputs A (rows, columns), matrix W (outputs, columns), curvature C or None, images) of consumers. Rows for
    the ridge are appended to A.
    """
    def with_rows(a, images):
        ridge = RIDGE * a.square().sum() / a.shape[1]
        return torch.cat([a, ridge.sqrt() * torch.eye(a.shape[1]).double()])

    parts = [(with_rows(a, images), w, curvature, images) for a, w, curvature, images in parts]

    def cost(left):
        total = 0
        for a, w, curvature, images in parts:
            block = len(w[0]) // width
            kept = [block * k + place for k in left for place in range(block)]
            target = a @ w.T
            change = target - (a[:, kept] @ torch.linalg.lstsq(a[:, kept], target, driver="gelsd").solution)
            total += ((change if curvature is None else change @ curvature) * change).sum().item() / images
        return total

    left, steps = list(range(width)), [0] * width
    for step in range(width):
        costs = {k: cost([other for other in left if other != k]) for k in left}
        gone = min(left, key=costs.get)
        assert len(left) < 2 or sorted(costs.values())[1] > 1.0001 * costs[gone]  # no tie that rounding could decide
        left.remove(gone)
        steps[gone] = step
    return steps


def network_and_passes(name):
    trained = Trained(name, "SGD")
    images = torch.randn(80, *MODELS[name][1], dtype=torch.float64)
    batches = [(images[:50], torch.zeros(50)), (images[50:], torch.zeros(30))]
    return trained, batches, Passes(trained.model, trained.groups, batches,
                                    lambda model, images, labels: model(images).tanh().square().sum() / len(images))


def recorded(trained, batches):
    """{consumer: its inputs} and {consumer: the gradients of the images' losses by its outputs}, of all batches."""
    heard, slopes = {}, {}

    def keep(layer, inputs, output):
        heard.setdefault(layer, []).append(inputs[0].detach())
        output.register_hook(lambda slope: slopes.setdefault(layer, []).append(slope))
        return output.clone()

    hooks = [consumer.register_forward_hook(keep) for group in trained.groups for consumer in group.consumers]
    trained.model.eval()
    for images, _ in batches:
        trained.model(images).tanh().square().sum().backward()
    for hook in hooks:
        hook.remove()
    return ({layer: torch.cat(some) for layer, some in which.items()} for which in (heard, slopes))


@pytest.mark.parametrize("criterion", ["obs", "kfac"])
@pytest.mark.parametrize("name", MODELS)
def test_neurons_go_in_the_order_of_what_their_removal_costs_after_the_best_refit(name, criterion):
    trained, batches, passes = network_and_passes(name)
    scores = ranking.CRITERIA[criterion](trained.groups, passes, options())
    heard, slopes = recorded(trained, batches)
    for group, found in zip(trained.groups, scores):
        parts = []
        shared = len(group.consumers) > 1 and all(isinstance(consumer, nn.Linear) for consumer in group.consumers)
        for consumers in [group.consumers] if shared else [[consumer] for consumer in group.consumers]:
            curvature = None
            if criterion == "kfac":
                g = torch.cat([rows_of(consumer, slopes[consumer]) for consumer in consumers], 1)
                curvature = g.T @ g / len(g)
            w = torch.cat([matrix(consumer).detach() for consumer in consumers])
            parts.append((columns(consumers[0], heard[consumers[0]]), w, curvature, 80))
        assert found.dtype == torch.float64 and found.tolist() == order_by_trial(group.width, parts)


def scores_of(a, w, curvature=None):
    """The steps of one group with a Linear consumer of weights w (outputs, neurons) and activations a (images,
    neurons)."""
    consumer = nn.Linear(w.shape[1], w.shape[0], bias=False).double()
    consumer.weight.data = w
    group, curvatures = NeuronGroup(nn.Linear(2, w.shape[1]), [consumer]), {}
    if curvature is not None:
        curvatures[(consumer,)] = curvature
    return steps_of_removal(group, {(consumer,): with_ridge(a.T @ a / len(a))}, curvatures).tolist()


@pytest.mark.parametrize("width", [7, LAG + LAG // 2])
def test_the_curvature_is_that_of_the_gradients_by_the_activations(width):
    # G = E[g g^T] of the gradients g by the activations; with s by the outputs, g = W^T s and G = W^T C W.
    chance = torch.Generator().manual_seed(3)
    a, w, s = (torch.randn(*shape, generator=chance).double() for shape in ((400, width), (4, width), (400, 4)))
    g, left, steps = s @ w, list(range(width)), [0] * width
    inverse, curvature = torch.linalg.inv(with_ridge(a.T @ a / 400)), g.T @ g / 400
    for step in range(width):
        costs = {k: (curvature[k, k] / inverse[k, k]).item() for k in left}
        k = min(left, key=costs.get)
        left.remove(k)
        steps[k] = step
        row = inverse[k] / inverse[k, k]
        t = torch.eye(width).double()
        t[k] -= row
        curvature, inverse = t.T @ curvature @ t, inverse - torch.outer(inverse[:, k], row)
    assert scores_of(a, w, s.T @ s / 400) == steps


def test_dead_and_duplicate_neurons_go_first_and_one_of_each_pair_stays():
    chance = torch.Generator().manual_seed(4)
    a, w = torch.rand(50, 8, generator=chance).double(), torch.randn(3, 8, generator=chance).double()
    a[:, 2] = 0                  # never active
    w[:, 5] = 0                  # read by nobody
    a[:, 6] = 2 * a[:, 1]        # the same neuron twice
    steps = scores_of(a, w)
    assert {steps[2], steps[5], min(steps[1], steps[6])} == {0, 1, 2} and max(steps[1], steps[6]) > 2
    assert sorted(steps) == list(range(8))


@pytest.mark.parametrize("a", [torch.zeros(4, 3), torch.ones(4, 3), torch.rand(1, 3), torch.rand(9, 1)],
                         ids=["nothing is active", "all alike", "one image", "one neuron"])
def test_a_singular_moment_and_a_single_neuron_are_ranked_too(a):
    steps = scores_of(a.double(), torch.ones(2, a.shape[1]).double())
    assert sorted(steps) == list(range(a.shape[1]))


def test_of_equal_costs_the_higher_index_goes_first():
    assert scores_of(torch.eye(4).double(), torch.ones(2, 4).double()) == [3, 2, 1, 0]


@pytest.mark.parametrize("name", ["CNN", "VAE", "Normalised"])
def test_compensation_is_the_criterions_own_refit(name, monkeypatch):
    monkeypatch.setattr(compensation, "RIDGE", 0)  # beside that of the moments
    trained, _, passes = network_and_passes(name)
    steps = ranking.obs(trained.groups, passes, options())
    moments = passes.moments()
    for group, order in zip(trained.groups, steps):
        gone = int(order.argmin())
        keep = torch.tensor([k for k in range(group.width) if k != gone])
        for consumers in (some for some in moments if some[0] in group.consumers):
            inverse = torch.linalg.inv(moments[consumers])
            before = [matrix(layer).detach().clone() for layer in consumers]
            columns_of = torch.arange(len(inverse)).view(group.width, -1)
            block, kept = columns_of[gone], columns_of[keep].flatten()
            y = torch.linalg.solve(inverse[block][:, block], inverse[block])
            compensate(group, keep, {consumers: moments[consumers]})
            for layer, old in zip(consumers, before):  # equation 4
                torch.testing.assert_close(matrix(layer).detach()[:, kept], (old - old[:, block] @ y)[:, kept])


def test_a_criterion_and_its_refit_take_one_pass():
    trained, batches, passes = network_and_passes("CNN")
    given = []

    class Once:
        def __iter__(self):
            given.append(1)
            return iter(batches)

    passes.batches, passes.with_moments = Once(), True
    ranking.kfac(trained.groups, passes, options())
    passes.moments()
    assert len(given) == 1
