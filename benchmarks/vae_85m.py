"""The published VAE, 85,183,619 parameters, on random images: a step against plain PyTorch's, and after rounds.

    python benchmarks/vae_85m.py

Both sides take their steps in turn, this suite in float32 and, if the device has instructions for it, in bfloat16; this
suite also reads uint8 images, logs and evaluates one image. Under two minutes and 5 GB on 2 cores.
"""
import statistics

import side_by_side  # puts the suite's folder on the path
import torch
from torch import nn
from torch.nn import functional

# isort: split
import pruned

import vae
from pruning.cuda_graph import Recording
from pruning.groups import widths_of
from pruning.measures import count_parameters
from pruning.passes import Passes
from pruning.removal import remove
from pruning.selection import Options, survivors

BATCH, LATENT, ROUNDS = 64, 100, 5
STEPS = 40 if side_by_side.ON_GPU else 4


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
    """A function that takes a step in plain PyTorch on every batch of the images (N, 3, 64, 64)."""
    model = Plain().to(side_by_side.DEVICE)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def steps():
        for batch in images.split(BATCH):
            decoded, mean, logvar = model(batch)
            loss = (functional.binary_cross_entropy(decoded, batch, reduction="sum")
                    - 0.5 * (1 + logvar - mean ** 2 - logvar.exp()).sum())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return steps


def rows():
    whole, less = (pruned.prepare(vae, (64, 64, 3), STEPS * BATCH, "--dataset", "CelebA") for _ in range(2))
    state, train = less.state, less.workload.dataset.train
    assert count_parameters(state.model) == 85183619
    plain = plain_steps(next(train.batches(STEPS * BATCH))[0].contiguous())
    for precision in side_by_side.PRECISIONS:
        whole, less = (in_precision(precision, prepared) for prepared in (whole, less))
        own, other, ratio = side_by_side.medians(*side_by_side.in_turn(pruned.epoch(whole), plain))
        yield side_by_side.Row(f"step of the VAE of 85,183,619 parameters, batch {BATCH}, {precision}, against plain "
                               "PyTorch's", *(side_by_side.duration(took / STEPS) for took in (own, other)), ratio, "")
    removals = []
    for _ in range(ROUNDS):
        keeps = survivors(Passes(state.model, state.groups, train), less.arm, Options(1.0, 0.0, None), 10)
        removals.append(side_by_side.seconds(lambda keeps=keeps: remove(state.groups, keeps, state.optimizer)))
    state.recording = Recording()
    after, before, ratio = side_by_side.medians(*side_by_side.in_turn(pruned.epoch(less), pruned.epoch(whole)))
    widths = "-".join(map(str, widths_of(state.groups)))
    yield side_by_side.Row(f"a step of it after {ROUNDS} rounds, {widths}, {precision}, and before; the median removal "
                           f"took {side_by_side.duration(statistics.median(removals))}",
                           *(side_by_side.duration(took / STEPS) for took in (after, before)), ratio, "")


def in_precision(precision, prepared):
    prepared.state.recording = Recording()  # the old one is of another precision
    return prepared._replace(settings=prepared.settings._replace(precision=precision))


if __name__ == "__main__":
    side_by_side.main(rows)
