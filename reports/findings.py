"""What the results say: their logs, their rows, and every number that report.tex may quote.

A number's key is experiment/arm/column, as in `main/MNIST/contribution/lost in a round`; an estimate has its mean apart
(`.../mean`) and a difference its p-value (`.../p`), for contribution also after Holm's correction (`.../Holm`).
"""
import functools
import glob
import os
import statistics
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
import experiments  # noqa: E402

import errors  # noqa: E402
import ranking  # noqa: E402
import runlog  # noqa: E402
import table  # noqa: E402

RESULTS = os.path.join(ROOT, experiments.RESULTS)
CLASSIFIED = ["MNIST", "FashionMNIST", "CIFAR10", "CIFAR100"]
SMALL = experiments.SMALL
RECONSTRUCTED = ["FashionMNIST", "CIFAR10"]

parse_log = functools.lru_cache(maxsize=None)(runlog.parse_log)  # every table reads them


def logs_of(*names):
    """The logs of experiments, by the beginnings of their names; [] of what was not run."""
    paths = [path for name in names for path in glob.glob(os.path.join(RESULTS, name, "**", "*.txt"), recursive=True)]
    return [parse_log(path) for path in sorted(paths)]


def by_arm(logs):
    """{arm: {seed: log}}."""
    found = {}
    for log in logs:
        found.setdefault(log.header["pruning"], {})[log.header["seed"]] = log
    return found


def parts_removed(dataset):
    """The sweep with main's part in it, from the smallest part of the neurons removed: {arm: {seed: log}} of each."""
    parts = {}
    for log in logs_of(f"main/{dataset}", f"sweep/*/{dataset}"):
        if log.header["pruning"] in ranking.CRITERIA:
            parts.setdefault(table.percent_removed(log), []).append(log)
    return [by_arm(parts[part]) for part in sorted(parts)]


@functools.lru_cache(maxsize=None)
def rows_of(*names):
    """{what an arm is called in numbers.tex: its row} of the one experiment that these results make together."""
    found = table.experiments(logs_of(*names))
    if len(found) != 1:
        raise errors.UserError(f"{', '.join(names)}: {len(found)} experiments in these results; expected one")
    (arms,) = found.values()
    return {key_of(arm, runs): row for ((arm, _), runs), row in zip(arms.items(), table.rows(arms))}


def key_of(arm, runs):
    return ", ".join([arm, *table.ways_of(next(iter(runs.values())).header, arm)])


# ---- the numbers ----

# The name in report.tex, and the results that are compared in one table.
EXPERIMENTS = {
    **{f"main/{name}": [f"main*/{name}", f"compensated/{name}"] for name in CLASSIFIED},
    **{f"published/{name}": [f"published*/{name}"] for name in CLASSIFIED},
    **{f"ways/{name}": [f"main*/{name}", f"lambdas/*/{name}", f"images/*/{name}"] for name in SMALL},
    **{f"vae/{name}": [f"vae/{name}", f"vae-compensated/{name}"] for name in RECONSTRUCTED},
    **{f"sweep/{increment}/{name}": [f"sweep/{increment}/{name}"] for increment in experiments.INCREMENTS
       for name in SMALL},
    **{f"precision/{precision}": [f"precision/{precision}/CIFAR10"] for precision in ("float32", "bfloat16")},
    "float32/CIFAR10": ["float32/CIFAR10"],
}


def numbers():
    """{key: text} of every number that the report may quote: experiment/arm/column, and the parts of an estimate."""
    found = {}
    for name, results in EXPERIMENTS.items():
        if not logs_of(*results):
            continue
        for arm, row in rows_of(*results).items():
            for column, value in row.items():
                if value is None or column == "arm":
                    continue
                key = f"{name}/{arm}/{short(column)}"
                found[key] = cell(value)
                if isinstance(value, (table.Estimate, table.Difference)):
                    found[f"{key}/mean"] = table.two_places(value.mean)
                if isinstance(value, table.Difference) and value.p is not None:
                    found[f"{key}/p"] = probability(value.p)
    found.update({f"cost/{name}/{column}": text for name in ("MNIST", "CIFAR10", "FashionMNIST")
                  for column, text in costs(name).items()})
    found.update({f"precision/bfloat16 - float32/{arm}, {epochs} epochs": cell(bfloat16_minus_float32(*sides))
                  for arm, epochs, *sides in in_both_precisions()})
    return {**found, **versus(), **wins(), **spreads(), **starts()}


def short(column):
    """A column's name in a key: its words, with the controls by their arms' names."""
    for control in table.CONTROLS:
        column = column.replace(f"minus {runlog.ARM_WORDS[control]}", f"minus {control}")
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


def of_the_last_three(log):
    """The measure by which arms are compared, the mean over the last three epochs."""
    measure = table.measures_of(log)[0]
    return statistics.mean(entry.measures[measure] for entry in log.epochs[-3:])


# {what arms are compared by: (its value, whether a log has it)}; a sweep's log has one epoch alone.
COMPARED = {"end": (table.at_the_end, lambda log: True), "lost": (table.lost_in_a_round, lambda log: log.rounds),
            "last three": (of_the_last_three, lambda log: len(log.epochs) > 2)}


def versus():
    """Contribution, plain and compensated, minus every other arm, and every compensated arm minus itself without: by
    seed, and by all of COMPARED."""
    found = {}
    for name, runs in every_run():
        for own in runs:
            others = [key for key in runs if key != own and own in (
                "contribution", "contribution, compensated", f"{key}, compensated")]
            for what, (value, has) in COMPARED.items():
                differences = {f"{name}/{own} - {key}/{what}": table.difference(runs[own], runs[key], value)
                               for key in others if has(next(iter(runs[key].values())))}
                found.update({key: cell(difference) for key, difference in differences.items() if difference})
                tests = {key: difference.p for key, difference in differences.items()
                         if difference and difference.p is not None}
                found.update({f"{key}/p": probability(p) for key, p in tests.items()})
                family = {key: p for key, p in tests.items() if "compensated" not in key}
                found.update({f"{key}/Holm": probability(p) for key, p in holm(family).items()})
    return found


def every_run():
    """(name, {what an arm is called: {seed: log}}) of all the experiments that EXPERIMENTS' results hold."""
    for name, results in EXPERIMENTS.items():
        for arms in table.experiments(logs_of(*results)).values():
            yield name, {key_of(arm, runs): runs for (arm, _), runs in arms.items()}


def holm(tests):
    """{key: p after Holm's correction for all of them} of {key: p}."""
    corrected, least = {}, 0
    for number, (key, p) in enumerate(sorted(tests.items(), key=lambda test: test[1])):
        least = max(least, min(1, p * (len(tests) - number)))
        corrected[key] = least
    return corrected


def wins():
    """At how many parts of the neurons removed contribution ends above another criterion, or below, by more than the
    interval; at every part, what of random's loss in a round contribution has, in percent."""
    found = {}
    for dataset in SMALL:
        listed = parts_removed(dataset)
        found[f"sweep/{dataset}/parts"] = str(len(listed))
        lost = [[table.mean(list(map(table.lost_in_a_round, arms[arm].values()))) for arm in ("contribution", "random")]
                for arms in listed]
        found[f"sweep/{dataset}/shares of random's loss"] = ", ".join(f"{100 * own / other:.0f}" for own, other in lost)
        for control in ("random", "magnitude"):
            differences = [table.difference(runs["contribution"], runs[control], table.at_the_end) for runs in listed]
            found[f"sweep/{dataset}/above {control}"] = str(sum(some.mean > some.half for some in differences))
            found[f"sweep/{dataset}/below {control}"] = str(sum(some.mean < -some.half for some in differences))
    return found


def spreads():
    """How far the criteria lie apart before and after a round, at most; where single seeds of two arms end."""
    found = {}
    for name in (name for name in EXPERIMENTS if name.startswith(("main/", "published/")) and logs_of(name)):
        arms = by_arm(logs_of(EXPERIMENTS[name][0]))
        ends = {arm: list(map(table.at_the_end, seeds.values())) for arm, seeds in arms.items()}
        for arm in ends.keys() & {"contribution", "scratch"}:
            found[f"{name}/{arm}/median"] = f"{statistics.median(ends[arm]):.2f}"
            found[f"{name}/{arm}/lowest"] = f"{min(ends[arm]):.2f}"
        if "scratch" in arms:
            worst = min(arms["scratch"].values(), key=table.at_the_end)
            found[f"{name}/scratch/lowest, an epoch before"] = f"{worst.epochs[-2].measures['test accuracy']:.2f}"
            found[f"{name}/scratch/seeds above contribution"] = str(sum(
                table.at_the_end(arms["scratch"][seed]) > table.at_the_end(log)
                for seed, log in arms["contribution"].items()))
        for moment in ("before", "after"):
            rounds = zip(*(means_of_rounds(seeds.values(), moment) for arm, seeds in arms.items()
                           if arm in ranking.CRITERIA))
            found[f"{name}/widest spread {moment} a round"] = f"{max(max(means) - min(means) for means in rounds):.1f}"
    return found


def starts():
    """Of how many seeds an arm came to the first round with the test loss that contribution had there: the same
    network. Runs of another processor have other bits after the first epochs."""
    found = {}
    for name, runs in every_run():
        begun = {key: {seed: loss_at_first_round(log) for seed, log in some.items()} for key, some in runs.items()
                 if key != "scratch"}
        plain = begun.get("contribution", {})
        same = {key: sum(some.get(seed) == loss for seed, loss in plain.items())
                for key, some in begun.items() if plain}
        found.update({f"{name}/{key}/seeds with the same start": str(count) for key, count in same.items()})
    return found


def loss_at_first_round(log):
    """The test loss before the first round, or where that would be."""
    measures = log.rounds[0].before if log.rounds else log.epochs[log.header["initial_iterations"] - 1].measures
    return measures["test loss"]


def in_both_precisions():
    """Yield (arm, epochs, {seed: log} in float32, {seed: log} in bfloat16) of CIFAR-10."""
    for names in (("precision/float32/CIFAR10", "precision/bfloat16/CIFAR10"), ("float32/CIFAR10", "main/CIFAR10")):
        float32, bfloat16 = (by_arm(logs_of(name)) for name in names)
        for arm in (arm for arm in runlog.ARM_WORDS if arm in float32 and arm in bfloat16):
            yield arm, next(iter(float32[arm].values())).header["total_epochs"], float32[arm], bfloat16[arm]


def bfloat16_minus_float32(float32, bfloat16):
    return table.difference(bfloat16, float32, table.at_the_end)


def why_missing(name):
    """What stands in the place of contribution's results that there are not: how many of its runs diverged."""
    runs = by_arm(logs_of(f"diverged/{name}")).get("contribution", {})
    diverged = sum(not log.summary for log in runs.values())
    return f"{diverged} of {len(runs)} diverged" if diverged else "not run"


def costs(name):
    """Seconds of an epoch and of a round of the experiment cost/`name`, medians over epochs, but for a run's first one,
    and seeds, and what an epoch costs before the first round in that after the last one; {} of what was not run."""
    logs = logs_of(f"cost/{name}")
    if not logs:
        return {}
    rounds, last = logs[0].rounds, logs[0].header["total_epochs"]
    before, after = (statistics.median(entry.measures["time"] for log in logs for entry in log.epochs
                                       if start < entry.epoch <= end)
                     for start, end in ((1, rounds[0].epoch), (rounds[-1].epoch, last)))
    ratios = {key: rounds[0].before[key] / rounds[-1].after[key] for key in ("parameters", "multiply-adds")}
    of_a_round = statistics.median(entry.time for log in logs for entry in log.rounds)
    return {"before": f"{before:#.3g}", "after": f"{after:#.3g}", "time": f"{before / after:.2f}",
            **{key: f"{value:.2f}" for key, value in ratios.items()}, "a round": f"{of_a_round:#.2g}"}


def means_of_rounds(logs, moment):
    """The mean over an arm's logs of the test accuracy before or after every round."""
    return [statistics.mean(getattr(entry, moment)["test accuracy"] for entry in entries)
            for entries in zip(*(log.rounds for log in logs))]
