"""The pictures of a VAE in training: a grid at every moment of an arm, one strip of all moments and arms at its end."""
import os

import numpy as np
import torch
from matplotlib.figure import Figure
from torchvision.utils import make_grid

import files
import runlog

COUNT = 8    # test images that are reconstructed, and latents that are decoded
EPOCHS = 10  # whose moments a strip shows at most
MOMENTS = ["before", "after", "end"]


class Album:
    """The same test images and the same latents, decoded by the networks of a comparison at every moment.

    images: (COUNT, channels, height, width) in [0, 1], on the networks' device.
    """

    def __init__(self, settings, images):
        self.settings, self.images = settings, images
        latents = torch.randn(COUNT, settings.latent, generator=torch.Generator().manual_seed(0))
        self.latents = latents.to(images.device)

    @torch.no_grad()
    def add(self, run, arm, moment, path):
        """Draw the grid of a network: test images, their reconstructions from the posterior mean, decoded samples.

        moment: of MOMENTS, "before" or "after" the round of this epoch, for an arm that has no rounds the others'
        round, or the "end" of the arm. path: of the log, beside which it is drawn. Raises UserError.
        """
        number = 1 + (run.epoch - self.settings.initial_iterations) // self.settings.increment
        words = moment if moment == "end" else f"{moment} round {number}"
        rows = {"test images": self.images, "reconstructions": self.reconstruct(run),
                "samples": run.model.decode(self.latents).sigmoid()}
        # What a strip shows: {(epoch, position in MOMENTS, "before round 1"): reconstructions}.
        run.seen[run.epoch, MOMENTS.index(moment), words] = rows["reconstructions"].cpu()

        figure = Figure((8, len(rows) + 0.4), layout="constrained")
        figure.suptitle(f"{self.title(run)}, {runlog.words(arm)}, epoch {run.epoch}, {words}")
        for axes, (label, images) in zip(figure.subplots(len(rows)), rows.items()):
            show(axes, images, COUNT)
            axes.set_ylabel(label, fontsize="small")
        save(figure, picture_path(path, words))

    @torch.no_grad()
    def reconstruct(self, run):
        run.model.eval()
        return run.model(self.images)[0].sigmoid()

    def draw_strip(self, runs, path):
        """Draw the reconstructions of the finished arms side by side, an arm a row.

        runs: yields (arm, finished run). path: of the log, beside which it is drawn. Raises UserError.
        """
        rows = {}
        for arm, run in runs:
            rows[arm] = {**run.seen, (run.epoch, MOMENTS.index("end"), "end"): self.reconstruct(run).cpu()}
            title = self.title(run)
        moments = sorted({moment for cells in rows.values() for moment in cells})
        epochs = sorted({epoch for epoch, _, _ in moments})
        shown = {epochs[round(place)] for place in np.linspace(0, len(epochs) - 1, min(len(epochs), EPOCHS))}
        moments = [moment for moment in moments if moment[0] in shown]
        figure = Figure((1 + len(moments), 2.1 * len(rows) + 0.7), layout="constrained")
        figure.suptitle(f"{title}, reconstructions")
        panels = figure.subplots(len(rows), 1 + len(moments), squeeze=False)
        panels[0, 0].set_title("test images", fontsize="small")
        for axes, (epoch, _, words) in zip(panels[0, 1:], moments):
            axes.set_title(f"epoch {epoch}\n{words}", fontsize="small")
        for row, (arm, cells) in zip(panels, rows.items()):
            row[0].set_ylabel(runlog.words(arm))
            show(row[0], self.images, 2)
            for axes, moment in zip(row[1:], moments):
                show(axes, cells.get(moment, torch.ones_like(self.images)), 2)  # white where an arm has no such moment
        strip = picture_path(path, "strip")
        save(figure, strip)
        print(f"wrote {strip}", flush=True)

    def title(self, run):
        return f"{runlog.words(self.settings.dataset)}, seed {run.seed}"


def picture_path(log, words):
    return f"{os.path.splitext(log)[0]}_{words.replace(' ', '_')}.png"


def show(axes, images, columns):
    """Images (N, channels, height, width) in [0, 1] as one grid without ticks."""
    axes.imshow(make_grid(images.cpu(), columns, pad_value=1).permute(1, 2, 0).numpy(), interpolation="nearest")
    axes.set(xticks=[], yticks=[], frame_on=False)


def save(figure, path):
    with files.whole_file(path) as file:
        figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
