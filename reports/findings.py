"""What the results say: their logs, their rows, and every number that report.tex may quote.

A number's key is experiment/arm/column, as in `main/MNIST/contribution/lost in a round`; an estimate has its mean apart
(`.../mean`) and a difference its p-value (`.../p`), for contribution also after Holm's correction (`.../Holm`).
"""
import functools
import glob
import os
import sys
from statistics import median

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
import experiments  # noqa: E402

import ranking  # noqa: E402
from pruning import runlog  # noqa: E402
from pruning.arms import ARMS  # noqa: E402
from pruning.errors import UserError  # noqa: E402
from pruning.plots import table  # noqa: E402
from pruning.plots.runs import Run  # noqa: E402
from pruning.plots.runs import experiments as grouped  # noqa: E402
from pruning.plots.statistics import Difference, Estimate, difference, mean  # noqa: E402

RESULTS = os.path.join(ROOT, experiments.RESULTS)
CLASSIFIED = ["MNIST", "FashionMNIST", "CIFAR10", "CIFAR100"]
SMALL = experiments.SMALL
RECONSTRUCTED = ["FashionMNIST", "CIFAR10"]
SECOND = ["restarts", "constant", "published"]  # the regimes of the second volume
SCHEDULES = ["constant", "restarts"]  # those of the learning rate with which recoveries are compared


@functools.lru_cache(maxsize=None)  # every table reads them
def read(path):
    return Run(runlog.parse_log(path))


def runs_of(*names):
    """The runs of experiments, by the beginnings of their names; [] of what was not run."""
    paths = [path for name in names for path in glob.glob(os.path.join(RESULTS, name, "**", "*.txt"), recursive=True)]
    return [read(path) for path in sorted(paths)]


def variants_of(*names):
    """{variant: {seed: Run}} of the one experiment that these results make together."""
    found = grouped(runs_of(*names))
    if len(found) != 1:
        raise UserError(f"{', '.join(names)}: {len(found)} experiments in these results; expected one")
    return next(iter(found.values()))


@functools.lru_cache(maxsize=None)
def rows_of(*names):
    """{variant: its row} of the one experiment that these results make together."""
    variants = variants_of(*names)
    return dict(zip(variants, table.rows(variants)))


@functools.lru_cache(maxsize=None)
def rows_against(control, *names):
    """Like rows_of, with the differences to one arm alone."""
    variants = variants_of(*names)
    return dict(zip(variants, table.rows(variants, table.minus(control))))


def second_volume(kind, control):
    """{data set: rows_against an arm} of a regime of the second volume, for the data sets on which that arm and others
    were run."""
    there = {dataset: f"second/{kind}/*/{dataset}" for dataset in CLASSIFIED}
    return {dataset: rows_against(control, name) for dataset, name in there.items()
            if {control, "random"} <= {run.arm.name for run in runs_of(name)}}


def parts_removed(dataset):
    """The sweep with main's part in it, from the fewest neurons removed: {variant: {seed: Run}} of each part."""
    runs = [run for run in runs_of(f"main/{dataset}", f"sweep/*/{dataset}") if run.arm.name in ranking.CRITERIA]
    return sorted(grouped(runs).values(), key=percent_removed)


def percent_removed(variants):
    """Of a part of the sweep; all its runs remove as many."""
    return next(iter(variants["random"].values())).percent_removed()


def recovery_name(kind, recovery):
    return f"second/recovery/{kind}/{recovery}/MNIST"


def recoveries(kind):
    """{epochs after a round: {variant: {seed: Run}}} of a schedule of the learning rate, as far as it was run."""
    names = {recovery: recovery_name(kind, recovery) for recovery in experiments.RECOVERIES}
    return {recovery: variants_of(name) for recovery, name in names.items() if runs_of(name)}


# ---- the numbers ----

# The name in report.tex, and the results that are compared in one table.
EXPERIMENTS = {
    **{f"main/{name}": [f"main*/{name}", f"compensated/{name}"] for name in CLASSIFIED},
    **{f"published/{name}": [f"published*/{name}"] for name in CLASSIFIED},
    **{f"second/{kind}/{name}": [f"second/{kind}/*/{name}"] for kind in SECOND for name in CLASSIFIED},
    **{f"recovery/{kind}/{recovery}": [recovery_name(kind, recovery)] for kind in SCHEDULES
       for recovery in experiments.RECOVERIES},
    **{f"ways/{name}": [f"main*/{name}", f"lambdas/*/{name}", f"images/*/{name}"] for name in SMALL},
    **{f"vae/{name}": [f"vae/{name}", f"vae-compensated/{name}"] for name in RECONSTRUCTED},
    **{f"sweep/{increment}/{name}": [f"sweep/{increment}/{name}"] for increment in experiments.INCREMENTS
       for name in SMALL},
    **{f"precision/{precision}": [f"precision/{precision}/CIFAR10"] for precision in ("float32", "bfloat16")},
    "float32/CIFAR10": ["float32/CIFAR10"],
    "filters/CIFAR10": ["filters/CIFAR10"],
}


def numbers():
    """{key: text} of every number that the report may quote: experiment/arm/column, and the parts of an estimate."""
    found = {}
    for name, results in EXPERIMENTS.items():
        for variant, row in (rows_of(*results) if runs_of(*results) else {}).items():
            for column, value in row.items():
                if value is None or column == "arm":
                    continue
                key = f"{name}/{variant}/{short(column)}"
                found[key] = cell(value)
                if isinstance(value, (Estimate, Difference)):
                    found[f"{key}/mean"] = table.two_places(value.mean)
                if isinstance(value, Difference) and value.p is not None:
                    found[f"{key}/p"] = probability(value.p)
    found.update({f"cost/{name}/{column}": text for name in ("MNIST", "CIFAR10", "FashionMNIST")
                  for column, text in costs(name).items()})
    found.update({f"precision/bfloat16 - float32/{arm}, {epochs} epochs": cell(bfloat16_minus_float32(*sides))
                  for arm, epochs, *sides in in_both_precisions()})
    return {**found, **versus(), **trends(), **wins(), **spreads(), **starts()}


def short(column):
    """A column's name in a key: its words, with the controls by their arms' names."""
    for control, words in table.CONTROLS.items():
        column = column.replace(words, f"minus {control}")
    return column.replace(" (%)", "")


def cell(value):
    """A number, an estimate or a difference in LaTeX, in a formula."""
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "{,}")
    half = f" \\pm {value.half:.2f}" if value.half is not None else ""
    return f"{table.two_places(value.mean)}{half}"


def probability(p):
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def of_the_last_three(run):
    """The measure by which arms are compared, the mean over the last three epochs."""
    return mean([entry.measures[run.measure] for entry in run.epochs[-3:]])


# {what arms are compared by: (its value, whether a run has it)}; a sweep's log has one epoch alone.
COMPARED = {"end": (Run.at_the_end, lambda run: True), "lost": (Run.lost_in_a_round, lambda run: run.rounds),
            "last three": (of_the_last_three, lambda run: len(run.epochs) > 2)}


def versus():
    """Contribution, plain and compensated, obs and kfac minus every other arm, and every compensated arm minus itself
    without: by seed, and by all of COMPARED."""
    found = {}
    for name, variants in every_experiment():
        for own in variants:
            others = [other for other in variants if other != own and own in (
                "contribution", "contribution, compensated", *experiments.SECOND_ORDER, f"{other}, compensated")]
            for what, (value, has) in COMPARED.items():
                differences = {f"{name}/{own} - {other}/{what}": difference(variants[own], variants[other], value)
                               for other in others if has(next(iter(variants[other].values())))}
                found.update({key: cell(one) for key, one in differences.items() if one})
                tests = {key: one.p for key, one in differences.items() if one and one.p is not None}
                found.update({f"{key}/p": probability(p) for key, p in tests.items()})
                family = {key: p for key, p in tests.items() if "compensated" not in key}
                found.update({f"{key}/Holm": probability(p) for key, p in holm(family).items()})
    return found


def every_experiment():
    """(name, {variant: {seed: Run}}) of all the experiments that EXPERIMENTS' results hold."""
    for name, results in EXPERIMENTS.items():
        for variants in grouped(runs_of(*results)).values():
            yield name, variants


def holm(tests):
    """{key: p after Holm's correction for all of them} of {key: p}."""
    corrected, least = {}, 0
    for number, (key, p) in enumerate(sorted(tests.items(), key=lambda test: test[1])):
        least = max(least, min(1, p * (len(tests) - number)))
        corrected[key] = least
    return corrected


def trends():
    """By how much one arm's lead over another is larger with the fewest epochs after a round than with the most, paired
    by seed."""
    found = {}
    for kind, listed in ((kind, recoveries(kind)) for kind in SCHEDULES):
        ends = [min(listed), max(listed)] if len(listed) > 1 else []
        for own, other in (("contribution", "random"), ("kfac", "random"), ("kfac", "contribution")) if ends else ():
            leads = [{seed: run.at_the_end() - listed[end][other][seed].at_the_end()
                      for seed, run in listed[end][own].items()} for end in ends]
            one, key = difference(*leads, float), f"recovery/{kind}/{own} - {other}, {ends[0]} minus {ends[1]}"
            found.update({key: cell(one), f"{key}/p": probability(one.p)})
    return found


def wins():
    """At how many parts of the neurons removed contribution ends above another criterion, or below, by more than the
    interval; at every part, what of random's loss in a round contribution has, in percent."""
    found = {}
    for dataset in SMALL:
        listed = parts_removed(dataset)
        found[f"sweep/{dataset}/parts"] = str(len(listed))
        lost = [[mean(list(map(Run.lost_in_a_round, variants[arm].values()))) for arm in ("contribution", "random")]
                for variants in listed]
        found[f"sweep/{dataset}/shares of random's loss"] = ", ".join(f"{100 * own / other:.0f}" for own, other in lost)
        for control in ("random", "magnitude"):
            differences = [difference(variants["contribution"], variants[control], Run.at_the_end)
                           for variants in listed]
            found[f"sweep/{dataset}/above {control}"] = str(sum(some.mean > some.half for some in differences))
            found[f"sweep/{dataset}/below {control}"] = str(sum(some.mean < -some.half for some in differences))
    return found


def spreads():
    """The widest spread of the criteria before and after a round; the lowest end of each arm's seeds."""
    found = {}
    for name in (name for name in EXPERIMENTS if name.startswith(("main/", "published/", "second/"))
                 and runs_of(*EXPERIMENTS[name])):
        variants = variants_of(EXPERIMENTS[name][0])
        ends = {arm: {seed: run.at_the_end() for seed, run in seeds.items()} for arm, seeds in variants.items()}
        for arm in ends:
            found[f"{name}/{arm}/lowest"] = f"{min(ends[arm].values()):.2f}"
        if "scratch" in variants:
            worst = min(variants["scratch"].values(), key=Run.at_the_end)
            found[f"{name}/scratch/lowest, an epoch before"] = f"{worst.epochs[-2].measures['test accuracy']:.2f}"
            found[f"{name}/scratch/seeds above contribution"] = str(sum(
                ends["scratch"][seed] > end for seed, end in ends["contribution"].items()))
        for moment in ("before", "after"):
            rounds = zip(*(means_of_rounds(seeds.values(), moment) for arm, seeds in variants.items()
                           if arm in ranking.CRITERIA))
            found[f"{name}/widest spread {moment} a round"] = f"{max(max(means) - min(means) for means in rounds):.1f}"
    return found


def means_of_rounds(runs, moment):
    """The mean over an arm's runs of the test accuracy before or after every round."""
    return [mean([getattr(entry, moment)["test accuracy"] for entry in entries])
            for entries in zip(*(run.rounds for run in runs))]


def starts():
    """Of how many seeds an arm came to the first round with the test loss that contribution had there: the same
    network. Runs of another processor have other bits after the first epochs."""
    found = {}
    for name, variants in every_experiment():
        begun = {variant: {seed: loss_at_first_round(run) for seed, run in seeds.items()}
                 for variant, seeds in variants.items() if variant != "scratch"}
        plain = begun.get("contribution", {})
        same = {variant: sum(losses.get(seed) == loss for seed, loss in plain.items())
                for variant, losses in begun.items() if plain}
        found.update({f"{name}/{variant}/seeds with the same start": str(count) for variant, count in same.items()})
    return found


def loss_at_first_round(run):
    """The test loss before the first round, or where that would be."""
    measures = run.rounds[0].before if run.rounds else run.epochs[run.header["initial_iterations"] - 1].measures
    return measures["test loss"]


def in_both_precisions():
    """Yield (arm, epochs, {seed: Run} in float32, {seed: Run} in bfloat16) of CIFAR-10."""
    for names in (("precision/float32/CIFAR10", "precision/bfloat16/CIFAR10"), ("float32/CIFAR10", "main/CIFAR10")):
        float32, bfloat16 = (variants_of(name) if runs_of(name) else {} for name in names)
        for arm in (arm for arm in ARMS if arm in float32 and arm in bfloat16):
            yield arm, next(iter(float32[arm].values())).header["total_epochs"], float32[arm], bfloat16[arm]


def bfloat16_minus_float32(float32, bfloat16):
    return difference(bfloat16, float32, Run.at_the_end)


def why_missing(name):
    """What stands in place of contribution's missing results: how many of its runs diverged."""
    runs = [run for run in runs_of(f"diverged/{name}") if run.arm.name == "contribution"]
    diverged = sum(not run.summary for run in runs)
    return f"{diverged} of {len(runs)} diverged" if diverged else "not run"


def costs(name):
    """Of the experiment cost/`name`, medians over seeds and epochs, without a run's first one: the seconds of an epoch
    before the first round and after the last one, what the first costs in terms of the second, and a round's seconds;
    {} of what was not run."""
    runs = runs_of(f"cost/{name}")
    if not runs:
        return {}
    rounds, last = runs[0].rounds, runs[0].header["total_epochs"]
    before, after = (median(entry.measures["time"] for run in runs for entry in run.epochs
                            if start < entry.epoch <= end)
                     for start, end in ((1, rounds[0].epoch), (rounds[-1].epoch, last)))
    ratios = {key: rounds[0].before[key] / rounds[-1].after[key] for key in ("parameters", "multiply-adds")}
    of_a_round = median(entry.time for run in runs for entry in run.rounds)
    return {"before": f"{before:#.3g}", "after": f"{after:#.3g}", "time": f"{before / after:.2f}",
            **{key: f"{value:.2f}" for key, value in ratios.items()}, "a round": f"{of_a_round:#.2g}"}
