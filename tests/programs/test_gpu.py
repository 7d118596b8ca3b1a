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
from conftest import ROOT, WITH_GPU


@pytest.fixture(scope="module")
def gpu():
    """Skips if no program could use one. Asks without starting CUDA in this process, which other tests fork."""
    asked = [sys.executable, "-c", "import torch; torch.ones(1, device='cuda').add(1).item()"]
    if not shutil.which("nvidia-smi") or subprocess.run(asked, env=WITH_GPU, capture_output=True).returncode:
        pytest.skip("this machine has no GPU that this torch can use")


# Four full batches and a shorter one per epoch, so that two shapes are recorded; two rounds.
FLAGS = ["--dataset", "1", "--dataset-folder", "datasets", "--log-folder", "logs", "--device", "cuda",
         "--batch-size", "25", "--total-epochs", "30", "--initial-iterations", "10", "--increment", "10",
         "--compare", "contribution,random"]
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


@pytest.mark.parametrize("program, options", [
    ("driver.py", ""), ("vae.py", ""), ("driver.py", "--learning-rate-schedule cosine --augment True"),
    ("driver.py", "--learning-rate-schedule cosine_restarts --optimizer adamw --weight-decay 0.1"),
    ("vae.py", "--learning-rate-schedule cosine_restarts")])
def test_recorded_steps_give_the_same_log_also_of_an_interrupted_run(program, options, small, gpu):
    prefix, widths = PROGRAMS[program]
    folders = {name: small / name for name in ("recorded", "single", "interrupted")}
    flags = {name: [*FLAGS, *widths, *options.split(), "--log-folder", str(folder)]
             for name, folder in folders.items()}
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
