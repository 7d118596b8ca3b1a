"""Train a classifier and prune its hidden neurons while it trains.

    python driver.py                          asks for the data set; values from constants.py
    python driver.py --dataset 1 --compare    MNIST: no pruning, contribution and random from one shared start

`python plot.py` draws the logs afterwards; `python driver.py -h` lists the flags.
"""
import copy
import sys

import torch
from torch.nn import functional

import config
import data
import models
import ranking
import runlog
import training

ARMS = ["none", *ranking.CRITERIA]


def main():
    default = "contribution" if ranking.contribBasedPruning else "random"
    settings = config.resolve(sys.argv[1:], __doc__.splitlines()[0], default, ARMS)
    device = training.pick_device(settings.device)
    arms = ARMS if settings.compare else [settings.pruning]

    torch.manual_seed(settings.seed)
    torch.backends.cudnn.deterministic = True  # the same seed gives the same log on a GPU as well
    dataset = data.load(settings, device)
    network = {"image_shape": dataset.train.image_shape, "conv_widths": settings.conv_widths,
               "hidden_widths": settings.hidden_widths, "classes": dataset.classes}
    model = models.build(**network).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=settings.learning_rate, momentum=settings.momentum)

    header = {**vars(settings), "pruning": ", ".join(arms), "device": device.type, **training.environment(device)}
    print(runlog.format_header(header), model, sep="")
    paths = [runlog.log_path(settings.log_folder, settings.dataset, arm) for arm in arms]
    logs = [runlog.create(path, {**header, "pruning": arm}) for arm, path in zip(arms, paths)]

    # The epochs before the first round are the same in every arm: they are trained once and stand in every log.
    start = training.Run(model, optimizer)
    shared = min(settings.initial_iterations, settings.total_epochs)
    training.train(start, dataset, classify, settings, arms[0], shared, logs)
    for arm, path, log in zip(arms, paths, logs):
        run = copy.deepcopy(start)
        training.train(run, dataset, classify, settings, arm, settings.total_epochs, [log])
        summary = training.finish(run, dataset, classify, [log])
        training.save(runlog.network_path(path), {**network, "hidden_widths": summary["widths"]}, run.model)
        print(f"{arm}: {runlog.format_summary(summary)}written to {path}")


def classify(model, images, labels):
    """Mean cross-entropy and accuracy in percent of a batch."""
    logits = model(images)
    return {"loss": functional.cross_entropy(logits, labels),
            "accuracy": 100 * (logits.argmax(1) == labels).float().mean()}


if __name__ == "__main__":
    config.run_command(main)
