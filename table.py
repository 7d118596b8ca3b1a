"""Arms compared over several seeds, from the logs of finished runs: `python plot.py --table`.

An experiment is the runs of a program that differ in arm and seed alone. A row is an arm, or an arm whose rounds rank
or remove in another way: compensated, by other lambdas, by fewer images.
"""
import csv
import io
import itertools
import math
from collections import namedtuple

import runlog
from config import RESULTLESS
from errors import UserError

# What a table shows of a finished run, by a measure of its batch lines; the arms are compared by the first.
MEASURES = {"accuracy": ["test accuracy", "training accuracy"],
            "BCE": ["test loss", "training loss", "test BCE", "test KLD", "test PSNR", "active units"]}
# What may differ between the runs of one experiment; everything else that a header says must be the same.
FREE = RESULTLESS | {"seed", "seeds", "pruning", "compare", "initial_widths", "device", "started", "python", "torch",
                     "numpy", "machine", "instructions", "threads", "commit", "compensate", "lambda_average",
                     "lambda_max", "ranking_images"}
# What the header of a finished run says, and what an earlier version did not say yet.
HEADER = {"dataset": str, "total_epochs": int, "initial_iterations": int, "increment": int, "prune_percent": float,
          "pruning": str, "seed": int, "hidden_widths": list}
ADDED = {"compensate": bool, "lambda_average": float, "lambda_max": float, "ranking_images": int}
CONTROLS = ["none", "random"]

# The 97.5 % quantiles of Student's t with 1 to 30 degrees of freedom, for figures, which do without scipy.
T = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
     2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042]

Estimate = namedtuple("Estimate", "mean half")  # half the width of the 95 % t-interval, None of a single value


class Difference(namedtuple("Difference", "mean half n p pairs")):
    """The mean difference of n pairs, half its interval, the p-value of the paired t-test, and each pair's difference.

    p and wilcoxon are None where there is nothing to test.
    """

    @property
    def wilcoxon(self):
        """The p-value of Wilcoxon's signed-rank test, from 6 pairs on. Computed when it is asked for: among equal
        differences scipy tries all 2 ** n signs, which took most of the report's time."""
        return scipy_stats().wilcoxon(self.pairs).pvalue if self.p is not None and self.n > 5 else None


def mean(values):
    return math.fsum(values) / len(values)  # the same in every Python: sum() is more exact from 3.12 on


# ---- what a log says of its run ----

def called(measure, log):
    """What a measure on the test set is called where held-out training images stood in its place."""
    return measure.replace("test ", "held-out ") if log.header.get("holdout") else measure


def measures_of(log):
    return next(names for kind, names in MEASURES.items() if kind in log.batches[0].measures)


def lacks(log):
    """What a table needs and this log does not say; a finished run of this suite says all of it."""
    measures = measures_of(log)
    return ([name for name, kind in HEADER.items() if not isinstance(log.header.get(name), kind)]
            + [name for name, kind in ADDED.items() if not isinstance(log.header.get(name, kind()), kind)]
            + ["summary; a run that was interrupted goes on with --resume"] * (not log.summary)
            + [name for name in ["neurons", "parameters", *measures, "time"] if not is_number(log.summary.get(name))]
            + ["multiply-adds"] * (not is_number(log.summary.get("multiply-adds", 0)))
            + [name for entry in log.rounds for side in (entry.before, entry.after) for name in (measures[0], "neurons")
               if not is_number(side.get(name))]
            + ["time" for entry in log.epochs if not is_number(entry.measures.get("time"))])


def is_number(value):
    """Whether it is one that can be squared and summed."""
    return isinstance(value, (int, float)) and abs(value) < 1e150


def settings_of(log):
    """What the runs of one experiment have in common, whatever the order of the tables in constants.py."""
    return tuple(sorted((name, repr(value)) for name, value in log.header.items() if name not in FREE))


def differing(settings):
    """The names of what dicts of settings do not have in common."""
    return [name for name in dict.fromkeys(itertools.chain(*settings)) if len({one.get(name) for one in settings}) > 1]


def words_of(log, arm):
    """What an arm is called, with the ways in which its rounds differ from the usual ones."""
    return ", ".join([runlog.words(arm), *ways_of(log.header, arm)])


def ways_of(header, arm):
    lambdas, images = (header.get("lambda_average", 1), header.get("lambda_max", 0)), header.get("ranking_images", 0)
    compensated = arm not in ("none", "scratch") and header.get("compensate", False)
    if arm in ("contribution", "reversed") and lambdas != (1, 0):
        yield "C_avg : C_max = " + " : ".join(f"{value:g}" if is_number(value) else str(value) for value in lambdas)
    if images and (compensated or arm not in ("none", "scratch", "random", "magnitude")):  # the others look at images
        yield f"by {images} images"
    if compensated:
        yield "compensated"


def at_the_end(log):
    """The measure by which arms are compared."""
    return log.summary[measures_of(log)[0]]


def lost_in_a_round(log):
    """What a round worsens that measure by, the mean over the rounds."""
    return mean([lost(entry, measures_of(log)[0]) for entry in log.rounds])


def percent_removed(log):
    """Of the hidden neurons that the first layer's widths promised, those that are not there at the end."""
    return 100 * (1 - log.summary["neurons"] / sum(log.header["hidden_widths"]))


def lost(entry, measure):
    """What a round worsens a measure by: accuracy that is lost, loss that is added."""
    change = entry.after[measure] - entry.before[measure]
    return -change if "accuracy" in measure else change


def epochs_to_regain(log, measure):
    """Of every round the epochs until the measure is as good as before it; None where it is not before the next one."""
    sign = 1 if "accuracy" in measure else -1
    ends = [entry.epoch for entry in log.rounds[1:]] + [log.header["total_epochs"]]
    for entry, end in zip(log.rounds, ends):
        yield next((epoch.epoch - entry.epoch for epoch in log.epochs if entry.epoch < epoch.epoch <= end
                    and sign * epoch.measures.get(measure, float("nan")) >= sign * entry.before[measure]), None)


# ---- over seeds ----

def estimate(values):
    """The mean of a list, and from two values on half the width of its 95 % t-interval."""
    half = scipy_stats().t.ppf(0.975, len(values) - 1) * scipy_stats().sem(values) if len(values) > 1 else None
    return Estimate(mean(values), half)


def half_width(values):
    """Half the width of the 95 % t-interval of a list's mean, None of a single value, without scipy."""
    freedom, middle = len(values) - 1, mean(values)
    if not freedom:
        return None
    t = T[freedom - 1] if freedom <= len(T) else 1.96 + 2.46 / freedom  # to three digits
    return t * (sum((value - middle) * (value - middle) for value in values) / freedom / len(values)) ** 0.5


def paired(runs, control, value):
    """The differences of value(log) to the control arm's run of the same seed, where there is one."""
    # Rounded: equal differences of logged numbers may differ in their last bits, and Wilcoxon's test looks for equals.
    return [round(value(log) - value(control[seed]), 9) for seed, log in runs.items() if seed in control]


def difference(runs, control, value):
    """What `paired` gives and the tests of it; None without a pair."""
    differences = paired(runs, control, value)
    if not differences:
        return None
    # Without a spread there is nothing to test against.
    p = scipy_stats().ttest_1samp(differences, 0).pvalue if len(set(differences)) > 1 else None
    return Difference(*estimate(differences), len(differences), p, differences)


def scipy_stats():
    try:
        from scipy import stats
    except ImportError:
        raise UserError("--table needs scipy for its intervals: pip install scipy")
    return stats


# ---- the rows ----

def experiments(logs):
    """{settings: {(arm, what it is called): {seed: RunLog}}}, arms in their order. Raises UserError where two logs are
    of one arm and one seed."""
    found = {}
    for log in logs:
        experiment, key, seed = identity(log)
        twin = found.setdefault(experiment, {}).setdefault(key, {}).setdefault(seed, log)
        if twin is not log:
            raise UserError(f"{twin.path} and {log.path} are of one arm and one seed; leave one out")
    return {settings: {key: arms[key] for key in sorted(arms, key=place)} for settings, arms in found.items()}


def identity(log):
    """What tells a finished run from others: its experiment, its arm and what that is called, its seed."""
    arm = log.header["pruning"]
    return (measures_of(log)[0], settings_of(log)), (arm, words_of(log, arm)), log.header["seed"]


def place(key):
    """What sorts pairs of an arm and what it is called: first the order of runlog.ARM_WORDS."""
    return [*runlog.ARM_WORDS, key[0]].index(key[0]), key[1]


def rows(arms):
    """Of every arm of an experiment what a table says, {column: text, number, Estimate, Difference or None}."""
    controls = {control: runs for control in CONTROLS for (arm, words), runs in arms.items()
                if words == runlog.ARM_WORDS[control]}
    for (arm, words), runs in arms.items():
        logs = list(runs.values())
        measures = measures_of(logs[0])
        main = measures[0]
        rounds = [log for log in logs if log.rounds]
        regained = [epochs for log in rounds for epochs in epochs_to_regain(log, main)]
        known = rounds and all(len(log.epochs) == log.header["total_epochs"] for log in rounds)
        row = {"arm": words, "n": len(logs), "neurons removed (%)": mean(list(map(percent_removed, logs))),
               "parameters": round(mean([log.summary["parameters"] for log in logs])),
               "multiply-adds": round(mean([log.summary["multiply-adds"] for log in logs]))
               if all("multiply-adds" in log.summary for log in logs) else None}
        row.update((name, estimate([log.summary[name] for log in logs])) for name in measures)
        for control in CONTROLS:
            has = control in controls and runs is not controls[control] and arm != "none"
            row[f"minus {runlog.ARM_WORDS[control]}"] = difference(runs, controls[control], at_the_end) if has else None
        row["lost in a round" if "accuracy" in main else "added in a round"] = estimate(
            list(map(lost_in_a_round, rounds))) if rounds else None
        back = [epochs for epochs in regained if epochs]
        row["epochs to regain it"] = mean(back) if back and known else None
        row["rounds that regain it (%)"] = 100 * len(back) / len(regained) if known else None
        row["seconds"] = mean([log.summary["time"] for log in logs])
        yield row


def title(settings, others):
    """What an experiment is, with what it differs in from others on its data set."""
    own = dict(settings)
    alike = [other for other in map(dict, others) if other["dataset"] == own["dataset"]]
    said = ("dataset", "total_epochs", "initial_iterations", "increment", "prune_percent")
    further = [f"{name} {own.get(name, 'not recorded')}" for name in differing(alike) if name not in said]
    program = "vae.py" if "latent" in own else "driver.py"
    rounds = "no round"
    if int(own["initial_iterations"]) < int(own["total_epochs"]):
        rounds = (f"after epoch {own['initial_iterations']} and every {own['increment']} epochs a round of "
                  f"{own['prune_percent']} %")
    return "; ".join([f"{own['dataset'][1:-1]}, {program}, {own['total_epochs']} epochs", rounds, *further])


# ---- as text ----

def tables(logs):
    """Every experiment's title, header and rows: [(title, [column, ...], [row, ...])], for the three forms below."""
    found = experiments(logs)
    for (_, settings), arms in found.items():
        log = next(iter(next(iter(arms.values())).values()))
        listed = [{called(name, log): value for name, value in row.items()} for row in rows(arms)]
        columns = [name for name in listed[0] if any(row[name] is not None for row in listed)]
        yield title(settings, [other for _, other in found]), columns, listed


def markdown(tables):
    lines = []
    for heading, columns, listed in tables:
        cells = [[cell_text(row[name], row["n"]) for name in columns] for row in listed]
        lines += [heading, "", as_markdown(columns, cells), ""]
    return "\n".join(lines)


def as_markdown(heads, lines):
    """One table in Markdown, of texts."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, ["---"] * len(heads), *lines])


def with_part(text, name, part):
    """A text in Markdown with another part between its two lines `<!-- name -->`. Raises UserError without them."""
    pieces = text.split(f"<!-- {name} -->\n")
    if len(pieces) != 3:
        raise UserError(f"README.md has {len(pieces) - 1} lines `<!-- {name} -->`; expected two")
    return f"<!-- {name} -->\n".join([pieces[0], f"\n{part}\n\n", pieces[2]])


def latex(tables):
    """A tabular of every table, for a document that has booktabs."""
    lines = []
    for heading, columns, listed in tables:
        lines += [f"% {heading}", f"\\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}", "\\toprule",
                  " & ".join(map(escape, columns)) + r" \\", "\\midrule"]
        lines += [" & ".join(escape(cell_text(row[name], row["n"])) for name in columns) + r" \\" for row in listed]
        lines += ["\\bottomrule", "\\end{tabular}", ""]
    return "\n".join(lines)


def escape(text):
    for plain, special in (("%", r"\%"), ("_", r"\_"), ("±", r"$\pm$"), ("−", "$-$")):
        text = text.replace(plain, special)
    return text


def comma_separated(tables):
    """One table of all: numbers unrounded, the parts of an interval and of a test in columns of their own."""
    flat = [{"experiment": heading, **dict(part for name in columns for part in parts(name, row[name]))}
            for heading, columns, listed in tables for row in listed]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in flat for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def parts(name, value):
    if not isinstance(value, (Estimate, Difference)):
        return [(name, value)]
    further = ["half", "n", "p", "wilcoxon"] if isinstance(value, Difference) else ["half"]
    return [(name, value.mean), *((f"{name}, {part}", getattr(value, part)) for part in further)]


def cell_text(value, seeds=None):
    """95.92, 95.92 ± 0.31 or 0.31 ± 0.20 (p = 0.012, Wilcoxon 0.02); (n = 3, p = 0.012) where a difference is of other
    than so many seeds."""
    if value is None or isinstance(value, (int, str)):
        return "" if value is None else str(value)
    if isinstance(value, float):
        return f"{value:.1f}"
    text = two_places(value.mean) + (f" ± {value.half:.2f}" if value.half is not None else "")
    found = []
    if isinstance(value, Difference):
        found = [("n = ", value.n if seeds not in (None, value.n) else None), ("p = ", value.p),
                 ("Wilcoxon ", value.wilcoxon)]
    notes = [f"{name}{number:.2g}" for name, number in found if number is not None]
    return f"{text} ({', '.join(notes)})" if notes else text


def two_places(number):
    """Never -0.00."""
    return f"{round(number, 2) + 0.0:.2f}"
