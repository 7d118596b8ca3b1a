"""Tables of finished runs, `python plot.py --table`: one table per experiment, one row per variant, in three forms."""
import csv
import io
import textwrap

from pruning import arms, files
from pruning.errors import UserError
from pruning.plots.runs import TERMINAL, Run, cut, differing, experiments, runs_in
from pruning.plots.statistics import Difference, Estimate, difference, estimate, mean


def minus(*controls):
    """{control: the column of the differences to it}."""
    return {control: f"minus {arms.named(control).words}" for control in controls}


CONTROLS = minus("none", "random")


def rows(variants, controls=CONTROLS):
    """What a table says of every variant of an experiment, {column: text, number, Estimate, Difference or None}."""
    for variant, seeds in variants.items():
        runs = list(seeds.values())
        first = runs[0]
        rounds = [run for run in runs if run.rounds]
        regained = [epochs for run in rounds for epochs in run.epochs_to_regain()]
        back = [epochs for epochs in regained if epochs]
        known = rounds and all(len(run.epochs) == run.header["total_epochs"] for run in rounds)
        row = {"arm": first.words, "n": len(runs), "neurons removed (%)": mean([run.percent_removed() for run in runs]),
               "parameters": round(mean([run.summary["parameters"] for run in runs])),
               "multiply-adds": round(mean([run.summary["multiply-adds"] for run in runs]))
               if all("multiply-adds" in run.summary for run in runs) else None}
        row.update((measure, estimate([run.summary[measure] for run in runs])) for measure in first.measures)
        for number, (control, column) in enumerate(controls.items(), 1):  # no difference stands there twice
            has = control in variants and variant not in list(controls)[:number]
            row[column] = difference(seeds, variants[control], Run.at_the_end) if has else None
        row["lost in a round" if "accuracy" in first.measure else "added in a round"] = (
            estimate([run.lost_in_a_round() for run in rounds]) if rounds else None)
        row["epochs to regain it"] = mean(back) if back and known else None
        row["rounds that regain it (%)"] = 100 * len(back) / len(regained) if known else None
        row["seconds"] = mean([run.summary["time"] for run in runs])
        yield row


def title(settings, others):
    """What an experiment is, and what it has other values of than others on its data set."""
    own = dict(settings)
    alike = [other for other in others if dict(other)["dataset"] == own["dataset"]]
    said = ("dataset", "total_epochs", "initial_iterations", "increment", "prune_percent")
    further = [f"{name} {own.get(name, 'not recorded')}" for name in differing(alike) if name not in said]
    program = "vae.py" if "latent" in own else "driver.py"
    rounds = "no round"
    if int(own["initial_iterations"]) < int(own["total_epochs"]):
        rounds = (f"after epoch {own['initial_iterations']} and every {own['increment']} epochs a round of "
                  f"{own['prune_percent']} %")
    return "; ".join([f"{own['dataset'][1:-1]}, {program}, {own['total_epochs']} epochs", rounds, *further])


def tables(runs, control=None):
    """Every experiment's title, header and rows: [(title, [column, ...], [row, ...])], for the three forms below.
    control: in place of CONTROLS."""
    found, controls = experiments(runs), minus(control) if control else CONTROLS
    for settings, variants in found.items():
        run = runs_in(variants)[0]
        listed = [{run.called(name): value for name, value in row.items()} for row in rows(variants, controls)]
        columns = [name for name in listed[0] if any(row[name] is not None for row in listed)]
        yield title(settings, found), columns, listed


def write(runs, stem, forms, control=None):
    """Print the tables of finished runs, and write them in these forms."""
    found = list(tables(runs, control))
    print(for_terminal(found))
    for form in forms:
        with files.whole_file(f"{stem}.{form}") as file:
            file.write(FORMS[form](found).encode())
        print(f"wrote {stem}.{form}")


def for_terminal(tables):
    """Aligned columns, at most TERMINAL characters a line; further columns stand below, beside the arms again."""
    lines = []
    for heading, columns, listed in tables:
        texts = [columns, *([cell_text(row[name], row["n"]) for name in columns] for row in listed)]
        arms, *rest = ([cut(text, TERMINAL // 2) for text in column] for column in zip(*texts))
        arms = [text.ljust(max(map(len, arms))) for text in arms]
        blocks = [[arms]]
        for column in rest:
            column = [text.rjust(max(map(len, column))) for text in column]
            if sum(2 + len(first) for first, *_ in [*blocks[-1], column]) > 2 + TERMINAL:
                blocks.append([arms])
            blocks[-1].append(column)
        lines += [textwrap.fill(heading, TERMINAL), ""]
        lines += [line for block in blocks for line in [*map("  ".join, zip(*block)), ""]]
    return "\n".join(lines)


def markdown(tables):
    lines = []
    for heading, columns, listed in tables:
        cells = [[cell_text(row[name], row["n"]) for name in columns] for row in listed]
        lines += [heading, "", as_markdown(columns, cells), ""]
    return "\n".join(lines)


def as_markdown(heads, lines):
    """One table in Markdown; its cells are texts."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, ["---"] * len(heads), *lines])


def with_part(text, name, part):
    """A text in Markdown with another part between its two lines `<!-- name -->`. Raises UserError without them."""
    pieces = text.split(f"<!-- {name} -->\n")
    if len(pieces) != 3:
        raise UserError(f"this page has {len(pieces) - 1} lines `<!-- {name} -->`; expected two")
    return f"<!-- {name} -->\n".join([pieces[0], f"\n{part}\n\n", pieces[2]])


def latex(tables):
    """One tabular per table, for a document that has booktabs."""
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
    """All tables as one: numbers unrounded, the parts of an interval and of a test in columns of their own."""
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
    """95.92, 95.92 ± 0.31 or 0.31 ± 0.20 (p = 0.012, Wilcoxon 0.02); (n = 3, p = 0.012) if a difference is not of all
    these seeds."""
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


FORMS = {"md": markdown, "csv": comma_separated, "tex": latex}
