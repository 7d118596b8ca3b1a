"""The pictures of a VAE in training: a grid at every moment of an arm, one strip of all moments and arms at its end."""
import math
import os

import numpy as np
import torch
from matplotlib.figure import Figure
from torchvision.utils import make_grid

from pruning import files, menu

COUNT = 8    # test images that are reconstructed at most; as many latents are decoded
EPOCHS = 10  # whose moments a strip shows at most
MOMENTS = ["before", "after", "end"]
DPI = 150             # dots an inch
LEFT, TOP = 0.3, 0.7  # inches for the labels of the rows, for the title and the heads of the columns
GAP = 4               # pixels between two cells


class VaePictures:
    """The same test images and the same latents, decoded by the networks of a comparison at every moment.

    images: (at most COUNT, channels, height, width) in [0, 1], on the networks' device. A picture lies beside the log
    whose path is given; one that cannot be written raises UserError.
    """

    def __init__(self, settings, images):
        self.settings, self.images = settings, images
        latents = torch.randn(len(images), settings.latent, generator=torch.Generator().manual_seed(0))
        self.latents = latents.to(images.device)

    @torch.no_grad()
    def show(self, state, arm, moment, path):
        """Draw the grid of a network: test images, their reconstructions from the posterior mean, decoded samples.

        moment: "before" or "after" the round of this epoch (of the other arms, if this one has no rounds), or the "end"
        of the arm.
        """
        number = 1 + (state.epoch - self.settings.initial_iterations) // self.settings.increment
        words = moment if moment == "end" else f"{moment} round {number}"
        rows = {"test images": self.images, "reconstructions": self.reconstruct(state),
                "samples": state.model.decode(self.latents).sigmoid()}
        # What a strip shows: {(epoch, position in MOMENTS, "before round 1"): reconstructions}.
        state.seen[state.epoch, MOMENTS.index(moment), words] = rows["reconstructions"].cpu()
        picture = picture_path(path, words)
        self.draw(picture, self.title(state), 128, COUNT, [f"{arm.words}, epoch {state.epoch}, {words}"],
                  {label: [row] for label, row in rows.items()})
        return picture

    @torch.no_grad()
    def reconstruct(self, state):
        state.model.eval()
        return state.model(self.images)[0].sigmoid()

    def draw_strip(self, states, path):
        """Draw the reconstructions of the finished arms, one row per arm; returns the picture's path.

        states: yields (arm, its last state)."""
        rows = {}
        for arm, state in states:
            end = state.epoch, MOMENTS.index("end"), "end"
            rows[arm.words] = {**state.seen, end: self.reconstruct(state).cpu()}
            title = self.title(state)
        moments = sorted({moment for cells in rows.values() for moment in cells})
        epochs = sorted({epoch for epoch, _, _ in moments})
        shown = {epochs[round(place)] for place in np.linspace(0, len(epochs) - 1, min(len(epochs), EPOCHS))}
        moments = [moment for moment in moments if moment[0] in shown]
        heads = ["test images", *(f"epoch {epoch}\n{words}" for epoch, _, words in moments)]
        # In place of a moment that an arm does not have, and below the test images.
        white = torch.ones_like(self.images)
        strip = picture_path(path, "strip")
        self.draw(strip, f"{title}, reconstructions", 84, 2, heads, {
            words: [white if row else self.images, *(cells.get(moment, white) for moment in moments)]
            for row, (words, cells) in enumerate(rows.items())})
        return strip

    def title(self, state):
        return f"{menu.DATASETS[self.settings.dataset]}, seed {state.seed}"

    def draw(self, path, title, side, columns, heads, rows):
        """Draw cells of images, {the label of their row: [(N, channels, height, width), ...]}, under these heads.

        side: dots that an image is wide and high, or a little more, so that a pixel takes whole dots. columns: images
        beside each other in a cell. One axes holds it all, so that every pixel is of one size.
        """
        cells = torch.stack([make_grid(images.cpu(), columns, pad_value=1) for row in rows.values() for images in row])
        sheet = make_grid(cells, len(heads), padding=GAP, pad_value=1).permute(1, 2, 0).numpy()
        inches = math.ceil(side / max(self.images.shape[2:])) / DPI  # a pixel's
        width, height = LEFT + inches * sheet.shape[1], TOP + inches * sheet.shape[0]
        figure = Figure((width, height))
        figure.suptitle(title, y=1 - 0.1 / height)
        axes = figure.add_axes([LEFT / width, 0, 1 - LEFT / width, 1 - TOP / height], frame_on=False)
        axes.imshow(sheet, interpolation="nearest", aspect="auto")
        across, down = (GAP + length / 2 + np.arange(count) * (GAP + length)
                        for length, count in ((cells.shape[3], len(heads)), (cells.shape[2], len(rows))))
        axes.xaxis.tick_top()
        axes.set_xticks(across, heads, fontsize="small")
        axes.set_yticks(down, rows, fontsize="small", rotation=90, va="center")
        axes.tick_params(length=0)
        save(figure, path)


def picture_path(log, words):
    return f"{os.path.splitext(log)[0]}_{words.replace(' ', '_')}.png"


def save(figure, path):
    with files.whole_file(path) as file:
        figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
