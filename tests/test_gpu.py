"""On a GPU: training steps that are recorded and launched whole give what they give kernel by kernel."""
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import ROOT, WITH_GPU

import errors
import machine

needs_gpu = pytest.mark.skipif(not shutil.which("nvidia-smi"), reason="this machine has no GPU")  # asked without CUDA

# Four full batches and a shorter one an epoch, so that two shapes are recorded; two rounds.
FLAGS = ["--dataset", "1", "--device", "cuda", "--batch-size", "25", "--total-epochs", "30", "--initial-iterations",
         "10", "--increment", "10", "--compare", "contribution,random"]
PROGRAMS = {"driver.py": ("training_log", []), "vae.py": ("vae_log", ["--hidden-widths", "40-30-20-10"])}
TIMES = re.compile(r", time \S+ s|^# (started|cuda_graphs|log_folder) .*", re.MULTILINE)


def start(folder, program, *flags):
    return subprocess.Popen([sys.executable, os.path.join(ROOT, program), *flags], cwd=str(folder), env=WITH_GPU,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def end(process, status=0):
    output = process.communicate(timeout=100)[0].decode()
    assert process.returncode == status, output
    return output


def logs(folder, prefix):
    return [TIMES.sub("", (folder / "MNIST" / f"{prefix}{arm}.txt").read_text())
            for arm in ("withPruning", "worstPruning")]


@needs_gpu
@pytest.mark.parametrize("program", PROGRAMS)
def test_recorded_steps_give_the_same_log_also_of_an_interrupted_run(program, small):
    prefix, widths = PROGRAMS[program]
    folders = {name: small / name for name in ("recorded", "single", "interrupted")}
    flags = {name: [*FLAGS, *widths, "--log-folder", str(folder)] for name, folder in folders.items()}
    running = [start(small, program, *flags["recorded"]),
               start(small, program, *flags["single"], "--cuda-graphs", "False")]
    interrupted = start(small, program, *flags["interrupted"])
    log = folders["interrupted"] / "MNIST" / f"{prefix}withPruning.txt"
    while interrupted.poll() is None and not (log.exists() and "After epoch 12:" in log.read_text()):
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


@needs_gpu
def test_a_step_that_cannot_be_recorded_is_named_with_a_way_out(small):
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


def test_what_cannot_be_recorded_is_a_user_error(monkeypatch):
    class Refused:
        def __init__(self, graph, stream):
            pass

        def __enter__(self):
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nand more")

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", Refused)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: None)
    with pytest.raises(errors.UserError, match=r"not permitted when stream is capturing\), .* --cuda-graphs False"):
        machine.recorded(abs, torch.ones(1))
