"""plot.py as a command: which logs it finds, which files it writes, and what it says of what it cannot read."""
import os
import re
import runpy
import struct
import subprocess
import sys

import pytest
from matplotlib import pyplot
from plot_logs import log_text, text_of, vae_log

import plot
from pruning import arms, files, runlog
from pruning.plots import curves

PROGRAM = os.path.abspath(plot.__file__)
MNIST = os.path.join("logs", "MNIST")


@pytest.fixture(autouse=True)
def no_window():
    pyplot.switch_backend("Agg")
    yield
    pyplot.close("all")


@pytest.fixture
def write(tmp_path):
    """Write a text, or bytes, below tmp_path; returns the path from there."""
    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return name
    return write


@pytest.fixture
def write_arms(write):
    def write_arms(folder=MNIST, some=arms.COMPARED, **header):
        return [write(files.log_path(folder, "", arm), log_text(arm, **header)) for arm in some]
    return write_arms


@pytest.fixture
def run(drive):
    """Run plot.py's main in this process and in tmp_path: (exit status, lines of stdout, lines of stderr)."""
    def run(*arguments):
        status, out, err = drive(*arguments, program="plot.py")
        return status, out.splitlines(), err.splitlines()
    return run


@pytest.fixture
def blank(monkeypatch):
    """A small blank figure in place of the drawing, for tests of files and words."""
    monkeypatch.setattr(curves, "draw", lambda lines: pyplot.figure(figsize=(1, 1)))


def chunk(png, name):
    """The two numbers at the beginning of a chunk of a PNG."""
    return struct.unpack(">II", png[png.index(name) + 4:][:8])


def test_without_arguments_every_data_set_is_drawn_and_again_to_the_byte(tmp_path, write, write_arms, run):
    write_arms()
    write_arms(os.path.join("logs", "Digits"), dataset="Digits")
    write("logs/Digits/training_logwithPruning.1.txt", "an earlier log that is not drawn")
    (tmp_path / "logs" / "empty").mkdir()
    # A window system that does not exist: whoever asks for a window fails. Under -OO there are no docstrings.
    code = f"import sys; sys.path.insert(0, {os.path.dirname(PROGRAM)!r}); import constants, plot\n"
    code += "constants.__file__ = 'constants.py'; plot.main(); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-OO", "-c", code], cwd=str(tmp_path), capture_output=True, text=True,
                          timeout=300, env=dict(os.environ, MPLBACKEND="module://no_such_window_system"))
    assert (done.returncode, done.stderr) == (0, "")
    names = [os.path.join("logs", dataset, "comparison" + end)
             for dataset in ("Digits", "MNIST") for end in (".png", ".pdf")]
    assert re.findall("wrote (.*)", done.stdout) == names
    assert "randomised pruning: test accuracy 91.50%, 64 of 80 neurons, 1 seed" in done.stdout.splitlines()
    made = {name: (tmp_path / name).read_bytes() for name in names}
    width, height = chunk(made[names[0]], b"IHDR")
    assert width == 8 * 300 and 1.2 < width / height < 1.6
    assert chunk(made[names[0]], b"pHYs") == (11811, 11811)  # pixels per metre: 300 dpi
    assert made[names[1]].startswith(b"%PDF-")
    assert run(os.path.join("logs", "Digits"))[0] == 0
    assert [(tmp_path / name).read_bytes() for name in names[:2]] == [made[name] for name in names[:2]]


@pytest.mark.parametrize("arguments, files_made", [
    ([], ["comparison.pdf", "comparison.png", "vae_comparison.pdf", "vae_comparison.png"]),
    (["--table"], [kind + "comparison" + end for kind in ("", "vae_") for end in (".csv", ".md", ".tex")]),
    (["--figure", "seconds", "--output", "figure", "--format", "svg,pdf"],
     [kind + "figure_seconds" + end for kind in ("", "vae_") for end in (".pdf", ".svg")]),
    (["--figure", "seconds", "--output", "figure.svg"], ["figure.svg", "vae_figure.svg"]),
    (["--table", "--output", "figure.csv"], ["figure.csv", "vae_figure.csv"]),
    (["--output", os.path.join("new", "figure.pdf")], ["new"])])
def test_both_kinds_of_logs_in_a_folder_have_files_each(tmp_path, write, write_arms, run, blank, arguments, files_made):
    logs = write_arms()
    logs.append(write(files.log_path(MNIST, "", "contribution", "vae_log", 30), text_of(vae_log())))
    status, out, err = run(*arguments)
    assert (status, err) == (0, [])
    made = set(os.listdir(str(tmp_path / MNIST))) - set(map(os.path.basename, logs))
    assert sorted(made) == sorted(files_made)
    assert [line for line in out if "left out" in line] == [
        f"{MNIST}: no vae_log of these arms, which are left out: without pruning, randomised pruning"]
    if not arguments:
        assert "contribution-based pruning: test loss 260.00, 72 of 80 neurons, 1 seed" in out


@pytest.mark.parametrize("output", ["absolute", os.path.join("..", "one")])
def test_figures_of_several_folders_do_not_replace_each_other(tmp_path, write_arms, run, blank, output):
    for dataset in ("Digits", "MNIST"):
        write_arms(os.path.join("mine", dataset), dataset=dataset)
    output = str(tmp_path / "one") if output == "absolute" else output
    status, out, err = run("mine", "--output", output)
    assert status == 2 and len(err) == 1 and "figures of several folders would have this name" in err[0]
    assert len([line for line in out if "wrote" in line]) == 2
    assert run(os.path.join("mine", "MNIST"), "--output", output)[0] == 0
    assert run("mine")[0] == 0
    assert sorted(path.parent.name for path in tmp_path.glob("mine/*/comparison.png")) == ["Digits", "MNIST"]


def test_folders_that_are_drawn_together_are_not_said_to_lack_arms(write_arms, run):
    folders = [os.path.join("mine", arm) for arm in ("none", "random")]
    for folder in folders:
        write_arms(folder, [os.path.basename(folder)])
    assert [any("left out" in line for line in run(*some)[1]) for some in (folders[:1], folders)] == [True, False]


def test_a_log_that_diverged_at_once_is_named(write, run):
    header = runlog.format_header({"seed": 30, "diverged": "the loss is not finite at epoch 1, batch 0"})
    path = write("logs/MNIST/training_logwithPruning.txt", header)
    status, out, _ = run(path)
    assert out == [f"{path}: not finished; the loss is not finite at epoch 1, batch 0"]


def test_a_folder_without_what_a_figure_needs_keeps_no_other_from_its_figure(write_arms, run):
    write_arms(os.path.join("logs", "Digits"), ["none"], dataset="Digits")
    write_arms(MNIST, ["contribution"])
    status, out, err = run("--figure", "rounds")
    assert status == 2 and len(err) == 1 and re.match("plot.py: no log of Digits has a round", err[0])
    assert [line for line in out if "rounds.png" in line] == [f"wrote {os.path.join(MNIST, 'comparison_rounds.png')}"]


def test_an_unfinished_run_among_others_is_left_out_and_the_exit_status_says_so(write, write_arms, run):
    write_arms()
    write("logs/MNIST/training_logmine.txt", log_text("mine").split("Summary")[0])
    status, out, err = run("--table")
    assert (status, len(err)) == (2, 1) and "training_logmine.txt is left out, no finished run" in err[0]
    assert out[-1] == f"wrote {os.path.join(MNIST, 'comparison.tex')}"


def test_the_figure_lies_beside_the_first_file_and_identical_files_are_named(tmp_path, write, run, blank):
    first, copy = (write(name, log_text()) for name in ("a/first.txt", "b/copy.txt"))
    logs = [first, copy, write("b/other.txt", log_text(seed=31))]
    once = run(*logs, "--output", "figure")
    assert (once[0], once[2]) == (0, []) and f"identical files: {first}, {copy}" in once[1]
    assert once[1][0].startswith("contribution-based pruning, a/first.txt: ") and once[1][0].endswith(", 2 seeds")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["figure.pdf", "figure.png", "first.txt"]
    assert run(*logs, os.path.join("a", ".", "first.txt"), "--output", "figure") == once  # named twice: one log


BAD = {"empty": ("", 1), "foreign": ("Dear reader,\nthis is a letter.\n", 1), "binary": (bytes(range(256)) * 9, None),
       "broken": (log_text().replace("%\nAfter epoch 1", "\nAfter epoch 1"), None),
       "widths": (log_text("none", hidden_widths="wide"), None)}


def test_bad_logs_are_named_with_their_line_and_the_others_are_drawn(tmp_path, write, run, blank):
    paths = [write(f"logs/{name}.txt", content) for name, (content, _) in BAD.items()]
    status, out, err = run(*paths, write("logs/good.txt", log_text()))
    assert status == 2
    assert [line.split(".txt")[0] for line in err] == [f"plot.py: {path[:-4]}" for path in paths]
    for line, (_, number) in zip(err, BAD.values()):
        assert (number is None or f".txt, line {number}: " in line) and "expected" in line
    assert (tmp_path / "logs" / "comparison.png").exists() and "64 of 80 neurons" in "".join(out)


@pytest.mark.parametrize("rest, words", [
    ("", ""), *((cut, ", its last line is cut") for cut in ("Round 2 after ep", "Epoch: 3, Batch: 0, Loss: 0."))])
def test_a_run_that_is_still_going_is_drawn_as_far_as_its_log_is_whole(write, run, rest, words):
    path = write("logs/training_logwithPruning.txt", log_text().split("Round 2")[0] + rest)
    status, out, err = run(path)
    assert (status, err) == (0, [])
    assert out[:2] == [f"{path}: not finished{words}; read up to epoch 2",
                       "contribution-based pruning: test accuracy 90.00%, 72 of 80 neurons, 1 seed"]


@pytest.mark.parametrize("flags", [[], ["--table"]])
def test_a_run_that_has_just_begun_is_said_and_the_others_are_shown(write, write_arms, run, blank, flags):
    log, _ = write_arms(some=["none", "contribution"])
    write(log, log_text("none").split("Epoch: 1")[0])
    ended, out, err = run(*flags)
    assert (ended, err) == (0, []) and f"{log}: not finished; its first epoch has not ended yet" in out
    assert out[-1].startswith("wrote ")


def test_what_is_said_of_an_arm_fits_100_columns(write, run, blank):
    paths = [write(f"logs/{name}.txt", log_text(compensate=True, ranking_images=100, lambda_average=0.25))
             for name in ("one_long_name" * 5, "another_long_name" * 5)]
    said = [line for line in run(*paths)[1] if "neurons" in line]
    assert len(said) == 2 and all(98 < len(line) < 101 and line.endswith(", 1 seed") for line in said)


@pytest.mark.parametrize("arguments", [[], ["logs"], ["missing"], ["missing.txt"], [MNIST]])
def test_no_logs_say_what_to_do(tmp_path, run, arguments):
    (tmp_path / MNIST).mkdir(parents=True)
    status, out, err = run(*arguments)
    assert (status, out, len(err)) == (2, [], 1)
    assert (arguments or ["logs"])[0] + ":" in err[0] and "python driver.py" in err[0]


def test_an_unwritable_output_is_one_line(tmp_path, write_arms, run, blank):
    write_arms()
    (tmp_path / MNIST / "comparison.png").mkdir()
    status, _, err = run()
    assert (status, len(err)) == (2, 1) and "comparison.png: " in err[0]


def test_an_unknown_form_is_one_line(write_arms, run):
    status, out, err = run("--format", "png,gif")
    assert (status, out, len(err)) == (2, [], 1) and "png,gif" in err[0] and "png,pdf,svg" in err[0]


def test_an_unknown_ending_is_one_line(write_arms, run):
    write_arms()
    status, out, err = run("--output", "figure.jpg")
    assert (status, out, len(err)) == (2, [], 1) and err[0].endswith(
        "no figure is written as .jpg; give an ending of .png, .pdf, .svg, or none")


def test_an_unknown_flag_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [PROGRAM, "--colour"])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(PROGRAM, run_name="__main__")
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "--colour" in err


@pytest.mark.parametrize("flags, words", [
    ([], "--control goes with --table or --figure differences"),
    (["--table"], "--control best: no log of this arm; there are logs of 'none', 'contribution', 'random'"),
    (["--figure", "differences"], "--control best: no log of this arm; ")])
def test_a_control_that_cannot_be_subtracted_is_one_line(write_arms, run, flags, words):
    write_arms()
    status, _, err = run("--control", "best", *flags)
    assert (status, len(err)) == (2, 1) and words in err[0]


def test_a_window_opens_only_with_show(write_arms, run, monkeypatch, blank):
    shown = []
    monkeypatch.setattr(pyplot, "show", lambda: shown.append(len(pyplot.get_fignums())))
    monkeypatch.setattr(pyplot, "get_backend", lambda: "TkAgg")
    path = write_arms(some=["none"])[0]
    assert run(path)[0] == 0 and shown == []
    pyplot.close("all")
    assert run(path, "--show")[0] == 0 and shown == [1]
    monkeypatch.setattr(pyplot, "get_backend", lambda: "agg")
    status, out, err = run(path, "--show")
    assert (status, len(err)) == (2, 1) and "no display" in err[0] and out[-1].startswith("wrote ")
