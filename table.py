"""Arms compared over several seeds, from the logs of finished runs, as Markdown: `python plot.py --table`."""
import runlog
from config import UserError

# What a table shows of a finished run; the arms are compared by the first.
MEASURES = {"accuracy": ["test accuracy", "training accuracy"],
            "BCE": ["test loss", "training loss", "test BCE", "test KLD", "test PSNR", "active units"]}
# What may differ between the runs of one table; everything else that a header says must be the same.
FREE = {"seed", "pruning", "compare", "device", "dataset_folder", "log_folder", "started", "python", "torch", "numpy",
        "machine", "threads", "commit"}


def tables(logs):
    """Yield a table for every experiment: for the runs that differ in arm and seed alone.

    Values are at the end of training, the mean +- half the width of the 95 % t-interval over the seeds. A difference is
    paired by seed and has the p-value of the paired t-test. Raises UserError.
    """
    experiments = {}
    for log in logs:
        if "seed" not in log.header or not log.summary:
            raise UserError(f"{log.path}: no header or no summary, so no finished run of this suite; leave it out")
        settings = tuple((name, repr(value)) for name, value in log.header.items() if name not in FREE)
        runs = experiments.setdefault(settings, {}).setdefault(log.header["pruning"], {})
        twin = runs.setdefault(log.header["seed"], log)
        if twin is not log:
            raise UserError(f"{twin.path} and {log.path} are of one arm and one seed; leave one out")
    return map(table, experiments.values())


def table(arms):
    """The text of the table of {arm: {seed: RunLog}}."""
    arms = {arm: arms[arm] for arm in sorted(arms, key=[*runlog.ARM_WORDS, *arms].index)}
    header, batches = next((log.header, log.batches) for runs in arms.values() for log in runs.values())
    measures = next(names for kind, names in MEASURES.items() if kind in batches[0].measures)
    main, controls = measures[0], [arm for arm in ("none", "random") if arm in arms]
    rows = [["arm", "n", "neurons", "parameters", *measures, f"change of {main} in a round",
             *(f"{main} minus that {runlog.ARM_WORDS[control]}" for control in controls), "seconds"]]
    rows.append(["---"] * len(rows[0]))
    for arm, runs in arms.items():
        ends = {name: [log.summary[name] for log in runs.values()]
                for name in ("neurons", "parameters", *measures, "time")}
        rounds = [mean([entry.after[main] - entry.before[main] for entry in log.rounds])
                  for log in runs.values() if log.rounds]
        rows.append([runlog.ARM_WORDS.get(arm, arm), str(len(runs)),
                     *(f"{mean(ends[name]):.0f}" for name in ("neurons", "parameters")),
                     *(spread(ends[name]) for name in measures), spread(rounds),
                     *("" if arm in ("none", control) else difference(runs, arms[control], main)
                       for control in controls),
                     f"{mean(ends['time']):.0f}"])
    title = (f"{header['dataset']}, {header['total_epochs']} epochs; after epoch {header['initial_iterations']} and "
             f"every {header['increment']} epochs a round of {header['prune_percent']:g} %")
    return f"{title}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)


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
