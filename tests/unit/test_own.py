"""What pruning/own.py makes of files that people add: the class of a network, images in a folder or from a function."""
import os
import re
import sys

import numpy as np
import pytest
import torch
from conftest import random_images
from PIL import Image
from unit_helpers import refusal

import models
from pruning import own


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a text into a new file beside constants.py."""
    (tmp_path / "constants.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("my_net", "my_data"):
        sys.modules.pop(name, None)  # of another test's folder
    return lambda name, text: (tmp_path / name).write_text(text)


# ---- a network ----

NET = """from torch import nn


class Net(nn.Module):
    def __init__(self, image_shape, classes, width=4):
        super().__init__()
        channels, height, width = image_shape
        self.last = nn.Linear(channels * height * width, classes)

    def forward(self, images):
        return self.last(images.flatten(1))


class Other(nn.Sequential):
    def __init__(self, image_shape, classes):
        super().__init__(nn.Flatten(), nn.Linear(5, classes))


def number(image_shape, classes):
    return 3


class Empty(nn.Module):
    pass
"""


def test_a_name_means_a_class_of_models_or_of_another_file(write, monkeypatch):
    write("my_net.py", NET)
    network = own.find_network("my_net.Net", (2, 4, 3), 5)
    assert network is sys.modules["my_net"].Net and network((2, 4, 3), 5).last.weight.shape == (5, 24)
    monkeypatch.setattr(models, "Net", network, raising=False)
    assert own.find_network("Net", (2, 4, 3), 5) is network


@pytest.mark.parametrize("name, text, words", [
    ("my_net.Net", None, "network = 'my_net.Net': there is no file my_net.py beside constants.py"),
    ("my_net.Nett", NET, "network = 'my_net.Nett': there is no Nett in my_net.py"),
    ("my_net", NET, "network = 'my_net': there is no my_net in models.py"),
    ("my_net.Net", "import nothing_of_the_kind", "my_net.py, line 1: No module named 'nothing_of_the_kind'"),
    ("my_net.Net", NET.replace("class Net", "clas Net"), "my_net.py, line 4: invalid syntax"),
    ("my_net.Net", NET.replace("Linear(", "Linaer("), "my_net.py, line 8: module 'torch.nn' has no attribute 'Linaer'"),
    ("my_net.Net", NET.replace("self.last(", "self.lost("), "my_net.py, line 11: 'Net' object has no attribute 'lost'"),
    ("my_net.Net", NET.replace("channels *", "2 *"), "my_net.py, line 11: .*mat1 and mat2 shapes cannot be multiplied"),
    ("my_net.Net", NET.replace("image_shape, classes", "shape, classes"), "network.*unexpected.*'image_shape'"),
    ("my_net.Net", NET.replace("classes, width=4", "classes, width, depth"), "network.*missing 2.*'width'"),
    ("my_net.Net", NET.replace("width, classes)", "width, 4)"), r".* give torch.float32 \(2, 4\); .* tensor \(2, 5\)"),
    ("my_net.Net", NET.replace("(images.flatten(1))", "(images.flatten(1)), 1"), "network .* give tuple; expected"),
    ("my_net.Other", NET, "network = 'my_net.Other', called with .*mat1 and mat2 shapes cannot be multiplied"),
    ("my_net.Empty", NET, "network = 'my_net.Empty', called with .*: "),
    ("my_net.number", NET, "network = 'my_net.number', called with .*: 'int' object has no attribute"),
    ("my_net.nn", NET, r".*called with image_shape=\(3, 4, 4\), classes=5: 'module' object is not callable")])
def test_a_mistake_in_a_network_is_one_line(write, name, text, words):
    if text:
        write("my_net.py", text)
    assert re.match(words, refusal(own.find_network, name, (3, 4, 4), 5))


# ---- a folder ----

CLASSES = ["cats", "dogs"]


@pytest.fixture
def photos(tmp_path):
    """A folder of 3 training and 2 test images of each class, 6 x 4 pixels; and the images, training before test."""
    folder, images = tmp_path / "photos", random_images(10, 4, 6, 3)[0]
    places = [(split, label, number) for split, count in (("train", 3), ("test", 2)) for label in CLASSES
              for number in range(count)]
    for (split, label, number), image in zip(places, images):
        (folder / split / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(str(folder / split / label / f"{number}.png"))
    return folder, images


def test_a_folder_arrives_pixel_by_pixel(photos):
    folder, images = photos
    ((train, train_labels), (test, test_labels)), classes = own.load(str(folder))
    assert classes == 2 and train.dtype == test.dtype == torch.uint8 and train.is_contiguous()
    np.testing.assert_array_equal(torch.cat([train, test]).numpy(), images)
    assert (train_labels.tolist(), test_labels.tolist()) == ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1])
    assert train_labels.dtype == test_labels.dtype == torch.int64


def test_grey_images_become_rgb(photos):
    folder, images = photos
    Image.fromarray(images[0, :, :, 0]).save(str(folder / "train" / "cats" / "0.png"))
    ((train, _), _), _ = own.load(str(folder))
    np.testing.assert_array_equal(train[0].numpy(), images[0, :, :, :1].repeat(3, 2))


def move(folder, old, new):
    os.rename(str(folder / old), str(folder / new))


def save(folder, place, *shape):
    Image.fromarray(np.zeros(shape, np.uint8)).save(str(folder / place))


@pytest.mark.parametrize("change, words", [
    (lambda folder: move(folder, "../photos", "../others"), "photos/train: No such file or directory; own_data needs"),
    (lambda folder: move(folder, "train", "training"), "photos/train: No such file or directory; own_data needs"),
    (lambda folder: move(folder, "test", "valid"), "photos/test: No such file or directory; own_data needs"),
    (lambda folder: move(folder, "test/cats", "test/wolves"),
     "photos: train/ and test/ must have the same classes; only one of them has cats, wolves$"),
    (lambda folder: (folder / "train" / "owls").mkdir(), "photos/train: Found no valid file for the classes owls"),
    (lambda folder: (folder / "test" / "dogs" / "0.png").write_text("a letter"), "test/dogs/0.png cannot be read"),
    (lambda folder: os.truncate(str(folder / "test" / "dogs" / "1.png"), 70), "test/dogs/1.png cannot be read"),
    (lambda folder: [save(folder, place, 6, 4, 3) for place in ("train/dogs/1.png", "test/cats/0.png")],
     "photos/train/dogs/1.png has 4 x 6 pixels, the first image 6 x 4; all must have one size, so resize")])
def test_a_mistake_in_a_folder_is_one_line(photos, change, words):
    folder, _ = photos
    change(folder)
    assert re.search(words, refusal(own.load, str(folder)))


def test_own_data_must_be_given():
    assert refusal(own.load, "").startswith("own_data is empty; ")


# ---- a function ----

DATA = """import torch

train = torch.arange(5 * 2 * 3 * 4, dtype=torch.uint8).view(5, 2, 3, 4)
test = train[:3] + 1
labels = torch.arange(5) % 3


def load():
    return (train, labels), (test, labels[:3])
"""


def test_the_images_of_a_function_arrive_pixel_by_pixel(write):
    write("my_data.py", DATA)
    splits, classes = own.load("my_data.load")
    wanted, labels = torch.arange(120, dtype=torch.uint8).view(5, 2, 3, 4), [0, 1, 2, 0, 1]
    for (images, its), (pixels, its_own) in zip(splits, ((wanted, labels), (wanted[:3] + 1, labels[:3]))):
        assert torch.equal(images.permute(0, 3, 1, 2), pixels) and images.is_contiguous() and its.tolist() == its_own
    assert classes == 3


@pytest.mark.parametrize("old, new, words", [
    ("def load", "def lead", "own_data = 'my_data.load': there is no load in my_data.py"),
    ("return ", "return nothing, ", "my_data.py, line 9: name 'nothing' is not defined"),
    ("load()", "load(folder)", "it must take no arguments and return .*'folder'"),
    ("def load():", "load = 3\ndef lead():", "it must take no arguments and return .*'int' object is not callable"),
    ("(train, labels), ", "train, ", r"return \(\(train images, train labels\), \(test images, .*; too many"),
    (", (test, labels[:3])", "", "it must take no arguments and return .*too many values"),
    ("(train, labels)", "(train.float(), labels)", r"training images are torch.float32 \(5, 2, 3, 4\), .*uint8"),
    ("(train, labels)", "(train[:, 0], labels)", r"training images are torch.uint8 \(5, 3, 4\)"),
    ("(test, ", "(test.numpy(), ", "test images are ndarray"),
    ("(test, ", "(test[:, :, :, :0], ", "test images are torch.uint8"),
    ("(test, labels[:3])", "(test[:0], labels[:0])", r"test images are torch.uint8 \(0, 2, 3, 4\)"),
    ("(train, labels)", "(train, labels[1:])", r"their labels torch.int64 \(4,\)"),
    ("labels[:3]", "labels[:3].int()", r"their labels torch.int32 \(3,\)"),
    ("(test, ", "(test[..., 1:], ", r"of the shapes \(2, 3, 4\) and \(2, 3, 3\)"),
    ("(test, labels[:3])", "(test[:2], labels[:2])", "3 different labels, so the test labels .* 0 to 2, .*wrong: 2$"),
    ("(test, labels[:3])", "(test, labels[:3] + 5)", "so the test labels must be 0 to 2, .*wrong: 0, 1, 2, 5, 6$"),
    ("(train, labels)", "(train, labels - 1)", "so the training labels must be 0 to 2, .*wrong: -1, 2$")])
def test_a_mistake_in_a_function_is_one_line(write, old, new, words):
    assert DATA.count(old) == 1
    write("my_data.py", DATA.replace(old, new))
    assert re.search(words, refusal(own.load, "my_data.load"))
