"""A data set as tensors on the training device: uint8 images, with one gather and one normalisation per batch."""
import contextlib
import copy
import math
import os
import sys
import zlib
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm

from pruning import digits, files, own, spread
from pruning.errors import UserError

EVALUATION_BATCH = 1000  # images per forward pass that needs no gradient
FACE = 64  # height and width of CelebA's images in pixels
BORDER = 4  # black pixels on each side of an image from which augmentation cuts out its view


class Split:
    """The images and labels of a training or test set.

    images: uint8 (N, height, width, channels), so that an image is one run of memory; labels: int64 (N,).
    Pixels in [0, 1] become (pixel - mean) / std.
    """

    def __init__(self, images, labels, device, mean, std):
        self.images, self.labels = images.to(device), labels.to(device)
        self.scale, self.shift = 1 / (255 * std), mean / std

    def __len__(self):
        return len(self.labels)

    @property
    def image_shape(self):
        height, width, channels = self.images.shape[1:]
        return channels, height, width

    def batch(self, index):
        """The normalised float32 images (B, channels, height, width) and labels (B,) at an index (B,), or at an index
        (B, 4) of numbers with random_views() beside them."""
        index, *view = index.unbind(1) if index.dim() == 2 else [index]
        images = self.images.index_select(0, index)
        return self.normalised(viewed(images, *view) if view else images), self.labels.index_select(0, index)

    def __iter__(self):
        """Yield batches for evaluation; in a run over several processes this one's share of each, if it has one."""
        for images, labels in zip(self.images.split(EVALUATION_BATCH), self.labels.split(EVALUATION_BATCH)):
            share = spread.share(len(labels))
            if share.weight:
                yield self.normalised(images[share.rows]), labels[share.rows]

    def batches(self, size):
        """Yield batches of `size` images, the last one of what is left."""
        return zip(map(self.normalised, self.images.split(size)), self.labels.split(size))

    def part(self, index):
        """The images at an index (B,), as a Split."""
        part, index = copy.copy(self), index.to(self.labels.device)
        part.images, part.labels = self.images.index_select(0, index), self.labels.index_select(0, index)
        return part

    def normalised(self, images):
        # The permuted view is channels_last, the fastest layout for convolutions on a processor. On a GPU it is slow in
        # float32 (a step of CIFAR-10's network took 1.8 times as long); on mps it is slow, and wrong in some versions
        # of torch.
        layout = torch.preserve_format if images.device.type == "cpu" else torch.contiguous_format
        images = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=layout)
        return images.mul_(self.scale).sub_(self.shift)


def random_views(count, generator):
    """For augmentation, int64 (count, 3): whether each image is mirrored, and the row and column at which it is cut out
    of the image with its border."""
    choices = 2, 2 * BORDER + 1, 2 * BORDER + 1
    return torch.stack([torch.randint(number, (count,), generator=generator) for number in choices], 1)


def viewed(images, mirrored, top, left):
    """uint8 images (B, height, width, channels), each in its view."""
    count, height, width, channels = images.shape
    both = torch.stack([images, images.flip(2)], 1)
    rows = functional.pad(both, (0, 0, BORDER, BORDER, BORDER, BORDER)).flatten(3)
    views = rows.unfold(2, height, 1).unfold(3, width * channels, channels)  # (B, 2, tops, lefts, height, row)
    return views[torch.arange(count, device=images.device), mirrored, top, left].reshape(images.shape)


Dataset = namedtuple("Dataset", "train test classes")  # two Splits and the number of labels


def load(settings, device, mean, std):
    """The data set of the settings on the device; `holdout` training images may replace the test set.

    Downloads it on first use. Raises UserError if that fails or a file is damaged.
    """
    if settings.dataset == "Digits":
        (train_images, train_labels), (test_images, test_labels) = digits.render(12000, 0), digits.render(2000, 1)
        classes = 10
    elif settings.dataset == "CelebA":
        train_images, test_images = (faces(settings.dataset_folder, split) for split in ("train", "test"))
        train_labels, test_labels = (torch.zeros(len(images)).long() for images in (train_images, test_images))
        classes = 0
    elif settings.dataset == "Own":
        ((train_images, train_labels), (test_images, test_labels)), classes = own.load(settings.own_data)
    else:
        train, test = fetch(settings.dataset, settings.dataset_folder, {"train": True}, {"train": False})
        (train_images, train_labels), (test_images, test_labels) = map(tensors, (train, test))
        classes = len(train.classes)
        if train_images.shape[1:] != test_images.shape[1:]:
            sides = (" x ".join(map(str, images.shape[1:3])) for images in (train_images, test_images))
            raise UserError(f"{settings.dataset}: training and test images of {' and '.join(sides)} pixels in "
                            f"{settings.dataset_folder}; they must have one shape")
    if settings.holdout >= len(train_labels):
        raise UserError(f"holdout = {settings.holdout}; there are {len(train_labels)} training images")
    if settings.holdout:
        order = torch.randperm(len(train_labels), generator=torch.Generator().manual_seed(0))
        rest, held = order[settings.holdout:], order[:settings.holdout]
        test_images, test_labels = train_images[held], train_labels[held]
        train_images, train_labels = train_images[rest], train_labels[rest]
    return Dataset(Split(train_images, train_labels, device, mean, std),
                   Split(test_images, test_labels, device, mean, std), classes)


def fingerprint(dataset):
    """A text that tells data sets apart: for both splits their size and checksums of labels and some images."""
    def of(split):
        sample = split.images[::max(1, len(split) // 1000)].cpu().contiguous().numpy()
        return f"{len(split)} images {zlib.crc32(split.labels.cpu().numpy()):08x} {zlib.crc32(sample):08x}"
    return f"{of(dataset.train)}, {of(dataset.test)}"


def tensors(dataset):
    """images uint8 (N, height, width, channels) and labels int64 (N,) of a torchvision data set."""
    images, labels = torch.as_tensor(dataset.data), torch.as_tensor(dataset.targets)
    if len(images) != len(labels) or int(labels.max()) >= len(dataset.classes):
        raise UserError(f"{type(dataset).__name__}: the images and labels in {dataset.root} do not fit together; "
                        "delete its files and start again to download them anew")
    return images.reshape(*images.shape[:3], -1).contiguous(), labels


# MNIST's and Fashion-MNIST's unpacked files as they are published. torchvision knows the md5 of the packed ones only;
# packed again with the published file's name and time, ours have that md5.
# {file: its bytes, md5 of MNIST's, md5 of Fashion-MNIST's}
IDX = {
    "train-images-idx3-ubyte": (47040016, "6bbc9ace898e44ae57da46a324031adb", "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
    "train-labels-idx1-ubyte": (60008, "a25bea736e30d166cdddb491f175f624", "9018921c3c673c538a1fc5bad174d6f9"),
    "t10k-images-idx3-ubyte": (7840016, "2646ac647ad5339dbf082846283269ea", "8181f5470baa50b63fa0f6fddb340f0a"),
    "t10k-labels-idx1-ubyte": (10008, "27ae3e4e09519cfbb04c329615203637", "15d484375f8d13e6eb1aabb0c3f46965")}


def fetch(name, folder, *options):
    """The torchvision data set `name` with each of the options, downloaded into `folder` first if it is not there."""
    import torchvision.datasets  # here, since its import takes a second, which data set 0 does not need

    kind = getattr(torchvision.datasets, name)
    where = os.path.join(folder, getattr(kind, "base_folder", os.path.join(name, "raw")))
    os.makedirs(folder, exist_ok=True)
    with files.turn_in(folder):  # a file that another process is downloading is not damaged
        damaged = next(damaged_files(kind, where), None)
        if damaged:
            raise UserError(f"{damaged} is damaged; delete it and start again to download it anew")
        try:
            with contextlib.redirect_stdout(sys.stderr):
                # Ask for a download once only: each time torchvision checks every file's md5.
                return [kind(folder, download=not number, **some) for number, some in enumerate(options)]
        except Exception as error:  # whatever the network, the disk or torchvision's reader says
            reason = " ".join(str(error).split()) or type(error).__name__
            wanted = ", ".join(checksums(kind)) + " and the unpacked folder img_align_celeba" * (name == "CelebA")
            raise UserError(f"{name} could not be read from or downloaded to {where} ({reason}); put {wanted} there by "
                            "hand, or take data set 0, Digits, which needs no network")


def damaged_files(kind, where):
    """Yield the files of a torchvision data set that exist but are neither the published ones nor the user's own."""
    from torchvision.datasets.utils import check_integrity

    for name, checksum in checksums(kind).items():
        path = os.path.join(where, name)
        if os.path.exists(path) and not check_integrity(path, checksum) and not is_own_idx(path):
            yield path


def checksums(kind):
    """{file: md5} of the unpacked files of a torchvision data set as they are published."""
    if hasattr(kind, "file_list"):  # CelebA
        return {name: checksum for _, checksum, name in kind.file_list if name.endswith(".txt")}
    if hasattr(kind, "train_list"):  # CIFAR
        return {**dict([*kind.train_list, *kind.test_list]), kind.meta["filename"]: kind.meta["md5"]}
    return {name: md5[kind.__name__ == "FashionMNIST"] for name, (_, *md5) in IDX.items()}


def is_own_idx(path):
    """Whether a file in MNIST's layout holds the user's own data: as long as its header says, not as the published.

    The header is 4 bytes, the last one the number of dimensions, then each dimension in 4 bytes; then come the values,
    in one byte each (http://yann.lecun.com/exdb/mnist).
    """
    name, size = os.path.basename(path), os.path.getsize(path)
    if name not in IDX or size == IDX[name][0]:
        return False
    with open(path, "rb") as file:
        dimensions = int.from_bytes(file.read(4), "big") % 256
        lengths = [int.from_bytes(file.read(4), "big") for _ in range(dimensions)]
    return size == 4 + 4 * dimensions + math.prod(lengths)


def faces(folder, split):
    """CelebA's images as uint8 (N, 64, 64, 3), mapped from a file that is made the first time."""
    path = os.path.join(folder, "celeba", f"{split}_{FACE}x{FACE}.npy")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with files.turn_in(os.path.dirname(path)):
        if not os.path.exists(path):
            write_faces(path, *fetch("CelebA", folder, {"split": split}))
    try:
        images = np.load(path, mmap_mode="c")
        if images.dtype != np.uint8 or images.shape[1:] != (FACE, FACE, 3):
            raise ValueError("not what write_faces writes")
    except (AttributeError, EOFError, OSError, ValueError):  # whatever numpy makes of a file that is no such array
        raise UserError(f"{path} is damaged; delete it and start again to make it anew")
    return torch.from_numpy(images)


def write_faces(path, dataset):
    """Decode every image once, the shorter side resized to 64 pixels and the centre cropped."""
    from torchvision import transforms

    small = transforms.Compose([transforms.Resize(FACE), transforms.CenterCrop(FACE)])

    def face(number):
        try:
            return np.asarray(small(dataset[number][0].convert("RGB"))).tobytes()
        except OSError as error:
            raise UserError(f"CelebA's image {dataset.filename[number]} cannot be read ({error}); unpack "
                            "img_align_celeba.zip again")

    header = {"descr": "|u1", "fortran_order": False, "shape": (len(dataset), FACE, FACE, 3)}
    with files.whole_file(path) as file, ThreadPoolExecutor() as pool:
        np.lib.format.write_array_header_1_0(file, header)
        for start in tqdm(range(0, len(dataset), 1000), "resizing CelebA", unit="thousand", disable=None, leave=False):
            file.writelines(pool.map(face, range(start, min(start + 1000, len(dataset)))))
