"""The loss of a VAE, its measures and its pictures against hand computations."""
import math
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import vae
from pruning import datasets, files
from pruning.arms import ARMS
from pruning.plots import vae_pictures
from pruning.plots.vae_pictures import COUNT, GAP, VaePictures

# ---- the loss ----

class Stub(torch.nn.Module):
    """Posteriors that depend on the image alone and a decoder that is one matrix, (latent, pixels)."""

    def __init__(self, mean, logvar, decoder):
        super().__init__()
        self.mean, self.logvar, self.decoder, self.latent = mean, logvar, decoder, mean.shape[1]

    def forward(self, images, noise=0):
        code = self.mean + noise * (self.logvar / 2).exp()
        return (code @ self.decoder).view(images.shape), self.mean, self.logvar


def random_case(count, shape=(2, 2, 3), latent=4):
    """Images and a Stub for them, in float64."""
    source = torch.Generator().manual_seed(count)
    images = torch.rand(count, *shape, generator=source, dtype=torch.float64)
    mean, logvar = torch.randn(2, count, latent, generator=source, dtype=torch.float64)
    return images, Stub(mean, logvar, torch.randn(latent, images[0].numel(), generator=source, dtype=torch.float64))


@pytest.mark.parametrize("kld_weight", [0.0, 1.0, 2.5])
def test_the_loss_is_that_of_the_formula(kld_weight):
    images, model = random_case(3)
    torch.manual_seed(5)
    noise = torch.randn(3, 4).tolist()
    bce = kld = 0
    numbers = (tensor.tolist() for tensor in (images.flatten(1), model.mean, model.logvar))
    for image, mean, logvar, draws in zip(*numbers, noise):
        code = [m + draw * math.exp(v / 2) for m, v, draw in zip(mean, logvar, draws)]
        for pixel, column in zip(image, model.decoder.T.tolist()):
            p = 1 / (1 + math.exp(-sum(c * w for c, w in zip(code, column))))
            bce -= pixel * math.log(p) + (1 - pixel) * math.log(1 - p)
        kld -= sum(1 + v - m ** 2 - math.exp(v) for m, v in zip(mean, logvar)) / 2
    torch.manual_seed(5)
    loss, measures = vae.negative_elbo(model, images, kld_weight)
    assert loss.item() == pytest.approx(bce + kld_weight * kld, rel=1e-6)
    assert list(measures) == ["loss", "BCE", "KLD"]  # the order in which the log names them
    # Each is a mean over the images; the weight is in the loss alone, not in the KLD that the log shows.
    wanted = {"loss": (bce + kld_weight * kld) / 3, "BCE": bce / 3, "KLD": kld / 3}
    assert {name: measure.item() for name, measure in measures.items()} == pytest.approx(wanted, rel=1e-6)


def test_the_measures_do_not_depend_on_the_batch_size():
    images, model = random_case(2)
    model.logvar.fill_(-200)  # no noise, so that the images alone count
    _, once = vae.negative_elbo(model, images, 1.0)
    many = Stub(model.mean.repeat(8, 1), model.logvar.repeat(8, 1), model.decoder)
    _, often = vae.negative_elbo(many, images.repeat(8, 1, 1, 1), 1.0)
    assert {name: often[name].item() for name in often} == pytest.approx({name: once[name].item() for name in once})


@pytest.mark.parametrize("pixel, logit, bce", [(0.0, -1e4, 0), (1.0, 1e4, 0), (0.0, 1e4, 1e4), (1.0, -1e4, 1e4)])
def test_huge_logits_do_not_overflow(pixel, logit, bce):
    decoder = torch.full((1, 4), logit, requires_grad=True)
    model = Stub(torch.ones(1, 1), torch.full((1, 1), -200.0), decoder)
    loss, measures = vae.negative_elbo(model, torch.full((1, 1, 2, 2), pixel), 0.0)
    loss.backward()
    assert measures["BCE"].item() == 4 * bce and decoder.grad.isfinite().all()


# ---- the measures on the test images ----

class Means(torch.nn.Module):
    """Posterior means that are multiples of an image's two pixels, and logits that are twice these less one."""

    def forward(self, images, noise=0):
        assert noise == 0 and not self.training  # the posterior mean is decoded
        left, right = images.flatten(1).T
        # Of variance above 0.01; a little above; a little below; none; none within a batch but 6 over all of them.
        mean = torch.stack([left, 0.200025 * right, 0.199975 * right, 0 * left + 3, 5 * left.round()], 1)
        return 2 * images - 1, mean, torch.zeros_like(mean)


def test_quality_is_that_of_numpy_over_all_batches():
    count = 2 * datasets.EVALUATION_BATCH + 400  # the last batch is smaller
    left = np.where(np.arange(count) < datasets.EVALUATION_BATCH, 20, 240)
    pixels = np.stack([left, np.tile([0, 255], count // 2)], 1).astype(np.uint8)
    split = datasets.Split(torch.from_numpy(pixels).view(count, 1, 2, 1), torch.zeros(count), "cpu", 0, 1)
    x = pixels / 255
    mse = ((1 / (1 + np.exp(1 - 2 * x)) - x) ** 2).mean()
    found = vae.quality(Means().train(), split)
    assert found == pytest.approx({"test MSE": mse, "test PSNR": 10 * math.log10(1 / mse), "active units": 3}, rel=1e-5)
    assert type(found["active units"]) is int  # a count, which the log writes in full


# ---- pictures ----

class Shades(torch.nn.Module):
    """Reconstructs every image as its negative times `shade`; of the latents each gives one grey. Records both."""

    def __init__(self, shade=1.0):
        super().__init__()
        self.shade, self.asked = shade, []

    def forward(self, images, noise=0):
        assert noise == 0 and not self.training
        self.asked.append(images.clone())
        return (self.shade * (1 - images)).logit(), None, None

    def decode(self, latents):
        self.asked.append(latents.clone())
        return latents.mean(1).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)


@pytest.fixture
def drawn(monkeypatch):
    """{name of a picture's file: its figure}, in the place of the files, which take long."""
    figures = {}
    monkeypatch.setattr(vae_pictures, "save", lambda figure, path: figures.update({os.path.basename(path): figure}))
    return figures


@pytest.fixture
def images():
    return 0.1 + 0.8 * torch.rand(COUNT, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def pictures_of(images):
    return VaePictures(SimpleNamespace(dataset="FashionMNIST", latent=5, initial_iterations=1, increment=4), images)


def a_state(model, epoch, **more):
    return SimpleNamespace(**{"model": model, "epoch": epoch, "seed": 3, "seen": {}, **more})


def log_in(folder, arm):
    return files.log_path(str(folder), "FashionMNIST", arm, "vae_log")


def shown(figure, row, column, number, columns):
    """Image `number` (3, 4, 4) of a cell with so many columns of images, in which lines of 2 pixels part them."""
    sheet = np.array(figure.axes[0].images[0].get_array())
    height, width = 2 + 6 * COUNT // columns, 2 + 6 * columns
    down, across = divmod(number, columns)
    top = GAP + row * (height + GAP) + 2 + 6 * down
    left = GAP + column * (width + GAP) + 2 + 6 * across
    return torch.as_tensor(sheet).permute(2, 0, 1)[:, top:top + 4, left:left + 4]


def labels(axis):
    """The labels of a figure's rows or columns, each at the middle of what it names, as (text, pixel)."""
    return [(label.get_text(), place) for label, place in zip(axis.get_ticklabels(), axis.get_ticklocs())]


def test_a_grid_holds_images_reconstructions_and_samples(tmp_path, drawn, images):
    model, pictures = Shades().train(), pictures_of(images)
    pictures.show(a_state(model, 9), ARMS["random"], "before", log_in(tmp_path, "random"))
    figure, = drawn.values()
    assert labels(figure.axes[0].yaxis) == [("test images", GAP + 4), ("reconstructions", 2 * GAP + 12),
                                            ("samples", 3 * GAP + 20)]
    assert labels(figure.axes[0].xaxis) == [("randomised pruning, epoch 9, before round 3", GAP + 25)]
    assert figure.texts[0].get_text() == "Fashion-MNIST, seed 3"
    for number, (image, latent) in enumerate(zip(images, pictures.latents)):
        assert torch.allclose(shown(figure, 0, 0, number, 8), image)
        assert torch.allclose(shown(figure, 1, 0, number, 8), 1 - image, atol=1e-6)
        assert torch.allclose(shown(figure, 2, 0, number, 8), latent.mean().sigmoid().expand(3, 4, 4), atol=1e-6)


def test_all_moments_show_the_same_images_and_latents(tmp_path, drawn, images):
    asked = []
    for seed, arm in enumerate(["none", "contribution"]):  # as in two runs of the program
        torch.manual_seed(seed)
        model, pictures = Shades(), pictures_of(images)
        for moment in ("before", "after", "end"):
            pictures.show(a_state(model, 5), ARMS[arm], moment, log_in(tmp_path, arm))
        asked += model.asked
    assert len(asked) == 12 and len({tuple(latents.flatten().tolist()) for latents in asked[1::2]}) == 1
    assert all(torch.equal(some, images) for some in asked[::2])
    assert sorted(drawn) == sorted(f"vae_log{word}Pruning_{moment}.png" for word in ("without", "with")
                                   for moment in ("before_round_2", "after_round_2", "end"))


@pytest.mark.parametrize("rounds, columns", [(2, 5), (9, 19), (15, 19)])
def test_a_strip_has_a_row_per_arm_and_whole_rounds(tmp_path, drawn, images, rounds, columns):
    pictures, shades = pictures_of(images), {"epoch 99\nend": 0.5}
    none, pruned = (a_state(Shades(shade), 99) for shade in (0.02, 0.5))
    for number in range(1, rounds + 1):
        for moment in ("before", "after"):
            shade = shades[f"epoch {4 * number - 3}\n{moment} round {number}"] = (len(shades) + 1) / 50
            pictures.show(a_state(Shades(shade), 4 * number - 3, seen=pruned.seen), ARMS["contribution"], moment,
                          log_in(tmp_path, "contribution"))
    pictures.draw_strip(iter([(ARMS["none"], none), (ARMS["contribution"], pruned)]), log_in(tmp_path, "none"))
    figure = drawn["vae_logwithoutPruning_strip.png"]
    heads, rows = labels(figure.axes[0].xaxis), labels(figure.axes[0].yaxis)
    assert heads[0] == ("test images", GAP + 7) and {b - a for (_, a), (_, b) in zip(heads, heads[1:])} == {GAP + 14}
    moments = [words for words, _ in heads[1:]]
    assert len(set(moments)) == columns and [moments[0], moments[-1]] == ["epoch 1\nbefore round 1", "epoch 99\nend"]
    assert moments == [words for words in [*list(shades)[1:], "epoch 99\nend"] if words in moments]  # in their order
    assert [words.replace("after", "before") for words in moments[1:-1:2]] == moments[:-1:2]
    assert rows == [("without pruning", GAP + 13), ("contribution-based pruning", 2 * GAP + 39)]
    for number, image in enumerate(images):  # once, beside the first arm
        assert torch.allclose(shown(figure, 0, 0, number, 2), image)
        assert bool((shown(figure, 1, 0, number, 2) == 1).all())
    assert [bool((shown(figure, 0, 1 + column, 0, 2) == 1).all()) for column in range(columns)] == [
        True] * (columns - 1) + [False]
    assert torch.allclose(shown(figure, 0, columns, 0, 2), 0.02 * (1 - images[0]), atol=1e-6)
    for column, words in enumerate(moments, 1):
        assert torch.allclose(shown(figure, 1, column, 3, 2), shades[words] * (1 - images[3]), atol=1e-6)
