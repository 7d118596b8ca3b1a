"""A step of the published VAE, 85,183,619 parameters, spread over 2 processes: how much of it is communication.

    python benchmarks/spread.py

The processes share this machine and its threads. In turn they take steps that average the gradients and steps that do
not; the difference is communication. What follows for networks of 1, 10 and 100 Gbit/s is an estimate: the bytes of a
step at that rate, as if nothing of it went on beside the computation. About a minute and 7 GB on 2 cores.
"""
import os
import subprocess
import sys

import side_by_side  # puts the suite's folder on the path
import torch

# isort: split
import pruned

import vae
from pruning import spread, training
from pruning.measures import count_parameters
from pruning.signals import Stop
from pruning.team import Team

PROCESSES, BATCH, STEPS = 2, 64, 4
GIGABITS = 1, 10, 100  # a second


def measure():
    """The seconds of a step alone and with its communication, and the bytes that a process sends for it."""
    prepared = pruned.prepare(vae, (64, 64, 3), STEPS * BATCH, "--dataset", "CelebA", "--precision", "float32",
                              "--dry-run")
    team = Team(timeout=60)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // team.size))
    spread.start(team, side_by_side.DEVICE, STEPS * BATCH, "random images")
    state, order = prepared.state, torch.arange(STEPS * BATCH).to(side_by_side.DEVICE)
    stop = spread.agreed(Stop())

    def step(index):
        training.step(state, prepared.workload, prepared.settings, index)

    def together():
        for index in order.split(BATCH):
            assert not stop.asked
            step(index)

    def apart():
        with state.parallel.no_sync():
            for index in order.split(BATCH):
                step(index)

    own, other, _ = side_by_side.medians(*side_by_side.in_turn(together, apart))
    gradients = sum(weight.numel() * weight.element_size() for weight in state.model.parameters())
    return other / STEPS, own / STEPS, 2 * gradients * (team.size - 1) // team.size, count_parameters(state.model)


def main():
    if "RANK" not in os.environ:
        sys.exit(subprocess.call([sys.executable, "-m", "torch.distributed.run", "--standalone",
                                  f"--nproc_per_node={PROCESSES}", os.path.abspath(__file__)]))
    side_by_side.run_as_programs_do()
    alone, together, sent, parameters = measure()
    if spread.is_first():
        print(f"{side_by_side.setting()}\n\n{parameters:,} parameters, batch {BATCH}, {PROCESSES} processes on this "
              f"machine\nstep            {side_by_side.duration(together)}, of it communication "
              f"{1 - alone / together:.0%}\nsent per step   {sent / 1e6:.0f} MB by each process")
        for rate in GIGABITS:
            took = sent * 8 / (rate * 1e9)
            print(f"at {rate:3} Gbit/s   {side_by_side.duration(took)}, {took / (alone + took):.0%} of a step "
                  "(estimate)")


if __name__ == "__main__":
    main()
