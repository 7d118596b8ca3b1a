"""A training epoch against a tutorial's loop, and against the bare matrix products that it needs.

    python benchmarks/epoch.py

Both sides train the same network with the same optimizer and batch size on random images of the same shape; this suite
also evaluates one image. What takes long is timed on a part of the images, and its time is scaled. The matrix products
take the same numbers at every step, so these stay in the cache. About a minute on 2 cores.
"""
import os
import statistics
import struct
import tempfile
from collections import namedtuple

import numpy as np
import pruned
import side_by_side
import torch
import torchvision
from PIL import Image
from torch import nn
from torch.nn import functional
from torchvision import transforms

import driver

# name: of the data set; shape: (height, width, channels) of an image; images: in an epoch; by_us, by_recipe: how many
# of them each side is timed on; wanted: {precision: the bound of their ratio}.
Case = namedtuple("Case", "name shape images by_us by_recipe wanted")
MNIST = Case("MNIST", (28, 28, 1), 60000, 60000, 5000 if side_by_side.ON_GPU else 10000,
             {"float32": ">= 30", "bfloat16": ">= 30"})
CIFAR10 = Case("CIFAR10", (32, 32, 3), 50000, 50000 if side_by_side.ON_GPU else 5000, 5000,
               {"float32": ">= 1.7", "bfloat16": ">= 3"})
PUBLISHED = ["--batch-size", "5000", "--learning-rate", "0.1", "--momentum", "0"]
CHANCE = np.random.RandomState(0)
PREPARE = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])


class ColourImages(torch.utils.data.Dataset):
    """Does with an image what torchvision's CIFAR10 does: from an array to a picture to a tensor."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, number):
        return PREPARE(Image.fromarray(self.images[number])), int(self.labels[number])


def mnist_on_disk(folder, images, labels):
    """torchvision's MNIST, which reads these images (N, 28, 28) and labels from files in the folder."""
    raw = os.path.join(folder, "MNIST", "raw")
    os.makedirs(raw)
    for split in ("train", "t10k"):
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            with open(os.path.join(raw, f"{split}-{kind}-ubyte"), "wb") as file:
                file.write(struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape))
                file.write(values.tobytes())
    return torchvision.datasets.MNIST(folder, transform=PREPARE)


def tutorial_network(image_shape, table):
    """The network as a user of PyTorch writes it down."""
    channels, height, width = image_shape
    layers, sizes = [], [channels, *table["conv_widths"]]
    for inputs, outputs in zip(sizes, sizes[1:]):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        height, width = height // 2, width // 2
    sizes = [sizes[-1] * height * width, *table["hidden_widths"]]
    layers.append(nn.Flatten())
    for inputs, outputs in zip(sizes, sizes[1:]):
        layers += [nn.Linear(inputs, outputs, bias=False), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 10, bias=False))


def tutorial_epoch(dataset, image_shape, table):
    """A function that trains an epoch as tutorials do: a DataLoader transforms every image, and .item() reads how many
    predictions are right."""
    device = side_by_side.DEVICE
    network = tutorial_network(image_shape, table).to(device)
    loader = torch.utils.data.DataLoader(dataset, batch_size=table["batch_size"], shuffle=True)
    optimizer = torch.optim.SGD(network.parameters(), lr=table["learning_rate"], momentum=table["momentum"])

    def epoch():
        right = 0
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            logits = network(images)
            functional.cross_entropy(logits, labels).backward()
            optimizer.step()
            right += (logits.argmax(1) == labels).sum().item()
    return epoch


def by_hand(prepared):
    """A function that trains an epoch of a FeedForward without autograd and torch.optim.

    The gradients of the mean cross-entropy, SGD's update and the batch's measures are written out. It logs and
    evaluates nothing.
    """
    settings, state, workload, _ = prepared
    weights = [parameter.detach() for parameter in state.model.parameters()]
    momenta = [torch.zeros_like(weight) for weight in weights]
    train = workload.dataset.train

    def step(index):
        images, labels = train.batch(index)
        values = [images.flatten(1)]
        for weight in weights[:-1]:
            values.append(torch.mm(values[-1], weight.t()).relu_())
        logits = torch.mm(values[-1], weights[-1].t())
        logarithms = logits.log_softmax(1)
        measures = torch.stack([functional.nll_loss(logarithms, labels),
                                100 * (logits.argmax(1) == labels).float().mean()])
        gradient = logarithms.exp_()
        gradient[torch.arange(len(labels)), labels] -= 1
        gradient /= len(labels)
        for value, weight, momentum in zip(values[::-1], weights[::-1], momenta[::-1]):
            momentum.mul_(settings.momentum).add_(torch.mm(gradient.t(), value))
            if value is not values[0]:
                gradient = torch.mm(gradient, weight).mul_(value > 0)
            weight.sub_(momentum, alpha=settings.learning_rate)
        return measures

    def epoch():
        for index in torch.randperm(len(train)).split(settings.batch_size):
            step(index)
    return epoch


def bare_products(count, table):
    """A function that does the matrix products of an epoch: forward, and backward without the image's gradient."""
    sizes, batch = [784, *table["hidden_widths"], 10], table["batch_size"]
    weights = [torch.randn(outputs, inputs, device=side_by_side.DEVICE) for inputs, outputs in zip(sizes, sizes[1:])]
    values = [torch.randn(batch, size, device=side_by_side.DEVICE) for size in sizes]

    def products(_):
        for number, weight in enumerate(weights):
            torch.mm(values[number], weight.t())
            torch.mm(values[number + 1].t(), values[number])
            if number:
                torch.mm(values[number + 1], weight)

    step, nothing = side_by_side.as_a_step(products), torch.zeros(0, device=side_by_side.DEVICE)

    def epoch():
        for _ in range(count // batch):
            step(nothing)
    return epoch


def random_images(count, shape):
    """uint8 images (count, height, width, channels) and labels below 10."""
    return (CHANCE.randint(0, limit, size).astype(np.uint8) for limit, size in ((256, (count, *shape)), (10, count)))


def rows():
    with tempfile.TemporaryDirectory() as folder:
        dataset = mnist_on_disk(folder, *random_images(MNIST.by_recipe, (28, 28)))
        for flags in ([], PUBLISHED):
            yield from rows_of(MNIST, dataset, *flags)
    yield from rows_of(CIFAR10, ColourImages(*random_images(CIFAR10.by_recipe, CIFAR10.shape)))


def rows_of(case, dataset, *flags):
    """Compare an epoch in every precision, as driver.py trains it with these flags, with the recipe on the images of
    `dataset`, and show the limits that no code can pass.

    On a GPU it is also compared with its own kernels one by one, and without convolutions with the matrix products.
    """
    def prepare(precision, *further):
        return pruned.prepare(driver, case.shape, case.by_us, "--dataset", case.name, "--precision", precision, *flags,
                              *further)

    def scaled(images):
        return "" if images == case.images else f", scaled from {images:,} images"

    height, width, channels = case.shape
    by_us = {precision: prepare(precision) for precision in side_by_side.PRECISIONS}
    table = by_us["float32"].settings._asdict()
    recipe = f"a tutorial's loop with DataLoader and transforms{scaled(case.by_recipe)}"
    products = "the bare matrix products"
    # epochs: {name: (the function that trains an epoch, the number of its images)}; pairs: what our epochs are compared
    # with, (precision, name, bound).
    epochs = {precision: (pruned.epoch(prepared), case.by_us) for precision, prepared in by_us.items()}
    epochs[recipe] = tutorial_epoch(dataset, (channels, height, width), table), case.by_recipe
    pairs, limits = [(precision, recipe, wanted) for precision, wanted in case.wanted.items()], []
    for precision in by_us if side_by_side.ON_GPU else []:
        name = f"its {precision} kernels one by one"
        epochs[name] = pruned.epoch(prepare(precision, "--cuda-graphs", "False")), case.by_us
        pairs.append((precision, name, ""))
    if not table["conv_widths"]:
        epochs[products] = bare_products(case.images, table), case.images
        pairs.append(("float32", products, ">= 0.4"))
        limits.append(products)
        if not side_by_side.ON_GPU:
            limits.append("steps without autograd and torch.optim")
            epochs[limits[-1]] = by_hand(prepare("float32")), case.by_us
    every = side_by_side.in_turn(*(epoch for epoch, _ in epochs.values()))
    times = {name: [case.images / images * seconds for seconds in some]
             for (name, (_, images)), some in zip(epochs.items(), every)}

    what = f"epoch{scaled(case.by_us)}, {case.name} net, batch {table['batch_size']}"
    for precision, other, wanted in pairs:
        if precision not in times:
            yield side_by_side.Row(f"{what}, {precision}: not measured, the device has no instructions for it", "", "",
                                   "", wanted)
            continue
        row = side_by_side.compared(f"{what}, {precision}, against {other}", times[precision], times[other], wanted)
        yield row._replace(ours=f"{row.ours}, {1 / statistics.median(times[precision]):.3g} epochs a second")
    for name in limits:
        yield side_by_side.compared(f"limit: {name} of an {what}, against {recipe}", times[name], times[recipe], "")


if __name__ == "__main__":
    side_by_side.main(rows)
