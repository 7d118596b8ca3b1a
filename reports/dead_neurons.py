"""Count, in every hidden layer of saved networks, the neurons that are never active on the training set.

    python reports/dead_neurons.py logs/FashionMNIST/vae_log*.pt

The log beside a network says which data set it was trained on. For a VAE it also prints the variances of the posterior
means over the test set, largest first; they decide which latent dimensions count as active units.
"""
import argparse
import os
import sys
from pickle import UnpicklingError

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import models  # noqa: E402
from pruning import datasets, errors, runlog  # noqa: E402
from pruning.command_line import Parser  # noqa: E402
from pruning.groups import groups_of  # noqa: E402
from pruning.passes import Passes  # noqa: E402


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="+", help=".pt files of driver.py and vae.py")
    parser.add_argument("--dataset-folder", help="where the data sets are (now: as in the log)")
    arguments = parser.parse_args()
    dataset, loaded_as = None, None
    for path in arguments.networks:
        if not (path.endswith(".pt") and os.path.exists(path)):
            raise errors.UserError(f"{path}: no network; give .pt files that driver.py or vae.py has saved")
        header = argparse.Namespace(**runlog.parse_log(os.path.splitext(path)[0] + ".txt").header)
        try:
            header.dataset_folder = arguments.dataset_folder or header.dataset_folder
            model, _ = models.load(path)
            is_vae = isinstance(model, models.VAE)
            scale = (0, 1) if is_vae else (header.mean, header.std)
            load_as = header.dataset, header.dataset_folder, header.holdout, *scale
        except (AttributeError, EOFError, LookupError, RuntimeError, TypeError, UnpicklingError) as error:
            raise errors.UserError(f"{path}: it or its log is not of this suite, or damaged ({type(error).__name__})")
        if load_as != loaded_as:
            dataset, loaded_as = datasets.load(header, torch.device("cpu"), *scale), load_as
        print(f"{path}: {describe(model, dataset, is_vae)}", flush=True)


@torch.no_grad()
def describe(model, dataset, is_vae):
    groups = groups_of(model, next(dataset.test.batches(8))[0], prune_filters=False)[0]
    active = [torch.zeros(group.width, dtype=torch.bool) for group in groups]
    for blocks in Passes(model, groups, dataset.train).activations():
        for seen, a in zip(active, blocks):
            seen |= (a > 0).any(0)
    text = "never active: " + ", ".join(f"{int((~seen).sum())} of {len(seen)}" for seen in active)
    if is_vae:
        means = torch.cat([model.encode(images)[0] for images, _ in dataset.test])
        variances = means.var(0, unbiased=False).sort(descending=True).values
        text += "; variances " + " ".join(f"{variance:.3f}" for variance in variances.tolist())
    return text


if __name__ == "__main__":
    errors.run_command(main)
