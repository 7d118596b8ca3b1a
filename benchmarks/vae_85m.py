"""The published VAE, 85,183,619 parameters, on random images: training steps against plain PyTorch's, a round, memory.

    python benchmarks/vae_85m.py

Prints medians of 5; both sides take their steps in turn. About 2 minutes on 2 cores.
"""
import argparse
import os
import resource
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import checkpoint  # noqa: E402
import config  # noqa: E402
import data  # noqa: E402
import machine  # noqa: E402
import models  # noqa: E402
import ranking  # noqa: E402
import training  # noqa: E402
import vae  # noqa: E402

BATCH, STEPS, LATENT = 64, 4, 100


class Plain(nn.Module):
    """The same network as a user of PyTorch writes it down."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(), nn.Flatten(),
            nn.Linear(16384, 2048, bias=False), nn.ReLU(), nn.Linear(2048, 4096, bias=False), nn.ReLU())
        self.mean, self.logvar = nn.Linear(4096, LATENT, bias=False), nn.Linear(4096, LATENT, bias=False)
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, 4096, bias=False), nn.ReLU(), nn.Linear(4096, 2048, bias=False), nn.ReLU(),
            nn.Linear(2048, 16384, bias=False), nn.ReLU(), nn.Unflatten(1, (64, 16, 16)),
            nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 3, 4, 2, 1), nn.Sigmoid())

    def forward(self, images):
        hidden = self.encoder(images)
        mean, logvar = self.mean(hidden), self.logvar(hidden)
        return self.decoder(mean + torch.randn_like(mean) * (0.5 * logvar).exp()), mean, logvar


def plain_steps(images):
    """The model, and a function that takes a step of plain PyTorch on each batch of the images (N, 3, 64, 64)."""
    model = Plain()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def steps():
        for batch in images.split(BATCH):
            decoded, mean, logvar = model(batch)
            loss = (functional.binary_cross_entropy(decoded, batch, reduction="sum")
                    - 0.5 * (1 + logvar - mean ** 2 - logvar.exp()).sum())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model, steps


def our_epoch(dataset):
    """The run, and a function that trains it one epoch of the suite's own loop."""
    model = models.VAE((3, 64, 64), [32, 64], [2048, 4096, 4096, 2048], LATENT)
    run = training.Run(model, torch.optim.Adam(model.parameters(), lr=1e-3))
    task = training.Task(dataset, lambda model, images, labels: vae.negative_elbo(model, images, 1.0), None, None)
    settings = argparse.Namespace(seed=30, batch_size=BATCH, learning_rate=1e-3)
    bar = training.tqdm(disable=True)
    return run, lambda: training.train_epoch(run, task, settings, [], bar, checkpoint.Stop())


def seconds(function):
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def main():
    pixels = torch.randint(256, (STEPS * BATCH + 1, 64, 64, 3), dtype=torch.uint8)
    split, one = (data.Split(part, torch.zeros(len(part)), "cpu", 0, 1) for part in (pixels[:-1], pixels[-1:]))
    images = next(split.batches())[0].contiguous()
    model, plain = plain_steps(images)
    run, ours = our_epoch(data.Dataset(split, one, 0))
    assert models.count_parameters(model) == models.count_parameters(run.model) == 85183619
    print(f"{machine.processor_name()}, torch {torch.__version__}, {torch.get_num_threads()} threads, batch {BATCH}")
    for warm_up in (plain, ours):
        warm_up()
    times = [(seconds(plain) / STEPS, seconds(ours) / STEPS) for _ in range(5)]
    print("training step, plain PyTorch: {:.3f} s; this suite, reading, logging and evaluating 1 image too: {:.3f} s"
          .format(*map(statistics.median, zip(*times))))
    print(f"ratio, ours / plain: {statistics.median(ours / plain for plain, ours in times):.2f}")

    options = ranking.Options(1.0, 0.0, None)
    for number in range(1, 6):
        started = time.perf_counter()
        survivors = ranking.survivors(run.model, split.image_batches, "contribution", options, 10)
        ranked = time.perf_counter()
        for group, keep in zip(run.model.groups(), survivors):
            models.remove(group, keep, run.optimizer)
        removed = time.perf_counter()
        print(f"round {number} to {models.widths(run.model)}: ranking on {len(split)} images {ranked - started:.2f} s, "
              f"removal with Adam's state {removed - ranked:.2f} s, then a step {seconds(ours) / STEPS:.2f} s")
    print(f"peak memory of both networks with Adam: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB")


if __name__ == "__main__":
    config.run_command(main)
