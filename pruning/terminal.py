"""What a run says on the terminal: short lines. Its log has every value and every digit."""
import contextlib
import os
import shlex
import sys
import threading

from tqdm import tqdm

from pruning import menu, runlog, spread
from pruning.groups import widths_of
from pruning.measures import count_parameters
from pruning.plots.runs import Run
from pruning.plots.statistics import estimate, mean
from pruning.schedule import final_widths, rounds

COLUMNS = 100  # of a line at most
LINES = 20     # for the epochs of an arm in a file, which has no bar

# Of this process alone: a killed one would hold a shared lock for ever. Made now: tqdm.write, which else makes it,
# raises if Ctrl-C comes in the middle.
tqdm.set_lock(threading.RLock())


def short(name, value):
    """A value in four digits, with the unit that belongs to its name; counts in full."""
    return f"{value:,}" if isinstance(value, int) else runlog.format_value(name, float(f"{value:.4g}"))


def listed(numbers):
    """A range as text; the middle of a long one is left out."""
    return ", ".join(map(str, numbers if len(numbers) < 12 else [*numbers[:3], "...", numbers[-1]]))


def widths_text(*widths):
    return " => ".join(runlog.format_value("widths", some) for some in widths)


class Terminal:
    """How much a run says: quiet, only its last table and what goes wrong; verbose, the log's whole header as well.

    request: a command_line.Request. team: a team.Team. write: what prints a line; tqdm's leaves the bar whole.
    """

    def __init__(self, settings, request, team):
        self.settings, self.write, self.is_alone = settings, tqdm.write, team.size == 1 or spread.is_on()
        self.quiet, self.verbose = request.quiet or not spread.is_first(), request.verbose
        self.tensorboard = request.tensorboard and spread.is_first()

    def say(self, line):
        if not self.quiet:
            self.write(line)

    def bar(self, **options):
        """The progress bar of one arm or of the shared start. A run that is quiet, beside others or writes into a file
        has none."""
        hidden = self.quiet or not self.is_alone
        return tqdm(unit="batch", leave=False, disable=True if hidden else None, smoothing=0.05, **options,
                    bar_format="{desc}{postfix} |{bar}| {remaining} left in this part, {rate_fmt}")

    def start(self, command, dataset, arms, state, unpruned_widths):
        """What matters of a run that begins, one line per subject."""
        settings, model, widths = self.settings, state.model, widths_of(state.groups)
        if self.verbose:
            self.say(f"{runlog.format_header({**settings._asdict(), **command.provenance})}{model}")
        after = rounds(settings) if any(arm.criterion for arm in arms) else range(0)
        last_widths = final_widths(unpruned_widths, settings) if any(arm.name != "none" for arm in arms) else widths
        tested = "held-out" if settings.holdout else "test"
        last = settings.seed + settings.seeds - 1
        seeds = f"seeds {settings.seed} to {last}" if settings.seeds > 1 else f"seed {settings.seed}"
        subjects = {
            "data": f"{menu.DATASETS[settings.dataset]}, {len(dataset.train):,} training and {len(dataset.test):,} "
                    f"{tested} images",
            "network": f"{type(model).__name__}, {count_parameters(model):,} parameters, "
                       f"{'filters and ' * settings.prune_filters}hidden neurons "
                       + widths_text(*([widths] if last_widths == widths else [widths, last_widths])),
            "arms": f"{', '.join(arm.name for arm in arms)}; {seeds}",
            "epochs": f"{settings.total_epochs}, {f'rounds after epochs {listed(after)}' if after else 'no rounds'}",
            "device": f"{command.provenance['machine']} ({settings.device}), {settings.precision}, "
                      f"{command.provenance['threads']} thread{'s' * (command.provenance['threads'] > 1)} per run",
            "logs": os.path.join(settings.log_folder, settings.dataset)}
        for subject, words in subjects.items():
            self.say(f"{subject:8} {words}")

    def after_epoch(self, words, epoch, measures):
        """In a file, which has no bar, a line every few epochs, so that a job's log shows life."""
        if not sys.stdout.isatty() and epoch % max(1, self.settings.total_epochs // LINES) == 0:
            name = self.compared_by(measures)
            self.say(f"{words}: epoch {epoch} of {self.settings.total_epochs}, {name} {short(name, measures[name])}")

    def after_round(self, words, number, before, after):
        """The line of a round: all widths if they fit, else how many neurons there are."""
        name, sides = self.compared_by(after), (before, after)
        change = " => ".join(short(name, side[name]) for side in sides)
        sizes = [widths_text(*(side["widths"] for side in sides)),
                 "neurons " + " => ".join(str(sum(side["widths"])) for side in sides)]
        lines = [f"{words}: round {number} of {len(rounds(self.settings))}, {some}, {name} {change}" for some in sizes]
        self.say(lines[len(lines[0]) > COLUMNS])

    @staticmethod
    def compared_by(measures):
        """The measure by which arms are compared."""
        return "test accuracy" if "test accuracy" in measures else "test loss"

    def end(self, paths):
        """What came of every arm, from its logs, {arm: [path, ...]}; and the command that draws them."""
        rows = []
        for arm, logs in paths.items():
            runs = []
            for log in logs:
                with contextlib.suppress(runlog.LogError):  # of a run that has diverged at once
                    runs.append(Run(runlog.parse_log(log)))
            runs = [run for run in runs if run.summary]
            rows += [row_of(arm, runs, self.settings.seeds > 1)] if runs else []
        if rows:
            print("\n".join(aligned([list(rows[0]), *(list(row.values()) for row in rows)])))
            folder = os.path.join(self.settings.log_folder, self.settings.dataset)
            plot = os.path.join(os.path.dirname(sys.argv[0]), "plot.py")
            print(f"\nfor a figure: python {shlex.quote(plot)} {shlex.quote(folder)}", flush=True)


def row_of(arm, runs, several):
    """What the last table says of an arm, {column: text}: means over its seeds, with the 95 % t-interval."""
    first, ends = runs[0], estimate([run.at_the_end() for run in runs])
    unit = "%" if first.better > 0 else ""
    lost = [run.lost_in_a_round() for run in runs if run.rounds]
    return {"arm": arm.name, **({"seeds": str(len(runs))} if several else {}),
            "neurons left": f"{first.summary['neurons']:,}", "parameters": f"{first.summary['parameters']:,}",
            first.called(first.measure): f"{ends.mean:.2f}{unit}" + (f" ± {ends.half:.2f}" if len(runs) > 1 else ""),
            "lost in a round" if first.better > 0 else "added in a round":
                f"{mean(lost):.2f}{' points' if unit else ''}" if lost else "",
            "seconds": f"{mean([run.summary['time'] for run in runs]):.3g}"}


def aligned(rows):
    """Lines of a table of texts, the first column flush left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
            for row in rows]
