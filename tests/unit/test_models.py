"""Architectures against hand-counted numbers and the same steps in torch's functions; networks as files."""
import functools
import os

import pytest
import torch
from torch import nn
from torch.nn import functional
from unit_helpers import hidden, refusal

import models
from pruning import checkpoint
from pruning.groups import find_groups, groups_of, widths_of
from pruning.measures import count_parameters, multiply_adds
from pruning.removal import remove
from pruning.training import TrainingState

MNIST = {"image_shape": (1, 28, 28), "conv_widths": [], "hidden_widths": [50, 30], "classes": 10}
CIFAR10 = {"image_shape": (3, 32, 32), "conv_widths": [16, 32], "hidden_widths": [256, 128], "classes": 10}
CELEBA = {"image_shape": (3, 64, 64), "conv_widths": [32, 64], "hidden_widths": [2048, 4096, 4096, 2048], "latent": 100}


@pytest.mark.parametrize("network, parameters, products", [
    (MNIST, 784 * 50 + 50 * 30 + 30 * 10, 784 * 50 + 50 * 30 + 30 * 10),
    (CIFAR10, (27 * 16 + 16) + (144 * 32 + 32) + 2048 * 256 + 256 * 128 + 128 * 10,
     32 * 32 * 16 * 27 + 16 * 16 * 32 * 16 * 9 + 2048 * 256 + 256 * 128 + 128 * 10),
    ({**CIFAR10, "classes": 100}, (27 * 16 + 16) + (144 * 32 + 32) + 2048 * 256 + 256 * 128 + 128 * 100, None),
], ids=["MNIST", "CIFAR-10", "CIFAR-100"])
def test_classifiers_are_of_the_published_sizes(network, parameters, products):
    model, images = models.build(**network), torch.zeros(1, *network["image_shape"])
    assert count_parameters(model) == parameters
    example = torch.rand(4, *network["image_shape"])
    assert widths_of(hidden(model, example)) == network["hidden_widths"]
    assert widths_of(find_groups(model, example)[0]) == network["conv_widths"] + network["hidden_widths"]
    assert all(module.bias is None for module in model.modules() if isinstance(module, nn.Linear))
    assert model(images).shape == (1, network["classes"])
    assert products in (None, multiply_adds(model, images))


def test_multiply_adds_of_a_vae():
    # 4x4 kernels: 4 x 4 numbers out of the convolution; of the transposed one each of 3 x 4 x 4 inputs meets 2 x 16.
    products = 4 * 4 * 3 * 32 + 48 * 5 + 2 * 5 * 6 + 6 * 4 + 4 * 48 + 48 * 2 * 16
    assert multiply_adds(models.VAE((2, 8, 8), [3], [5, 4], 6), torch.zeros(1, 2, 8, 8)) == products


def test_the_vae_of_celeba_is_of_the_published_size(monkeypatch):
    # 85 million weights need no memory on this device; torch 1.13 cannot name it for a whole model.
    with monkeypatch.context() as patch:
        patch.setattr(nn, "Linear", functools.partial(nn.Linear, device="meta"))
        model = models.VAE(**CELEBA)
    assert count_parameters(model) == 85183619
    assert [layer.out_features for layer in model.modules() if isinstance(layer, nn.Linear)] == [
        2048, 4096, 100, 100, 4096, 2048, 16384]


def small_vae(**changes):
    """(the arguments of a small VAE, the VAE, images, noise)"""
    torch.manual_seed(5)
    network = {"image_shape": (2, 12, 8), "conv_widths": [3, 4], "hidden_widths": [9, 8, 7, 6], "latent": 5, **changes}
    return network, models.VAE(**network), torch.rand(10, *network["image_shape"]), torch.randn(10, network["latent"])


@pytest.mark.parametrize("changes", [
    {"image_shape": (1, 28, 28)}, {"image_shape": (3, 32, 16), "conv_widths": [2] * 4}, {"conv_widths": []},
    {"hidden_widths": [9, 8]}, {"hidden_widths": [9, 8, 7, 6, 5, 4]}, {"latent": 1}], ids=str)
def test_a_vae_gives_back_images_of_the_shape_that_it_takes(changes):
    network, model, images, noise = small_vae(**changes)
    latent = (10, network["latent"])
    for outputs in (model(images), model(images, noise)):
        assert [output.shape for output in outputs] == [images.shape, latent, latent]
    assert widths_of(hidden(model, images)) == network["hidden_widths"]
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


def test_a_cnn_computes_convolution_relu_pooling_and_linear_relu():
    torch.manual_seed(0)
    model, images = models.build((2, 12, 8), [3, 4], [7, 6], 5), torch.randn(9, 2, 12, 8)
    first_weight, first_bias, second_weight, second_bias, *linear = model.parameters()
    x = functional.max_pool2d(functional.conv2d(images, first_weight, first_bias, padding=1).clamp(min=0), 2)
    x = functional.max_pool2d(functional.conv2d(x, second_weight, second_bias, padding=1).clamp(min=0), 2)
    x = (x.reshape(9, -1) @ linear[0].T).clamp(min=0)
    torch.testing.assert_close(model(images), (x @ linear[1].T).clamp(min=0) @ linear[2].T)


def test_the_groups_of_a_vae_chain_and_the_encoders_last_feeds_mean_and_log_variance():
    _, model, images, _ = small_vae()
    (first, last), (widen, widest, inner), (down, narrow) = model.encoder, model.decoder, model.convolutions
    back, out = model.deconvolutions
    groups, left = find_groups(model, images)
    assert groups == [(down, [narrow], []), (narrow, [first], []), (first, [last], []),
                      (last, [model.mean, model.logvar], []), (widen, [widest], []), (widest, [inner], []),
                      (back, [out], [])]
    assert set(left) == {"mean", "logvar", "decoder.2", "deconvolutions.1"}


# ---- files ----

# What makes a network, and its arguments.
NETWORKS = {"feed-forward": (models.build, {**MNIST, "image_shape": (1, 6, 6)}),
            "convolutional": (models.build, {**CIFAR10, "image_shape": (3, 8, 8)}),
            "VAE": (models.VAE, {**CELEBA, "image_shape": (3, 8, 8), "hidden_widths": [20, 40, 30, 10]})}
each_network = pytest.mark.parametrize("make, sizes", NETWORKS.values(), ids=NETWORKS)


def pruned_network(make, sizes, prune_filters=False):
    """A state whose network has lost neurons."""
    torch.manual_seed(3)
    model = make(**sizes)
    groups = groups_of(model, torch.rand(4, *sizes["image_shape"]), prune_filters)[0]
    remove(groups, [torch.arange(0, width, 3) for width in widths_of(groups)])
    return TrainingState(model, None, 30, groups)


@each_network
def test_a_saved_network_loads_in_three_lines_and_by_one_function(make, sizes, tmp_path):
    path, state = str(tmp_path / "network.pt"), pruned_network(make, sizes)
    about, model = {"dataset": "MNIST", "seed": 30, "mean": 0.5, "std": 0.25}, state.model
    checkpoint.save_network(path, sizes, state, about)
    images = torch.randn(5, *sizes["image_shape"])

    saved = torch.load(path, weights_only=True)
    loaded = make(**saved["network"])
    loaded.load_state_dict(saved["weights"])

    torch.testing.assert_close(loaded(images), model(images), rtol=0, atol=0)  # a VAE has three outputs
    again, known = models.load(path)
    torch.testing.assert_close(again(images), model(images), rtol=0, atol=0)
    assert known == {**about, "widths": widths_of(state.groups)} and not again.training
    assert [file.name for file in tmp_path.iterdir()] == ["network.pt"]


@each_network
def test_a_network_without_some_filters_loads(make, sizes, tmp_path):
    path, state = str(tmp_path / "network.pt"), pruned_network(make, sizes, prune_filters=True)
    assert len(state.groups) > len(sizes["hidden_widths"]) or not sizes["conv_widths"]
    checkpoint.save_network(path, sizes, state, {})
    again, known = models.load(path)
    images = torch.randn(5, *sizes["image_shape"])
    torch.testing.assert_close(again(images), state.model.eval()(images), rtol=0, atol=0)
    assert known["widths"] == widths_of(state.groups) and str(again) == str(state.model)


@each_network
@pytest.mark.parametrize("prune_filters", [False, True])
def test_a_pruned_network_exports(make, sizes, prune_filters):
    export = pytest.importorskip("torch.export").export
    model, images = pruned_network(make, sizes, prune_filters).model, torch.randn(5, *sizes["image_shape"])
    torch.testing.assert_close(export(model, (images,)).module()(images), model(images))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_a_user_error_and_keeps_the_old_network(tmp_path):
    # A small network: with a large one, torch 1.13 itself ends the process if torch.save is given the path.
    sizes = {"image_shape": (1, 1, 1), "conv_widths": [], "hidden_widths": [3], "classes": 2}
    path = tmp_path / "network.pt"
    path.write_text("old")
    (tmp_path / "network.pt.part").symlink_to("/dev/full")
    message = refusal(checkpoint.save_network, str(path), sizes, pruned_network(models.build, sizes), {})
    assert "network.pt" in message and path.read_text() == "old"
