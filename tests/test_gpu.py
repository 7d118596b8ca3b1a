"""On a GPU: training steps that are recorded and launched whole give what they give kernel by kernel."""
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import processes
import pytest
import torch
from conftest import ROOT, WITH_GPU

import data
import errors
import machine


@pytest.fixture(scope="module")
def gpu():
    """Skips where no program could use one; asked without starting CUDA in this process, which other tests fork."""
    asked = [sys.executable, "-c", "import torch; torch.ones(1, device='cuda').add(1).item()"]
    if not shutil.which("nvidia-smi") or subprocess.run(asked, env=WITH_GPU, capture_output=True).returncode:
        pytest.skip("this machine has no GPU that this torch can use")


# Four full batches and a shorter one an epoch, so that two shapes are recorded; two rounds.
FLAGS = ["--dataset", "1", "--device", "cuda", "--batch-size", "25", "--total-epochs", "30", "--initial-iterations",
         "10", "--increment", "10", "--compare", "contribution,random"]
PROGRAMS = {"driver.py": ("training_log", []), "vae.py": ("vae_log", ["--hidden-widths", "40-30-20-10"])}
TIMES = re.compile(r", time \S+ s|^# (started|cuda_graphs|log_folder) .*", re.MULTILINE)


def start(folder, program, *flags):
    processes.STARTED.append(subprocess.Popen(
        [sys.executable, os.path.join(ROOT, program), *flags], cwd=str(folder), env=WITH_GPU, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT))
    return processes.STARTED[-1]


def end(process, status=0):
    output = process.communicate(timeout=100)[0].decode()
    assert process.returncode == status, output
    return output


def logs(folder, prefix):
    return [TIMES.sub("", (folder / "MNIST" / f"{prefix}{arm}.txt").read_text())
            for arm in ("withPruning", "worstPruning")]


@pytest.mark.parametrize("program", PROGRAMS)
def test_recorded_steps_give_the_same_log_also_of_an_interrupted_run(program, small, gpu):
    prefix, widths = PROGRAMS[program]
    folders = {name: small / name for name in ("recorded", "single", "interrupted")}
    flags = {name: [*FLAGS, *widths, "--log-folder", str(folder)] for name, folder in folders.items()}
    running = [start(small, program, *flags["recorded"]),
               start(small, program, *flags["single"], "--cuda-graphs", "False")]
    interrupted = start(small, program, *flags["interrupted"])
    log = folders["interrupted"] / "MNIST" / f"{prefix}withPruning.txt"
    begun = time.monotonic()
    while not (log.exists() and "After epoch 12:" in log.read_text()):
        assert interrupted.poll() is None and time.monotonic() - begun < 100
        time.sleep(0.01)
    interrupted.send_signal(signal.SIGINT)
    assert "interrupted after epoch" in end(interrupted, 130)
    running.append(start(small, program, "--resume", str(log)))
    for process in running:
        end(process)
    assert logs(folders["recorded"], prefix) == logs(folders["single"], prefix)
    assert logs(folders["recorded"], prefix) == logs(folders["interrupted"], prefix)


READS_A_NUMBER = """
import driver
classify = driver.classify

def with_a_number(model, images, labels):
    loss, measures = classify(model, images, labels)
    return loss * (1 if loss.item() > 0 else 2), measures

driver.classify = with_a_number
driver.errors.run_command(driver.main)
"""


def test_a_step_that_cannot_be_recorded_is_named_with_a_way_out(small, gpu):
    flags = ["-c", READS_A_NUMBER, *FLAGS]
    environment = {**WITH_GPU, "PYTHONPATH": ROOT}
    done = subprocess.run([sys.executable, *flags], cwd=str(small), env=environment, stderr=subprocess.PIPE)
    assert done.returncode == 2 and b"cannot be recorded for the GPU" in done.stderr and b"Traceback" not in done.stderr
    done = subprocess.run([sys.executable, *flags, "--cuda-graphs", "False"], cwd=str(small), env=environment)
    assert done.returncode == 0


# ---- on any machine ----

def test_a_call_is_replayed_after_the_first_three_of_its_shape(monkeypatch):
    class Graph:
        def replay(self):
            replayed.append(len(place))
            result.copy_(2 * place)

    def recorded(function, argument):
        nonlocal place, result
        place, result = argument, function(argument)
        return Graph(), place, result

    called, replayed, place, result = [], [], None, None
    monkeypatch.setattr(machine, "recorded", recorded)
    recording = machine.Recording()

    def double(x):
        called.append(len(x))
        return 2 * x

    for number in range(6):
        assert recording.run(double, torch.full((5,), float(number))).tolist() == [2.0 * number] * 5
    assert called == [5] * 4 and replayed == [5] * 3  # the fourth time to record it
    assert recording.run(double, torch.ones(2)).tolist() == [2.0, 2.0]
    assert called == [5] * 4 + [2] and replayed == [5] * 3
    assert recording.run(double, torch.ones(5)).tolist() == [2.0] * 5 and replayed == [5] * 4


@pytest.mark.parametrize("said, kind, named", [
    ("operation not permitted when stream is capturing\nand more", errors.UserError,
     r"not permitted when stream is capturing\), .* --cuda-graphs False"),
    ("CUDA out of memory. Tried to allocate 2 GiB", RuntimeError, "^CUDA out of memory")])
def test_why_a_call_was_not_recorded_is_what_itself_said(said, kind, named, monkeypatch):
    class Recorder:
        def __init__(self, graph, stream):
            pass

        def __enter__(self):
            pass

        def __exit__(self, *error):
            raise RuntimeError("operation failed due to a previous error during capture")

    def function(argument):
        raise RuntimeError(said)

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", Recorder)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: None)
    with pytest.raises(kind, match=named):
        machine.recorded(function, torch.ones(1))


@pytest.mark.parametrize("device, is_contiguous", [("cpu", False), ("meta", True)])
def test_the_layout_of_images_is_the_fast_one_of_the_device(device, is_contiguous):
    split = data.Split(torch.zeros(2, 4, 4, 3, dtype=torch.uint8), torch.zeros(2), "cpu", 0.5, 0.5)
    assert split.normalised(split.images.to(device)).is_contiguous() == is_contiguous
