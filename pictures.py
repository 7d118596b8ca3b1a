"""The pictures of a VAE in training: a grid at every moment of an arm, one strip of all moments and arms at its end."""
import os

import numpy as np
import torch
from matplotlib.figure import Figure
from torchvision.utils import make_grid

import config
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
        self.cells = {}  # {arm: {(epoch, position in MOMENTS, "before round 1"): reconstructions}}, of a run its `seen`

    @torch.no_grad()
    def add(self, run, arm, moment):
        """Draw the grid of a network: test images, their reconstructions from the posterior mean, decoded samples.

        moment: of MOMENTS, "before" or "after" the round of this epoch, for the arm without pruning the others' round,
        or the "end" of the arm, where the strip is drawn too. Raises UserError.
        """
        number = 1 + (run.epoch - self.settings.initial_iterations) // self.settings.increment
        words = moment if moment == "end" else f"{moment} round {number}"
        run.model.eval()
        rows = {"test images": self.images, "reconstructions": run.model(self.images)[0].sigmoid(),
                "samples": run.model.decode(self.latents).sigmoid()}
        run.seen[run.epoch, MOMENTS.index(moment), words] = rows["reconstructions"].cpu()
        self.cells[arm] = run.seen

        figure = Figure((8, len(rows) + 0.4), layout="constrained")
        figure.suptitle(f"{self.title()}, {runlog.ARM_WORDS.get(arm, arm)}, epoch {run.epoch}, {words}")
        for axes, (label, images) in zip(figure.subplots(len(rows)), rows.items()):
            show(axes, images, COUNT)
            axes.set_ylabel(label, fontsize="small")
        save(figure, self.path(arm, words))
        if moment == "end":
            self.draw_strip()

    def draw_strip(self):
        """Draw the reconstructions of the arms so far side by side, an arm a row, beside the first one's log."""
        moments = sorted({moment for cells in self.cells.values() for moment in cells})
        epochs = sorted({epoch for epoch, _, _ in moments})
        shown = {epochs[round(place)] for place in np.linspace(0, len(epochs) - 1, min(len(epochs), EPOCHS))}
        moments = [moment for moment in moments if moment[0] in shown]
        figure = Figure((1 + len(moments), 2.1 * len(self.cells) + 0.7), layout="constrained")
        figure.suptitle(f"{self.title()}, reconstructions")
        panels = figure.subplots(len(self.cells), 1 + len(moments), squeeze=False)
        panels[0, 0].set_title("test images", fontsize="small")
        for axes, (epoch, _, words) in zip(panels[0, 1:], moments):
            axes.set_title(f"epoch {epoch}\n{words}", fontsize="small")
        for row, (arm, cells) in zip(panels, self.cells.items()):
            row[0].set_ylabel(runlog.ARM_WORDS.get(arm, arm))
            show(row[0], self.images, 2)
            for axes, moment in zip(row[1:], moments):
                show(axes, cells.get(moment, torch.ones_like(self.images)), 2)  # white where an arm has no such moment
        path = self.path(next(iter(self.cells)), "strip")
        save(figure, path)
        print(f"wrote {path}")

    def title(self):
        return f"{runlog.DATASET_WORDS.get(self.settings.dataset, self.settings.dataset)}, seed {self.settings.seed}"

    def path(self, arm, words):
        log = runlog.log_path(self.settings.log_folder, self.settings.dataset, arm, config.VAE.log)
        return f"{os.path.splitext(log)[0]}_{words.replace(' ', '_')}.png"


def show(axes, images, columns):
    """Images (N, channels, height, width) in [0, 1] as one grid without ticks."""
    axes.imshow(make_grid(images.cpu(), columns, pad_value=1).permute(1, 2, 0).numpy(), interpolation="nearest")
    axes.set(xticks=[], yticks=[], frame_on=False)


def save(figure, path):
    with runlog.whole_file(path) as file:
        figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
