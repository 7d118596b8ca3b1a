"""What vae.py alone has, in whole programs: its pictures, the parts of its loss, CelebA."""
import os
import re

import matplotlib.image
import numpy as np
import pytest
import torch
from processes import Program
from tiny import ALONE, TINY, log_of, one_line, stem_of

from pruning import digits, files, runlog
from pruning.plots import vae_pictures

SHORT = [*ALONE["vae.py"], "--total-epochs", "1"]


@pytest.fixture
def drawn(monkeypatch):
    """{name of a picture's file: its figure}, in the place of the files, which take long."""
    figures = {}
    monkeypatch.setattr(vae_pictures, "save", lambda figure, path: figures.update({os.path.basename(path): figure}))
    return figures


def test_tensorboard_shows_the_pictures(small):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert Program(small, *ALONE["vae.py"], "--pruning", "random", "--tensorboard", program="vae.py").end()[0] == 0
    shown = accumulator.EventAccumulator(str(small / "logs" / "MNIST" / "tensorboard" / "vae_logworstPruning"))
    shown.Reload()
    assert sorted(shown.Tags()["images"]) == ["pictures/after_round_1", "pictures/before_round_1", "pictures/end"]


def test_every_picture_opens_and_shows_something(small):
    assert Program(small, *TINY["vae.py"], program="vae.py").end()[0] == 0
    seen = {path.name: matplotlib.image.imread(str(path)) for path in (small / "logs" / "MNIST").glob("*.png")}
    stem = os.path.basename(stem_of("", "none", "vae.py"))
    assert len(seen) == 9 and f"{stem}_strip.png" in seen
    for name, picture in seen.items():
        assert picture.std() > 0.1 and min(picture.shape[:2]) > 300, name
    # Removal changes what is reconstructed; nothing is drawn twice.
    assert len({picture.tobytes() for picture in seen.values()}) == len(seen)


def test_the_pictures_show_the_first_test_images(drive, few_digits, drawn, monkeypatch):
    made, start = [], vae_pictures.VaePictures.__init__
    monkeypatch.setattr(vae_pictures.VaePictures, "__init__",
                        lambda pictures, *given: made.append(pictures) or start(pictures, *given))
    assert drive(*SHORT, "--dataset", "0", program="vae.py")[0] == 0
    first = digits.render(2000, 1)[0][:8].permute(0, 3, 1, 2).double() / 255
    assert (made[0].images.double() - first).abs().max() < 1e-6


def test_the_logged_loss_is_its_parts(drive, small):
    assert drive(*SHORT, "--batch-size", "5", "--kld-weight", "0.5", program="vae.py")[0] == 0
    log = runlog.parse_log(log_of(small, "none", "vae.py"))
    assert log.header["kld_weight"] == 0.5 and len(log.batches) == 3
    for measures in [line.measures for line in log.batches]:
        assert measures["loss"] == pytest.approx(measures["BCE"] + 0.5 * measures["KLD"], rel=1e-5)
    for measures in [log.epochs[0].measures, log.summary]:
        for split in ("training", "test"):
            loss, bce, kld = (measures[f"{split} {part}"] for part in ("loss", "BCE", "KLD"))
            assert loss == pytest.approx(bce + 0.5 * kld, rel=1e-4)


@pytest.mark.parametrize("widths", ["-", "2-2"])
def test_there_may_be_none_or_several_convolutions(drive, small, widths):
    status, _, err = drive(*SHORT, "--conv-widths", widths, program="vae.py")
    assert (status, err) == (0, "") and runlog.parse_log(log_of(small, "none", "vae.py")).summary


def test_celeba_is_trained_on_in_colour(drive, tmp_path, tiny_celeba, drawn):
    tiny_celeba(tmp_path / "datasets", [0] * 12 + [1] * 2 + [2] * 5)
    status, _, err = drive(*TINY["vae.py"], "--dataset", "celeba", "--batch-size", "5", "--conv-widths", "2-3",
                           program="vae.py")
    assert status == 0 and "Traceback" not in err
    log = runlog.parse_log(log_of(tmp_path, "contribution", "vae.py", dataset="CelebA"))
    assert log.summary["widths"] == [8, 10, 10, 8] and len(log.epochs) == 4
    saved = torch.load(files.network_path(log.path), weights_only=True)
    assert tuple(saved["network"]["image_shape"]) == (3, 64, 64)
    sheet = np.array(drawn["vae_logwithoutPruning_strip.png"].axes[0].images[0].get_array())
    face = sheet[vae_pictures.GAP + 2:, vae_pictures.GAP + 2:][:64, :64]
    assert face[60, 30, 0] > face[5, 30, 0] + 0.5 and face[30, 60, 1] > face[30, 5, 1] + 0.4  # red down, green across


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_while_a_picture_is_drawn_is_one_line_and_the_run_goes_on(drive, small):
    where, stem = small / "logs" / "MNIST", "vae_logwithoutPruning"
    where.mkdir(parents=True)
    (where / f"{stem}_end.png.part").symlink_to("/dev/full")
    status, _, err = drive(*SHORT, program="vae.py")
    assert status == 2 and re.search(f"{stem}_end.png: .*No space left on device", one_line(err, "vae.py"))
    left = [stem + ending for ending in (".checkpoint", ".pt", ".txt")]
    assert sorted(os.listdir(str(where))) == left
    log = runlog.parse_log(str(where / f"{stem}.txt"))
    assert log.epochs[0].epoch == 1 and not log.summary
    status, _, err = drive("--resume", log.path, program="vae.py")
    assert (status, err) == (0, "") and runlog.parse_log(log.path).summary["epochs"] == 1
    assert sorted(os.listdir(str(where))) == [*left, f"{stem}_end.png", f"{stem}_strip.png"]
