"""What people add in files of their own: the class of a network, and images from a folder or a function."""
import importlib
import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from tqdm import tqdm

from pruning.errors import UserError, mistakes_in_one_line, reason
from pruning.settings import is_path


def find(setting, name):
    """What FILE.NAME is, in a file beside constants.py. Raises UserError, which begins with the setting."""
    file, name = name.split(".")
    try:
        with mistakes_in_one_line():
            module = importlib.import_module(file)
    except ModuleNotFoundError:  # of this file: one that it imports itself is a mistake in its line
        raise UserError(f"{setting}: there is no file {file}.py beside constants.py")
    if not hasattr(module, name):
        raise UserError(f"{setting}: there is no {name} in {file}.py")
    return getattr(module, name)


# ---- a network ----

def find_network(name, image_shape, classes):
    """The class that `network` in constants.py names, after a try on two black images. Raises UserError."""
    setting = f"network = {name!r}"
    network = find(setting, name if "." in name else f"models.{name}")
    called = f"{setting}, called with image_shape={image_shape}, classes={classes}"
    try:
        with mistakes_in_one_line(), torch.no_grad():
            outputs = network(image_shape=image_shape, classes=classes).eval()(torch.zeros(2, *image_shape))
    except UserError:
        raise
    except Exception as error:  # a mistake that shows in no line of theirs, such as a missing argument
        raise UserError(f"{called}: {error}")
    if getattr(outputs, "shape", None) != (2, classes):
        raise UserError(f"{called}: two images give {described(outputs)}; expected a tensor {(2, classes)}")
    return network


# ---- images ----

def load(own_data):
    """[(images, labels) for training, for test], uint8 (N, height, width, channels) and int64 (N,), and the number of
    classes. own_data: as in constants.py. Raises UserError."""
    setting = f"own_data = {own_data!r}"
    if not own_data:
        raise UserError("own_data is empty; the data set Own needs a folder or a function there, see "
                        "docs/own-network.md")
    splits = dict(zip(("training", "test"), from_folder(own_data) if is_path(own_data) else
                      from_function(setting, own_data)))
    for split, (images, labels) in splits.items():
        if not (is_tensor(images, torch.uint8, 4) and is_tensor(labels, torch.int64, 1)
                and len(images) == len(labels) and images.numel()):
            raise UserError(f"{setting}: the {split} images are {described(images)}, their labels {described(labels)}; "
                            "expected a uint8 tensor (N, channels, height, width) and an int64 tensor (N,)")
    shapes = [tuple(images.shape[1:]) for images, _ in splits.values()]
    if shapes[0] != shapes[1]:
        raise UserError(f"{setting}: training and test images of the shapes {shapes[0]} and {shapes[1]}; they must "
                        "have one shape")
    classes = len(splits["training"][1].unique())
    for split, (_, labels) in splits.items():
        odd = sorted({*range(classes)} ^ {*labels.tolist()})
        if odd:
            raise UserError(f"{setting}: the training images have {classes} different labels, so the {split} labels "
                            f"must be 0 to {classes - 1}, each at least once; missing or wrong: "
                            + ", ".join(map(str, odd[:5])))
    return [(images.permute(0, 2, 3, 1).contiguous(), labels) for images, labels in splits.values()], classes


def from_function(setting, name):
    try:
        with mistakes_in_one_line():
            (train_images, train_labels), (test_images, test_labels) = find(setting, name)()
    except (TypeError, ValueError) as error:
        raise UserError(f"{setting}: it must take no arguments and return ((train images, train labels), (test images, "
                        f"test labels)); {error}")
    return (train_images, train_labels), (test_images, test_labels)


def is_tensor(value, dtype, dimensions):
    return torch.is_tensor(value) and value.dtype == dtype and value.dim() == dimensions


def described(value):
    return f"{value.dtype} {tuple(value.shape)}" if torch.is_tensor(value) else type(value).__name__


def from_folder(folder):
    """The images below train/ and test/ in RGB; a label is the number of its class's folder in alphabetical order."""
    from torchvision.datasets import ImageFolder  # here, since its import takes a second

    sets = []
    for path in (os.path.join(folder, split) for split in ("train", "test")):
        try:
            sets.append(ImageFolder(path))
        except OSError as error:
            raise UserError(f"{path}: {reason(error)}; own_data needs images in train/<class>/ and test/<class>/")
    odd = sorted({*sets[0].classes} ^ {*sets[1].classes})
    if odd:
        raise UserError(f"{folder}: train/ and test/ must have the same classes; only one of them has "
                        + ", ".join(odd))
    paths = [path for some in sets for path, _ in some.samples]
    first = read(paths[0])
    images = np.empty((len(paths), *first.shape), np.uint8)
    with ThreadPoolExecutor() as pool:
        decoded = pool.map(read, paths, itertools.repeat(first.shape))
        for number, image in enumerate(tqdm(decoded, "reading images", len(paths), disable=None, leave=False)):
            images[number] = image
    train, test = torch.from_numpy(images).permute(0, 3, 1, 2).split([*map(len, sets)])
    return (train, torch.tensor(sets[0].targets)), (test, torch.tensor(sets[1].targets))


def read(path, shape=None):
    """An image, uint8 (height, width, 3). Raises UserError if it cannot be read or has another shape."""
    from torchvision.datasets.folder import default_loader

    try:
        image = np.asarray(default_loader(path))
    except Exception as error:  # whatever PIL says of a file that is no whole image
        raise UserError(f"{path} cannot be read ({error}); delete it, or put a whole image there")
    if shape not in (None, image.shape):
        sides = [f"{width} x {height}" for height, width, _ in (image.shape, shape)]
        raise UserError(f"{path} has {sides[0]} pixels, the first image {sides[1]}; all must have one size, so resize "
                        "or crop them first")
    return image
