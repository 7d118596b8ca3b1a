"""Removal against masked and sliced networks."""
import copy
import functools

import pytest
import torch
from torch import nn

import models
from pruning.groups import find_groups, widths_of
from pruning.removal import load_weights, remove


class TwoHeads(nn.Module):
    """Its last layer has two consumers, as a VAE's encoder has. All layers have biases; one is frozen."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 12), nn.Linear(12, 9)
        self.mean, self.variance = nn.Linear(9, 4), nn.Linear(9, 3)
        self.first.bias.requires_grad = self.mean.weight.requires_grad = False

    def forward(self, x):
        x = self.last(self.first(x).relu()).relu()
        return torch.cat([self.mean(x), self.variance(x)], 1)



class Normalised(nn.Module):
    """A BatchNorm before and after the activation, behind the flatten and of two dimensions; a PReLU, pooling, a
    convolution whose map two layers read, and a transposed one."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 6, 3, bias=False), nn.BatchNorm2d(6)
        self.second, self.after = nn.Conv2d(6, 5, 3, stride=2, padding=1, dilation=2), nn.BatchNorm2d(5, affine=False)
        self.up, self.side = nn.ConvTranspose2d(5, 4, 3), nn.Conv2d(5, 2, 1)
        self.slope, self.flat = nn.PReLU(4), nn.BatchNorm1d(16)
        self.hidden, self.plain = nn.Linear(16, 7, bias=False), nn.BatchNorm1d(7, track_running_stats=False)
        self.last = nn.Linear(7, 3)

    def forward(self, x):
        x = nn.functional.max_pool2d(nn.functional.relu(self.norm(self.first(x)), inplace=True), 2)
        x = self.after(self.second(x).relu())
        up = self.flat(nn.functional.adaptive_avg_pool2d(self.slope(self.up(x)), 2).flatten(1))
        return torch.cat([self.last(self.plain(self.hidden(up)).sigmoid()), self.side(x).mean((2, 3))], 1)


class FlatVAE(models.VAE):
    """A VAE that is given the same noise at every pass; its logits, means and log-variances in one row per image.

    They are divided by 10, since it has so many outputs that their sum of squares would take too large steps.
    """

    def forward(self, images):
        noise = torch.linspace(-2, 2, len(images) * self.latent, dtype=images.dtype).view(-1, self.latent)
        return torch.cat([output.flatten(1) for output in super().forward(images, noise)], 1) / 10


# A model, an image's shape, and what stays in each group.
MODELS = {
    "FeedForward": (lambda: models.FeedForward(6, [8, 7, 5], 4), (6,), [[0, 2, 3, 7], [1, 2, 3, 4, 5, 6], [4]]),
    "CNN": (lambda: models.CNN((2, 6, 6), [3, 4], [8, 5], 3), (2, 6, 6), [[0, 2], [1, 3], [1, 2, 5, 6], [0, 3, 4]]),
    "TwoHeads": (TwoHeads, (6,), [[0, 1, 4, 5, 6, 9, 10], [2, 3, 8]]),
    "VAE": (lambda: FlatVAE((2, 8, 8), [3, 4], [9, 8, 7, 6], 3), (2, 8, 8),
            [[1, 2], [0, 2, 3], [0, 2, 3, 5, 8], [1, 2, 6, 7], [0, 1, 4, 5], [2, 3, 5], [0]]),
    "Normalised": (Normalised, (2, 11, 11), [[0, 2, 5], [1, 2, 4], [0, 3], [1, 2, 3, 6]]),
}
# Every way to remove: from all groups (None), or from the group at one place alone.
REMOVALS = [(name, place) for name, (_, _, keeps) in MODELS.items() for place in [None, *range(len(keeps))]]


def two_settings(parameters):
    parameters = list(parameters)
    return torch.optim.SGD([{"params": parameters[1:], "lr": 0.02}, {"params": parameters[:1]}], lr=0.05, momentum=0.9)


# An optimizer and the names of what it holds of each weight.
OPTIMIZERS = {
    "SGD": (functools.partial(torch.optim.SGD, lr=0.05), set()),
    "momentum": (functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9), {"momentum_buffer"}),
    "two settings": (two_settings, {"momentum_buffer"}),
    "Adam": (functools.partial(torch.optim.Adam, lr=0.01), {"step", "exp_avg", "exp_avg_sq"}),
    "AdamW": (functools.partial(torch.optim.AdamW, lr=0.01), {"step", "exp_avg", "exp_avg_sq"}),
    "RMSprop": (functools.partial(torch.optim.RMSprop, lr=0.001, momentum=0.5),
                {"step", "square_avg", "momentum_buffer"}),
}
each_network = pytest.mark.parametrize("network", MODELS)
each_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)


class Trained:
    """A model and its optimizer after three steps, in float64 so that sums in another order agree."""

    def __init__(self, name, optimizer, place=None):
        torch.manual_seed(7)
        make, shape, keeps = MODELS[name]
        self.model = make().double()
        self.groups, _ = find_groups(self.model, torch.rand(4, *shape).double())
        self.keeps = [torch.tensor(keep) if place in (None, number) else torch.arange(width)
                      for number, (keep, width) in enumerate(zip(keeps, widths_of(self.groups)))]
        self.inputs = torch.randn(4, 10, *shape, dtype=torch.float64)
        self.optimizer = OPTIMIZERS[optimizer][0](self.model.parameters())
        for inputs in self.inputs[1:]:
            self.step(inputs)

    def step(self, inputs):
        self.optimizer.zero_grad()
        self.model(inputs).square().sum().backward()
        self.optimizer.step()

    def mask(self):
        """Let the neurons that go give 0, in place of removing them."""
        for group, keep in zip(self.groups, self.keeps):
            for consumer in group.consumers:
                mask = torch.zeros(group.width, dtype=torch.float64)
                mask[keep] = 1
                if isinstance(consumer, nn.Linear):
                    mask = mask.repeat_interleave(consumer.in_features // group.width)
                else:
                    mask = mask.view(-1, 1, 1)
                consumer.register_forward_pre_hook(lambda module, inputs, mask=mask: inputs[0] * mask)

    def remove(self):
        remove(self.groups, self.keeps, self.optimizer)

    def slices(self):
        """{name of a parameter or a buffer: what cuts a tensor of its old shape down to what stays}."""
        outputs, inputs = {}, {}
        for group, keep in zip(self.groups, self.keeps):
            outputs.update(dict.fromkeys([group.producer, *group.followers], (keep.tolist(), group.width)))
            inputs.update(dict.fromkeys(group.consumers, (keep.tolist(), group.width)))

        def cut(module, tensor):
            owners = [outputs.get(module), inputs.get(module)][:tensor.dim()]  # a bias has outputs alone
            if isinstance(module, nn.ConvTranspose2d):
                owners.reverse()
            for dimension, of_dimension in enumerate(owners):
                if of_dimension:
                    keep, width = of_dimension
                    block = tensor.shape[dimension] // width
                    tensor = tensor.transpose(0, dimension)[[block * k + place for k in keep for place in range(block)]]
                    tensor = tensor.transpose(0, dimension)
            return tensor

        return {f"{module_name}.{name}": functools.partial(cut, module)
                for module_name, module in self.model.named_modules()
                for name in [*module._parameters, *module._buffers]}


@pytest.mark.parametrize("network, place", REMOVALS)
def test_the_output_after_removal_equals_that_of_the_masked_network(network, place):
    pruned, masked = Trained(network, "SGD", place), Trained(network, "SGD", place)
    for trained in (pruned, masked):
        trained.model.eval()
    before = pruned.model(pruned.inputs[0])
    pruned.remove()
    masked.mask()
    output = pruned.model(pruned.inputs[0])
    torch.testing.assert_close(output, masked.model(masked.inputs[0]), rtol=0, atol=1e-12)
    assert not torch.allclose(output, before)
    assert widths_of(pruned.groups) == [len(keep) for keep in pruned.keeps]
    sizes = {nn.Linear: "out_features in_features", nn.Conv2d: "out_channels in_channels",
             nn.ConvTranspose2d: "in_channels out_channels", nn.BatchNorm2d: "num_features", nn.PReLU: "num_parameters"}
    for layer in filter(lambda module: type(module) in sizes, pruned.model.modules()):
        tensor = next(value for value in layer.state_dict().values())
        names = sizes[type(layer)].split()
        assert [getattr(layer, name) for name in names] == list(tensor.shape[:len(names)])


@pytest.mark.parametrize("network, place", REMOVALS)
def test_the_output_in_training_and_the_running_statistics_equal_those_of_the_masked_network(network, place):
    pruned, masked = Trained(network, "SGD", place), Trained(network, "SGD", place)
    cuts = pruned.slices()
    pruned.remove()
    masked.mask()
    torch.testing.assert_close(pruned.model(pruned.inputs[0]), masked.model(masked.inputs[0]), rtol=0, atol=1e-12)
    for (name, new), old in zip(pruned.model.named_buffers(), masked.model.buffers()):
        torch.testing.assert_close(new, cuts[name](old), rtol=0, atol=1e-12)


@each_network
@each_optimizer
def test_surviving_weights_and_optimizer_state_keep_their_bits(network, optimizer):
    trained = Trained(network, optimizer)
    cuts, old = trained.slices(), dict(trained.model.named_parameters())
    names = {parameter: name for name, parameter in old.items()}
    settings = [[names[parameter] for parameter in group["params"]] for group in trained.optimizer.param_groups]
    held = len(trained.optimizer.state)
    old_state = {name: dict(trained.optimizer.state.get(parameter, {})) for name, parameter in old.items()}
    trained.model(trained.inputs[0]).square().sum().backward()  # further gradients are being accumulated
    gradients = {name: parameter.grad for name, parameter in old.items()}
    trained.remove()
    new = dict(trained.model.named_parameters())
    assert list(new) == list(old)
    for group, expected in zip(trained.optimizer.param_groups, settings):
        assert [id(parameter) for parameter in group["params"]] == [id(new[name]) for name in expected]
    assert {id(parameter) for parameter in trained.optimizer.state} <= {id(value) for value in new.values()}
    assert len(trained.optimizer.state) == held
    for name, parameter in new.items():
        assert torch.equal(parameter, cuts[name](old[name])), name
        assert parameter.requires_grad == old[name].requires_grad
        assert parameter.grad is gradients[name] is None or torch.equal(parameter.grad, cuts[name](gradients[name]))
        state = trained.optimizer.state.get(parameter, {})
        tensors = {key for key, value in state.items() if value is not None}
        assert tensors == (OPTIMIZERS[optimizer][1] if parameter.requires_grad else set())
        for key in tensors:
            value = old_state[name][key]
            # A step count is one number (in old versions of torch not a tensor) and stays as it is.
            assert torch.equal(torch.as_tensor(state[key]),
                               cuts[name](value) if key != "step" else torch.as_tensor(value)), (name, key)


@each_network
@each_optimizer
def test_training_goes_on_as_in_the_masked_network(network, optimizer):
    pruned, masked = Trained(network, optimizer), Trained(network, optimizer)
    cuts = pruned.slices()
    pruned.remove()
    masked.mask()
    before = {name: parameter.detach().clone() for name, parameter in pruned.model.named_parameters()}
    for inputs in pruned.inputs:
        pruned.step(inputs)
        masked.step(inputs)
        for (name, new), old in zip(pruned.model.named_parameters(), masked.model.parameters()):
            torch.testing.assert_close(new, cuts[name](old), rtol=0, atol=1e-10)
            if new.requires_grad:
                torch.testing.assert_close(new.grad, cuts[name](old.grad), rtol=0, atol=1e-10)
    assert all(torch.equal(new, before[name]) != new.requires_grad for name, new in pruned.model.named_parameters())


@pytest.mark.parametrize("second, words", [
    ([0.5], "1-D int64 tensors, not torch.float32"), ([[1, 2]], "1-D int64"), ([], "not torch.float32"),
    ([2, 2], "each once"), ([3, 1], "ascending"), ([-1, 2], "ascending"), ([0, 7], "below 7"),
    (torch.arange(0), "at least one"), (None, "2 lists of survivors for 3 groups")])
def test_survivors_that_are_none_are_refused_and_change_nothing(second, words):
    trained = Trained("FeedForward", "momentum")
    old = copy.deepcopy(trained.model.state_dict())
    keeps = [torch.arange(2), *([] if second is None else [torch.as_tensor(second)]), torch.arange(2)]
    with pytest.raises(ValueError, match=words):
        remove(trained.groups, keeps, trained.optimizer)
    assert all(torch.equal(value, old[name]) for name, value in trained.model.state_dict().items())


def test_moments_of_rows_and_columns_alone_are_cut_too():
    adafactor = getattr(torch.optim, "Adafactor", None)
    if adafactor is None:
        pytest.skip("this torch has no Adafactor")
    trained = Trained("FeedForward", "SGD")
    trained.optimizer = adafactor(trained.model.parameters())
    trained.step(trained.inputs[0])
    old = {name: dict(trained.optimizer.state[parameter]) for name, parameter in trained.model.named_parameters()}
    trained.remove()
    second = trained.optimizer.state[trained.model.layers[1].weight]
    assert torch.equal(second["row_var"], old["layers.1.weight"]["row_var"][trained.keeps[1]])
    assert torch.equal(second["col_var"], old["layers.1.weight"]["col_var"][:, trained.keeps[0]])
    trained.step(trained.inputs[1])


def test_an_optimizer_with_one_state_of_all_weights_is_refused_and_without_an_optimizer_all_is_sliced():
    trained = Trained("CNN", "SGD")
    with pytest.raises(ValueError, match="LBFGS keeps one state"):
        remove(trained.groups, trained.keeps, torch.optim.LBFGS(trained.model.parameters()))
    with pytest.raises(ValueError, match="list is no optimizer"):
        remove(trained.groups, trained.keeps, [trained.optimizer])
    trained.optimizer.state[trained.model.convolutions[0].weight] = {"flat": torch.ones(54)}
    with pytest.raises(ValueError, match=r"a tensor of the shape \(54,\)"):
        remove(trained.groups, trained.keeps, trained.optimizer)
    assert widths_of(trained.groups) == [3, 4, 8, 5]
    remove(trained.groups, trained.keeps)
    assert widths_of(trained.groups) == list(map(len, trained.keeps))
    assert trained.model(trained.inputs[0]).shape == (10, 3)


def test_several_optimizers_all_follow():
    trained = Trained("CNN", "SGD")
    parameters = list(trained.model.parameters())
    halves = [torch.optim.Adam(half, lr=0.01) for half in (parameters[::2], parameters[1::2])]
    remove(trained.groups, trained.keeps, *halves)
    held = [parameter for half in halves for settings in half.param_groups for parameter in settings["params"]]
    assert set(map(id, held)) == set(map(id, trained.model.parameters()))


@pytest.mark.parametrize("network, saved", [
    (nn.Linear(8, 5), nn.Linear(8, 6)), (nn.Linear(8, 5), nn.Linear(9, 5)), (nn.Conv2d(5, 3, 1), nn.Linear(5, 3)),
    (nn.Linear(8, 5), nn.Linear(8, 5, bias=False))])
def test_weights_of_a_larger_or_another_network_do_not_load(network, saved):
    with pytest.raises(RuntimeError):
        load_weights(network, saved.state_dict())
