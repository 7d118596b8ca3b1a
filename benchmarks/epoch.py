"""A training epoch against the recipe of every tutorial, and against the bare matrix products that it needs.

    python benchmarks/epoch.py

Both sides train the same network with batches of the same size and the same optimizer on random images of the same
shape; ours evaluates one image besides. The matrix products take the same numbers at every step, which stay in the
cache. Under two minutes on 2 cores.
"""
import os
import struct
import tempfile

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

PUBLISHED = ["--batch-size", "5000", "--learning-rate", "0.1", "--momentum", "0"]
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


def our_epochs(shape, count, *flags):
    """For every precision a function that trains an epoch as driver.py does; and the values it takes, {name: value}."""
    prepared = [pruned.prepare(driver, shape, count, "--precision", precision, *flags)
                for precision in side_by_side.PRECISIONS]
    return list(map(pruned.epoch, prepared)), vars(prepared[0].settings)


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
        for flags in ([], PUBLISHED):
            own, table = our_epochs(images.shape[1:], len(images), "--dataset", "MNIST", *flags)
            *own, recipe, products = side_by_side.in_turn(*own, tutorial_epoch(dataset, (1, 28, 28), table),
                                                          bare_products(len(images), table))
            what = f"third of an epoch, MNIST net, batch {table['batch_size']},"
            for precision, times in zip(side_by_side.PRECISIONS, own):
                yield side_by_side.compared(f"{what} {precision}, against the recipe of every tutorial", times, recipe,
                                            ">= 30")
            yield side_by_side.compared(f"{what} float32, against the bare matrix products", own[0], products, ">= 0.4")
            yield side_by_side.compared(f"limit: the bare matrix products of a {what} against the recipe of every "
                                        "tutorial", products, recipe, "")
    images, labels = random_images(10000, (32, 32, 3))
    own, table = our_epochs(images.shape[1:], len(images), "--dataset", "CIFAR10")
    *own, recipe = side_by_side.in_turn(*own, tutorial_epoch(ColourImages(images, labels), (3, 32, 32), table))
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
