"""vae.py: its loss, measures and pictures against hand computations, and the whole program with what it leaves."""
import functools
import math
import os
import re
import signal
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest
import torch
from processes import Program, type_at_terminal, wait_for_epoch

import data
import digits
import files
import models
import pictures
import runlog
import training
import vae

CPU = torch.device("cpu")
ARMS = ["none", "contribution", "random"]
# 600 images in batches of 50: lines at batches 0 and 10; widths 12-16-16-12 => 10-14-14-10 => 9-12-12-9.
TINY = ["--dataset", "0", "--device", "cpu", "--seed", "7", "--prune-percent", "10", "--lambda-average", "1",
        "--lambda-max", "0", "--hidden-widths", "12-16-16-12", "--conv-widths", "4", "--latent", "3",
        "--batch-size", "50", "--learning-rate", "0.01", "--kld-weight", "0.5",
        "--total-epochs", "4", "--initial-iterations", "2", "--increment", "1"]
SHORT = [*TINY, "--total-epochs", "1"]
PRUNED = ["before_round_1", "after_round_1", "before_round_2", "after_round_2", "end"]
MOMENTS = {"none": ["before_round_1", "before_round_2", "end"], "contribution": PRUNED, "random": PRUNED}


@pytest.fixture
def drive(drive):
    """Run vae.py's main in this process and in tmp_path: returns (exit status, stdout, stderr)."""
    return functools.partial(drive, program="vae.py")


def one_line(text):
    """The message of the one line that stderr must be."""
    assert text.startswith("vae.py: ") and text.endswith("\n") and text.count("\n") == 1, text
    return text[len("vae.py: "):-1]


def path_of(folder, arm, number=""):
    """The log of an arm, or with a number like ".1" an earlier one."""
    path = files.log_path(os.path.join(str(folder), "logs"), "Digits", arm, "vae_log")
    return path.replace(".txt", number + ".txt")


def log_of(folder, arm):
    return runlog.parse_log(path_of(folder, arm))


ENDINGS = [".checkpoint", ".pt", ".txt"]  # what a run leaves, beside pictures


def files_in(folder):
    return sorted(os.listdir(os.path.join(str(folder), "logs", "Digits")))


def files_of(arm, number="", moments=None):
    stem = os.path.basename(path_of("", arm, number))[:-len(".txt")]
    moments = MOMENTS[arm] if moments is None else moments
    return [stem + ending for ending in ENDINGS] + [f"{stem}_{moment}.png" for moment in moments]


# ---- the loss ----

class Stub(torch.nn.Module):
    """Posteriors that depend on the image alone and a decoder that is one matrix, (latent, pixels)."""

    def __init__(self, mean, logvar, decoder):
        super().__init__()
        self.mean, self.logvar, self.decoder, self.latent = mean, logvar, decoder, mean.shape[1]

    def forward(self, images, noise=0):
        code = self.mean + noise * (self.logvar / 2).exp()
        return (code @ self.decoder).view(images.shape), self.mean, self.logvar


def random_case(count, shape=(2, 2, 3), latent=4):
    """Images and a Stub for them, in float64."""
    source = torch.Generator().manual_seed(count)
    images = torch.rand(count, *shape, generator=source, dtype=torch.float64)
    mean, logvar = torch.randn(2, count, latent, generator=source, dtype=torch.float64)
    return images, Stub(mean, logvar, torch.randn(latent, images[0].numel(), generator=source, dtype=torch.float64))


@pytest.mark.parametrize("kld_weight", [0.0, 1.0, 2.5])
def test_the_loss_is_that_of_the_formula(kld_weight):
    images, model = random_case(3)
    torch.manual_seed(5)
    noise = torch.randn(3, 4).tolist()
    bce = kld = 0
    numbers = (tensor.tolist() for tensor in (images.flatten(1), model.mean, model.logvar))
    for image, mean, logvar, draws in zip(*numbers, noise):
        code = [m + draw * math.exp(v / 2) for m, v, draw in zip(mean, logvar, draws)]
        for pixel, column in zip(image, model.decoder.T.tolist()):
            p = 1 / (1 + math.exp(-sum(c * w for c, w in zip(code, column))))
            bce -= pixel * math.log(p) + (1 - pixel) * math.log(1 - p)
        kld -= sum(1 + v - m ** 2 - math.exp(v) for m, v in zip(mean, logvar)) / 2
    torch.manual_seed(5)
    loss, measures = vae.negative_elbo(model, images, kld_weight)
    assert loss.item() == pytest.approx(bce + kld_weight * kld, rel=1e-6)
    assert list(measures) == ["loss", "BCE", "KLD"]  # the order in which the log names them
    # A mean over the images each; the weight is in the loss alone, not in the KLD that the log shows.
    wanted = {"loss": (bce + kld_weight * kld) / 3, "BCE": bce / 3, "KLD": kld / 3}
    assert {name: measure.item() for name, measure in measures.items()} == pytest.approx(wanted, rel=1e-6)


def test_the_measures_do_not_depend_on_the_batch_size():
    images, model = random_case(2)
    model.logvar.fill_(-200)  # no noise, so that the images alone count
    _, once = vae.negative_elbo(model, images, 1.0)
    many = Stub(model.mean.repeat(8, 1), model.logvar.repeat(8, 1), model.decoder)
    _, often = vae.negative_elbo(many, images.repeat(8, 1, 1, 1), 1.0)
    assert {name: often[name].item() for name in often} == pytest.approx({name: once[name].item() for name in once})


@pytest.mark.parametrize("pixel, logit, bce", [(0.0, -1e4, 0), (1.0, 1e4, 0), (0.0, 1e4, 1e4), (1.0, -1e4, 1e4)])
def test_huge_logits_do_not_overflow(pixel, logit, bce):
    decoder = torch.full((1, 4), logit, requires_grad=True)
    model = Stub(torch.ones(1, 1), torch.full((1, 1), -200.0), decoder)
    loss, measures = vae.negative_elbo(model, torch.full((1, 1, 2, 2), pixel), 0.0)
    loss.backward()
    assert measures["BCE"].item() == 4 * bce and decoder.grad.isfinite().all()


# ---- the measures on the test images ----

class Means(torch.nn.Module):
    """Posterior means that are multiples of an image's two pixels, and logits that are twice these less one."""

    def forward(self, images, noise=0):
        assert noise == 0 and not self.training  # the posterior mean is decoded
        left, right = images.flatten(1).T
        # Of variance above 0.01; a little above; a little below; none; none within a batch but 6 over all of them.
        mean = torch.stack([left, 0.200025 * right, 0.199975 * right, 0 * left + 3, 5 * left.round()], 1)
        return 2 * images - 1, mean, torch.zeros_like(mean)


def test_quality_is_that_of_numpy_over_all_batches():
    count = 2 * data.EVALUATION_BATCH + 400  # the last batch is smaller
    left = np.where(np.arange(count) < data.EVALUATION_BATCH, 20, 240)
    pixels = np.stack([left, np.tile([0, 255], count // 2)], 1).astype(np.uint8)
    split = data.Split(torch.from_numpy(pixels).view(count, 1, 2, 1), torch.zeros(count), CPU, 0, 1)
    x = pixels / 255
    mse = ((1 / (1 + np.exp(1 - 2 * x)) - x) ** 2).mean()
    found = vae.quality(Means().train(), split)
    assert found == pytest.approx({"test MSE": mse, "test PSNR": 10 * math.log10(1 / mse), "active units": 3}, rel=1e-5)
    assert type(found["active units"]) is int  # a count, which the log writes in full


# ---- pictures ----

class Shades(torch.nn.Module):
    """Reconstructs every image as its negative times `shade`; of the latents each gives one grey. Records both."""

    def __init__(self, shade=1.0):
        super().__init__()
        self.shade, self.asked = shade, []

    def forward(self, images, noise=0):
        assert noise == 0 and not self.training
        self.asked.append(images.clone())
        return (self.shade * (1 - images)).logit(), None, None

    def decode(self, latents):
        self.asked.append(latents.clone())
        return latents.mean(1).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)


@pytest.fixture
def drawn(monkeypatch):
    """{name of a picture's file: its figure}, in the place of the files, which take long."""
    figures = {}
    monkeypatch.setattr(pictures, "save", lambda figure, path: figures.update({os.path.basename(path): figure}))
    return figures


@pytest.fixture
def images():
    return 0.1 + 0.8 * torch.rand(pictures.COUNT, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def album_of(images):
    return pictures.Album(SimpleNamespace(dataset="Digits", latent=5, initial_iterations=1, increment=4), images)


def a_run(model, epoch, **more):
    return SimpleNamespace(**{"model": model, "epoch": epoch, "seed": 3, "seen": {}, **more})


def log_in(folder, arm):
    return files.log_path(str(folder), "Digits", arm, "vae_log")


def shown(figure, row, column, number, columns):
    """Image `number` (3, 4, 4) of a cell with so many columns of images, in which lines of 2 pixels part them."""
    sheet = np.array(figure.axes[0].images[0].get_array())
    height, width = 2 + 6 * pictures.COUNT // columns, 2 + 6 * columns
    down, across = divmod(number, columns)
    top = pictures.GAP + row * (height + pictures.GAP) + 2 + 6 * down
    left = pictures.GAP + column * (width + pictures.GAP) + 2 + 6 * across
    return torch.as_tensor(sheet).permute(2, 0, 1)[:, top:top + 4, left:left + 4]


def labels(axis):
    """The labels of a figure's rows or columns, each at the middle of what it names, as (text, pixel)."""
    return [(label.get_text(), place) for label, place in zip(axis.get_ticklabels(), axis.get_ticklocs())]


def test_a_grid_holds_images_reconstructions_and_samples(tmp_path, drawn, images):
    model, album = Shades().train(), album_of(images)
    album.add(a_run(model, 9), "random", "before", log_in(tmp_path, "random"))
    figure, = drawn.values()
    gap = pictures.GAP
    assert labels(figure.axes[0].yaxis) == [("test images", gap + 4), ("reconstructions", 2 * gap + 12),
                                            ("samples", 3 * gap + 20)]
    assert labels(figure.axes[0].xaxis) == [("randomised pruning, epoch 9, before round 3", gap + 25)]
    assert figure.texts[0].get_text() == "Digits, seed 3"
    for number, (image, latent) in enumerate(zip(images, album.latents)):
        assert torch.allclose(shown(figure, 0, 0, number, 8), image)
        assert torch.allclose(shown(figure, 1, 0, number, 8), 1 - image, atol=1e-6)
        assert torch.allclose(shown(figure, 2, 0, number, 8), latent.mean().sigmoid().expand(3, 4, 4), atol=1e-6)


def test_all_moments_show_the_same_images_and_latents(tmp_path, drawn, images):
    asked = []
    for seed, arm in enumerate(["none", "contribution"]):  # two albums: two runs of the program
        torch.manual_seed(seed)
        model, album = Shades(), album_of(images)
        for moment in ("before", "after", "end"):
            album.add(a_run(model, 5), arm, moment, log_in(tmp_path, arm))
        asked += model.asked
    assert len(asked) == 12 and len({tuple(latents.flatten().tolist()) for latents in asked[1::2]}) == 1
    assert all(torch.equal(some, images) for some in asked[::2])
    assert sorted(drawn) == sorted(f"vae_log{word}Pruning_{moment}.png" for word in ("without", "with")
                                   for moment in ("before_round_2", "after_round_2", "end"))


@pytest.mark.parametrize("rounds, columns", [(2, 5), (9, 19), (15, 19)])
def test_a_strip_has_a_row_an_arm_and_whole_rounds(tmp_path, drawn, images, rounds, columns):
    album, shades = album_of(images), {"epoch 99\nend": 0.5}
    none, pruned = (a_run(Shades(shade), 99) for shade in (0.02, 0.5))
    for number in range(1, rounds + 1):
        for moment in ("before", "after"):
            shade = shades[f"epoch {4 * number - 3}\n{moment} round {number}"] = (len(shades) + 1) / 50
            album.add(a_run(Shades(shade), 4 * number - 3, seen=pruned.seen), "contribution", moment,
                      log_in(tmp_path, "contribution"))
    album.draw_strip(iter([("none", none), ("contribution", pruned)]), log_in(tmp_path, "none"))
    figure = drawn["vae_logwithoutPruning_strip.png"]
    heads, rows = labels(figure.axes[0].xaxis), labels(figure.axes[0].yaxis)
    assert heads[0] == ("test images", pictures.GAP + 7) and {b - a for (_, a), (_, b) in zip(heads, heads[1:])} == {
        pictures.GAP + 14}
    moments = [words for words, _ in heads[1:]]
    assert len(set(moments)) == columns and [moments[0], moments[-1]] == ["epoch 1\nbefore round 1", "epoch 99\nend"]
    assert moments == [words for words in [*list(shades)[1:], "epoch 99\nend"] if words in moments]  # in their order
    assert [words.replace("after", "before") for words in moments[1:-1:2]] == moments[:-1:2]
    assert rows == [("without pruning", pictures.GAP + 13), ("contribution-based pruning", 2 * pictures.GAP + 39)]
    for row in (0, 1):
        for number, image in enumerate(images):
            assert torch.allclose(shown(figure, row, 0, number, 2), image)
    assert [bool((shown(figure, 0, 1 + column, 0, 2) == 1).all()) for column in range(columns)] == [
        True] * (columns - 1) + [False]
    assert torch.allclose(shown(figure, 0, columns, 0, 2), 0.02 * (1 - images[0]), atol=1e-6)
    for column, words in enumerate(moments, 1):
        assert torch.allclose(shown(figure, 1, column, 3, 2), shades[words] * (1 - images[3]), atol=1e-6)


def test_the_pictures_show_the_first_test_images(drive, tmp_path, few_digits, drawn, monkeypatch):
    albums, start = [], pictures.Album.__init__
    monkeypatch.setattr(pictures.Album, "__init__", lambda album, *given: albums.append(album) or start(album, *given))
    assert drive(*SHORT)[0] == 0
    first = digits.render(2000, 1)[0][:8].permute(0, 3, 1, 2).double() / 255
    assert (albums[0].images.double() - first).abs().max() < 1e-6


# ---- the comparison, run twice with the same seed ----

@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The folder and what the two processes of the comparison said; the second run keeps the first one's files."""
    folder = tmp_path_factory.mktemp("compared")
    return folder, [Program(folder, *TINY, "--compare", program="vae.py", fewer_digits=20).end() for _ in range(2)]


def test_the_comparison_ends_well(compared):
    for status, out, err in compared[1]:
        assert (status, err) == (0, "")
        assert [line.split(": ")[0] for line in out.splitlines() if "Summary" in line] == ARMS


def test_the_comparison_leaves_logs_networks_and_pictures_and_keeps_earlier_ones(compared):
    wanted = [name for arm in ARMS for number in ("", ".1") for name in files_of(arm, number)]
    strips = [f"vae_logwithoutPruning{number}_strip.png" for number in ("", ".1")]
    assert files_in(compared[0]) == sorted(wanted + strips)


def test_every_picture_opens_and_shows_something(compared):
    folder = os.path.join(str(compared[0]), "logs", "Digits")
    seen = {name: matplotlib.image.imread(os.path.join(folder, name)) for name in files_in(compared[0])
            if name.endswith(".png")}
    assert len(seen) == 28
    for name, picture in seen.items():
        assert picture.std() > 0.1 and min(picture.shape[:2]) > 300, name
    # Removal changes what is reconstructed; nothing is drawn twice.
    later = [picture.tobytes() for name, picture in seen.items() if ".1" not in name]
    assert len(set(later)) == len(later)


@pytest.mark.parametrize("arm", ARMS)
def test_a_log_holds_every_epoch_and_every_round(compared, arm):
    log = log_of(compared[0], arm)
    assert [(line.epoch, line.batch) for line in log.batches] == [
        (epoch, batch) for epoch in (1, 2, 3, 4) for batch in (0, 10)]
    assert [line.epoch for line in log.epochs] == [1, 2, 3, 4]
    rounds = [(1, 2, [12, 16, 16, 12], [10, 14, 14, 10]), (2, 3, [10, 14, 14, 10], [9, 12, 12, 9])]
    assert [(line.number, line.epoch, line.before["widths"], line.after["widths"]) for line in log.rounds] \
        == ([] if arm == "none" else rounds)
    assert (log.summary["epochs"], log.summary["rounds"]) == (4, len(log.rounds))
    assert log.summary["widths"] == ([12, 16, 16, 12] if arm == "none" else [9, 12, 12, 9])
    assert (log.header["pruning"], log.header["latent"], log.header["kld_weight"]) == (arm, 3, 0.5)


@pytest.mark.parametrize("arm", ARMS)
def test_every_measure_is_logged_and_the_loss_is_its_parts(compared, arm):
    log = log_of(compared[0], arm)
    parts = [f"{split} {part}" for split in ("training", "test") for part in ("loss", "BCE", "KLD")]
    quality = ["test MSE", "test PSNR", "active units"]
    for line in log.epochs:
        assert list(line.measures) == [*parts, "time"]
    for line in log.rounds:
        for state in (line.before, line.after):
            assert list(state) == ["widths", "neurons", "parameters", "multiply-adds", *parts, *quality]
    assert list(log.summary) == ["epochs", "rounds", "widths", "neurons", "parameters", "multiply-adds", *parts,
                                 *quality, "time"]
    for measures in [line.measures for line in log.batches]:
        assert measures["loss"] == pytest.approx(measures["BCE"] + 0.5 * measures["KLD"], rel=1e-5)
    for measures in [line.measures for line in log.epochs] + [log.summary]:
        for split in ("training", "test"):
            loss, bce, kld = (measures[f"{split} {part}"] for part in ("loss", "BCE", "KLD"))
            assert loss == pytest.approx(bce + 0.5 * kld, rel=1e-4)
    assert log.epochs[-1].measures["test loss"] == log.summary["test loss"] < 0.9 * log.epochs[0].measures["test loss"]


def test_the_arms_share_their_start_and_part_at_the_first_round(compared):
    batches = [log_of(compared[0], arm).batches for arm in ARMS]
    shared = [[line for line in lines if line.epoch <= 2] for lines in batches]
    assert shared[0] == shared[1] == shared[2] and shared[0]
    assert len({str([line for line in lines if line.epoch == 3]) for lines in batches}) == 3


@pytest.mark.parametrize("arm", ARMS)
def test_a_saved_network_is_the_one_of_the_summary(compared, arm, few_digits):
    log = log_of(compared[0], arm)
    saved = torch.load(files.network_path(log.path), weights_only=True)
    model = models.VAE(**saved["network"])
    model.load_state_dict(saved["weights"])
    assert models.widths(model) == log.summary["widths"]
    assert models.count_parameters(model) == log.summary["parameters"]
    test = data.load(SimpleNamespace(**log.header), CPU, 0, 1).test
    measures = training.evaluate(
        model, test, lambda model, images, labels: vae.negative_elbo(model, images, log.header["kld_weight"]), "test ")
    measures.update(vae.quality(model, test))
    assert measures == pytest.approx({name: log.summary[name] for name in measures}, rel=1e-4)


@pytest.mark.parametrize("arm", ARMS)
def test_the_same_seed_gives_the_same_log_but_for_times(compared, arm):
    texts, weights = [], []
    for path in (path_of(compared[0], arm), path_of(compared[0], arm, ".1")):
        with open(path) as file:
            texts.append(re.sub(r"time \S+ s\n|# started = .*\n", "\n", file.read()))
        weights.append(torch.load(files.network_path(path), weights_only=True)["weights"])
    assert texts[0] == texts[1]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


# ---- tiny runs in this process ----

def test_an_arm_trains_alone_as_it_does_in_the_comparison(drive, tmp_path, few_digits, drawn):
    assert drive(*TINY, "--compare")[0] == 0
    for arm in ARMS:
        in_comparison = log_of(tmp_path, arm)
        drawn.clear()
        status, _, err = drive(*TINY, "--pruning", arm)
        assert (status, err) == (0, "")
        assert sorted(drawn) == sorted(files_of(arm, moments=[*MOMENTS[arm], "strip"])[len(ENDINGS):])
        alone = log_of(tmp_path, arm)
        assert alone.header["pruning"] == arm and alone.batches == in_comparison.batches
        assert [line[:4] for line in alone.rounds] == [line[:4] for line in in_comparison.rounds]


@pytest.mark.parametrize("widths", ["-", "2-2"])
def test_there_may_be_none_or_several_convolutions(drive, tmp_path, few_digits, drawn, widths):
    status, _, err = drive(*SHORT, "--conv-widths", widths)
    assert (status, err) == (0, "")
    assert files_in(tmp_path) == files_of("none", moments=[])  # one epoch leaves none to prune in


def test_celeba_is_trained_on_in_colour(drive, tmp_path, tiny_celeba, drawn):
    tiny_celeba(tmp_path / "datasets", [0] * 12 + [1] * 2 + [2] * 5)
    status, _, err = drive(*TINY, "--dataset", "celeba", "--batch-size", "5", "--conv-widths", "2-3", "--compare")
    assert status == 0 and "Traceback" not in err
    log = runlog.parse_log(str(tmp_path / "logs" / "CelebA" / "vae_logwithPruning.txt"))
    assert log.summary["widths"] == [9, 12, 12, 9] and len(log.epochs) == 4
    saved = torch.load(files.network_path(log.path), weights_only=True)
    assert tuple(saved["network"]["image_shape"]) == (3, 64, 64)
    sheet = np.array(drawn["vae_logwithoutPruning_strip.png"].axes[0].images[0].get_array())
    face = sheet[pictures.GAP + 2:, pictures.GAP + 2:][:64, :64]
    assert face[60, 30, 0] > face[5, 30, 0] + 0.5 and face[30, 60, 1] > face[30, 5, 1] + 0.4  # red down, green across


@pytest.mark.parametrize("sides, widths, fit", [
    ((28, 28), [], True), ((28, 28), [8, 16], True), ((28, 28), [8, 16, 32], False), ((32, 32), [1] * 4, True),
    ((64, 60), [1] * 3, False), ((60, 64), [1] * 3, False)])
def test_convolutions_must_halve_the_image_evenly(sides, widths, fit):
    if fit:
        return vae.check_sides((3, *sides), widths)
    with pytest.raises(vae.errors.UserError, match=f"{len(widths)} convolutions .* {sides[0]} x {sides[1]} pixels"):
        vae.check_sides((3, *sides), widths)


def test_too_many_convolutions_are_one_line(drive, tmp_path, few_digits):
    status, out, err = drive(*TINY, "--conv-widths", "4-4-4")
    assert (status, out) == (2, "") and "28 x 28" in one_line(err) and not os.listdir(str(tmp_path))


@pytest.mark.parametrize("arguments", [["--learning-rate", "1e30"], ["--learning-rate", "1e37", "--batch-size", "600"]])
def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_its_log(drive, tmp_path, few_digits, drawn, arguments):
    status, _, err = drive(*TINY, *arguments, "--total-epochs", "1")
    assert status == 2 and "not finite at epoch 1" in one_line(err) and "learning_rate" in err
    assert files_in(tmp_path) == ["vae_logwithoutPruning.checkpoint", "vae_logwithoutPruning.txt"]
    assert [line[:2] for line in log_of(tmp_path, "none").batches] == [(1, 0)]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_while_a_picture_is_drawn_is_one_line_and_the_run_goes_on(drive, tmp_path, few_digits):
    (tmp_path / "logs" / "Digits").mkdir(parents=True)
    full = tmp_path / "logs" / "Digits" / "vae_logwithoutPruning_end.png.part"
    full.symlink_to("/dev/full")
    status, _, err = drive(*SHORT)
    assert status == 2 and re.search("vae_logwithoutPruning_end.png: .*No space left on device", one_line(err))
    assert files_in(tmp_path) == files_of("none", moments=[])
    assert log_of(tmp_path, "none").epochs[0].epoch == 1 and not log_of(tmp_path, "none").summary
    status, _, err = drive("--resume", str(tmp_path / "logs" / "Digits" / "vae_logwithoutPruning.txt"))
    assert (status, err) == (0, "") and log_of(tmp_path, "none").summary["epochs"] == 1
    assert files_in(tmp_path) == sorted(files_of("none", moments=["end", "strip"]))


# ---- its own process ----

def test_a_terminal_is_asked_until_the_answer_is_a_data_set_and_shows_a_bar(tmp_path, tiny_mnist):
    tiny_mnist(tmp_path / "datasets")
    status, screen = type_at_terminal(tmp_path, ["vae.py", *SHORT[2:]], [b"6\n", b"1\n"])
    assert status == 0 and screen.startswith("Data sets:\n"), screen
    assert "'6' is no data set; expected a number from 0 to 5" in screen and re.search(r"^  5  CelebA$", screen, re.M)
    assert re.search(r"none 1/1 12-16-16-12: +\d+%\|", screen) and "Traceback" not in screen
    assert sorted(os.listdir(str(tmp_path / "logs" / "MNIST"))) == sorted(files_of("none", moments=["end", "strip"]))


def test_ctrl_c_in_training_keeps_every_finished_epoch(tmp_path):
    running = Program(tmp_path, *TINY, "--total-epochs", "100000", program="vae.py", fewer_digits=20)
    path = path_of(tmp_path, "contribution")
    wait_for_epoch(path)
    os.kill(running.process.pid, signal.SIGINT)
    status, _, err = running.end()
    assert status == 130 and "interrupted" in one_line(err)
    finished = [line.epoch for line in runlog.parse_log(path).epochs]
    assert len(finished) >= 2 and finished == list(range(1, len(finished) + 1))
    assert not [name for name in files_in(tmp_path) if name.endswith(".part")]
