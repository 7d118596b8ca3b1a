"""Architectures against hand-counted numbers, removal against masked and sliced networks."""
import copy
import functools
import os

import pytest
import torch
from torch import nn
from torch.nn import functional

import checkpoint
import errors
import models


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

    def groups(self):
        return [models.NeuronGroup(self.first, [self.last]), models.NeuronGroup(self.last, [self.mean, self.variance])]


class FlatVAE(models.VAE):
    """A VAE that is given the same noise at every pass; its logits, means and log-variances in one row an image.

    They are divided by 10, since it has so many outputs that their sum of squares would take too large steps.
    """

    def forward(self, images):
        noise = torch.linspace(-2, 2, len(images) * self.latent, dtype=images.dtype).view(-1, self.latent)
        return torch.cat([output.flatten(1) for output in super().forward(images, noise)], 1) / 10


# A model, an image's shape, and what stays in each group.
MODELS = {
    "FeedForward": (lambda: models.FeedForward(6, [8, 7, 5], 4), (6,), [[0, 2, 3, 7], [1, 2, 3, 4, 5, 6], [4]]),
    "CNN": (lambda: models.CNN((2, 6, 6), [3, 4], [8, 5], 3), (2, 6, 6), [[1, 2, 5, 6], [0, 3, 4]]),
    "TwoHeads": (TwoHeads, (6,), [[0, 1, 4, 5, 6, 9, 10], [2, 3, 8]]),
    "VAE": (lambda: FlatVAE((2, 8, 8), [3, 4], [9, 8, 7, 6], 3), (2, 8, 8),
            [[0, 2, 3, 5, 8], [1, 2, 6, 7], [0, 1, 4, 5], [2, 3, 5]]),
}


def two_settings(parameters):
    parameters = list(parameters)
    return torch.optim.SGD([{"params": parameters[1:], "lr": 0.02}, {"params": parameters[:1]}], lr=0.05, momentum=0.9)


# Every way to remove: from all groups (None), or from the group at one place alone.
REMOVALS = [(name, place) for name, (_, _, keeps) in MODELS.items() for place in [None, *range(len(keeps))]]

# An optimizer and the names of what it holds of each weight.
OPTIMIZERS = {
    "SGD": (functools.partial(torch.optim.SGD, lr=0.05), set()),
    "momentum": (functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9), {"momentum_buffer"}),
    "two settings": (two_settings, {"momentum_buffer"}),
    "Adam": (functools.partial(torch.optim.Adam, lr=0.01), {"step", "exp_avg", "exp_avg_sq"}),
}


class Trained:
    """A model and its optimizer after three steps, in float64 so that sums in another order agree."""

    def __init__(self, name, optimizer, place=None):
        torch.manual_seed(7)
        make, shape, keeps = MODELS[name]
        self.model = make().double()
        self.keeps = [torch.tensor(keep) if place in (None, number) else torch.arange(width)
                      for number, (keep, width) in enumerate(zip(keeps, models.widths(self.model)))]
        self.inputs = torch.randn(4, 10, *shape, dtype=torch.float64)
        self.optimizer = OPTIMIZERS[optimizer][0](self.model.parameters())
        for inputs in self.inputs[1:]:
            self.step(inputs)

    def step(self, inputs):
        self.optimizer.zero_grad()
        self.model(inputs).square().sum().backward()
        self.optimizer.step()

    def mask(self):
        """Set the activations of the neurons that go to zero: before the ReLU is as good as after it."""
        for group, keep in zip(self.model.groups(), self.keeps):
            mask = torch.zeros(group.producer.out_features, dtype=torch.float64)
            mask[keep] = 1
            group.producer.register_forward_hook(lambda module, inputs, output, mask=mask: output * mask)

    def remove(self):
        models.remove(self.model.groups(), self.keeps, self.optimizer)

    def slices(self):
        """{parameter's name: what cuts a tensor of its old shape down to what stays}."""
        rows = {group.producer: keep for group, keep in zip(self.model.groups(), self.keeps)}
        columns = {consumer: keep for group, keep in zip(self.model.groups(), self.keeps)
                   for consumer in group.consumers}

        def cut(module, tensor):
            tensor = tensor[rows.get(module, slice(None))]
            return tensor[:, columns.get(module, slice(None))] if tensor.dim() == 2 else tensor

        return {name: functools.partial(cut, module) for module_name, module in self.model.named_modules()
                for name, _ in module.named_parameters(module_name, recurse=False)}


@pytest.fixture(params=OPTIMIZERS)
def optimizer(request):
    return request.param


@pytest.fixture(params=MODELS)
def network(request):
    return request.param


# ---- removal ----

@pytest.mark.parametrize("network, place", REMOVALS)
def test_the_output_after_removal_equals_that_of_the_masked_network(network, place):
    pruned, masked = Trained(network, "SGD", place), Trained(network, "SGD", place)
    before = pruned.model(pruned.inputs[0])
    pruned.remove()
    masked.mask()
    output = pruned.model(pruned.inputs[0])
    torch.testing.assert_close(output, masked.model(masked.inputs[0]), rtol=0, atol=1e-12)
    assert not torch.allclose(output, before)
    assert models.widths(pruned.model) == [len(keep) for keep in pruned.keeps]


def test_surviving_weights_and_optimizer_state_keep_their_bits(network, optimizer):
    trained = Trained(network, optimizer)
    cuts, old = trained.slices(), dict(trained.model.named_parameters())
    old_state = {name: dict(trained.optimizer.state.get(parameter, {})) for name, parameter in old.items()}
    trained.remove()
    new = dict(trained.model.named_parameters())
    assert list(new) == list(old)
    for name, parameter in new.items():
        assert torch.equal(parameter, cuts[name](old[name])), name
        assert parameter.requires_grad == old[name].requires_grad
        state = trained.optimizer.state.get(parameter, {})
        tensors = {key for key, value in state.items() if value is not None}
        assert tensors == (OPTIMIZERS[optimizer][1] if parameter.requires_grad else set())
        for key in tensors:
            value = old_state[name][key]
            # A step count is one number (in old versions of torch not a tensor) and stays as it is.
            assert torch.equal(torch.as_tensor(state[key]),
                               cuts[name](value) if key != "step" else torch.as_tensor(value)), (name, key)


def test_the_parameters_of_the_optimizer_are_those_of_the_model(network, optimizer):
    trained = Trained(network, optimizer)
    names = {parameter: name for name, parameter in trained.model.named_parameters()}
    settings = [[names[parameter] for parameter in group["params"]] for group in trained.optimizer.param_groups]
    held = len(trained.optimizer.state)
    trained.remove()
    parameters = dict(trained.model.named_parameters())
    for group, expected in zip(trained.optimizer.param_groups, settings):
        assert [id(parameter) for parameter in group["params"]] == [id(parameters[name]) for name in expected]
    assert {id(parameter) for parameter in trained.optimizer.state} <= {id(value) for value in parameters.values()}
    assert len(trained.optimizer.state) == held


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


# ---- compensation ----

def test_compensation_is_the_least_squares_solution_in_every_consumer(network):
    trained = Trained(network, "SGD")
    chance = torch.Generator().manual_seed(1)
    for group, keep in zip(trained.model.groups(), trained.keeps):
        activations = torch.rand(90, group.producer.out_features, generator=chance, dtype=torch.float64) ** 4
        before = [consumer.weight.detach().clone() for consumer in group.consumers]
        models.compensate(group, keep, activations.T @ activations / len(activations))
        for consumer, weight in zip(group.consumers, before):
            expected = torch.linalg.lstsq(activations[:, keep], activations @ weight.T).solution.T
            torch.testing.assert_close(consumer.weight[:, keep], expected, rtol=1e-4, atol=1e-4)
            gone = sorted(set(range(weight.shape[1])) - set(keep.tolist()))
            assert gone and torch.equal(consumer.weight[:, gone], weight[:, gone])
            assert not torch.allclose(consumer.weight[:, keep], weight[:, keep], rtol=0.01)


def test_where_nothing_decides_compensation_leaves_the_old_weights():
    group = models.NeuronGroup(nn.Linear(3, 5), [nn.Linear(5, 2, bias=False)])
    activations = torch.rand(20, 5, dtype=torch.float64)
    activations[:, [1, 3]] = 0  # of the three that stay two are never active
    before = group.consumers[0].weight.detach().clone()
    models.compensate(group, torch.tensor([0, 1, 3]), activations.T @ activations)
    after = group.consumers[0].weight.detach()
    assert torch.equal(after[:, [1, 3]], before[:, [1, 3]]) and not torch.allclose(after[:, 0], before[:, 0])
    models.compensate(group, torch.tensor([1, 3]), torch.zeros(5, 5, dtype=torch.float64))
    assert torch.equal(group.consumers[0].weight, after)


def test_at_least_one_neuron_stays():
    trained = Trained("FeedForward", "momentum")
    old = copy.deepcopy(trained.model.state_dict())
    with pytest.raises(ValueError):
        models.remove(trained.model.groups(), [torch.arange(2), torch.arange(0), torch.arange(2)], trained.optimizer)
    assert all(torch.equal(value, old[name]) for name, value in trained.model.state_dict().items())


def test_printing_a_model_shows_its_present_widths(network):
    trained = Trained(network, "SGD")
    trained.remove()
    for layer in filter(lambda module: isinstance(module, nn.Linear), trained.model.modules()):
        assert (layer.out_features, layer.in_features) == layer.weight.shape
        assert "in_features={}, out_features={},".format(*reversed(layer.weight.shape)) in str(trained.model)


# ---- architectures ----

MNIST = {"image_shape": (1, 28, 28), "conv_widths": [], "hidden_widths": [50, 30], "classes": 10}
CIFAR10 = {"image_shape": (3, 32, 32), "conv_widths": [16, 32], "hidden_widths": [256, 128], "classes": 10}


@pytest.mark.parametrize("network, parameters", [
    (MNIST, 784 * 50 + 50 * 30 + 30 * 10),
    (CIFAR10, (27 * 16 + 16) + (144 * 32 + 32) + 2048 * 256 + 256 * 128 + 128 * 10),
    ({**CIFAR10, "classes": 100}, (27 * 16 + 16) + (144 * 32 + 32) + 2048 * 256 + 256 * 128 + 128 * 100),
], ids=["MNIST", "CIFAR-10", "CIFAR-100"])
def test_networks_are_of_the_published_sizes(network, parameters):
    model = models.build(**network)
    assert models.count_parameters(model) == parameters
    assert models.widths(model) == network["hidden_widths"]
    assert all(module.bias is None for module in model.modules() if isinstance(module, nn.Linear))
    assert model(torch.zeros(2, *network["image_shape"])).shape == (2, network["classes"])


CELEBA = {"image_shape": (3, 64, 64), "conv_widths": [32, 64], "hidden_widths": [2048, 4096, 4096, 2048], "latent": 100}


def test_the_vae_of_celeba_is_of_the_published_size(monkeypatch):
    # 85 million weights need no memory on this device; torch 1.13 cannot name it for a whole model.
    monkeypatch.setattr(nn, "Linear", functools.partial(nn.Linear, device="meta"))
    model = models.VAE(**CELEBA)
    assert models.count_parameters(model) == 85183619
    assert models.widths(model) == CELEBA["hidden_widths"]


def small_vae(**changes):
    """(the arguments of a small VAE, the VAE, images, noise)"""
    torch.manual_seed(5)
    network = {"image_shape": (2, 12, 8), "conv_widths": [3, 4], "hidden_widths": [9, 8, 7, 6], "latent": 5, **changes}
    return network, models.VAE(**network), torch.rand(10, *network["image_shape"]), torch.randn(10, network["latent"])


@pytest.mark.parametrize("changes", [
    {"image_shape": (1, 28, 28)}, {"image_shape": (3, 32, 32)}, {"image_shape": (3, 32, 16), "conv_widths": [2] * 4},
    {"conv_widths": []}, {"hidden_widths": [9, 8]}, {"hidden_widths": [9, 8, 7, 6, 5, 4]}, {"latent": 1}], ids=str)
def test_a_vae_gives_back_images_of_the_shape_that_it_takes(changes):
    network, model, images, noise = small_vae(**changes)
    latent = (10, network["latent"])
    for outputs in (model(images), model(images, noise)):
        assert [output.shape for output in outputs] == [images.shape, latent, latent]
    assert models.widths(model) == network["hidden_widths"]
    for module in model.modules():
        if hasattr(module, "weight"):
            assert (module.bias is None) == isinstance(module, nn.Linear)


def test_a_vae_computes_convolutions_a_sampled_latent_and_the_same_back():
    _, model, images, noise = small_vae()
    for parameter in model.parameters():
        parameter.data *= 3  # the first weights give log-variances so near 0 that their part could not be seen
    down, up = model.convolutions, model.deconvolutions
    x = functional.conv2d(images, down[0].weight, down[0].bias, stride=2, padding=1).clamp(min=0)
    x = functional.conv2d(x, down[1].weight, down[1].bias, stride=2, padding=1).clamp(min=0).reshape(10, -1)
    for layer in model.encoder:
        x = (x @ layer.weight.T).clamp(min=0)
    mean, logvar = x @ model.mean.weight.T, x @ model.logvar.weight.T
    x = mean + noise * torch.sqrt(torch.exp(logvar))
    for layer in model.decoder:
        x = (x @ layer.weight.T).clamp(min=0)
    x = functional.conv_transpose2d(x.reshape(10, 4, 3, 2), up[0].weight, up[0].bias, stride=2, padding=1).clamp(min=0)
    logits = functional.conv_transpose2d(x, up[1].weight, up[1].bias, stride=2, padding=1)
    torch.testing.assert_close(model(images, noise), (logits, mean, logvar))
    torch.testing.assert_close(model(images)[0], model.decode(mean))
    assert logvar.abs().mean() > 0.1


@pytest.mark.parametrize("model, shape, products", [
    (lambda: models.build((1, 28, 28), [], [50, 30], 10), (1, 28, 28), 784 * 50 + 50 * 30 + 30 * 10),
    (lambda: models.build((3, 32, 32), [16, 32], [256, 128], 10), (3, 32, 32),
     32 * 32 * 16 * 27 + 16 * 16 * 32 * 16 * 9 + 2048 * 256 + 256 * 128 + 128 * 10),
    # 4x4 kernels: 4 x 4 numbers out of the convolution; of the transposed one each of 3 x 4 x 4 inputs meets 2 x 16.
    (lambda: models.VAE((2, 8, 8), [3], [5, 4], 6), (2, 8, 8),
     4 * 4 * 3 * 32 + 48 * 5 + 2 * 5 * 6 + 6 * 4 + 4 * 48 + 48 * 2 * 16)])
def test_multiply_adds_by_hand(model, shape, products):
    assert models.multiply_adds(model(), torch.zeros(1, *shape)) == products


def test_the_groups_of_a_vae_chain_and_the_encoders_last_feeds_mean_and_log_variance():
    _, model, _, _ = small_vae()
    (first, last), (widen, widest, inner) = model.encoder, model.decoder
    assert model.groups() == [(first, [last]), (last, [model.mean, model.logvar]), (widen, [widest]), (widest, [inner])]


def test_networks_compute_convolution_relu_pooling_and_linear_relu():
    torch.manual_seed(0)
    model, images = models.build((2, 12, 8), [3, 4], [7, 6], 5), torch.randn(9, 2, 12, 8)
    first_weight, first_bias, second_weight, second_bias, *linear = model.parameters()
    x = functional.max_pool2d(functional.conv2d(images, first_weight, first_bias, padding=1).clamp(min=0), 2)
    x = functional.max_pool2d(functional.conv2d(x, second_weight, second_bias, padding=1).clamp(min=0), 2)
    x = (x.reshape(9, -1) @ linear[0].T).clamp(min=0)
    torch.testing.assert_close(model(images), (x @ linear[1].T).clamp(min=0) @ linear[2].T)


# ---- files ----

# What makes a network, and its arguments.
NETWORKS = {"feed-forward": (models.build, {**MNIST, "image_shape": (1, 6, 6)}),
            "convolutional": (models.build, {**CIFAR10, "image_shape": (3, 8, 8)}),
            "VAE": (models.VAE, {**CELEBA, "image_shape": (3, 8, 8), "hidden_widths": [20, 40, 30, 10]})}


def pruned_network(make, sizes):
    torch.manual_seed(3)
    model = make(**sizes)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    models.remove(model.groups(), [torch.arange(0, width, 3) for width in models.widths(model)], optimizer)
    return model, {**sizes, "hidden_widths": models.widths(model)}


@pytest.fixture(params=NETWORKS)
def made(request):
    return NETWORKS[request.param]


def test_a_saved_network_loads_in_three_lines(made, tmp_path):
    make, sizes = made
    model, network = pruned_network(make, sizes)
    path = str(tmp_path / "network.pt")
    checkpoint.save_network(path, network, model)
    images = torch.randn(5, *sizes["image_shape"])

    saved = torch.load(path, weights_only=True)
    loaded = make(**saved["network"])
    loaded.load_state_dict(saved["weights"])

    torch.testing.assert_close(loaded(images), model(images), rtol=0, atol=0)  # a VAE has three outputs
    assert [file.name for file in tmp_path.iterdir()] == ["network.pt"]


def test_a_pruned_network_exports(made):
    export = pytest.importorskip("torch.export").export
    model, _ = pruned_network(*made)
    images = torch.randn(5, *made[1]["image_shape"])
    exported = export(model, (images,))
    torch.testing.assert_close(exported.module()(images), model(images))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_a_user_error_and_keeps_the_old_network(tmp_path):
    # A small network: with a large one, torch 1.13 itself ends the process if torch.save is given the path.
    sizes = {"image_shape": (1, 1, 1), "conv_widths": [], "hidden_widths": [3], "classes": 2}
    path = tmp_path / "network.pt"
    path.write_text("old")
    (tmp_path / "network.pt.part").symlink_to("/dev/full")
    with pytest.raises(errors.UserError, match="network.pt"):
        checkpoint.save_network(str(path), *reversed(pruned_network(models.build, sizes)))
    assert path.read_text() == "old"
