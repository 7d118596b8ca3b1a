"""What several unit tests share: the message of a refusal, small networks, data and runs."""
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

import constants
import driver
import models
import ranking
from pruning import arms, datasets
from pruning.errors import UserError
from pruning.groups import groups_of
from pruning.passes import Passes
from pruning.selection import Options
from pruning.terminal import Terminal
from pruning.training import TrainingState, Workload

CONSTANTS = {name: value for name, value in vars(constants).items() if not name.startswith("_")}
ARMS = arms.with_criteria(ranking.CRITERIA)


# Texts that a value, a flag or a log may hold by mistake.
NASTY = ["", "\x00", "\ud800", "\udc80", "\n", "a\nb", "a\r\nb", "\u2028", "\x1b[2J", "9" * 5000, "x" * 10 ** 5, "-9",
         "\u0663", "\u00b2", "\uff11", "1_0", "1e999", "nan", "inf", "%", "%s", "{}", "--", "-", "=", "Accuracy",
         "$x_{"]


def refusal(function, *arguments, **options):
    """The message of the UserError that the call must raise: one line."""
    with pytest.raises(UserError) as caught:
        function(*arguments, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def assert_legal(value, setting):
    """A checked value: of its type, in a list too, and legal."""
    assert type(value) is setting.kind and setting.is_legal(value)
    assert setting.kind is not list or {*map(type, value)} <= {int}


def with_value(table, name, value):
    """CONSTANTS in which a name, or an entry of a table, has this value."""
    return {**CONSTANTS, table: {**CONSTANTS[table], name: value}} if table else {**CONSTANTS, name: value}


# ---- small networks, and passes through them ----

def feed_forward():
    """A network in float64 and 10 images."""
    torch.manual_seed(1)
    return models.FeedForward(6, [8, 5], 3).double(), torch.rand(10, 6).double()


def vae():
    """A VAE in float64 and 10 images."""
    torch.manual_seed(1)
    return models.VAE((2, 8, 8), [3, 4], [9, 8, 7, 6], 5).double(), torch.rand(10, 2, 8, 8).double()


each_network = pytest.mark.parametrize("network", [feed_forward, vae])


def options(lambda_average=1.0, lambda_max=0.0, seed=1):
    return Options(lambda_average, lambda_max, torch.Generator().manual_seed(seed))


def summed_loss(model, images, labels):
    """In float64, which finite differences need."""
    if isinstance(model, models.VAE):
        logits, mean, logvar = model(images, torch.randn(len(images), model.latent))
        return functional.binary_cross_entropy_with_logits(logits, images, reduction="sum") + (
            mean ** 2 + logvar.exp() - logvar).sum()
    return functional.cross_entropy(model(images), labels, reduction="sum")


def hidden(model, images):
    """The groups of hidden neurons of a model that takes these images."""
    return groups_of(model, images, prune_filters=False)[0]


def passes_of(model, images, size=4, groups=None, **changes):
    """Passes of the images in batches of this size, with labels in the range of the network's outputs; through the
    hidden neurons if no groups are given."""
    def loss(model, images, labels):
        return summed_loss(model, images, labels) / len(labels)

    batches = list(zip(images.split(size), (torch.arange(len(images)) % 3).split(size)))
    return Passes(model, groups or hidden(model, images), batches, loss, **changes)


# ---- small runs ----

def run_settings(**changes):
    return SimpleNamespace(**{
        "total_epochs": 6, "initial_iterations": 2, "increment": 2, "prune_percent": 10.0, "hidden_widths": [50, 30],
        "lambda_average": 1.0, "lambda_max": 0.0, "ranking_images": 0, "compensate": False, "prune_filters": False,
        "seed": 30, "seeds": 1,
        "jobs": 1, "batch_size": 25, "optimizer": "sgd", "learning_rate": 0.1, "learning_rate_schedule": "constant",
        "momentum": 0.9, "weight_decay": 0.0, "augment": False, "precision": "float32", "checkpoint_every": 1000,
        "cuda_graphs": True, **changes})


def random_split(count, seed, classes=3):
    chance = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, 4, 4, 1), generator=chance, dtype=torch.uint8)
    return datasets.Split(images, torch.randint(classes, (count,), generator=chance), "cpu", 0.5, 0.5)


def random_workload(objective=driver.classify, count=60, **changes):
    """A workload of random images; a test makes its models itself."""
    dataset = datasets.Dataset(random_split(count, 0), random_split(20, 1), 3)
    return Workload(dataset, {"mean": 0.5, "std": 0.5}, {}, None, None, objective, **changes)


def silent(settings):
    """A terminal on which nothing is said."""
    request = SimpleNamespace(quiet=True, verbose=False, tensorboard=False)
    return Terminal(settings, request, SimpleNamespace(size=1))


def classifier(seed=30):
    """A fresh 16-50-30-3 network in training."""
    torch.manual_seed(seed)
    model = models.build((1, 4, 4), [], [50, 30], 3)
    return state_of(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), seed)


def state_of(model, optimizer, seed=30):
    """A model of 4x4 images in training."""
    return TrainingState(model, optimizer, seed, hidden(model, torch.rand(4, 1, 4, 4)))
