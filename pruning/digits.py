"""Data set 0, "Digits": ten digits drawn from the fonts that matplotlib carries.

It stands in for MNIST on a machine without a network. One seed gives the same images on every run (another version of
FreeType shades edges a little differently). Each image is one font's digit after a random affine map, with random
stroke thickness and noise. With these ranges a 784-50-30-10 network ends near 96 %, a much smaller one lower.
"""
import functools
import math
import os

import matplotlib
import torch
from matplotlib.ft2font import FT2Font
from torch.nn.functional import affine_grid, grid_sample

# Files in matplotlib's own font folder, the same in 3.6 and in 3.11.
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSerif",
         "DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic",
         "STIXGeneralBolIta", "cmb10", "cmr10", "cmss10", "cmtt10")
CLASSES = 10
SIDE = 28               # pixels, of an image
FIELD = 56              # pixels, of a glyph's soft field
FONT_SIZE = 54          # field pixels per em; a digit is about 0.7 em high
BLUR = 1.6              # field pixels, standard deviation
CHUNK = 2000            # images drawn at once, which bounds the memory

# Each image draws evenly from these ranges.
ROTATION = (-20, 20)    # degrees
SHEAR = (-0.3, 0.3)     # pixels across per pixel down
SCALE = (0.75, 1.15)    # of the nominal size, drawn for width and for height
SHIFT = (-2.5, 2.5)     # image pixels, drawn for across and for down
LEVEL = (0.15, 0.40)    # field value at the stroke's edge: a low one is thick
INK = (0.7, 1.0)        # brightness of the stroke; white is 1
EDGE = 0.06             # field value over which the stroke's edge fades
NOISE = 0.15            # brightness, standard deviation in every pixel


def render(count, seed):
    """Draw `count` digits from `seed`, classes balanced to within one.

    Returns uint8 images (count, 28, 28, 1), white on black, and their int64 labels (count,), shuffled.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randperm(count, generator=generator) % CLASSES
    return torch.cat([draw(chunk, generator) for chunk in labels.split(CHUNK)]), labels


def draw(labels, generator):
    """Images uint8 (n, 28, 28, 1) of `labels` (n,), each in a random font."""
    count = len(labels)
    fonts = torch.randint(len(FONTS), (count,), generator=generator)
    grid = affine_grid(maps(count, generator), [count, 1, SIDE, SIDE], align_corners=False)
    field = grid_sample(glyph_fields()[fonts, labels], grid, align_corners=False)
    level, ink = (uniform(count, span, generator).view(-1, 1, 1, 1) for span in (LEVEL, INK))
    stroke = torch.sigmoid((field - level) / EDGE) * ink
    noise = NOISE * torch.randn(field.shape, generator=generator)
    pixels = ((stroke + noise).clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels.view(count, SIDE, SIDE, 1)


def uniform(count, span, generator):
    low, high = span
    return low + (high - low) * torch.rand(count, generator=generator)


def maps(count, generator):
    """Random affine maps (count, 2, 3) from image to field, both -1..1."""
    turn, lean, width, height, right, down = (uniform(count, span, generator) for span in (
        ROTATION, SHEAR, SCALE, SCALE, SHIFT, SHIFT))
    cos, sin = torch.cos(turn * math.pi / 180), torch.sin(turn * math.pi / 180)
    # From image to field is the way back: a scale divides, a shift subtracts.
    linear = torch.stack([(cos + lean * sin) / width, (lean * cos - sin) / width, sin / height, cos / height], 1)
    linear, shift = linear.view(-1, 2, 2), torch.stack([right, down], 1).view(-1, 2, 1) * (2 / SIDE)
    return torch.cat([linear, -linear @ shift], 2)


@functools.lru_cache(maxsize=None)
def glyph_fields():
    """Blurred glyphs (fonts, 10, 1, 56, 56) in 0..1, so that strokes can grow."""
    folder = os.path.join(matplotlib.get_data_path(), "fonts", "ttf")
    glyphs = [glyph(FT2Font(os.path.join(folder, name + ".ttf")), str(digit))
              for name in FONTS for digit in range(CLASSES)]
    at = torch.arange(FIELD, dtype=torch.float32)
    blur = torch.softmax(-((at - at[:, None]) / BLUR) ** 2 / 2, 1)
    fields = blur @ torch.stack(glyphs) @ blur.T
    return fields.view(len(FONTS), CLASSES, 1, FIELD, FIELD)


def glyph(font, char):
    """One character's ink (56, 56) in 0..1, its bitmap in the middle."""
    font.set_size(FONT_SIZE, 72)    # at 72 dots per inch a point is a pixel
    font.set_text(char)
    font.draw_glyphs_to_bitmap()
    ink = torch.tensor(font.get_image() / 255, dtype=torch.float32)
    top, left = ((FIELD - size) // 2 for size in ink.shape)
    field = torch.zeros(FIELD, FIELD)
    field[top:top + ink.shape[0], left:left + ink.shape[1]] = ink
    return field
