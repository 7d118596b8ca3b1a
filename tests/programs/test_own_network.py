"""driver.py with a network and with images of one's own: the whole way, interruptions, mistakes."""
import importlib
import os
import re
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from processes import Program, fewer_digits
from tiny import StopAt, bits, contents, log_of, one_line, without_times

import driver
import models
from pruning import datasets, device, digits, runlog, signals
from pruning.errors import UserError
from pruning.measures import evaluate

NET = """from torch import nn


class Net(nn.Module):
    def __init__(self, image_shape, classes):
        super().__init__()
        channels, height, width = image_shape
        self.features = nn.Sequential(
            nn.Conv2d(channels, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten())
        self.hidden, self.norm = nn.Linear(6 * (height // 2) * (width // 2), 10), nn.BatchNorm1d(10)
        self.last = nn.Linear(10, classes)

    def forward(self, images):
        return self.last(self.norm(self.hidden(self.features(images))).relu())
"""
DATA = """import torch


def load():
    chance = torch.Generator().manual_seed(0)
    images = torch.randint(256, (75, 2, 8, 6), generator=chance, dtype=torch.uint8)
    labels = torch.arange(75) % 3
    return (images[:60], labels[:60]), (images[60:], labels[60:])
"""
ARMS = ["none", "contribution", "taylor", "scratch"]
# 6 batches an epoch, so the loop looks 7 times whether to stop; rounds after epochs 2 and 3.
RUN = ["--device", "cpu", "--network", "my_net.Net", "--prune-filters", "True", "--compare", ",".join(ARMS),
       "--total-epochs", "4", "--initial-iterations", "2", "--increment", "1", "--learning-rate", "0.05"]
KINDS = {"Digits": ["--dataset", "0", "--batch-size", "20"],
         "folder": ["--dataset", "Own", "--batch-size", "10", "--own-data", "photos"],
         "function": ["--dataset", "6", "--batch-size", "10", "--own-data", "my_data.load"]}


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """A folder like the suite's with files of one's own: a network, a function and a folder of images."""
    monkeypatch.setattr(digits, "render", fewer_digits(100))
    for name, text in (("constants.py", ""), ("my_net.py", NET), ("my_data.py", DATA)):
        (tmp_path / name).write_text(text)
    images = np.random.RandomState(0).randint(0, 256, (75, 8, 12, 3)).astype(np.uint8)
    for number, image in enumerate(images):
        folder = tmp_path / "photos" / ("train" if number < 60 else "test") / "abc"[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(str(folder / f"{number}.png"))
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("my_net", "my_data"):
        sys.modules.pop(name, None)  # of another test's folder
    return tmp_path


def logs_of(folder, dataset):
    return {arm: runlog.parse_log(log_of(folder, arm, dataset=dataset)) for arm in ARMS}


def left_by(folder, dataset):
    """{file: what it says} of the logs and networks, without the times."""
    where = folder / "logs" / dataset
    return {name: without_times((where / name).read_text()) if name.endswith(".txt") else
            repr(bits(torch.load(str(where / name), weights_only=True)))
            for name in sorted(os.listdir(str(where))) if name.endswith((".txt", ".pt"))}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_tried_goes_its_way_and_its_networks_load(kind, beside, drive):
    dataset = "Digits" if kind == "Digits" else "Own"
    before = contents(beside)
    assert drive(*KINDS[kind], *RUN, "--dry-run")[0] == 0
    assert {path for path in contents(beside) if "__pycache__" not in path} == set(before)
    assert drive(*KINDS[kind], *RUN)[::2] == (0, "")

    logs, unpruned, final = logs_of(beside, dataset), [4, 6, 10], [2, 4, 8]
    assert {arm: (len(log.rounds), log.summary["widths"]) for arm, log in logs.items()} == {
        "none": (0, unpruned), "contribution": (2, final), "taylor": (2, final), "scratch": (0, final)}
    data = datasets.load(SimpleNamespace(dataset=dataset, own_data=logs["none"].header["own_data"], holdout=0),
                         torch.device("cpu"), 0.5, 0.5)
    for arm, log in logs.items():
        path = os.path.splitext(log_of(beside, arm, dataset=dataset))[0] + ".pt"
        network, about = models.load(path, importlib.import_module("my_net").Net)
        assert about["widths"] == log.summary["widths"] and network.features[0].out_channels == about["widths"][0]
        found = evaluate(network, data.test, driver.classify, "test ")
        assert found["test accuracy"] == pytest.approx(log.summary["test accuracy"], rel=1e-5)
        assert found["test loss"] == pytest.approx(log.summary["test loss"], rel=1e-4)
    with pytest.raises(UserError, match="give its class: models.load"):
        models.load(path)
    assert drive(os.path.join("logs", dataset), program="plot.py")[::2] == (0, "")
    assert os.path.getsize(str(beside / "logs" / dataset / "comparison.png")) > 10000


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_run_goes_on_to_the_same_bits(kind, beside, drive, monkeypatch):
    dataset = "Digits" if kind == "Digits" else "Own"
    assert drive(*KINDS[kind], *RUN)[0] == 0
    direct = left_by(beside, dataset)
    shutil.rmtree(str(beside / "logs"))
    arguments = [*KINDS[kind], *RUN]
    for look, epoch in ((4, 0), (30, 2), (23, 3)):  # before the rounds, after the first and after the second
        monkeypatch.setattr(signals, "Stop", StopAt(look))
        status, _, err = drive(*arguments)
        assert status == 130 and f"interrupted after epoch {epoch} and 2 batches of the next; " in err, err
        arguments = ["--resume", one_line(err).split("--resume ")[1]]
    monkeypatch.setattr(signals, "Stop", StopAt(0))
    assert drive(*arguments)[0] == 0
    assert left_by(beside, dataset) == direct and len(direct) == 2 * len(ARMS)


def test_a_run_goes_on_with_its_images_under_another_name_but_not_with_others(beside, drive, monkeypatch):
    monkeypatch.setattr(signals, "Stop", StopAt(4))
    assert drive(*KINDS["folder"], *RUN[:2], "--pruning", "none", "--total-epochs", "2")[0] == 130
    monkeypatch.setattr(signals, "Stop", StopAt(0))
    os.rename(str(beside / "photos"), str(beside / "pictures"))
    images = sorted((beside / "pictures" / "train" / "a").iterdir())
    arguments = ["--resume", log_of(beside, "none", dataset="Own"), "--own-data", "pictures"]
    content = images[0].read_bytes()
    images[0].write_bytes(images[1].read_bytes())
    status, _, err = drive(*arguments)
    assert status == 2 and "data = '60 images " in one_line(err)
    images[0].write_bytes(content)
    assert drive(*arguments)[0] == 0


def test_constants_name_a_class_of_models_and_a_folder_beside_them(beside, tmp_path_factory):
    """In a copy of the suite that is started from elsewhere."""
    shutil.copytree(os.path.join(ROOT, "pruning"), str(beside / "pruning"),
                    ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("driver.py", "ranking.py"):
        shutil.copy(os.path.join(ROOT, name), str(beside / name))
    for name, old, new in (("models.py", "class FeedForward", NET[NET.index("class"):] + "\n\nclass FeedForward"),
                           ("constants.py", 'own_data = "" ', 'own_data = "photos" ')):
        with open(os.path.join(ROOT, name)) as file:
            text = file.read()
        assert text.count(old) == 1
        (beside / name).write_text(text.replace(old, new))
    with open(str(beside / "constants.py"), "a") as file:
        file.write('Own["network"] = "Net"\n')
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    status, out, err = Program(elsewhere, "--dataset", "own", "--dry-run", suite=str(beside)).end()
    assert (status, err) == (0, "") and re.search("^network +Net, .* hidden neurons 10 => 3$", out, re.MULTILINE)
    assert re.search("^data +your images, 60 training and 15 test images$", out, re.MULTILINE)


def test_auto_counts_a_network_of_ones_own_as_one_with_convolutions(beside, drive, monkeypatch):
    monkeypatch.setattr(device, "multiplies_bfloat16", lambda device: True)
    for network, precision in (("my_net.Net", "bfloat16"), ("", "float32")):
        status, out, _ = drive("--dataset", "0", "--network", network, "--conv-widths", "-", "--dry-run")
        assert status == 0 and f"(cpu), {precision}, " in out


# ---- mistakes ----

@pytest.mark.parametrize("flags, message", [
    (["--network", "my_net.Nat"], "network = 'my_net.Nat': there is no Nat in my_net.py"),
    (["--own-data", ""], "own_data is empty; "),
    (["--own-data", "my_data.lead"], "own_data = 'my_data.lead': there is no lead in my_data.py"),
    (["--own-data", "pictures"], "pictures/train: No such file or directory"),
    (["--batch-size", "59"], "batch_size = 59: the last batch of an epoch has one image, on which Net cannot be "
                             r"trained \(Expected more than 1 value per channel .*\); take another batch_size"),
    (["--batch-size", "1"], "batch_size = 1: the last batch of an epoch has one image")])
def test_a_mistake_is_one_line_before_anything_is_written(flags, message, beside, drive):
    status, _, err = drive(*KINDS["folder"], *RUN, *flags)
    assert status == 2 and re.match(message, one_line(err)) and not (beside / "logs").exists()


def test_a_last_batch_of_one_image_is_no_mistake_without_a_batchnorm_or_with_two_images(beside, drive):
    for flags in (["--network", "", "--batch-size", "59"], ["--batch-size", "58"]):
        status, _, err = drive(*KINDS["folder"], *RUN, *flags, "--dry-run")
        assert (status, err) == (0, "")


@pytest.mark.parametrize("method, words", [
    ("def groups(self):\n        return [self.lost]", "my_net.py, line 18: 'Net' object has no attribute 'lost'"),
    ("def groups(self):\n        from pruning.groups import NeuronGroup\n"
     "        return [NeuronGroup(self.hidden, [self.last])]", r"Net.groups\(\), hidden: without some of its ")])
def test_a_mistake_in_the_groups_of_ones_own_network_is_one_line(method, words, beside, drive):
    (beside / "my_net.py").write_text(f"{NET}\n    {method}\n")
    status, _, err = drive(*KINDS["folder"], *RUN)
    assert status == 2 and re.match(words, one_line(err))


def test_a_vae_takes_images_of_ones_own_with_one_or_three_channels(beside, drive):
    flags = ["--dataset", "Own", "--hidden-widths", "8-8", "--latent", "2", "--total-epochs", "1", "--own-data"]
    assert drive(*flags, "photos", program="vae.py")[::2] == (0, "")
    status, _, err = drive(*flags, "my_data.load", program="vae.py")
    assert status == 2 and one_line(err, "vae.py").startswith("own_data: images with 2 channels; ")
