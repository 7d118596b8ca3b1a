"""The arms of a run, for one seed or several: all from one start, each to its own log, checkpoint and network."""
import contextlib
import difflib
import functools
import os
import sys
from collections import namedtuple

import torch

from pruning import checkpoint, datasets, dry_run, files, pieces, resume, runlog, signals, spread, training
from pruning.arms import with_criteria
from pruning.command_line import Request, read_command
from pruning.device import keep_freed_memory, pick_device, pick_precision, repeat_exactly, share_threads
from pruning.errors import UserError, ended_well, mistakes_in_one_line
from pruning.groups import groups_of, widths_of
from pruning.launch import launch, told
from pruning.provenance import read_provenance
from pruning.removal import remove
from pruning.schedule import final_widths
from pruning.settings import SETTINGS, check_unchanged, frozen
from pruning.team import Team
from pruning.tensorboard import Boards, summary_writer
from pruning.terminal import Terminal

# What one command asks for, checked and complete. program: settings.CLASSIFIER or VAE; settings: its frozen values;
# request: a command_line.Request; arms: {name: Arm} of all that can be trained; provenance: of the logs; team: a Team;
# is_restart: whether torchrun has started all its processes anew.
Command = namedtuple("Command", "program settings request arms device provenance team is_restart")


def prepare(program, description, constants, ranking, main):
    """The Command of this command line, the same in all processes of a team. Raises UserError.

    With several jobs, start processes that call the program's `main`, and end as they do. description: of the program,
    for -h. constants, ranking: the modules that people edit.
    """
    timeout, legal = getattr(constants, "timeout", None), SETTINGS["timeout"].is_legal
    team = Team(timeout if type(timeout) is int and legal(timeout) else 600)  # it is checked below, by the first
    team.join()
    by_contribution = getattr(ranking, "contribBasedPruning", None)
    if by_contribution not in (True, False):
        switches = [name for name, value in vars(ranking).items() if type(value) is bool]
        near = difflib.get_close_matches("contribBasedPruning", switches, 1)
        hint = f"did you misspell it as {near[0]}?" if near else "put back contribBasedPruning = True or False"
        raise UserError(f"ranking.py: contribBasedPruning is missing; {hint}" if by_contribution is None else
                        f"ranking.py: contribBasedPruning is {by_contribution!r}; legal: True or False")
    arms, default = with_criteria(ranking.CRITERIA), "contribution" if by_contribution else "random"

    def read():
        values, request = read_command(sys.argv[1:], description, program, constants, default, arms, resume.recall)
        return values, tuple(request)

    values, request = team.broadcast(lambda: told() or read())
    request, team.timeout = Request(*request), values["timeout"]
    at_once = team.local_size if team.is_started else min(values["jobs"], runs_of(values))
    path = files.team_path(values["log_folder"], values["dataset"], program.log,
                           os.getppid() if team.is_started else os.getpid())
    if at_once > 1 and not team.is_started and not request.dry_run:
        sys.exit(launch(main, at_once, (values, tuple(request)), values["device"], path))
    keep_freed_memory()
    repeat_exactly(values["deterministic"])
    values.update(team.broadcast(lambda: picked(values, team)))
    device = pick_device(values["device"], team.local_rank)
    named = {name: arms[name].criterion for name in values["compare"] or [values["pruning"]]}
    given = {name: repr(criterion.keywords) for name, criterion in named.items()
             if isinstance(criterion, functools.partial)}
    if given:
        values["criterion_options"] = given
    provenance, is_restart = read_provenance(device, share_threads(team, at_once)), False
    if request.resume:
        check_unchanged(values, request.earlier["settings"], request.resume)
        provenance["started"] = request.earlier["provenance"]["started"]
    if team.is_started and not request.dry_run:
        provenance["started"], is_restart = team.record.begin(path, provenance["started"], not values["spread"])
    if values["spread"] and team.size > 1:
        provenance["processes"] = team.size
    return Command(program, frozen(values), request, arms, device, provenance, team, is_restart)


def runs_of(values):
    """How many runs a command has that need not wait for each other; with `spread` they are made of any number."""
    return values["jobs"] if values["spread"] else values["seeds"] * max(1, len(values["compare"]))


def picked(values, team):
    """The device and the precision of all processes, as the first one finds them."""
    device = pick_device(values["device"], team.local_rank)
    has_convolutions = bool(values["conv_widths"] or values.get("network"))  # a network of one's own counts as one
    return {"device": device.type, "precision": pick_precision(values["precision"], device, has_convolutions)}


@spread.clear_faults()
def compare(command, workload):
    """Train the arms that a command asks for, of every seed; with its dry_run only try. Raises UserError, and
    Interrupted for a run that was asked to stop."""
    settings, request, data = command.settings, command.request, {"data": datasets.fingerprint(workload.dataset)}
    command = command._replace(provenance={**command.provenance, **data})
    if request.resume:
        check_unchanged(data, request.earlier["provenance"], request.resume)
    if settings.ranking_images > len(workload.dataset.train):
        raise UserError(f"ranking_images = {settings.ranking_images}; there are {len(workload.dataset.train)} training "
                        "images")
    if request.tensorboard:
        summary_writer()  # or a run would begin that has to end at once
    team = command.team
    if request.dry_run and not team.is_first:
        return
    if settings.spread and team.size > 1 and not request.dry_run:
        train, test = (len(split) for split in workload.dataset[:2])
        spread.start(team, command.device, min(train, test, settings.ranking_images or train), data["data"])
    stop = team.stop = signals.Stop(team)
    terminal = Terminal(settings, request, team)
    comparisons = [Comparison(seed, command, workload, spread.agreed(stop), terminal)
                   for seed in range(settings.seed, settings.seed + settings.seeds)]
    first = comparisons[0]
    state = first.fresh()
    for comparison in comparisons:
        comparison.widths = widths_of(state.groups)
    if [arm.name for arm in first.arms] == ["scratch"]:
        state = first.fresh(first.arms[0])
    if command.is_restart and team.is_first:
        terminal.say("a process was killed; all were started anew and go on from their checkpoints")
    if team.is_first or spread.is_on():
        terminal.start(command, workload.dataset, first.arms, state, first.widths)
        for name, reason in first.left.items() if request.verbose else []:
            terminal.say(f"{name} stays whole: {reason}")
        for line in spread.differences(state.model):
            terminal.say(line)
        try_criteria(state, workload, settings, first.arms)
        try_last_batch(state, workload, settings)
    if request.dry_run:
        return dry_run.rehearse(command, comparisons, workload)
    with stop:
        if team.is_first and (request.resume or command.is_restart):
            resume.reopen(comparisons, command)
        if team.size > 1 and not spread.is_on():
            well = pieces.side_by_side(comparisons, team, stop, terminal)
        else:
            well = [comparison.train() for comparison in comparisons]
    spread.end()
    if team.is_first:
        terminal.end({arm: [comparison.paths[arm] for comparison in comparisons] for arm in first.arms})
        team.record.remember(0 if all(well) else 2)
    if not all(well):
        sys.exit(2)


def try_criteria(state, workload, settings, arms):
    """Rank a few images by every criterion. Raises UserError for a mistake in one, before hours of training."""
    images = [next(workload.dataset.train.batches(training.EXAMPLE))]
    for arm in arms:
        if arm.criterion:
            training.ranked(state, workload, settings, arm, images)


@torch.no_grad()
def try_last_batch(state, workload, settings):
    """The loss of one image if that is all that a process gets of the last batch of an epoch. Raises UserError for a
    network that a BatchNorm keeps from training on it."""
    train = workload.dataset.train
    if ((len(train) - 1) % settings.batch_size + 1) // spread.here.size <= 1:
        try:
            workload.objective(state.model.train(), *train.batch(torch.zeros_like(train.labels[:1])))
        except ValueError as error:
            whose = " for a process" * spread.is_on()
            raise UserError(f"batch_size = {settings.batch_size}: the last batch of an epoch has one image{whose}, on "
                            f"which {type(state.model).__name__} cannot be trained ({error}); take another batch_size")


class Comparison:
    """The arms of one seed: their logs, the start that they share, and the way of each to its end.

    sharing: the arms that have the epochs before the first round in common. Those are trained once, stand in the log of
    each of these arms, and leave one checkpoint, from which the arms branch.
    """

    def __init__(self, seed, command, workload, stop, terminal):
        self.seed, self.settings, self.workload = seed, command.settings, workload
        self.stop, self.terminal = stop, terminal
        self.about = {"flags": command.request.flags, "settings": self.settings._asdict(),
                      "provenance": command.provenance}
        self.device, number = command.device, seed if self.settings.seeds > 1 else None
        self.arms = [command.arms[name] for name in self.settings.compare or [self.settings.pruning]]
        self.paths = {arm: files.log_path(self.settings.log_folder, self.settings.dataset, arm.name,
                                          command.program.log, number) for arm in self.arms}
        warm = [arm for arm in self.arms if arm.name != "scratch"]
        self.sharing = warm if len(warm) > 1 else []
        self.start = files.start_path(self.paths[warm[0]]) if self.sharing else None
        self.logs, self.finished = {}, []  # resume.reopen() opens earlier logs and finds the finished ones
        self.has_logs = False  # whether a process of the team has made them
        self.widths, self.left = None, {}  # of the unpruned network, once the first one is made

    def train(self):
        """Train the start and the arms, as far as they are not finished; returns whether no run has diverged. One that
        does is named, and the others go on."""
        with self.open():
            started = not self.unbranched() or ended_well(self.name(pieces.START), self.train_start)
            well = started
            for arm in self.to_do():
                if started or arm not in self.sharing:
                    well &= ended_well(self.name(arm.name), self.train_arm, arm)
            if well:
                self.conclude()
        return well

    def train_start(self):
        """Train the epochs before the first round."""
        arms, last_epoch = self.unbranched(), self.settings.initial_iterations
        outputs = self.outputs(arms, self.start)
        state = self.state(arms[0], outputs)
        start = arms[0]._replace(name="shared start", criterion=None)
        training.train(state, self.workload, self.settings, start, last_epoch, outputs, self.stop)

    def train_arm(self, arm):
        """Train an arm to its end: save its network, show it, measure it. The summary says that all is done."""
        outputs, log = self.outputs([arm], files.checkpoint_path(self.paths[arm])), self.logs[arm]
        state = self.state(arm, outputs)
        training.train(state, self.workload, self.settings, arm, self.settings.total_epochs, outputs, self.stop)
        about = {"dataset": self.settings.dataset, "seed": self.seed, **self.workload.scale}
        checkpoint.save_network(files.network_path(log.name), self.workload.network, state, about)
        picture = training.show(self.workload, state, arm, "end", log.name)
        if picture:
            with Boards(self.terminal.tensorboard, [log], state.epoch) as boards:
                boards.add_picture(state.epoch, picture)
        training.finish(state, self.workload, log)

    def conclude(self):
        """Show all finished arms together. They no longer need their start."""
        if not spread.is_first():
            return
        states = ((arm, checkpoint.restore(self.fresh(arm), self.saved(arm))) for arm in self.arms)
        picture = self.workload.conclude(states, self.paths[self.arms[0]])
        if picture:
            self.terminal.write(f"wrote {picture}")
        if self.start:
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.start)

    def to_do(self):
        finished = spread.first_says(lambda: [arm.name for arm in self.finished])
        return [arm for arm in self.arms if arm.name not in finished]

    def name(self, part):
        """What messages call a part of the work: the start, or an arm."""
        return f"{part}, seed {self.seed}"

    def source(self, arm):
        """The checkpoint that an arm goes on from: its own, else that of the shared start; None before either."""
        own = files.checkpoint_path(self.paths[arm])
        if os.path.exists(own):
            return own
        return self.start if arm in self.sharing and os.path.exists(self.start) else None

    def unbranched(self):
        """The arms that share the start and have not gone on from it yet."""
        names = spread.first_says(lambda: [arm.name for arm in self.sharing if self.source(arm) in (None, self.start)])
        return [arm for arm in self.sharing if arm.name in names]

    def state(self, arm, outputs=None):
        """The state that an arm goes on from. A fresh one is written at once, so that a run killed now can go on."""
        state, saved = self.fresh(arm), spread.first_says(lambda: self.saved(arm))
        if saved:
            return checkpoint.restore(state, saved)
        checkpoint.write(state, outputs)
        return state

    def saved(self, arm):
        source = self.source(arm)
        return checkpoint.read(source) if source else None

    def initial_widths(self, arm):
        return final_widths(self.widths, self.settings) if arm.name == "scratch" else self.widths

    def fresh(self, arm=None):
        """A state of this arm that is not trained yet, of the unpruned network without one."""
        torch.manual_seed(self.seed)
        example, _ = next(self.workload.dataset.train.batches(training.EXAMPLE))
        with mistakes_in_one_line():
            model = self.workload.build(**self.workload.network)
            groups, self.left = groups_of(model, example.cpu(), self.settings.prune_filters)
        if arm and arm.name == "scratch":
            remove(groups, list(map(torch.arange, self.initial_widths(arm))))
            torch.manual_seed(self.seed)
            for module in model.modules():
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()
        model.to(self.device)
        return training.TrainingState(model, self.workload.make_optimizer(model), self.seed, groups)

    def open(self):
        """Open new logs, unless those of an earlier run are open; to be closed after use."""
        if not self.logs:
            self.create()
        return self.closing()

    def open_in(self, team, arms):
        """Open the logs of some arms, to be closed after use. The process of a team that is the first one to need logs
        of this seed makes them all."""
        if not arms:
            return contextlib.nullcontext()
        made = f"logs of seed {self.seed}"
        if not self.has_logs and team.claim(made):
            self.create()
            self.closing().close()
            team.put(made, True)
        elif not self.has_logs:
            team.get(made)
        self.has_logs = True
        self.logs = dict(zip(arms, files.reopen([self.paths[arm] for arm in arms])))
        for path in (log.name for log in self.logs.values()):
            if runlog.read_header(path).get("started") != self.about["provenance"]["started"]:
                raise UserError(f"{path}: another run has begun this log anew; start this one anew, in another log "
                                "folder")
        for log in self.logs.values():
            log.seek(0, os.SEEK_END)
        return self.closing()

    def create(self):
        if not spread.is_first():
            self.logs = {arm: open(os.devnull, "w", encoding="utf-8") for arm in self.arms}
            return
        self.logs = dict(zip(self.arms, files.create(list(self.paths.values()), self.terminal.write)))
        for arm in self.arms:
            self.write_header(arm)

    def closing(self):
        logs = contextlib.ExitStack()
        for log in self.logs.values():
            logs.enter_context(log)
        return logs

    def write_header(self, arm):
        header = {**self.about["settings"], **self.about["provenance"], "seed": self.seed, "pruning": arm.name,
                  "unpruned_widths": self.widths}
        if arm.name == "scratch":
            header["initial_widths"] = self.initial_widths(arm)
        files.write([self.logs[arm]], runlog.format_header(header))

    def outputs(self, arms, path):
        return checkpoint.Outputs([self.logs[arm] for arm in arms], path, self.about, self.terminal)
