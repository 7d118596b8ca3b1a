"""Shared fixtures: tiny data sets in their real on-disk formats, and ways to run the programs."""
import hashlib
import importlib
import os
import pickle
import signal
import socket
import struct
import sys

import numpy as np
import pytest

# What imports torch is imported where it is needed: of pytest-xdist's processes the first one never needs it.
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: two threads wait for each other on a busy machine
# Nothing listens at this proxy, so that no download leaves the machine.
os.environ.update(http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9")
# All tests are on the processor, also where there is a GPU, but for programs that get WITH_GPU. pytest-xdist's workers
# have the environment that this leaves.
os.environ.setdefault("GPUS_OF_TESTS", os.environ.get("CUDA_VISIBLE_DEVICES", "0"))
os.environ["CUDA_VISIBLE_DEVICES"] = ""
WITH_GPU = {**os.environ, "CUDA_VISIBLE_DEVICES": os.environ["GPUS_OF_TESTS"]}
sys.path.insert(0, ROOT)


def pytest_terminal_summary(terminalreporter):
    """Print the table of the faults that were made, and how the programs came through them."""
    faults = [value for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)
              if report.when == "call" for name, value in report.user_properties if name == "fault"]
    if faults:
        terminalreporter.section("faults")
        for row in [("fault", "tries", "lost", "recovered"), *faults]:
            terminalreporter.write_line("{:64}{:>8}{:>8}{:>12}".format(*row))


@pytest.fixture(autouse=True)
def ctrl_c():
    """Every test begins with Python's own Ctrl-C: a shell has what it runs in the background ignore it, and a command
    that a test has called leaves it to the system."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def nothing_goes_on():
    """A test that fails leaves no program behind, some of which have no end."""
    yield
    started = sys.modules["processes"].STARTED if "processes" in sys.modules else []
    while started:
        started.pop().kill()


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """No test reaches the network: every download is refused as on a machine without one."""
    def refuse(*arguments, **options):
        raise socket.gaierror("Network is unreachable")
    monkeypatch.setattr(socket, "getaddrinfo", refuse)  # below urllib, and requests, which CelebA's download takes


@pytest.fixture
def drive(monkeypatch, tmp_path, capsys):
    """Run a program's main in this process, in tmp_path or a folder below: returns (exit status, stdout, stderr)."""
    import constants
    from pruning import errors

    def call(*arguments, program="driver.py", here=""):
        monkeypatch.chdir(tmp_path / here)
        monkeypatch.setattr(constants, "__file__", str(tmp_path / "constants.py"))  # its folders are beside it
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        status = 0
        try:
            errors.run_command(importlib.import_module(os.path.splitext(program)[0]).main)
        except SystemExit as end:
            status = end.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err
    return call


# ---- data sets ----

@pytest.fixture
def few_digits(monkeypatch):
    """600 and 100 images for programs that run in this process."""
    import processes

    from pruning import digits

    monkeypatch.setattr(digits, "render", processes.fewer_digits(20))


def random_images(count, *shape):
    """uint8 images that differ from each other, and labels 0..9 in turn."""
    images = np.random.RandomState(count).randint(0, 256, (count,) + shape).astype(np.uint8)
    return images, np.arange(count) % 10


@pytest.fixture
def tiny_mnist():
    return write_tiny_mnist


def write_tiny_mnist(folder, name="MNIST", counts=(110, 20)):
    """Write the four files of MNIST or FashionMNIST into folder/name/raw; returns {split: (images, labels)}."""
    raw = os.path.join(str(folder), name, "raw")
    os.makedirs(raw)
    splits = {split: random_images(count, 28, 28) for split, count in zip(("train", "t10k"), counts)}
    for split, (images, labels) in splits.items():
        write_idx(os.path.join(raw, split + "-images-idx3-ubyte"), images)
        write_idx(os.path.join(raw, split + "-labels-idx1-ubyte"), labels)
    return splits


@pytest.fixture
def small(tmp_path, tiny_mnist, monkeypatch):
    """A folder with a tiny MNIST, where a picture's file holds its words and pixels."""
    import processes

    from pruning.plots import vae_pictures

    monkeypatch.setattr(vae_pictures, "save", processes.save_words_and_pixels)
    tiny_mnist(tmp_path / "datasets")
    return tmp_path


def write_idx(path, values):
    """Two zero bytes, 8 for unsigned bytes, the number of dimensions, each dimension in 4 bytes, then the values."""
    with open(path, "wb") as file:
        file.write(struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape))
        file.write(values.astype(np.uint8).tobytes())


@pytest.fixture
def tiny_cifar(monkeypatch):
    """Write CIFAR10's or CIFAR100's files into folder and patch torchvision's checksums to theirs.

    rows: uint8 (N, 3072), as in the files 1024 red, 1024 green and 1024 blue values an image, row by row.
    Returns {split: (rows, labels)}.
    """
    import torchvision.datasets

    def write(folder, name, train_rows=None):
        kind = getattr(torchvision.datasets, name)
        where = os.path.join(str(folder), kind.base_folder)
        os.makedirs(where)
        classes = {"CIFAR10": 10, "CIFAR100": 100}[name]
        label_key = {"CIFAR10": "labels", "CIFAR100": "fine_labels"}[name]
        splits, listed = {}, {}
        for split, names, count in (("train", kind.train_list, 5), ("test", kind.test_list, 3)):
            rows = [random_images(count + number, 3072)[0] for number in range(len(names))]
            if split == "train" and train_rows is not None:
                rows[0] = train_rows
            labels = [[(7 * number + image) % classes for image in range(len(some))]
                      for number, some in enumerate(rows)]
            listed[split] = [
                [file, dump(where, file, {"data": some, label_key: of_some, "coarse_labels": [0] * len(some)})]
                for (file, _), some, of_some in zip(names, rows, labels)]
            splits[split] = np.concatenate(rows), np.concatenate(labels)
        meta = {kind.meta["key"]: [f"class {number}" for number in range(classes)]}
        monkeypatch.setattr(kind, "train_list", listed["train"])
        monkeypatch.setattr(kind, "test_list", listed["test"])
        monkeypatch.setattr(kind, "meta", dict(kind.meta, md5=dump(where, kind.meta["filename"], meta)))
        return splits
    return write


def dump(folder, name, content):
    """Pickle as CIFAR's files are pickled; returns the checksum."""
    with open(os.path.join(folder, name), "wb") as file:
        file.write(pickle.dumps(content, protocol=2))
    with open(os.path.join(folder, name), "rb") as file:
        return hashlib.md5(file.read()).hexdigest()


@pytest.fixture
def tiny_celeba(monkeypatch):
    """Write CelebA's images and lists into folder as CelebA has them and patch torchvision's checksums to theirs.

    partition: of every image 0 for training, 1 for validation, 2 for test. In the JPEG of number n, 178 x 218 pixels,
    red is the row, green the column and blue 20 n. Returns the folder of the lists.
    """
    import torchvision.datasets
    from PIL import Image

    kind = torchvision.datasets.CelebA

    def write(folder, partition=(0, 0, 1, 0, 2, 0, 2)):
        where = os.path.join(str(folder), kind.base_folder)
        os.makedirs(os.path.join(where, "img_align_celeba"))
        names = [f"{number + 1:06d}.jpg" for number in range(len(partition))]
        rows, columns = np.mgrid[:218, :178]
        for number, name in enumerate(names, 1):
            pixels = np.stack([rows, columns, np.full_like(rows, 20 * number)], 2).astype(np.uint8)
            Image.fromarray(pixels).save(os.path.join(where, "img_align_celeba", name), quality=100, subsampling=0)
        count = f"{len(names)}\n"
        lists = {  # the lines above the images' lines, and what follows an image's name
            "list_eval_partition.txt": ("", "{part}"),
            "identity_CelebA.txt": ("", "2880"),
            "list_attr_celeba.txt": (count + "5_o_Clock_Shadow Arched_Eyebrows Young\n", "-1  1 -1"),
            "list_bbox_celeba.txt": (count + "image_id x_1 y_1 width height\n", "   95  71  226  313"),
            "list_landmarks_align_celeba.txt": (
                count + " ".join(part + axis for part in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
                                 for axis in ("_x", "_y")) + "\n", " 69  109  106  113   77  142   73  152  108  154")}
        checksums = {}
        for file, (head, values) in lists.items():
            text = head + "".join(f"{name} {values.format(part=part)}\n" for name, part in zip(names, partition))
            with open(os.path.join(where, file), "w") as out:
                out.write(text)
            checksums[file] = hashlib.md5(text.encode()).hexdigest()
        monkeypatch.setattr(kind, "file_list", [(key, checksums.get(file, checksum), file)
                                                for key, checksum, file in kind.file_list])
        return where
    return write
