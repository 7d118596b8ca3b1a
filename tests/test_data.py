"""What data.load returns: the pixels and labels of the files, whole or refused in one clear line."""
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import data
from config import UserError

CPU = torch.device("cpu")
IDX_FILES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
CIFAR_FILES = {"CIFAR10": ["data_batch_1", "data_batch_5", "test_batch", "batches.meta"],
               "CIFAR100": ["train", "test", "meta"]}
FOLDERS = {"MNIST": "MNIST/raw", "FashionMNIST": "FashionMNIST/raw", "CIFAR10": "cifar-10-batches-py",
           "CIFAR100": "cifar-100-python"}


def load(folder, name, holdout=0):
    return data.load(SimpleNamespace(dataset=name, dataset_folder=str(folder), holdout=holdout, mean=0.5, std=0.5), CPU)


def refusal(folder, name):
    """The message of the UserError that loading must raise: one line."""
    with pytest.raises(UserError) as caught:
        load(folder, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pixels(split):
    """The images (N, height, width, channels) in 0..255 again, from the normalised batches (N, channels, ...)."""
    images = torch.cat([images for images, _ in split.batches()])
    assert images.shape[1:] == split.image_shape
    return ((images * 0.5 + 0.5) * 255).round().permute(0, 2, 3, 1).numpy()


# ---- the files ----

@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_idx_files_arrive_pixel_by_pixel(tmp_path, tiny_mnist, name):
    files = tiny_mnist(tmp_path, name, counts=(30, 20))
    loaded = load(tmp_path, name)
    assert loaded.classes == 10
    for split, (images, labels) in ((loaded.train, files["train"]), (loaded.test, files["t10k"])):
        assert split.image_shape == (1, 28, 28) and split.images.dtype == torch.uint8
        np.testing.assert_array_equal(pixels(split)[..., 0], images)
        assert split.labels.dtype == torch.int64 and split.labels.tolist() == labels.tolist()


@pytest.mark.parametrize("name, classes", [("CIFAR10", 10), ("CIFAR100", 100)])
def test_cifar_files_arrive_pixel_by_pixel(tmp_path, tiny_cifar, name, classes):
    files = tiny_cifar(tmp_path, name)
    loaded = load(tmp_path, name)
    assert loaded.classes == classes
    for split, (rows, labels) in ((loaded.train, files["train"]), (loaded.test, files["test"])):
        assert split.image_shape == (3, 32, 32) and split.images.dtype == torch.uint8
        seen = pixels(split)
        for channel in range(3):  # a row of the file holds the whole red plane, then the green, then the blue one
            plane = rows[:, 1024 * channel:1024 * (channel + 1)]
            np.testing.assert_array_equal(seen[..., channel].reshape(len(rows), 1024), plane)
        assert split.labels.dtype == torch.int64 and split.labels.tolist() == labels.tolist()


@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100"])
def test_a_red_image_is_red(tmp_path, tiny_cifar, name):
    red = np.zeros((1, 3072), np.uint8)
    red[:, :1024] = 255
    tiny_cifar(tmp_path, name, train_rows=red)
    image = next(load(tmp_path, name).train.batches(1))[0][0]
    assert [channel.unique().tolist() for channel in image] == [[1.0], [-1.0], [-1.0]]


# ---- batches ----

@pytest.fixture
def ten():
    """Ten images of one pixel row whose first pixel and label are their number, with several mean and std."""
    images = torch.arange(10 * 1 * 256 * 3).reshape(10, 1, 256, 3) % 256
    images[:, 0, 0, 0] = torch.arange(10)

    def split(mean, std):
        return data.Split(images.to(torch.uint8), torch.arange(10), SimpleNamespace(mean=mean, std=std), CPU)
    return split


@pytest.mark.parametrize("mean, std", [(0.5, 0.5), (0.1307, 0.3081), (0.0, 1.0), (-0.3, 2.0)])
def test_a_batch_is_normalised(ten, mean, std):
    split = ten(mean, std)
    for _ in range(2):  # the second time too: the stored pixels stay as they are
        (images, labels), = split.batches()
        wanted = (split.images.permute(0, 3, 1, 2).double() / 255 - mean) / std
        assert images.dtype == torch.float32 and images.shape == (10, 3, 1, 256)
        assert (images.double() - wanted).abs().max() < 1e-6


@pytest.mark.parametrize("order", [None, [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]])
def test_batches_follow_the_order_and_the_last_may_be_smaller(ten, order):
    batches = list(ten(0.0, 1.0).batches(4, None if order is None else torch.tensor(order)))
    images, labels = (torch.cat(parts) for parts in zip(*batches))
    assert labels.tolist() == (order or list(range(10)))
    assert (255 * images)[:, 0, 0, 0].round().tolist() == labels.tolist()
    assert [len(part) for part, _ in batches] == [4, 4, 2]


# ---- files that are damaged or not there ----

def damage(path, how):
    with open(path, "rb") as file:
        content = bytearray(file.read())
    content[len(content) // 2] ^= 1
    with open(path, "wb") as file:
        file.write({"cut short": content[:-1], "empty": b"", "cut in its head": content[:6], "too long": content + b"0",
                    "a flipped bit": content}[how])


@pytest.mark.parametrize("how", ["cut short", "empty", "cut in its head", "too long"])
@pytest.mark.parametrize("file", IDX_FILES)
def test_a_damaged_idx_file_is_named(tmp_path, tiny_mnist, file, how):
    tiny_mnist(tmp_path)
    path = os.path.join(str(tmp_path), "MNIST", "raw", file)
    damage(path, how)
    message = refusal(tmp_path, "MNIST")
    assert message.startswith(path + " ") and "delete it" in message


@pytest.mark.parametrize("how", ["cut short", "empty", "a flipped bit"])
@pytest.mark.parametrize("name, file", [(name, file) for name, files in CIFAR_FILES.items() for file in files])
def test_a_damaged_cifar_file_is_named(tmp_path, tiny_cifar, name, file, how):
    tiny_cifar(tmp_path, name)
    path = os.path.join(str(tmp_path), FOLDERS[name], file)
    damage(path, how)
    message = refusal(tmp_path, name)
    assert message.startswith(path + " ") and "delete it" in message


@pytest.mark.parametrize("name", sorted(FOLDERS))
def test_without_a_network_one_line_says_where_files_go(tmp_path, name):
    message = refusal(tmp_path, name)
    assert message.startswith(name + " ") and os.path.join(str(tmp_path), FOLDERS[name]) in message
    assert "data set 0" in message and "no network" in message


@pytest.mark.parametrize("error", [RuntimeError("first line\nlast line"), OSError(28, "No space left on device"),
                                   AssertionError(), EOFError("Compressed file ended")], ids=repr)
def test_whatever_a_download_ends_with_is_one_line(tmp_path, monkeypatch, error):
    def fail(dataset):
        raise error
    monkeypatch.setattr("torchvision.datasets.MNIST.download", fail)
    reason = (str(error) or "AssertionError").splitlines()[-1]
    assert f"({reason}); " in refusal(tmp_path, "MNIST")


@pytest.mark.parametrize("file", IDX_FILES)
def test_one_missing_file_is_a_missing_data_set(tmp_path, tiny_mnist, file):
    tiny_mnist(tmp_path)
    os.remove(os.path.join(str(tmp_path), "MNIST", "raw", file))
    assert os.path.join(str(tmp_path), "MNIST", "raw") in refusal(tmp_path, "MNIST")


# ---- holdout ----

def test_holdout_parts_the_training_set(tmp_path, tiny_mnist):
    images, labels = tiny_mnist(tmp_path, counts=(110, 20))["train"]

    def rows(split):
        return {(images.tobytes(), label) for images, label in zip(split.images.numpy(), split.labels.tolist())}
    first, again = load(tmp_path, "MNIST", holdout=30), load(tmp_path, "MNIST", holdout=30)
    assert (len(first.train), len(first.test)) == (80, 30)
    assert not rows(first.train) & rows(first.test)
    assert rows(first.train) | rows(first.test) == {(image.tobytes(), label) for image, label in zip(images, labels)}
    assert torch.equal(first.test.images, again.test.images) and torch.equal(first.train.labels, again.train.labels)
    assert first.test.images[..., 0].numpy().tobytes() not in images.tobytes()  # taken at random, not in one run


# ---- data set 0 ----

@pytest.fixture(scope="module")
def digits_twice():
    return load("nowhere", "Digits"), load("nowhere", "Digits")


def test_digits_have_the_shape_of_mnist(digits_twice):
    loaded, _ = digits_twice
    assert loaded.classes == 10
    for split, count in ((loaded.train, 12000), (loaded.test, 2000)):
        assert split.image_shape == (1, 28, 28) and split.images.shape == (count, 28, 28, 1)
        assert split.images.dtype == torch.uint8 and split.labels.dtype == torch.int64
        assert split.labels.bincount().tolist() == [count // 10] * 10


def test_digits_are_the_same_each_time(digits_twice):
    first, again = digits_twice
    for one, other in ((first.train, again.train), (first.test, again.test)):
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


def test_digits_differ_between_training_and_test(digits_twice):
    loaded, _ = digits_twice
    train, test = ({image.tobytes() for image in split.images.numpy()} for split in (loaded.train, loaded.test))
    assert (len(train), len(test)) == (12000, 2000) and not train & test


@pytest.mark.parametrize("count, label", [(20, 1), (30, 200)])
def test_images_and_labels_that_do_not_fit_are_refused(tmp_path, tiny_mnist, count, label):
    tiny_mnist(tmp_path, counts=(30, 30))
    path = tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, count]) + bytes([label] * count))
    message = refusal(tmp_path, "MNIST")
    assert message.startswith("MNIST: ") and "delete its files" in message
