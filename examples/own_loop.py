"""Pruning in a training loop of your own: a small VGG with BatchNorm, on the rendered digits.

    python examples/own_loop.py    about half a minute on two cores

The loop has Adam with weight decay, a learning-rate scheduler and gradients accumulated over two batches. All that the
suite does stands in prune(): five lines, which need neither driver.py nor constants.py.
"""
import os
import sys

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # the suite's folder
import ranking  # noqa: E402
from pruning.digits import render  # noqa: E402
from pruning.groups import find_groups, widths_of  # noqa: E402
from pruning.passes import Passes  # noqa: E402
from pruning.removal import remove  # noqa: E402
from pruning.schedule import staying  # noqa: E402
from pruning.selection import Options, highest  # noqa: E402

EPOCHS, ROUNDS, PERCENT, ACCUMULATED = 6, (2, 3, 4), 20, 2


def vgg(widths=(8, 16, 16, 32), hidden=64, classes=10):
    """3x3 convolutions with BatchNorm and ReLU, pooling after every second one, then two Linear layers."""
    layers, channels = [], 1
    for number, width in enumerate(widths):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] * (number % 2)
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * channels, hidden), nn.ReLU(),
                         nn.Linear(hidden, classes))


def prune(model, loader, optimizer):
    """Remove the PERCENT of the filters and hidden neurons that contribute least, and their state in the optimizer."""
    groups, left_whole = find_groups(model, next(iter(loader))[0][:8])
    passes = Passes(model, groups, loader)
    scores = ranking.contribution(groups, passes, Options())  # or another criterion of ranking.py, or your own
    keeps = [highest(some, staying(len(some), PERCENT)) for some in scores]  # a count per group: so many stay
    remove(groups, keeps, optimizer)
    return widths_of(groups)


def main(images_per_epoch=4000):
    torch.manual_seed(30)
    train, test = (DataLoader(TensorDataset(*digits(count, seed)), 50, shuffle=seed == 0)
                   for count, seed in ((images_per_epoch, 0), (1000, 1)))
    model = vgg()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for epoch in range(1, EPOCHS + 1):
        model.train()
        for number, (images, labels) in enumerate(train, 1):
            (functional.cross_entropy(model(images), labels) / ACCUMULATED).backward()
            if number % ACCUMULATED == 0:
                optimizer.step()
                optimizer.zero_grad()
        scheduler.step()
        print(f"epoch {epoch}: test accuracy {accuracy(model, test):.1f} %")
        if epoch in ROUNDS:
            widths = prune(model, train, optimizer)
            print(f"pruned to {'-'.join(map(str, widths))}: test accuracy {accuracy(model, test):.1f} %")
    return model


def digits(count, seed):
    """Images (count, 1, height, width) in [0, 1] and labels (count,)."""
    images, labels = render(count, seed)
    return images.permute(0, 3, 1, 2).float() / 255, labels


@torch.no_grad()
def accuracy(model, loader):
    """In percent."""
    model.eval()
    right = sum((model(images).argmax(1) == labels).sum().item() for images, labels in loader)
    return 100 * right / len(loader.dataset)


if __name__ == "__main__":
    main()
