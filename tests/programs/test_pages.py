"""README and docs: commands run, links lead somewhere, code works, and numbers are those of the logs."""
import ast
import builtins
import glob
import importlib
import os
import re
import shlex
import sys
import textwrap

import numpy as np
import pytest
import torch
from conftest import ROOT, random_images
from PIL import Image

import constants
import models
import ranking
from pruning import runlog
from pruning.arms import with_criteria
from pruning.groups import groups_of, widths_of
from pruning.passes import Passes
from pruning.plots.curves import lines_of
from pruning.plots.find import logs_at, read
from pruning.selection import Options, survivors

PAGES = ["README.md", *sorted(os.path.join("docs", name) for name in os.listdir(os.path.join(ROOT, "docs")))]
each_page = pytest.mark.parametrize("page", PAGES)


def text_of(page):
    with open(os.path.join(ROOT, page), encoding="utf-8") as file:
        return file.read()


def commands(page):
    """The commands of a page, in its blocks and in its lines, without what a comment says of them."""
    shown = re.findall(r"^ {4}((?:python|make) .*)$|`((?:python|make) [^`]*)`", text_of(page), re.MULTILINE)
    return [shlex.split(block or " ".join(inline.split()), comments=True) for block, inline in shown]


OWN = "docs/own-network.md"


def write_own(folder):
    """Write the files of the page about networks and images of one's own, and tiny images for them."""
    for block in blocks(OWN):
        if block.startswith("# my_"):
            (folder / block.split()[1]).write_text(block)
    images, labels = random_images(30, 8, 12, 3)
    for number, image in enumerate(images):
        place = folder / "photos" / ("train" if number < 20 else "test") / "abcdefghij"[labels[number]]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(str(place / f"{number}.png"))
    tensors = images.transpose(0, 3, 1, 2)
    np.savez(str(folder / "my_data.npz"), train_images=tensors[:20], train_labels=labels[:20],
             test_images=tensors[20:], test_labels=labels[20:])


@pytest.fixture
def suite(tmp_path, tiny_mnist, tiny_cifar, few_digits, drive, monkeypatch):
    """A folder with tiny data sets, a short schedule, logs of two of them, files of one's own, and the suite's own
    results."""
    for dataset in ("MNIST", "FashionMNIST"):
        tiny_mnist(tmp_path / "datasets", dataset)
    tiny_cifar(tmp_path / "datasets", "CIFAR10")
    for name, value in (("total_epochs", 3), ("initial_iterations", 1), ("increment", 1), ("device", "cpu")):
        for prefix in ("", "vae_"):
            if hasattr(constants, prefix + name):
                monkeypatch.setattr(constants, prefix + name, value)
    monkeypatch.setattr(builtins, "input", lambda prompt: "1")
    monkeypatch.syspath_prepend(os.path.join(ROOT, "reports"))
    write_own(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("my_net", "my_data"):
        sys.modules.pop(name, None)  # of another test's folder
    for dataset in ("1", "2"):
        assert drive("--dataset", dataset, "--compare", "--quiet")[0] == 0
    os.symlink(os.path.join(ROOT, "logs", "example"), str(tmp_path / "logs" / "example"))
    os.symlink(os.path.join(ROOT, "reports"), str(tmp_path / "reports"))
    return tmp_path


@each_page
def test_every_command_runs(page, suite, drive, monkeypatch):
    with open(os.path.join(ROOT, "Makefile")) as file:
        targets = re.findall(r"^([a-z]+):", file.read(), re.MULTILINE)
    for program, *arguments in commands(page):
        if program == "make":
            assert arguments[0] in targets
            continue
        if arguments[0].startswith("benchmarks/"):
            assert os.path.exists(os.path.join(ROOT, arguments[0]))
            continue
        monkeypatch.chdir(suite)
        script, *flags = [path for argument in arguments for path in sorted(glob.glob(argument)) or [argument]]
        flags = ["20" if flag == "10000" else flag for flag in flags]  # images that are held out, of the tiny MNIST
        for flag, package in (("--table", "scipy"), ("--tensorboard", "tensorboard")):
            if flag in flags:
                pytest.importorskip(package)
        if "--jobs" in flags:
            flags.append("--dry-run")  # a fork of this process, which has threads, may be stuck
        if script.endswith("experiments.py"):
            flags.append("--list")  # hours otherwise
        name = os.path.splitext(os.path.basename(script))[0]
        monkeypatch.setitem(sys.modules, name, importlib.import_module(name))
        status, _, err = drive(*flags, program=name + ".py")
        err = err.replace("Files already downloaded and verified\n", "")  # what an older torchvision says of CIFAR
        assert (status, err) == (0, ""), (arguments, err)


@each_page
def test_every_link_leads_to_a_file(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text_of(page)):
        assert os.path.exists(os.path.join(ROOT, os.path.dirname(page), target)), target


def blocks(page):
    """The pieces of Python of a page."""
    return re.findall("```python\n(.*?)```", text_of(page), re.DOTALL)


@pytest.mark.parametrize("page, name", [("README.md", "variance"), ("docs/criteria.md", "deviation")])
def test_a_further_criterion_ranks(page, name, monkeypatch):
    monkeypatch.setattr(ranking, "CRITERIA", dict(ranking.CRITERIA))
    criterion, = blocks(page)
    exec(criterion, vars(ranking).copy())
    model = models.FeedForward(4, [3], 2)
    with torch.no_grad():
        model.layers[0].weight.copy_(torch.tensor([[1.0, 2, 3, 4], [9, 9, 9, 9], [0, 9, 0, 9]]))
        model.layers[1].weight.fill_(1)
    batches = [(torch.eye(4), torch.zeros(4)), (torch.zeros(2, 4), torch.zeros(2))]
    passes = Passes(model, groups_of(model, batches[0][0], prune_filters=False)[0], batches)
    keep, = survivors(passes, with_criteria(ranking.CRITERIA)[name], Options(1, 0, None), 33)
    activations = model.layers[0](torch.cat([images for images, _ in batches])).detach()
    spread = {"variance": model.layers[0].weight.var(1), "deviation": activations.std(0, unbiased=False)}[name]
    assert keep.tolist() == sorted(spread.argsort()[1:].tolist())


def test_the_final_network_loads_as_the_page_says(monkeypatch):
    monkeypatch.chdir(ROOT)
    names = {"torch": torch, "models": models}
    three_lines, = blocks("docs/logs-and-plots.md")
    exec(three_lines, names)
    log = runlog.parse_log(os.path.join("logs", "example", "MNIST", "training_logwithPruning.txt"))
    network, images = names["network"], torch.rand(8, 1, 28, 28)
    assert len(three_lines.splitlines()) == 3 and network(images).shape == (8, 10)
    assert widths_of(groups_of(network, images, prune_filters=False)[0]) == log.summary["widths"]


def test_a_network_of_ones_own_loads_and_chooses_its_groups(suite, drive):
    _, _, *flags = commands(OWN)[0]
    assert drive(*(flag for flag in flags if flag != "--compare"))[0] == 0
    _, groups, load, *_ = blocks(OWN)
    names = {}
    exec(load + groups, names)
    network, images = names["network"], torch.rand(8, 1, 28, 28)
    widths = runlog.parse_log(str(suite / "logs" / "Digits" / "training_logwithPruning.txt")).summary["widths"]
    assert widths_of(groups_of(network, images, prune_filters=True)[0]) == names["about"]["widths"] == widths
    type(network).groups = names["groups"]
    assert widths_of(groups_of(network, images, prune_filters=True)[0]) == widths[-1:]


def test_the_five_lines_are_those_of_the_example_and_prune(monkeypatch):
    monkeypatch.syspath_prepend(os.path.join(ROOT, "examples"))
    example = importlib.import_module("own_loop")
    *_, five_lines = blocks(OWN)
    assert len(five_lines.splitlines()) == 5
    assert textwrap.indent(five_lines, "    ") in text_of(os.path.join("examples", "own_loop.py"))
    model, images = example.vgg(), torch.rand(20, 1, 28, 28)
    optimizer = torch.optim.Adam(model.parameters())
    exec(five_lines, {**vars(example), "model": model, "loader": [(images, torch.arange(20) % 10)],
                      "optimizer": optimizer})
    assert widths_of(groups_of(model, images, prune_filters=True)[0]) == [6, 12, 12, 25, 51]


def test_the_table_of_one_run_is_what_its_logs_say():
    runs = read(logs_at(os.path.join(ROOT, "logs", "example", "MNIST"), True))[""]
    assert len(runs) == 3
    for line in lines_of(runs):
        training, test = (list(line.measures["accuracy"][split].values())[-1].mean for split in ("training", "test"))
        assert f"| {line.words} | {line.neurons[-1][1]} | {training:.2f}% | {test:.2f}% |" in text_of("docs/results.md")


# ---- the tables of `make bench` ----

def names_of_rows(part):
    """What a part of the benchmarks calls its rows, as patterns: .* is what is known only when it runs."""
    with open(part.__file__, encoding="utf-8") as file:
        calls = [node for node in ast.walk(ast.parse(file.read())) if isinstance(node, ast.Call)]
    for call in calls:
        if getattr(call.func, "attr", getattr(call.func, "id", None)) in ("Row", "compared", "row"):
            pieces = getattr(call.args[0], "values", [call.args[0]])  # of an f-string
            words = [piece.value if isinstance(piece, ast.Constant) else getattr(part, getattr(piece, "id", ""), "{}")
                     for piece in pieces]
            yield re.escape("".join(words)).replace(r"\{\}", ".*")


@pytest.mark.parametrize("marker", ["bench", "bench gpu"])
def test_the_tables_of_measurements_have_the_rows_and_columns_that_the_benchmarks_write(marker, monkeypatch):
    monkeypatch.syspath_prepend(os.path.join(ROOT, "benchmarks"))
    bench, side_by_side = map(importlib.import_module, ("bench", "side_by_side"))
    _, part, _ = text_of("docs/performance.md").split(f"<!-- {marker} -->\n")
    _, setting, *lines = part.splitlines()
    rows = [side_by_side.Row(*line[2:-2].split(" | ")) for line in lines if re.match(r"\| (?!what |---)", line)]
    monkeypatch.setattr(side_by_side, "setting", lambda: setting)
    assert part == f"\n{bench.two_tables(rows)}\n\n"
    if marker == "bench gpu":
        return  # it is as old as the last GPU, and rows may have changed since
    names = {name for module in bench.PARTS for name in names_of_rows(module)
             if name != ".*" and not re.search(r"not\\ measured|no\\ MNIST", name)}
    assert not [row.what for row in rows if not any(re.fullmatch(name, row.what) for name in names)]
    assert not [name for name in names if not any(re.fullmatch(name, row.what) for row in rows)]
