"""A training epoch against the recipe of every tutorial, and against the bare matrix products that it needs.

    python benchmarks/epoch.py

Both sides train the same network with batches of the same size and the same optimizer on the same random images; ours
logs and evaluates one image besides. The matrix products take the same numbers at every step, which stay in the cache.
Under two minutes on 2 cores.
"""
import argparse
import os
import struct
import tempfile

import numpy as np
import side_by_side
import torch
import torchvision
from PIL import Image
from torch import nn
from torch.nn import functional
from torchvision import transforms

import checkpoint
import constants
import data
import driver
import models
import training

PUBLISHED = {**constants.MNIST, "batch_size": 5000, "learning_rate": 0.1, "momentum": 0}
CHANCE = np.random.RandomState(0)
PREPARE = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])


class ColourImages(torch.utils.data.Dataset):
    """What torchvision's CIFAR10 does with an image: from an array to a picture to a tensor."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, number):
        return PREPARE(Image.fromarray(self.images[number])), int(self.labels[number])


def mnist_on_disk(folder, images, labels):
    """torchvision's MNIST, reading these images (N, 28, 28) and labels from files in the folder."""
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
    """A function that trains an epoch as tutorials do: a DataLoader transforms every image, accuracy by .item()."""
    network = tutorial_network(image_shape, table)
    loader = torch.utils.data.DataLoader(dataset, batch_size=table["batch_size"], shuffle=True)
    optimizer = torch.optim.SGD(network.parameters(), lr=table["learning_rate"], momentum=table["momentum"])

    def epoch():
        right = 0
        for images, labels in loader:
            optimizer.zero_grad()
            logits = network(images)
            functional.cross_entropy(logits, labels).backward()
            optimizer.step()
            right += (logits.argmax(1) == labels).sum().item()
    return epoch


def our_epoch(images, labels, table, precision="float32"):
    """A function that trains an epoch of this suite's own loop. images: uint8 (N, height, width, channels)."""
    train, one = (data.Split(torch.from_numpy(images[:count]), torch.from_numpy(labels[:count]).long(), "cpu", 0.5, 0.5)
                  for count in (len(images), 1))
    network = models.build(train.image_shape, table["conv_widths"], table["hidden_widths"], 10)
    run = training.Run(network, torch.optim.SGD(network.parameters(), table["learning_rate"], table["momentum"]), 30)
    task = training.Task(data.Dataset(train, one, 10), driver.classify)
    settings = argparse.Namespace(batch_size=table["batch_size"], learning_rate=table["learning_rate"],
                                  precision=precision)
    bar = training.tqdm(disable=True)
    return lambda: training.train_epoch(run, task, settings, [], bar, checkpoint.Stop())


def bare_products(count, table):
    """A function that does the matrix products of an epoch: forward, and back but to the image."""
    sizes, batch = [784, *table["hidden_widths"], 10], table["batch_size"]
    weights = [torch.randn(outputs, inputs) for inputs, outputs in zip(sizes, sizes[1:])]
    values = [torch.randn(batch, size) for size in sizes]

    def epoch():
        for _ in range(count // batch):
            for number, weight in enumerate(weights):
                torch.mm(values[number], weight.t())
                torch.mm(values[number + 1].t(), values[number])
                if number:
                    torch.mm(values[number + 1], weight)
    return epoch


def random_images(count, shape):
    """uint8 images (count, height, width, channels) and labels below 10."""
    return (CHANCE.randint(0, limit, size).astype(np.uint8) for limit, size in ((256, (count, *shape)), (10, count)))


def rows():
    images, labels = random_images(20000, (28, 28, 1))
    with tempfile.TemporaryDirectory() as folder:
        dataset = mnist_on_disk(folder, images[..., 0], labels)
        for table in (constants.MNIST, PUBLISHED):
            own = [our_epoch(images, labels, table, precision) for precision in side_by_side.PRECISIONS]
            *own, recipe, products = side_by_side.in_turn(*own, tutorial_epoch(dataset, (1, 28, 28), table),
                                                          bare_products(len(images), table))
            what = f"third of an epoch, MNIST net, batch {table['batch_size']},"
            for precision, times in zip(side_by_side.PRECISIONS, own):
                yield side_by_side.compared(f"{what} {precision}, against the recipe of every tutorial", times, recipe,
                                            ">= 30")
            yield side_by_side.compared(f"{what} float32, against the bare matrix products", own[0], products, ">= 0.4")
            yield side_by_side.compared("their limit: the bare matrix products of that net against the recipe",
                                        products, recipe, "")
    images, labels = random_images(10000, (32, 32, 3))
    own = [our_epoch(images, labels, constants.CIFAR10, precision) for precision in side_by_side.PRECISIONS]
    *own, recipe = side_by_side.in_turn(*own, tutorial_epoch(ColourImages(images, labels), (3, 32, 32),
                                                             constants.CIFAR10))
    times = dict(zip(side_by_side.PRECISIONS, own))
    for precision, wanted in (("float32", ">= 1.7"), ("bfloat16", ">= 3")):
        what = f"fifth of an epoch, CIFAR-10 net, {precision}, against the recipe of every tutorial"
        if precision in times:
            yield side_by_side.compared(what, times[precision], recipe, wanted)
        else:
            yield side_by_side.Row(f"{what}: not measured, this processor has no instructions for it", "", "", "",
                                   wanted)


if __name__ == "__main__":
    side_by_side.main(rows)
