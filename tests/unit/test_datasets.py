"""What datasets.load returns: the pixels and labels of the files, whole or refused in one clear line."""
import collections
import fcntl
import hashlib
import itertools
import os
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision.datasets
import unit_helpers
from conftest import random_images, write_idx

from pruning import datasets

CPU = torch.device("cpu")
IDX_FILES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
CIFAR_FILES = {"CIFAR10": ["data_batch_1", "data_batch_5", "test_batch", "batches.meta"],
               "CIFAR100": ["train", "test", "meta"]}
CELEBA_LISTS = ["list_attr_celeba.txt", "identity_CelebA.txt", "list_bbox_celeba.txt",
                "list_landmarks_align_celeba.txt", "list_eval_partition.txt"]
PUBLISHED_FILES = {"MNIST": IDX_FILES, "FashionMNIST": IDX_FILES, **CIFAR_FILES, "CelebA": CELEBA_LISTS}
FOLDERS = {"MNIST": "MNIST/raw", "FashionMNIST": "FashionMNIST/raw", "CIFAR10": "cifar-10-batches-py",
           "CIFAR100": "cifar-100-python", "CelebA": "celeba"}


def load(folder, name, holdout=0):
    return datasets.load(SimpleNamespace(dataset=name, dataset_folder=str(folder), holdout=holdout), CPU, 0.5, 0.5)


def refusal(folder, name):
    return unit_helpers.refusal(load, folder, name)


def pixels(split):
    """The images (N, height, width, channels) in 0..255 again, from the normalised batches (N, channels, ...)."""
    images = torch.cat([images for images, _ in split])
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


# ---- batches ----

def ten(mean, std):
    """Ten images of one pixel row whose first pixel and label are their number."""
    images = torch.arange(10 * 1 * 256 * 3).reshape(10, 1, 256, 3) % 256
    images[:, 0, 0, 0] = torch.arange(10)
    return datasets.Split(images.to(torch.uint8), torch.arange(10), CPU, mean, std)


@pytest.mark.parametrize("mean, std", [(0.5, 0.5), (0.1307, 0.3081), (0.0, 1.0), (-0.3, 2.0)])
def test_a_batch_is_normalised(mean, std):
    split = ten(mean, std)
    for _ in range(2):  # the second time too: the stored pixels stay as they are
        (images, labels), = split
        wanted = (split.images.permute(0, 3, 1, 2).double() / 255 - mean) / std
        assert images.dtype == torch.float32 and images.shape == (10, 3, 1, 256)
        assert (images.double() - wanted).abs().max() < 1e-6


@pytest.mark.parametrize("order", [list(range(10)), [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]])
def test_batches_follow_the_order_and_the_last_may_be_smaller(order):
    batches = list(ten(0.0, 1.0).part(torch.tensor(order)).batches(4))
    images, labels = (torch.cat(parts) for parts in zip(*batches))
    assert labels.tolist() == order
    assert (255 * images)[:, 0, 0, 0].round().tolist() == labels.tolist()
    assert [len(part) for part, _ in batches] == [4, 4, 2]


def test_a_view_is_the_image_mirrored_and_shifted_with_black_beside_it():
    """Pixel by pixel, of images of 3 x 5 pixels in two channels, in every view."""
    images = torch.randint(1, 256, (4, 3, 5, 2), dtype=torch.uint8)
    split = datasets.Split(images, torch.arange(4), CPU, 0.5, 0.5)
    views = torch.cartesian_prod(torch.arange(4), torch.arange(2), torch.arange(9), torch.arange(9))
    seen, labels = split.batch(views)
    plain, _ = split.batch(views[:, 0])
    assert seen.shape == plain.shape and seen.stride() == plain.stride()  # the layout that is fast
    assert labels.tolist() == views[:, 0].tolist()
    assert torch.equal(seen[views[:, 1:].eq(torch.tensor([0, 4, 4])).all(1)], split.batch(torch.arange(4))[0])
    found = ((seen * 0.5 + 0.5) * 255).round().int().tolist()
    for (number, mirrored, top, left), view in zip(views.tolist(), found):
        for channel, y, x in itertools.product(range(2), range(3), range(5)):
            row, column = y + top - 4, x + left - 4
            inside = 0 <= row < 3 and 0 <= column < 5
            source = images[number, row, 4 - column if mirrored else column, channel].item() if inside else 0
            assert view[channel][y][x] == source


def test_every_view_is_drawn_about_as_often_as_any_other():
    drawn = datasets.random_views(100000, torch.Generator().manual_seed(1))
    assert drawn.shape == (100000, 3) and drawn.dtype == torch.int64
    counts = torch.bincount(drawn[:, 0] * 81 + drawn[:, 1] * 9 + drawn[:, 2], minlength=162)
    assert len(counts) == 162 and (counts / 100000 * 162 - 1).abs().max() < 0.2  # five standard deviations


def test_a_fingerprint_tells_pixels_labels_and_sizes_apart():
    def fingerprint(change=None):
        split = ten(0.5, 0.5)
        if change:
            change(split)
        return datasets.fingerprint(datasets.Dataset(split, ten(0.5, 0.5), 10))

    def flip(split):
        split.images[4, 0, 7, 1] ^= 1

    def relabel(split):
        split.labels[4] = 5

    def shorten(split):
        split.images, split.labels = split.images[:9], split.labels[:9]
    assert fingerprint() == fingerprint()
    assert len({fingerprint(change) for change in (None, flip, relabel, shorten)}) == 4


# ---- files that are damaged or not there ----

DAMAGES = {"cut short": lambda content: content[:-1], "empty": lambda content: b"",
           "cut in its head": lambda content: content[:6], "too long": lambda content: content + b"0",
           "a flipped bit": lambda content: bytes([*content[:-1], content[-1] ^ 1])}


def damage(path, how):
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(DAMAGES[how](content))


@pytest.mark.parametrize("how", ["cut short", "empty", "cut in its head", "too long"])
@pytest.mark.parametrize("file", IDX_FILES)
def test_a_damaged_idx_file_of_ones_own_is_named(tmp_path, tiny_mnist, file, how):
    tiny_mnist(tmp_path)
    path = os.path.join(str(tmp_path), "MNIST", "raw", file)
    damage(path, how)
    message = refusal(tmp_path, "MNIST")
    assert message.startswith(path + " ") and "delete it" in message


@pytest.fixture
def write_published(tmp_path, monkeypatch, tiny_mnist, tiny_cifar, tiny_celeba):
    """Write a tiny data set of this name into tmp_path and make it the published one; returns the files' folder."""
    def write(name):
        folder = os.path.join(str(tmp_path), FOLDERS[name])
        if name == "CelebA":
            tiny_celeba(tmp_path)
        elif name in CIFAR_FILES:
            tiny_cifar(tmp_path, name)
        else:
            tiny_mnist(tmp_path, name)
            for file in IDX_FILES:
                content = (tmp_path / FOLDERS[name] / file).read_bytes()
                monkeypatch.setitem(datasets.IDX, file, (len(content), *2 * [hashlib.md5(content).hexdigest()]))
        return folder
    return write


@pytest.mark.parametrize("name, how", [
    *((name, "a flipped bit") for name in PUBLISHED_FILES), ("MNIST", "empty"), ("CIFAR10", "cut short"),
    ("CelebA", "too long")])
def test_a_damaged_published_file_is_named(tmp_path, write_published, name, how):
    folder = write_published(name)
    for file in PUBLISHED_FILES[name]:
        path = os.path.join(folder, file)
        os.rename(path, path + ".whole")
        with open(path + ".whole", "rb") as whole, open(path, "wb") as broken:
            broken.write(DAMAGES[how](whole.read()))
        assert refusal(tmp_path, name) == f"{path} is damaged; delete it and start again to download it anew"
        os.replace(path + ".whole", path)
    assert len(load(tmp_path, name).train)


@pytest.mark.parametrize("name, reads", [("MNIST", 1), ("FashionMNIST", 1), ("CIFAR10", 4), ("CIFAR100", 4)])
def test_published_files_pass_and_are_not_read_more_often_than_needed(tmp_path, monkeypatch, write_published, name,
                                                                       reads):
    def counted(path, *arguments, **options):
        read[path] += 1
        return calculate(path, *arguments, **options)
    calculate, read = torchvision.datasets.utils.calculate_md5, collections.Counter()
    monkeypatch.setattr(torchvision.datasets.utils, "calculate_md5", counted)
    folder = write_published(name)
    load(tmp_path, name)
    assert {os.path.join(folder, file) for file in PUBLISHED_FILES[name]} <= set(read)
    assert max(read.values()) <= reads  # torchvision reads CIFAR's files when it downloads and for each split


def test_a_file_that_another_process_is_downloading_is_waited_for(tmp_path, tiny_mnist, monkeypatch):
    tiny_mnist(tmp_path)
    looked = []

    def damaged_files(kind, where):
        folder = os.open(str(tmp_path), os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(folder)
        looked.append(where)
        return iter(())
    monkeypatch.setattr(datasets, "damaged_files", damaged_files)
    datasets.fetch("MNIST", str(tmp_path), {"train": True})
    assert len(looked) == 1


def test_own_data_in_mnists_layout_passes_beside_published_files(tmp_path, write_published):
    folder = write_published("MNIST")
    images, labels = random_images(31, 28, 28)
    write_idx(os.path.join(folder, "train-images-idx3-ubyte"), images)
    write_idx(os.path.join(folder, "train-labels-idx1-ubyte"), labels)
    loaded = load(tmp_path, "MNIST")
    np.testing.assert_array_equal(pixels(loaded.train)[..., 0], images)
    assert (len(loaded.train), len(loaded.test)) == (31, 20)


def test_own_images_of_two_shapes_are_named(tmp_path, tiny_mnist):
    tiny_mnist(tmp_path)
    for file, values in zip(IDX_FILES[2:], random_images(20, 8, 9)):
        write_idx(os.path.join(str(tmp_path), "MNIST", "raw", file), values)
    assert "training and test images of 28 x 28 and 8 x 9 pixels" in refusal(tmp_path, "MNIST")


@pytest.mark.parametrize("count, label", [(20, 1), (30, 200)])
def test_images_and_labels_that_do_not_fit_are_refused(tmp_path, tiny_mnist, count, label):
    tiny_mnist(tmp_path, counts=(30, 30))
    path = tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, count]) + bytes([label] * count))
    message = refusal(tmp_path, "MNIST")
    assert message.startswith("MNIST: ") and "delete its files" in message


def test_the_published_idx_files_are_torchvisions_and_of_their_length():
    lengths = [16 + 60000 * 28 * 28, 8 + 60000, 16 + 10000 * 28 * 28, 8 + 10000]  # a header, then a byte per value
    assert [datasets.IDX[file][0] for file in IDX_FILES] == lengths
    for name in ("MNIST", "FashionMNIST"):
        packed = [os.path.basename(url) for url, _ in getattr(torchvision.datasets, name).resources]
        assert [file + ".gz" for file in datasets.IDX] == packed


@pytest.mark.parametrize("name", sorted(FOLDERS))
def test_without_a_network_one_line_says_where_files_go(tmp_path, name):
    message = refusal(tmp_path, name)
    assert message.startswith(name + " ") and os.path.join(str(tmp_path), FOLDERS[name]) in message
    assert "data set 0" in message and "no network" in message
    if name == "CelebA":  # what is to be put there by hand
        assert all(file in message for file in [*CELEBA_LISTS, "img_align_celeba"])


@pytest.mark.parametrize("name, error, part", [
    ("CelebA", RuntimeError("The daily quota of the file img_align_celeba.zip is exceeded."), "daily quota"),
    ("CelebA", RuntimeError("Failed to retrieve file url:\n\n\tToo many users have viewed or downloaded this file "
                            "recently. Please\n\ttry accessing the file again later."), "this file recently."),
    ("CelebA", RuntimeError("To download files from GDrive, 'gdown' is required. You can install it with 'pip install "
                            "gdown'."), "pip install gdown"),
    ("MNIST", RuntimeError("first line\nlast line"), "(first line last line); "),
    ("MNIST", OSError(28, "No space left on device"), "([Errno 28] No space left on device); "),
    ("MNIST", AssertionError(), "(AssertionError); "),
], ids=["torchvision's quota", "gdown's quota", "no gdown", "two lines", "full", "no words"])
def test_whatever_a_download_ends_with_is_one_line(tmp_path, monkeypatch, name, error, part):
    def fail(*arguments, **options):
        raise error
    monkeypatch.setattr("torchvision.datasets.celeba.download_file_from_google_drive", fail)
    monkeypatch.setattr("torchvision.datasets.MNIST.download", fail)
    message = refusal(tmp_path, name)
    assert part in message and os.path.join(str(tmp_path), FOLDERS[name]) in message and "by hand" in message


@pytest.mark.parametrize("file", IDX_FILES)
def test_one_missing_file_is_a_missing_data_set(tmp_path, tiny_mnist, file):
    tiny_mnist(tmp_path)
    os.remove(os.path.join(str(tmp_path), "MNIST", "raw", file))
    assert os.path.join(str(tmp_path), "MNIST", "raw") in refusal(tmp_path, "MNIST")


# ---- CelebA ----

FACES = {"train": [1, 2, 4, 6, 7], "test": [3, 8]}  # numbers of JPEGs; 5 is for validation
PARTITION = (0, 0, 2, 0, 1, 0, 0, 2)


@pytest.fixture
def celeba(tmp_path, tiny_celeba):
    """CelebA's files with the images FACES in tmp_path; returns their folder."""
    return tiny_celeba(tmp_path, PARTITION)


def made(folder):
    """The files in CelebA's folder that did not come from its archives."""
    return sorted(set(os.listdir(folder)) - {*CELEBA_LISTS, "img_align_celeba"})


def test_faces_arrive_small_cropped_and_in_the_right_split(tmp_path, celeba):
    loaded = load(tmp_path, "CelebA")
    assert loaded.classes == 0 and made(celeba) == ["test_64x64.npy", "train_64x64.npy"]
    row, column = np.mgrid[:64, :64] + 0.5
    for split, numbers in ((loaded.train, FACES["train"]), (loaded.test, FACES["test"])):
        assert split.images.dtype == torch.uint8 and split.images.shape == (len(numbers), 64, 64, 3)
        assert split.image_shape == (3, 64, 64) and len(split) == len(numbers)
        for seen, number in zip(pixels(split), numbers):
            # 178 x 218 becomes 64 x 78, of which the rows from 7 on stay; the JPEG's colours are linear in the place.
            wanted = np.stack([(row + 7) * 218 / 78 - 0.5, column * 178 / 64 - 0.5, np.full((64, 64), 20 * number)], 2)
            difference = np.abs(seen - wanted)
            assert difference.max() < 4 and difference.mean() < 1


def test_faces_are_decoded_once_and_then_mapped_from_their_file(tmp_path, celeba, monkeypatch):
    first = load(tmp_path, "CelebA")
    monkeypatch.setattr(datasets, "fetch", lambda *arguments, **options: pytest.fail("decoded again"))
    again = load(tmp_path, "CelebA")
    for one, other in ((first.train, again.train), (first.test, again.test)):
        assert torch.equal(one.images, other.images)
    path = os.path.join(celeba, "train_64x64.npy")
    with open(path, "r+b") as file:  # what the file holds now is what the tensor holds: it has no copy
        file.seek(-1, os.SEEK_END)
        file.write(bytes([99]))
    assert again.train.images[-1, -1, -1, -1] == 99
    again.train.images[0] = 0
    assert np.load(path)[0].any()  # and writing to the tensor leaves the file alone


FOREIGN = {"no .npy": lambda file: file.write(b"a letter"),
           "an archive": lambda file: np.savez(file, images=np.zeros((2, 64, 64, 3), np.uint8)),
           "objects": lambda file: np.save(file, np.array([{}], dtype=object), allow_pickle=True),
           "other numbers": lambda file: np.save(file, np.zeros((2, 64, 64, 3))),
           "another shape": lambda file: np.save(file, np.zeros((2, 64, 64), np.uint8))}


@pytest.mark.parametrize("how", ["cut short", "empty", "cut in its head", *FOREIGN])
def test_a_damaged_or_foreign_file_of_faces_is_named(tmp_path, celeba, how):
    path = os.path.join(celeba, "test_64x64.npy")
    load(tmp_path, "CelebA")
    if how in FOREIGN:
        with open(path, "wb") as file:
            FOREIGN[how](file)
    else:
        damage(path, how)
    message = refusal(tmp_path, "CelebA")
    assert message.startswith(path + " ") and "delete it" in message


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("anything"), MemoryError()], ids=repr)
def test_decoding_that_ends_early_leaves_no_file_and_starts_anew(tmp_path, celeba, monkeypatch, error):
    def fail_at_the_third(dataset, number):
        if number == 2:
            raise error
        return item(dataset, number)
    item = torchvision.datasets.CelebA.__getitem__
    with monkeypatch.context() as patched:
        patched.setattr(torchvision.datasets.CelebA, "__getitem__", fail_at_the_third)
        with pytest.raises(type(error)):
            load(tmp_path, "CelebA")
    assert made(celeba) == []
    with open(os.path.join(celeba, "train_64x64.npy.part"), "wb") as file:
        file.write(b"what a killed process leaves")
    assert len(load(tmp_path, "CelebA").train) == len(FACES["train"])
    assert made(celeba) == ["test_64x64.npy", "train_64x64.npy"]


@pytest.mark.parametrize("how", ["half", "empty", "cut in its head", "missing"])
def test_a_face_that_cannot_be_read_is_named(tmp_path, celeba, how):
    path = os.path.join(celeba, "img_align_celeba", "000004.jpg")
    if how == "half":
        os.truncate(path, os.path.getsize(path) // 2)
    elif how == "missing":
        os.remove(path)
    else:
        damage(path, how)
    message = refusal(tmp_path, "CelebA")
    assert "000004.jpg" in message and "unpack" in message
    assert made(celeba) == []


def test_two_runs_at_once_decode_the_faces_once(tmp_path, celeba, monkeypatch):
    written, write = [], datasets.write_faces

    def write_slowly(path, dataset):
        written.append(os.path.basename(path))
        time.sleep(0.1)  # long enough for the other run to look for the file
        write(path, dataset)
    monkeypatch.setattr(datasets, "write_faces", write_slowly)
    with ThreadPoolExecutor() as runs:
        first, second = runs.map(lambda _: load(tmp_path, "CelebA"), range(2))
    assert sorted(written) == ["test_64x64.npy", "train_64x64.npy"]
    assert torch.equal(first.train.images, second.train.images) and first.train.images.any()


# ---- holdout ----

@pytest.mark.parametrize("name", ["MNIST", "CelebA"])
def test_holdout_parts_the_training_set(tmp_path, tiny_mnist, tiny_celeba, name):
    if name == "MNIST":
        images, labels = tiny_mnist(tmp_path, counts=(40, 20))["train"]
    else:
        tiny_celeba(tmp_path, [0] * 12 + [2] * 4)
        images = load(tmp_path, name).train.images.numpy()
        labels = [0] * len(images)
    held = len(images) // 4

    def rows(split):
        return {(image.tobytes(), label) for image, label in zip(split.images.numpy(), split.labels.tolist())}
    first, again = load(tmp_path, name, holdout=held), load(tmp_path, name, holdout=held)
    assert (len(first.train), len(first.test)) == (len(images) - held, held)
    assert not rows(first.train) & rows(first.test)
    assert rows(first.train) | rows(first.test) == {(image.tobytes(), label) for image, label in zip(images, labels)}
    assert torch.equal(first.test.images, again.test.images) and torch.equal(first.train.labels, again.train.labels)
    assert first.test.images.numpy().tobytes() not in images.tobytes()  # taken at random, not in one run
    assert f"holdout = {len(images)}; there are {len(images)}" in unit_helpers.refusal(
        load, tmp_path, name, holdout=len(images))


# ---- data set 0 ----

def test_digits_are_the_same_each_time_have_the_shape_of_mnist_and_differ_between_training_and_test():
    first, again = load("nowhere", "Digits"), load("nowhere", "Digits")
    assert first.classes == 10
    for split, other, count in ((first.train, again.train, 12000), (first.test, again.test, 2000)):
        assert split.image_shape == (1, 28, 28) and split.images.shape == (count, 28, 28, 1)
        assert split.images.dtype == torch.uint8 and split.labels.dtype == torch.int64
        assert split.labels.bincount().tolist() == [count // 10] * 10
        assert torch.equal(split.images, other.images) and torch.equal(split.labels, other.labels)
    train, test = ({image.tobytes() for image in split.images.numpy()} for split in (first.train, first.test))
    assert (len(train), len(test)) == (12000, 2000) and not train & test
