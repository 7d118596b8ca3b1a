"""Train a variational autoencoder and prune its hidden neurons while it trains.

    python vae.py                          asks for the data set; values from constants.py
    python vae.py --dataset 2 --compare    FashionMNIST: no pruning, contribution and random from one shared start

`python plot.py` draws the logs afterwards; `python vae.py -h` lists the flags. Contribution-based or randomised pruning
is `contribBasedPruning` in ranking.py, or --pruning.
"""
from pruning import errors

if __name__ == "__main__":
    errors.prepare_imports("numpy", "torch", "matplotlib", "tqdm")

import torch
from torch.nn import functional

from pruning import comparison, datasets, spread
from pruning.device import exact
from pruning.optimizers import make_optimizer
from pruning.plots.vae_pictures import COUNT, VaePictures
from pruning.settings import VAE
from pruning.training import Workload

ACTIVE = 0.01  # variance of a latent dimension's posterior mean over the images, above which it is an active unit


def main():
    with errors.mistakes_in_one_line():
        import constants
        import models
        import ranking

    command = comparison.prepare(VAE, __doc__, constants, ranking, main)
    settings, device = command.settings, command.device
    scale = {"mean": 0, "std": 1}
    dataset = command.team.in_turn("data set", lambda: datasets.load(settings, device, **scale))
    if dataset.train.image_shape[0] not in (1, 3):
        raise errors.UserError(f"own_data: images with {dataset.train.image_shape[0]} channels; the pictures of vae.py "
                               "need 1 or 3")
    network = {"image_shape": dataset.train.image_shape, "conv_widths": settings.conv_widths,
               "hidden_widths": settings.hidden_widths, "latent": settings.latent}
    pictures = VaePictures(settings, next(dataset.test.batches(COUNT))[0])

    def objective(model, images, labels):
        return negative_elbo(model, images, settings.kld_weight)

    comparison.compare(command, Workload(
        dataset, scale, network, models.VAE, lambda model: make_optimizer(model, settings), objective,
        lambda model: quality(model, dataset.test), show=pictures.show, conclude=pictures.draw_strip, summed=True))


def negative_elbo(model, images, kld_weight):
    """The loss of a batch, BCE + kld_weight * KLD summed over its images, and per image the loss and both parts.

    BCE: -sum over the pixels of x log p + (1 - x) log(1 - p), from the logits of p, which cannot overflow. KLD: from
    the posterior N(mean, exp(logvar)) to N(0, 1), -sum (1 + logvar - mean^2 - exp(logvar)) / 2. One latent is sampled
    per image. All in nats. Kingma and Welling, Auto-Encoding Variational Bayes, 2014, equation 10 and appendix B.
    """
    noise = spread.noise(images, model.latent)
    logits, mean, logvar = (output.float() for output in model(images, noise))
    bce = functional.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    kld = -0.5 * (1 + logvar - mean ** 2 - logvar.exp()).sum()
    loss = bce + kld_weight * kld
    return loss, {"loss": loss / len(images), "BCE": bce / len(images), "KLD": kld / len(images)}


@torch.no_grad()
def quality(model, split):
    """How well the posterior means reconstruct the test images, and how much of the latent they use.

    MSE: mean squared error per pixel, pixels in [0, 1]; PSNR: -10 log10(MSE). Active units: latent dimensions whose
    posterior mean has a variance above 0.01 over the images (Burda et al., Importance Weighted Autoencoders, 2016).
    """
    model.eval()
    squares, means = 0, []
    for images, _ in split:
        logits, mean, _ = model(images)
        squares = squares + exact((logits.sigmoid() - images).pow(2).mean((1, 2, 3)).sum())
        means.append(mean)
    mse, means = spread.total(squares) / len(split), exact(torch.cat(means))
    centred = means - spread.total(means.sum(0)) / len(split)
    variances = spread.total(centred.square().sum(0)) / len(split)
    return {"test MSE": mse.item(), "test PSNR": -10 * mse.log10().item(),
            "active units": int((variances > ACTIVE).sum())}


if __name__ == "__main__":
    errors.run_command(main)
