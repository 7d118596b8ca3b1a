"""Arms compared over several seeds, from the logs of finished runs, as Markdown: `python plot.py --table`."""
import runlog
from config import UserError

# What a table shows of a finished run, by a measure of its batch lines; the arms are compared by the first.
MEASURES = {"accuracy": ["test accuracy", "training accuracy"],
            "BCE": ["test loss", "training loss", "test BCE", "test KLD", "test PSNR", "active units"]}
# What may differ between the runs of one table; everything else that a header says must be the same.
FREE = {"seed", "pruning", "compare", "device", "dataset_folder", "log_folder", "started", "python", "torch", "numpy",
        "machine", "threads", "commit"}
HEADER = ["dataset", "total_epochs", "initial_iterations", "increment", "prune_percent", "pruning", "seed"]


def measures_of(log):
    return next(names for kind, names in MEASURES.items() if kind in log.batches[0].measures)


def lacks(log):
    """What a table needs and this log does not say; a finished run of this suite says all of it."""
    measures = measures_of(log)
    return ([name for name in HEADER if not isinstance(log.header.get(name), (int, float, str))]
            + [name for name in ["neurons", "parameters", *measures] if name not in log.summary]
            + [measures[0] for entry in log.rounds if measures[0] not in entry.before])


def tables(logs):
    """The text of a table for every experiment: for the runs of a program that differ in arm and seed alone.

    Values are at the end of training, the mean +- half the width of the 95 % t-interval over the seeds. A difference is
    paired by seed and has the p-value of the paired t-test. Seconds are those of epochs and rounds. Raises UserError.
    """
    experiments = {}
    for log in logs:
        settings = tuple((name, repr(value)) for name, value in log.header.items() if name not in FREE)
        arms = experiments.setdefault((measures_of(log)[0], settings), {})
        runs = arms.setdefault(log.header["pruning"], {})
        twin = runs.setdefault(log.header["seed"], log)
        if twin is not log:
            raise UserError(f"{twin.path} and {log.path} are of one arm and one seed; leave one out")
    for (_, settings), arms in experiments.items():
        others = [dict(other) for _, other in experiments if dict(other)["dataset"] == dict(settings)["dataset"]]
        differing = [f"{name} {value}" for name, value in settings
                     if name not in HEADER and any(other.get(name, value) != value for other in others)]
        yield table(arms, differing)


def table(arms, differing):
    """The text of the table of {arm: {seed: RunLog}}; differing: what the title says beside the schedule."""
    arms = {arm: arms[arm] for arm in sorted(arms, key=[*runlog.ARM_WORDS, *arms].index)}
    first = next(log for runs in arms.values() for log in runs.values())
    measures = measures_of(first)
    main, controls = measures[0], [arm for arm in ("none", "random") if arm in arms]
    rows = [["arm", "n", "neurons", "parameters", *measures, f"change of {main} in a round",
             *(f"{main} minus that {runlog.ARM_WORDS[control]}" for control in controls), "seconds"]]
    if first.header.get("holdout"):
        rows = [[name.replace("test ", "held-out ") for name in rows[0]]]
    rows.append(["---"] * len(rows[0]))
    for arm, runs in arms.items():
        ends = {name: [log.summary[name] for log in runs.values()] for name in ("neurons", "parameters", *measures)}
        changes = [mean([entry.after[main] - entry.before[main] for entry in log.rounds])
                   for log in runs.values() if log.rounds]
        seconds = [sum(entry.measures["time"] for entry in log.epochs) + sum(entry.time for entry in log.rounds)
                   for log in runs.values()]
        rows.append([runlog.ARM_WORDS.get(arm, str(arm)), str(len(runs)),
                     *(f"{mean(ends[name]):.0f}" for name in ("neurons", "parameters")),
                     *(spread(ends[name]) for name in measures), spread(changes),
                     *("" if arm in ("none", control) else difference(runs, arms[control], main)
                       for control in controls),
                     f"{mean(seconds):.0f}"])
    header, program = first.header, "driver.py" if "accuracy" in main else "vae.py"
    title = (f"{header['dataset']}, {program}, {header['total_epochs']} epochs; after epoch "
             f"{header['initial_iterations']} and every {header['increment']} epochs a round of "
             f"{header['prune_percent']} %")
    return "; ".join([title, *differing]) + "\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def mean(values):
    return sum(values) / len(values)


def spread(values):
    """The mean of a list, and from two values on half the width of its 95 % t-interval."""
    if len(values) < 2:
        return "".join(f"{value:.2f}" for value in values)
    half = statistics().t.ppf(0.975, len(values) - 1) * statistics().sem(values)
    return f"{mean(values):.2f} ± {half:.2f}"


def difference(runs, control, measure):
    """The mean of a measure's differences to the control arm's run of the same seed, its spread and p-value."""
    pairs = [(log.summary[measure], control[seed].summary[measure]) for seed, log in runs.items() if seed in control]
    differences = [value - other for value, other in pairs]
    text = spread(differences)
    if len(set(differences)) < 2:  # no spread to test against
        return text
    return f"{text} (p = {statistics().ttest_rel(*zip(*pairs)).pvalue:.2g})"


def statistics():
    try:
        from scipy import stats
    except ImportError:
        raise UserError("--table needs scipy for its intervals: pip install scipy")
    return stats
