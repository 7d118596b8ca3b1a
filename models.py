"""The networks. Which neurons of them can be pruned is found by pruning/groups.py."""
import ast

import torch
from torch import nn

from pruning.errors import UserError
from pruning.removal import load_weights


class FeedForward(nn.Module):
    """Linear layers without biases, a ReLU after each but the last.

    inputs: pixels of an image over all channels. hidden_widths: neurons of each hidden layer. classes: outputs.
    Takes (B, ...) with `inputs` numbers per image, returns logits (B, classes).
    """

    def __init__(self, inputs, hidden_widths, classes):
        super().__init__()
        sizes = [inputs, *hidden_widths, classes]
        self.layers = nn.ModuleList(nn.Linear(n, m, bias=False) for n, m in zip(sizes, sizes[1:]))

    def forward(self, x):
        x = x.flatten(1)
        *hidden, last = self.layers
        for layer in hidden:
            x = layer(x).relu()
        return last(x)


class CNN(nn.Module):
    """3x3 convolutions with biases, each with ReLU and 2x2 max-pooling, then a FeedForward.

    image_shape: (channels, height, width). Takes (B, *image_shape), returns logits (B, classes).
    """

    def __init__(self, image_shape, conv_widths, hidden_widths, classes):
        super().__init__()
        sizes, (height, width) = [image_shape[0], *conv_widths], halved(image_shape, len(conv_widths), evenly=False)
        self.convolutions = nn.ModuleList(nn.Conv2d(n, m, 3, padding=1) for n, m in zip(sizes, sizes[1:]))
        self.classifier = FeedForward(sizes[-1] * height * width, hidden_widths, classes)

    def forward(self, x):
        for convolution in self.convolutions:
            # ReLU and maximum commute to the bit, gradients too; after the pooling ReLU has a quarter of the work.
            x = nn.functional.max_pool2d(convolution(x), 2).relu()
        return self.classifier(x)


class VAE(nn.Module):
    """A variational autoencoder: 4x4 convolutions of stride 2 and linear layers down to the latent, the same back.

    image_shape: (channels, height, width), both sides divisible by 2 ** len(conv_widths). hidden_widths: the hidden
    layers of the encoder, then as many of the decoder. latent: dimensions of the latent. ReLU after every layer but
    the mean, the log-variance and the last one; biases in the convolutions alone.
    """

    def __init__(self, image_shape, conv_widths, hidden_widths, latent):
        super().__init__()
        filters, half = [image_shape[0], *conv_widths], len(hidden_widths) // 2
        back, sides = filters[::-1], halved(image_shape, len(conv_widths), evenly=True)
        self.latent, self.inner_shape = latent, torch.Size((back[0], *sides))
        inner = self.inner_shape.numel()
        down, up = [inner, *hidden_widths[:half]], [latent, *hidden_widths[half:], inner]
        self.convolutions = nn.ModuleList(nn.Conv2d(n, m, 4, 2, 1) for n, m in zip(filters, filters[1:]))
        self.encoder = nn.ModuleList(nn.Linear(n, m, bias=False) for n, m in zip(down, down[1:]))
        self.mean, self.logvar = (nn.Linear(down[-1], latent, bias=False) for _ in range(2))
        self.decoder = nn.ModuleList(nn.Linear(n, m, bias=False) for n, m in zip(up, up[1:]))
        self.deconvolutions = nn.ModuleList(nn.ConvTranspose2d(n, m, 4, 2, 1) for n, m in zip(back, back[1:]))

    def forward(self, images, noise=0):
        """(B, *image_shape) in [0, 1] and noise (B, latent), standard normal; 0 decodes the posterior mean.

        Returns the logits of the pixels (B, *image_shape), the posterior's mean and its log-variance (B, latent).
        """
        mean, logvar = self.encode(images)
        return self.decode(mean + noise * (logvar / 2).exp()), mean, logvar

    def encode(self, x):
        """Images (B, *image_shape) -> mean and log-variance of their latents' posteriors, (B, latent) each."""
        for convolution in self.convolutions:
            x = convolution(x).relu()
        x = x.flatten(1)
        for layer in self.encoder:
            x = layer(x).relu()
        return self.mean(x), self.logvar(x)

    def decode(self, x):
        """Latents (B, latent) -> logits of the pixels, (B, *image_shape)."""
        *hidden, last = self.decoder
        for layer in hidden:
            x = layer(x).relu()
        x = last(x).unflatten(1, self.inner_shape)
        for deconvolution in self.deconvolutions:
            x = deconvolution(x.relu())
        return x


def halved(image_shape, times, evenly):
    """Height and width of an image that is halved so many times. Raises UserError if nothing is left, or if it must be
    halved evenly and cannot."""
    _, height, width = image_shape
    if min(height, width) < 2 ** times or evenly and (height % 2 ** times or width % 2 ** times):
        raise UserError(f"conv_widths: {times} convolutions cannot halve an image of {height} x {width} pixels"
                        f"{' evenly' * evenly}; take fewer")
    return height // 2 ** times, width // 2 ** times


def load(path, network=None):
    """The network that a run has saved, in evaluation mode, and what it was trained on: {"dataset": ..., "seed": ...,
    "mean": ..., "std": ..., "widths": ...}; pixels in [0, 1] become (pixel - mean) / std. A network of an earlier
    version gives {}. network: the class that constants.py named, if it was one of your own; without it UserError.
    """
    saved = torch.load(path, map_location="cpu", weights_only=True)
    if network is None and "hidden_widths" not in saved["network"]:
        raise UserError(f"{path} holds a network of your own; give its class: models.load(path, YourClass)")
    model = (network or (VAE if "latent" in saved["network"] else build))(**saved["network"])
    load_weights(model, saved["weights"])
    return model.eval(), ast.literal_eval(saved.get("about", "{}"))


def build(image_shape, conv_widths, hidden_widths, classes):
    """The classifier of these sizes: a CNN if there are convolutions, else a FeedForward."""
    if conv_widths:
        return CNN(image_shape, conv_widths, hidden_widths, classes)
    channels, height, width = image_shape
    return FeedForward(channels * height * width, hidden_widths, classes)
