"""A run as its log describes it: what tables and figures ask of it, what it lacks if it is not finished, and how runs
form experiments.

An experiment is the runs of a program that differ only in arm, seed and the way in which a round ranks or removes:
compensated, by other lambdas, by fewer images.
"""
import itertools
import os

from pruning import arms, menu
from pruning.errors import UserError
from pruning.plots.statistics import mean
from pruning.settings import RESULTLESS

# What a table shows of a finished run, by a measure of its batch lines; the arms are compared by the first.
MEASURES = {"accuracy": ["test accuracy", "training accuracy"],
            "BCE": ["test loss", "training loss", "test BCE", "test KLD", "test PSNR", "active units"]}
# What may differ between the runs of one experiment; everything else that a header says must be the same.
FREE = RESULTLESS | {"diverged", "seed", "seeds", "pruning", "compare", "initial_widths", "unpruned_widths",
                     "criterion_options", "device", "started", "python", "torch",
                     "numpy", "machine", "instructions", "threads", "commit", "compensate", "lambda_average",
                     "lambda_max", "ranking_images"}
# What an earlier version did not say in a header, since it had no choice.
DEFAULTS = {"prune_filters": False, "learning_rate_schedule": "constant", "weight_decay": 0.0, "momentum": 0.0,
            "augment": False, "network": ""}
# What the header of a finished run says, and what an earlier version did not say yet.
HEADER = {"dataset": str, "total_epochs": int, "initial_iterations": int, "increment": int, "prune_percent": float,
          "pruning": str, "seed": int, "hidden_widths": list}
ADDED = {"compensate": bool, "lambda_average": float, "lambda_max": float, "ranking_images": int}
SCHEDULE = ["initial_iterations", "increment", "prune_percent"]  # they decide how many neurons are removed
TERMINAL = 100  # characters in a line of what plot.py prints of runs


class Run:
    """A run by its RunLog. The methods from `at_the_end` on need a finished run, which `lacks` nothing."""

    def __init__(self, log):
        self.path, self.header, self.batches, self.epochs, self.rounds, self.summary = log
        header, (folder, file) = log.header, os.path.split(os.path.abspath(log.path))
        by_file = next((arm.name for arm in arms.ARMS.values() if arm.log_word in file), file)
        self.arm = arms.named(str(header.get("pruning", by_file)))
        ways = list(ways_of(header, self.arm.name))
        self.variant = ", ".join([self.arm.name, *ways])  # contribution, compensated
        self.words = ", ".join([self.arm.words, *ways])   # contribution-based pruning, compensated
        self.seed = header.get("seed") if type(header.get("seed")) is int else None
        here = os.path.basename(folder)
        dataset = str(header.get("dataset", here if here in menu.DATASETS else "data set not recorded"))
        self.dataset = menu.DATASETS.get(dataset, dataset)  # what figures call it
        # What the runs of one experiment have in common, whatever the order of the tables in constants.py.
        said = {**DEFAULTS, "optimizer": "adam" if "latent" in header else "sgd", **header}
        self.settings = tuple(sorted((name, repr(value)) for name, value in said.items() if name not in FREE))
        self.identity = self.settings, self.variant, self.seed
        self.measures = next(names for kind, names in MEASURES.items() if kind in log.batches[0].measures)
        self.measure = self.measures[0]  # by which arms are compared
        self.better = 1 if "accuracy" in self.measure else -1  # 1: higher values of it are, -1: lower ones
        self.tested_on = "held-out" if header.get("holdout") else "test"

    def called(self, measure):
        """What a measure of the summary is called: `test` or `held-out accuracy`, `training accuracy (whole set)`."""
        return measure.replace("test ", f"{self.tested_on} ") + " (whole set)" * measure.startswith("training")

    def label(self, words="", is_change=False):
        """What an axis says of the measure by which arms are compared: `test accuracy lost in a round (points)`."""
        unit = ("points" if is_change else "%") if self.better > 0 else "nats"
        return f"{self.called(self.measure)} {words}".rstrip() + f" ({unit})"

    def lacks(self):
        """What a table needs and this log does not say; a finished run of this suite says all of it."""
        header, summary = self.header, self.summary
        why = header.get("diverged", "a run that was interrupted goes on with --resume")
        return ([name for name, kind in HEADER.items() if not isinstance(header.get(name), kind)]
                + [name for name, kind in ADDED.items() if not isinstance(header.get(name, kind()), kind)]
                + [f"summary; {why}"] * (not summary)
                + [name for name in ["neurons", "parameters", *self.measures, "time"]
                   if not is_number(summary.get(name))]
                + ["multiply-adds"] * (not is_number(summary.get("multiply-adds", 0)))
                + [name for entry in self.rounds for side in (entry.before, entry.after)
                   for name in (self.measure, "neurons") if not is_number(side.get(name))]
                + ["time" for entry in self.epochs if not is_number(entry.measures.get("time"))]
                + ["line for one of its rounds"] * (summary.get("rounds", len(self.rounds)) != len(self.rounds)))

    def at_the_end(self):
        """The measure by which arms are compared."""
        return self.summary[self.measure]

    def percent_removed(self):
        """Of the neurons of the unpruned network, those that are not there at the end."""
        return 100 * (1 - self.summary["neurons"] / sum(unpruned(self.header)))

    def lost_in_a_round(self):
        """What a round worsens the measure by, accuracy lost or loss added: the mean over the rounds."""
        return mean([self.better * (entry.before[self.measure] - entry.after[self.measure]) for entry in self.rounds])

    def epochs_to_regain(self):
        """Of every round the epochs until the measure is as good as before it; None if the next round comes first."""
        ends = [entry.epoch for entry in self.rounds[1:]] + [self.header["total_epochs"]]
        for entry, end in zip(self.rounds, ends):
            wanted = self.better * entry.before[self.measure]
            yield next((epoch.epoch - entry.epoch for epoch in self.epochs if entry.epoch < epoch.epoch <= end
                        and self.better * epoch.measures.get(self.measure, float("nan")) >= wanted), None)


def unpruned(header):
    """The widths of the unpruned network's groups; earlier versions pruned the hidden layers alone, and did not say."""
    return header.get("unpruned_widths") or header.get("hidden_widths")


def ways_of(header, arm):
    """The ways in which an arm's rounds differ from the usual ones, in words."""
    lambdas, images = (header.get("lambda_average", 1), header.get("lambda_max", 0)), header.get("ranking_images", 0)
    compensated = arm not in ("none", "scratch") and header.get("compensate", False)
    if arm in ("contribution", "reversed") and lambdas != (1, 0):
        yield "C_avg : C_max = " + " : ".join(f"{x:g}" if is_number(x) else str(x) for x in lambdas)
    if images and (compensated or arm not in ("none", "scratch", "random", "magnitude")):  # the others look at images
        yield f"by {images} images"
    if compensated:
        yield "compensated"


def cut(text, width):
    """A text, without its middle if it is longer than this."""
    half = (width - 3) // 2
    return text if len(text) <= width else f"{text[:half]}...{text[-half:]}"


def is_number(value):
    """Whether it is one that can be squared and summed."""
    return isinstance(value, (int, float)) and abs(value) < 1e150


def experiments(runs):
    """{settings: {variant: {seed: Run}}}, variants in the order of `place`. Runs without pruning that stand alone join
    the experiments which lack that arm and have another schedule at most. Raises UserError for two runs of one variant
    and seed."""
    found = {run.settings: {} for run in runs}
    for run in sorted(runs, key=place):
        twin = found[run.settings].setdefault(run.variant, {}).setdefault(run.seed, run)
        if twin is not run:
            raise UserError(f"{twin.path} and {run.path} are of one arm and one seed; leave one out")
    for settings, alone in [(settings, variants) for settings, variants in found.items() if [*variants] == ["none"]]:
        hosts = [host for host, variants in found.items()
                 if "none" not in variants and not unlike([*runs_in(alone), *runs_in(variants)])]
        found.update({host: {**alone, **found[host]} for host in hosts})
        if hosts:
            del found[settings]
    return found


def runs_in(variants):
    return [run for seeds in variants.values() for run in seeds.values()]


def by_variant(runs):
    """{variant: [{seed: Run} of every experiment that has it, each once]}, in the order of `place`."""
    found = {run.variant: [] for run in sorted(runs, key=place)}
    for variants in experiments(runs).values():
        for variant, seeds in variants.items():
            found[variant] += [seeds] * (seeds not in found[variant])
    return found


def by_dataset(items, run_of=lambda item: item):
    """{what a data set is called: those of the items whose run is of it}, in the order of the menu."""
    names = [run_of(item).dataset for item in items]
    order = [name for name in menu.DATASETS.values() if name in names] + names
    return {name: [item for item in items if run_of(item).dataset == name] for name in dict.fromkeys(order)}


def place(run):
    """What sorts runs by their arms, as arms.ARMS lists them, and by the words of their ways."""
    return arm_number(run), run.words


def arm_number(run):
    return [*arms.ARMS, run.arm.name].index(run.arm.name)


def first_of_each(runs):
    """{identity: the first run that has it}."""
    first = {}
    for run in runs:
        first.setdefault(run.identity, run)
    return first


def differing(settings):
    """The names of what several runs' settings do not have in common."""
    settings = list(map(dict, settings))
    return [name for name in dict.fromkeys(itertools.chain(*settings)) if len({one.get(name) for one in settings}) > 1]


def unlike(runs):
    """The names of the settings that runs do not have in common; the schedule counts only if a run depends on it."""
    scheduled = differing([run.settings for run in runs if run.arm.name != "none"
                           or run.header.get("learning_rate_schedule") == "cosine_restarts"])
    return [name for name in differing([run.settings for run in runs]) if name not in SCHEDULE or name in scheduled]
