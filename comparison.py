"""The arms of a run, of one seed or several: started from one state, and gone on with from their checkpoints."""
import functools
import os
import sys

import torch

import checkpoint
import data
import files
import jobs
import machine
import ranking
import rehearsal
import runlog
import training
from config import RESULTLESS, check_unchanged, resolve, values_of
from errors import UserError

# "none": without pruning; "scratch": a new network of the widths that pruning ends with, trained as long.
ARMS = ["none", *ranking.CRITERIA, "scratch"]


def prepare(program, description):
    """The checked configuration of this command line and the device to train on."""
    by_contribution = getattr(ranking, "contribBasedPruning", "missing")
    if by_contribution not in (True, False):
        raise UserError(f"ranking.py: contribBasedPruning is {by_contribution!r}; legal: True or False")
    default = "contribution" if by_contribution else "random"
    settings = resolve(sys.argv[1:], description, program, default, ARMS, checkpoint.read)
    machine.keep_freed_memory()
    machine.repeat_exactly(settings.deterministic)
    device, earlier = machine.pick_device(settings.device), settings.environment
    settings.device = device.type
    settings.precision = machine.pick_precision(settings.precision, device, bool(settings.conv_widths))
    settings.environment = machine.environment(device, jobs.divide_threads(settings.jobs, device))
    if "started" in earlier:
        settings.environment["started"] = earlier["started"]
    return settings, device


def compare(config, network, start, task, prefix):
    """Train the arms that the configuration asks for, of every seed from one start; an arm leaves a log, a checkpoint
    and a network.

    network: the keyword arguments that the model is made with. start: (seed, hidden widths) -> a Run that is not
    trained yet, its first weights from torch's own generator. prefix: of the logs' names. With config.dry_run it only
    tries. Raises UserError, and Interrupted for a run that was asked to stop.
    """
    config.environment["data"] = data.fingerprint(task.data)
    stop = checkpoint.Stop()
    seeds = [Seed(number, config, network, start, task, prefix, stop)
             for number in range(config.seed, config.seed + config.seeds)]
    if config.ranking_images > len(task.data.train):
        raise UserError(f"ranking_images = {config.ranking_images}; there are {len(task.data.train)} training images")
    model = seeds[0].fresh(seeds[0].parts[0][0]).model
    print(runlog.format_header({**values_of(config), **config.environment}), model, sep="")
    if config.dry_run:
        return rehearsal.rehearse(config, seeds, task)
    with stop:
        if config.resume:
            reopen(config, seeds)
        units = [unit for seed in seeds for unit in seed.units()]
        jobs.work_off(units, config.jobs, config.environment["threads"], stop)


def reopen(config, seeds):
    """Open the logs of all the seeds that have begun, to go on with them. Raises UserError, and changes nothing, where
    anything does not fit."""
    if not any(is_named(config.resume, seed) for seed in seeds):
        raise UserError(f"{config.resume}: a run goes on under the names that it began with; give the files of all its "
                        f"arms names like {next(iter(seeds[0].paths.values()))} again")
    begun = [seed for seed in seeds if seed.has_begun() or is_named(config.resume, seed)]
    for seed in begun:
        seed.reopen()
    for seed in begun:
        seed.cut()


def is_named(log, seed):
    """Whether it is the path of one of the seed's logs, or of its checkpoint."""
    asked, *own = (os.path.abspath(files.checkpoint_path(path)) for path in [log, *seed.paths.values()])
    return asked in own


class Seed:
    """The arms of one seed: their logs, and the units of work that train them."""

    def __init__(self, number, config, network, start, task, prefix, stop):
        self.number, self.config, self.network, self.start, self.task, self.stop = (
            number, config, network, start, task, stop)
        self.arms = config.compare or [config.pruning]
        name = number if config.seeds > 1 else None
        self.paths = {arm: files.log_path(config.log_folder, config.dataset, arm, prefix, name) for arm in self.arms}
        # Arms that have the epochs before the first round in common, which are trained once and stand in every log.
        self.together = [arm for arm in self.arms if arm != "scratch"]
        self.parts = [part for part in (self.together, [arm for arm in self.arms if arm not in self.together]) if part]
        self.logs, self.finished, self.left = {}, [], 0
        self.states, self.sources = {}, []  # of a run that goes on, see reopen()

    def fresh(self, arm):
        """A run of this arm that is not trained yet."""
        torch.manual_seed(self.number)
        return self.start(self.number, self.initial_widths(arm))

    def initial_widths(self, arm):
        return training.final_widths(self.config) if arm == "scratch" else self.config.hidden_widths

    def restored(self, arm):
        """The run of an arm as its checkpoint has it."""
        return checkpoint.restore(self.fresh("none"), checkpoint.read(self.paths[arm]))

    # ---- the work ----

    def units(self):
        """The epochs that all arms share, then every arm from there that is not finished, then what is shown of all."""
        def unit(name, work, after):
            return jobs.Unit(f"{name}, seed {self.number}", self.open, work, self.close_after_the_last, after)

        to_do = [arm for arm in self.arms if arm not in self.finished]
        shared = any(arm in self.together for arm in to_do)
        first = [unit("epochs before the first round", self.train_together, [])] if shared else []
        own = [unit(arm, functools.partial(self.train_arm, arm), first if arm in self.together else [])
               for arm in to_do]
        last = [unit("pictures", self.conclude, own)] if self.task.conclude else []
        self.left = len(first + own + last)
        return first + own + last

    def train_together(self):
        """Train the epochs before the first round, which are the same in every arm: they stand in every log."""
        arm, last_epoch = self.together[0], min(self.config.initial_iterations, self.config.total_epochs)
        run = self.restored(arm)
        if run.epoch < last_epoch:
            training.train(run, self.task, self.config, arm, last_epoch, self.logs_of(self.together), self.stop)

    def train_arm(self, arm):
        """Train an arm to its end; its network is saved first, then shown, then measured: a summary says that all is
        done."""
        run, log = self.restored(arm), self.logs[arm]
        training.train(run, self.task, self.config, arm, self.config.total_epochs, [log], self.stop)
        checkpoint.save_network(files.network_path(log.name), self.network, run.model)
        self.task.show(run, arm, "end", log.name)
        summary = training.finish(run, self.task, [log])
        words = training.name_of(run, self.config, arm)
        print(f"{words}: {runlog.format_summary(summary)}written to {log.name}", flush=True)

    def conclude(self):
        self.task.conclude(((arm, self.restored(arm)) for arm in self.arms), self.paths[self.arms[0]])

    # ---- the logs ----

    def open(self):
        """Open new logs, with checkpoints of the start, where the seed does not go on with its own."""
        if not self.logs:
            self.logs = dict(zip(self.arms, files.create(list(self.paths.values()))))
            for part in self.parts:
                self.begin(part)

    def begin(self, part):
        """Write the heads of empty logs, and the checkpoints of their start."""
        for arm in part:
            header = {**values_of(self.config), **self.config.environment, "seed": self.number, "pruning": arm}
            if arm == "scratch":
                header["initial_widths"] = self.initial_widths(arm)
            files.write([self.logs[arm]], runlog.format_header(header))
        checkpoint.write(self.fresh(part[0]), self.config, self.logs_of(part))

    def logs_of(self, part):
        return [self.logs[arm] for arm in part]

    def close_after_the_last(self):
        self.left -= 1
        if self.left == 0:
            for log in self.logs.values():
                log.close()

    def has_begun(self):
        """Whether any log is of the run that goes on."""
        return any(runlog.started(path) == self.config.environment["started"] for path in self.paths.values())

    def reopen(self):
        """Open the logs of an earlier run, and find where each goes on. Raises UserError, and changes nothing, where
        anything does not fit.

        A checkpoint of the shared epochs is one of all their logs, a later one of its own.
        """
        # Locked from here on, before their checkpoints are read.
        self.logs = dict(zip(self.arms, files.reopen(list(self.paths.values()))))
        self.states = {arm: self.checked(arm) for arm, path in self.paths.items()
                       if os.path.exists(files.checkpoint_path(path))}
        self.finished = [arm for arm in self.states if self.is_finished(arm)]
        # self.sources: (the arm whose checkpoint says how to go on, the arms that it speaks of).
        for part in self.parts:
            # Of a run that was killed while it wrote them, checkpoints of shared epochs may differ, or be missing yet.
            there = [arm for arm in part if arm in self.states]
            furthest = max(there, default=None,
                           key=lambda arm: [self.states[arm][name] for name in ("epoch", "rounds", "batches")])
            if furthest and len(self.states[furthest]["extents"]) == len(part):
                self.sources.append((furthest, part))
            elif there or any(state["epoch"] or state["batches"] for state in self.states.values()):
                self.sources += [(arm, [arm]) for arm in part]
        self.sources = [(source, arms) for source, arms in self.sources if source not in self.finished]
        for arm in [source for source, _ in self.sources if source not in self.states]:
            checkpoint.read(self.paths[arm])  # says that it is missing
        for source, arms in [*self.sources, *((arm, [arm]) for arm in self.finished)]:
            for arm in arms:
                files.check_beginning(self.logs[arm], self.extent(source, arm))
        if len(self.finished) == len(self.arms):
            for log in self.logs.values():
                log.close()

    def is_finished(self, arm):
        """Whether the log goes on after the last epoch's checkpoint with the summary."""
        return self.states[arm]["epoch"] == self.config.total_epochs and runlog.is_summary(
            files.rest(self.logs[arm], self.extent(arm, arm)))

    def extent(self, source, arm):
        """How far the log of an arm was when an arm's checkpoint was written."""
        return self.states[source]["extents"][os.path.basename(self.paths[arm])]

    def cut(self):
        """Cut the logs back to the checkpoints, and make these say that it goes on from there; finished ones stay."""
        for arm in self.finished:
            print(f"{self.paths[arm]}: finished")
        for source, arms in self.sources:
            for arm in arms:
                files.cut(self.logs[arm], self.extent(source, arm))
            logs, run = self.logs_of(arms), self.restored(source)
            note_changes(self.config, self.states[source], logs)
            checkpoint.write(run, self.config, logs)
            print(f"{', '.join(log.name for log in logs)}: goes on after epoch {run.epoch}")
        for part in self.parts:
            if not any(arm in self.states for arm in part):  # killed before it had a checkpoint
                for log in self.logs_of(part):
                    files.cut(log, files.NOTHING)
                self.begin(part)

    def checked(self, arm):
        """What a checkpoint says, without its tensors. Raises UserError where it is not one of this run that can go
        on."""
        path, config = self.paths[arm], self.config
        state = checkpoint.read(path)
        if (state["environment"].get("started") != config.environment["started"] or state["seed"] != self.number
                or os.path.basename(path) not in state["extents"]):
            raise UserError(f"{path} and its checkpoint are not of the same run as {config.resume}, so that cannot go "
                            "on")
        check_unchanged(values_of(config), state["config"], path)
        check_unchanged({"data": config.environment["data"]}, state["environment"], path)
        if arm == "scratch" and state["widths"] != self.initial_widths(arm):
            raise UserError(f"{path}: with {config.total_epochs} epochs the other arms end with other widths than this "
                            "network has, so that this comparison cannot be extended; start it anew")
        checkpoint.restore(self.fresh("none"), state)
        return {name: state[name] for name in ("config", "environment", "extents", "epoch", "rounds", "batches")}


def note_changes(config, state, logs):
    """Log what is no longer as the checkpoint says: more epochs, another number of threads."""
    then = {**state["config"], **state["environment"]}
    now = {**values_of(config), **config.environment}
    files.write(logs, runlog.format_header({name: value for name, value in now.items() if value != then.get(name)
                                            and name not in RESULTLESS}))
