"""The networks, their neuron groups, and the removal of neurons together with the optimizer's state of them."""
from collections import namedtuple

import torch
from torch import nn

# The hidden neurons of one layer: the Linear that produces them and the Linears that consume them.
NeuronGroup = namedtuple("NeuronGroup", "producer consumers")

RIDGE = 1e-6  # of the mean square of the survivors' activations, see compensate()


class FeedForward(nn.Module):
    """Linear layers without biases, a ReLU after each but the last.

    inputs: pixels of an image over all channels. hidden_widths: neurons of each hidden layer. classes: outputs.
    Takes (B, ...) with `inputs` numbers an image, returns logits (B, classes).
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

    def groups(self):
        return chain(self.layers)


class CNN(nn.Module):
    """3x3 convolutions with biases, each with ReLU and 2x2 max-pooling, then a FeedForward.

    image_shape: (channels, height, width). Takes (B, *image_shape), returns logits (B, classes).
    """

    def __init__(self, image_shape, conv_widths, hidden_widths, classes):
        super().__init__()
        channels, height, width = image_shape
        sizes = [channels, *conv_widths]
        self.convolutions = nn.ModuleList(nn.Conv2d(n, m, 3, padding=1) for n, m in zip(sizes, sizes[1:]))
        halvings = 2 ** len(conv_widths)
        self.classifier = FeedForward(sizes[-1] * (height // halvings) * (width // halvings), hidden_widths, classes)

    def forward(self, x):
        for convolution in self.convolutions:
            # ReLU and maximum commute to the bit, gradients too; after the pooling ReLU has a quarter of the work.
            x = nn.functional.max_pool2d(convolution(x), 2).relu()
        return self.classifier(x)

    def groups(self):
        return self.classifier.groups()


class VAE(nn.Module):
    """A variational autoencoder: 4x4 convolutions of stride 2 and linear layers down to the latent, the same back.

    image_shape: (channels, height, width), both sides divisible by 2 ** len(conv_widths). hidden_widths: the hidden
    layers of the encoder, then as many of the decoder. latent: dimensions of the latent. ReLU after every layer but
    the mean, the log-variance and the last one; biases in the convolutions alone.
    """

    def __init__(self, image_shape, conv_widths, hidden_widths, latent):
        super().__init__()
        channels, height, width = image_shape
        filters, halvings, half = [channels, *conv_widths], 2 ** len(conv_widths), len(hidden_widths) // 2
        back = filters[::-1]
        self.latent, self.inner_shape = latent, torch.Size((back[0], height // halvings, width // halvings))
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

    def groups(self):
        latent = NeuronGroup(self.encoder[-1], [self.mean, self.logvar])
        return [*chain(self.encoder), latent, *chain(self.decoder)]


def chain(layers):
    """The groups of consecutive layers, each of which feeds the next alone."""
    return [NeuronGroup(producer, [consumer]) for producer, consumer in zip(layers, layers[1:])]


def build(image_shape, conv_widths, hidden_widths, classes):
    """The classifier of these sizes: a CNN where there are convolutions, else a FeedForward."""
    if conv_widths:
        return CNN(image_shape, conv_widths, hidden_widths, classes)
    channels, height, width = image_shape
    return FeedForward(channels * height * width, hidden_widths, classes)


def widths(model):
    """The present number of neurons of each group."""
    return [group.producer.out_features for group in model.groups()]


def count_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def multiply_adds(model, image):
    """Those of the forward pass of an image (1, channels, height, width) in all linear layers and convolutions, where a
    kernel's parts beyond the border count too."""
    def count(layer, inputs, output):
        # Each number that comes out is a product with a part of the weight; of a transposed convolution, each that
        # goes in meets one.
        numbers = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        counts.append(numbers.numel() * layer.weight[0].numel())

    counts = []
    hooks = [layer.register_forward_hook(count) for layer in model.modules()
             if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d))]
    model(image)
    for hook in hooks:
        hook.remove()
    return sum(counts)


# ---- removal: for every model that names its neuron groups ----

@torch.no_grad()
def compensate(group, keep, moments):
    """Refit the columns `keep` of every consumer, by least squares, to what its layer gave with all neurons; before
    remove().

    moments: H = A^T A / F of the group's activations A (F, N), float64. To minimise |A W^T - A[:, keep] W'^T|^2 the new
    columns are W' = W H[:, keep] H[keep, keep]^-1 = W[:, keep] + W[:, gone] H[gone, keep] H[keep, keep]^-1. The second
    form is solved, with a ridge: where it decides, as for neurons that are never active, the old weights stay.
    """
    keep = keep.to(moments.device)
    gone = torch.ones(len(moments), dtype=torch.bool, device=moments.device).index_fill(0, keep, False)
    among, across = moments[keep][:, keep], moments[gone][:, keep]
    ridge = RIDGE * among.diagonal().mean().clamp(min=1e-30)  # above 0 where no survivor is ever active
    shares = torch.linalg.solve(among + ridge * torch.eye(len(among)).to(among), across.T)  # (kept, gone)
    for consumer in group.consumers:
        old = consumer.weight.to(moments.device).to(moments.dtype)  # mps has no float64
        consumer.weight[:, keep] = (old[:, keep] + old[:, gone] @ shares.T).to(consumer.weight)


def remove(groups, survivors, optimizer):
    """Remove all neurons of every group but its `survivors`, a 1-D int64 tensor of indices in ascending order.

    Every surviving weight and its state in the optimizer (momentum, moments) keep their values bit for bit; the
    optimizer's parameters stay the model's. Raises ValueError, and changes nothing, where no neuron of a group would
    stay.
    """
    if not all(map(len, survivors)):
        raise ValueError("a group keeps at least one neuron")
    rows, columns = {}, {}  # of the weights of each layer, the indices of those that stay
    for group, keep in zip(groups, survivors):
        rows[group.producer] = keep.to(group.producer.weight.device)
        columns.update((consumer, keep.to(consumer.weight.device)) for consumer in group.consumers)
    for layer in {**rows, **columns}:
        keep_slices(layer, "weight", rows.get(layer), columns.get(layer), optimizer)
        if layer.bias is not None and layer in rows:
            keep_slices(layer, "bias", rows[layer], None, optimizer)
        layer.out_features, layer.in_features = layer.weight.shape


def keep_slices(layer, name, rows, columns, optimizer):
    old = getattr(layer, name)
    new = nn.Parameter(kept(old.detach(), rows, columns), requires_grad=old.requires_grad)
    setattr(layer, name, new)
    for settings in optimizer.param_groups:
        settings["params"] = [new if parameter is old else parameter for parameter in settings["params"]]
    if old in optimizer.state:
        # A tensor of the weight's own shape belongs to its entries; a step count belongs to the whole.
        optimizer.state[new] = {
            key: kept(value, rows, columns) if torch.is_tensor(value) and value.shape == old.shape else value
            for key, value in optimizer.state.pop(old).items()}


def kept(tensor, rows, columns):
    """A copy of the rows and columns at these indices, of all where None. For columns gather, which uses all threads,
    took two thirds of index_select's time (2048 x 4096 on 2 cores)."""
    if rows is not None:
        tensor = tensor.index_select(0, rows)
    return tensor if columns is None else tensor.gather(1, columns.expand(len(tensor), -1))
