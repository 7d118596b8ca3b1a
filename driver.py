"""Train a classifier and prune its hidden neurons while it trains.

    python driver.py                          asks for the data set; values from constants.py
    python driver.py --dataset 1 --compare    MNIST: no pruning, contribution and random from one shared start
    ... --compare contribution,random,taylor --seeds 5 --jobs 2    these arms, five times, by two processes

`python plot.py` draws the logs afterwards; `python driver.py -h` lists the flags.
"""
from pruning import errors

if __name__ == "__main__":
    errors.prepare_imports("numpy", "torch", "matplotlib", "tqdm")

from torch.nn import functional

from pruning import comparison, datasets, own
from pruning.optimizers import make_optimizer
from pruning.settings import CLASSIFIER
from pruning.training import Workload


def main():
    with errors.mistakes_in_one_line():
        import constants
        import models
        import ranking

    command = comparison.prepare(CLASSIFIER, __doc__, constants, ranking, main)
    settings = command.settings
    scale = {"mean": settings.mean, "std": settings.std}
    dataset = command.team.in_turn("data set", lambda: datasets.load(settings, command.device, **scale))
    network, build = {"image_shape": dataset.train.image_shape, "classes": dataset.classes}, models.build
    if settings.network:
        build = own.find_network(settings.network, **network)
    else:
        network.update(conv_widths=settings.conv_widths, hidden_widths=settings.hidden_widths)

    comparison.compare(command, Workload(dataset, scale, network, build,
                                         lambda model: make_optimizer(model, settings), classify))


def classify(model, images, labels):
    """Mean cross-entropy of images (B, *image_shape) by labels (B,), and with it the accuracy in percent: scalars."""
    logits = model(images).float()
    loss = functional.cross_entropy(logits, labels)
    return loss, {"loss": loss, "accuracy": 100 * (logits.argmax(1) == labels).float().mean()}


if __name__ == "__main__":
    errors.run_command(main)
