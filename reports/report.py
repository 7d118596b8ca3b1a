"""Make what report, README and docs show of the experiments, from reports/results alone; a part of `make report`.

    python reports/report.py            numbers, tables and figures into reports/generated, tables into the pages
    python reports/report.py FOLDER     numbers, tables and pages into another folder; no figures

Every number of report.tex is one of generated/numbers.tex; one that the results do not have stops LaTeX.
"""
import os
import re

import findings  # puts the suite's folder on the path
import matplotlib
from findings import CLASSIFIED, SMALL, runs_of
from matplotlib import pyplot
from tables import PAGES, TABLES, WORDS_OF, page_with_tables

# isort: split
from pruning import command_line, errors, files
from pruning.arms import ARMS
from pruning.plots import style, summaries
from pruning.plots.runs import Run
from pruning.plots.statistics import difference


def as_macros(found):
    r"""LaTeX that makes \val{key} give the text of each key that report.tex quotes, and an error for one not found."""
    with open(os.path.join(findings.ROOT, "reports", "report.tex"), encoding="utf-8") as file:
        quoted = re.findall(r"\\val{([^}]*)}", " ".join(file.read().split()))
    lines = ["% Made by reports/report.py from reports/results; not to be edited."]
    lines += [f"\\expandafter\\def\\csname val:{key}\\endcsname{{\\ensuremath{{{found[key]}}}}}"
              for key in sorted(found.keys() & set(quoted))]
    return "\n".join(lines) + "\n"


def draw_recovery(runs):
    """Test accuracy at the end minus contribution's, paired by seed, against the epochs after a round; a panel for each
    schedule of the learning rate."""
    looks, counts = summaries.looks_of(runs), []
    _, panels = pyplot.subplots(1, len(findings.SCHEDULES), sharey=True, layout="constrained", figsize=(9, 4))
    for kind, axes in zip(findings.SCHEDULES, panels):
        there = findings.recoveries(kind)
        for position, arm in enumerate(arm for arm in looks if arm != "contribution"):
            values = [difference(variants[arm], variants["contribution"], Run.at_the_end).pairs
                      for variants in there.values()]
            counts += map(len, values)
            summaries.draw_means(axes, range(len(there)), values, looks[arm], "", (position - 2) / 5)
        axes.axhline(0, color=ARMS["contribution"].colour, linewidth=1)
        axes.set_xticks(range(len(there)), map(str, there))
        axes.set(title=f"MNIST, {WORDS_OF[kind]}", xlabel=f"epochs after each of nine rounds{summaries.BESIDE}")
        axes.grid(color="0.92")
    panels[0].set_ylabel("test accuracy at the end (points),\nminus contribution-based pruning")
    style.draw_legend(panels[0].figure, panels[0].get_legend_handles_labels()[0], style.interval_marks(counts, True))


def draw(folder):
    """The figures of report and README, as PDF and PNG."""
    matplotlib.use("Agg")
    pyplot.rcParams.update({"font.size": 12})
    main = runs_of(*(f"main*/{dataset}" for dataset in CLASSIFIED))
    wanted = {
        "removed": (summaries.draw_removed, runs_of(*(f"{kind}/{dataset}" for dataset in SMALL if runs_of(
            f"sweep/*/{dataset}") for kind in ("main", "sweep/*")))),
        "rounds": (summaries.draw_rounds, [run for run in runs_of(*(f"main/{dataset}" for dataset in SMALL))
                                           if run.arm.name in ("contribution", "random", "reversed", "magnitude")]),
        "arms": (summaries.draw_variants, main),
        **{f"differences_{kind}": (summaries.draw_differences, runs_of(*(f"{kind}/{dataset}" for dataset in SMALL)))
           for kind in ("main", "published")},
        "recovery": (draw_recovery, runs_of("second/recovery")),
        "ways": (summaries.draw_variants, [run for run in runs_of(*(
            f"{kind}/{dataset}" for dataset in SMALL for kind in ("main", "lambdas/*", "images/*")))
            if run.arm.name == "contribution"]),
    }
    for name, (function, runs) in wanted.items():
        if runs:
            function(runs)
            style.save(os.path.join(folder, name), dpi=200, bbox_inches="tight")
            pyplot.close("all")


def main():
    parser = command_line.Parser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", help="where to write, without figures (now: reports/generated, with them)")
    arguments = parser.parse_args()
    if not runs_of("main"):
        raise errors.UserError(f"{findings.RESULTS}: no results of `main`; make experiments makes them")
    folder = arguments.folder or os.path.join(findings.ROOT, "reports", "generated")
    os.makedirs(folder, exist_ok=True)
    texts = {"numbers.tex": as_macros(findings.numbers()), **{page: page_with_tables(page) for page in PAGES},
             **{f"table_{name}.tex": make() for name, make in TABLES.items()}}
    if not arguments.folder:
        draw(folder)
    for name, text in texts.items():
        where = os.path.join(findings.ROOT if name in PAGES and not arguments.folder else folder, name)
        if text:
            os.makedirs(os.path.dirname(where), exist_ok=True)
            with files.whole_file(where) as file:
                file.write(text.encode())


if __name__ == "__main__":
    errors.run_command(main)
