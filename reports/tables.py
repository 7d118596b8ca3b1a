"""The tables of the report in LaTeX, and those of README and docs in Markdown, from reports/results."""
import os

import findings  # puts the suite's folder on the path
from findings import CLASSIFIED, RECONSTRUCTED, SMALL, cell, rows_of, runs_of, short, variants_of

# isort: split
import ranking
from pruning.arms import ARMS
from pruning.menu import DATASETS
from pruning.plots import table
from pruning.plots.runs import Run
from pruning.plots.statistics import Difference, Estimate, difference, estimate

WORDS_OF = {"constant": "constant learning rate", "restarts": "cosine in every stretch"}
SHORT_WORDS = {**{arm.name: arm.words for arm in ARMS.values()}, "contribution": "contribution", "random": "random",
               "scratch": "from scratch"}


# ---- LaTeX ----

# What a table says of every arm: {column: its head}.
ARMS_COLUMNS = {"test accuracy": "at the end", "minus random": "$-$ random", "lost in a round": "lost in a round"}


def arms_table(kind):
    """Every arm of the first volume, with ARMS_COLUMNS for every data set."""
    listed = {dataset: rows_of(f"{kind}*/{dataset}") for dataset in CLASSIFIED if runs_of(f"{kind}/{dataset}")}
    stars = {dataset: significant(rows) for dataset, rows in listed.items()}
    lines = []
    for arm in (arm for arm in ARMS if any(arm in rows for rows in listed.values())):
        cells = [SHORT_WORDS[arm]]
        for dataset, rows in listed.items():
            row = {short(column): value for column, value in rows.get(arm, {}).items()}
            cells += [tex(row.get(column), arm in stars[dataset] and column == "minus random")
                      for column in ARMS_COLUMNS]
        lines.append(cells)
    heads = [(f"{DATASETS[dataset]}, {removed(rows)}, $n={rows['none']['n']}$", len(ARMS_COLUMNS))
             for dataset, rows in listed.items()]
    return tabular(heads, list(ARMS_COLUMNS.values()) * len(listed), lines)


def removed(rows):
    return f"{rows['random']['neurons removed (%)']:.1f}\\,\\%"


def significant(rows, column=table.CONTROLS["random"]):
    """The arms whose difference in a column has p < 0.05 after Holm's correction for all of them."""
    differences = {arm: row[column] for arm, row in rows.items()}
    tests = {arm: versus.p for arm, versus in differences.items() if versus and versus.p is not None}
    return {arm for arm, p in findings.holm(tests).items() if p < 0.05}


def tex(value, star=False):
    return "" if value is None else f"${cell(value)}$" + r"$^{*}$" * star


def tabular(heads, columns, lines):
    """A booktabs tabular: `heads` span columns, (text, how many); the first column has the rows' names. Empty of no
    lines."""
    if not lines:
        return ""
    top = " & ".join(["", *(f"\\multicolumn{{{count}}}{{c}}{{{text}}}" for text, count in heads)]) + r" \\"
    places, rules = 2, ""
    for _, count in heads:
        rules += f"\\cmidrule(lr){{{places}-{places + count - 1}}}"
        places += count
    body = [" & ".join(cells) + r" \\" for cells in lines]
    return "\n".join([f"\\begin{{tabular}}{{@{{}}l{'r' * len(columns)}@{{}}}}", "\\toprule",
                      *([top, rules] if heads else []), " & ".join(["", *columns]) + r" \\", "\\midrule", *body,
                      "\\bottomrule", "\\end{tabular}"]) + "\n"


def second_table(kind, show):
    """A regime of the second volume, as heads and lines: for every data set test accuracy at the end, the difference to
    contribution and what a round loses.

    show: (value, whether it is significant after Holm's correction) -> its text.
    """
    (column,) = table.minus("contribution").values()
    listed = findings.second_volume(kind, "contribution")
    stars = {dataset: significant(rows, column) for dataset, rows in listed.items()}
    lines = [(arm, [show(rows.get(arm, {}).get(name), name == column and arm in stars[dataset])
                    for dataset, rows in listed.items() for name in ("test accuracy", column, "lost in a round")])
             for arm in ARMS if any(arm in rows for rows in listed.values())]
    return listed, lines


def second_arms_table(kind):
    listed, lines = second_table(kind, tex)
    heads = [(f"{DATASETS[dataset]}, {removed(rows)}, $n={rows['random']['n']}$", 3)
             for dataset, rows in listed.items()]
    return tabular(heads, ["at the end", "$-$ contribution", "lost in a round"] * len(listed),
                   [[SHORT_WORDS[arm], *cells] for arm, cells in lines])


def kfac_table():
    """Every arm minus K-FAC at the end, in all regimes of the second volume."""
    (column,) = table.minus("kfac").values()
    by_kind = {kind: findings.second_volume(kind, "kfac") for kind in findings.SECOND}
    listed = {(dataset, kind): by_kind[kind][dataset] for dataset in CLASSIFIED for kind in by_kind
              if dataset in by_kind[kind]}
    stars = {key: significant(rows, column) for key, rows in listed.items()}
    lines = [[SHORT_WORDS[arm], *(tex(rows.get(arm, {}).get(column), arm in stars[key])
                                  for key, rows in listed.items())]
             for arm in ARMS if arm != "kfac" and any(arm in rows for rows in listed.values())]
    datasets = [dataset for dataset, _ in listed]
    return tabular([(DATASETS[dataset], datasets.count(dataset)) for dataset in dict.fromkeys(datasets)],
                   [f"{kind}, $n={rows['kfac']['n']}$" for (_, kind), rows in listed.items()], lines)


def recovery_lines(show):
    """The schedule and the epochs after a round of each column, and {arm: its texts} of test accuracy at the end.

    show: estimate -> its text.
    """
    columns = {(kind, recovery): variants for kind in findings.SCHEDULES
               for recovery, variants in findings.recoveries(kind).items()}
    arms = next(iter(columns.values()), {})
    return list(columns), {arm: [show(at_the_end(variants[arm])) for variants in columns.values()] for arm in arms}


def recovery_table():
    columns, lines = recovery_lines(tex)
    heads = [(f"MNIST, {words}", sum(kind == own for kind, _ in columns)) for own, words in WORDS_OF.items()]
    return tabular([head for head in heads if head[1]], [str(recovery) for _, recovery in columns],
                   [[SHORT_WORDS[arm], *cells] for arm, cells in lines.items()])


def published_table():
    """The published table again: training accuracy as published, beside training and test accuracy of ours."""
    published = {"MNIST": (68, 92.17), "CIFAR10": (41, 91.40), "CIFAR100": (41, 76.25)}  # percent removed, accuracy
    lines = []
    for dataset, (percent, accuracy) in published.items():
        cells = [DATASETS[dataset], f"{accuracy:.2f} @ {percent}\\,\\%"]
        for kind, first in (("published", "published"), ("constant", "main")):
            there = list(filter(runs_of, (f"second/{kind}/*/{dataset}", f"{first}*/{dataset}")))
            if there:
                row = rows_of(there[0])["contribution"]
                cells += [f"{row['neurons removed (%)']:.1f}\\,\\%", tex(row["training accuracy"]),
                          tex(row["test accuracy"])]
            else:
                cells.append(f"\\multicolumn{{3}}{{c}}{{{findings.why_missing(f'{first}/{dataset}')}}}")
        lines.append(cells)
    return tabular([("published", 1), ("published hyperparameters", 3), ("our hyperparameters", 3)],
                   ["training", *["removed", "training", "test"] * 2], lines)


def compensation_table():
    lines = []
    for dataset in CLASSIFIED:
        if not runs_of(f"compensated/{dataset}"):
            continue
        rows = rows_of(f"main*/{dataset}", f"compensated/{dataset}")
        for arm in ARMS:
            with_it, without = rows.get(f"{arm}, compensated"), rows.get(arm)
            if with_it:
                lines.append([f"{DATASETS[dataset]}, {SHORT_WORDS[arm]}",
                              *(tex(row and row[column]) for column in ("lost in a round", "test accuracy")
                                for row in (without, with_it))])
    return tabular([("lost in a round", 2), ("test accuracy at the end", 2)], ["plain", "compensated"] * 2, lines)


def ways_table():
    """Other lambdas and fewer images against the usual contribution, a group of columns a data set."""
    listed = {dataset: rows_of(f"main*/{dataset}", f"lambdas/*/{dataset}", f"images/*/{dataset}") for dataset in SMALL
              if runs_of(f"main/{dataset}")}
    keys = [key for key in dict.fromkeys(key for rows in listed.values() for key in rows)
            if key.startswith("contribution")]
    lines = [[key.replace("contribution, ", "").replace("contribution", "$C_{\\mathrm{avg}}$, 60{,}000 images")
              .replace("C_avg : C_max", r"$C_{\mathrm{avg}} : C_{\mathrm{max}}$"),
              *(tex(rows.get(key, {}).get(column)) for rows in listed.values() for column in (
                  "lost in a round", "test accuracy"))]
             for key in keys]
    return tabular([(DATASETS[dataset], 2) for dataset in listed],
                   ["lost in a round", "at the end"] * len(listed), lines)


def vae_table():
    lines = []
    for dataset in RECONSTRUCTED:
        if not runs_of(f"vae/{dataset}"):
            continue
        for key, row in rows_of(f"vae/{dataset}", f"vae-compensated/{dataset}").items():
            arm, _, way = key.partition(", ")
            row = {short(column): value for column, value in row.items()}
            lines.append([f"{DATASETS[dataset]}, {SHORT_WORDS[arm]}{', ' * bool(way)}{way}",
                          *(tex(row[column]) for column in ("test loss", "minus none", "minus random",
                                                            "added in a round", "test PSNR"))])
    return tabular([], ["test loss", "$-$ none", "$-$ random", "added in a round", "PSNR (dB)"], lines)


def at_the_end(seeds):
    return estimate([run.at_the_end() for run in seeds.values()])


def sweep_table(dataset):
    """Test accuracy at the end, a criterion a row and a part of the neurons removed a column; empty without a sweep."""
    listed = findings.parts_removed(dataset)
    heads = [f"{findings.percent_removed(variants):.1f}\\,\\%" for variants in listed]
    lines = [[SHORT_WORDS[arm], *(tex(at_the_end(variants[arm]) if arm in variants else None) for variants in listed)]
             for arm in ranking.CRITERIA if any(arm in variants for variants in listed)]
    return tabular([], heads, lines if len(listed) > 1 else [])


def last_three_table():
    """Contribution minus three controls: after the last epoch, and as the mean over the last three."""
    controls, lines = ("random", "magnitude", "scratch"), []
    for kind, words in (("main", "ours"), ("published", "published")):
        for dataset in (dataset for dataset in CLASSIFIED if runs_of(f"{kind}/{dataset}")):
            variants = variants_of(f"{kind}*/{dataset}")
            lines.append([f"{DATASETS[dataset]}, {words}", *(
                tex(difference(variants["contribution"], variants.get(control, {}), value)) for control in controls
                for value in (Run.at_the_end, findings.of_the_last_three))])
    return tabular([(f"contribution $-$ {SHORT_WORDS[control]}", 2) for control in controls],
                   ["last epoch", "last three"] * len(controls), lines)


def precision_table():
    """Test accuracy at the end in both precisions, and the difference, paired by seed."""
    lines = [[f"{SHORT_WORDS[arm]}, {epochs} epochs", str(len(sides[0])),
              *(tex(at_the_end(seeds)) for seeds in sides),
              tex(findings.bfloat16_minus_float32(*sides))] for arm, epochs, *sides in findings.in_both_precisions()]
    return tabular([], ["$n$", "float32", "bfloat16", "bfloat16 $-$ float32"], lines)


def cost_table():
    """Seconds an epoch before the first round and after the last one, beside parameters and multiply-adds."""
    names = {"MNIST": "MNIST", "CIFAR10": "CIFAR-10", "FashionMNIST": "VAE, Fashion-MNIST"}
    found = {words: findings.costs(name) for name, words in names.items()}
    return tabular([("seconds per epoch", 2), ("before / after", 3)],
                   ["before", "after", "time", "parameters", "multiply-adds", "seconds per round"],
                   [[words, *cost.values()] for words, cost in found.items() if cost])


TABLES = {**{f"second_{kind}": (lambda kind=kind: second_arms_table(kind)) for kind in findings.SECOND},
          "kfac": kfac_table, "recovery": recovery_table, "main": lambda: arms_table("main"),
          "published_arms": lambda: arms_table("published"), "published": published_table,
          "compensation": compensation_table, "ways": ways_table, "last_three": last_three_table, "vae": vae_table,
          "cost": cost_table, "precision": precision_table,
          **{f"sweep_{dataset}": (lambda dataset=dataset: sweep_table(dataset)) for dataset in SMALL}}


# ---- Markdown ----

def accuracy_page_table(kind):
    """Test accuracy at the end, and what a round loses of it, in Markdown."""
    listed = {dataset: rows_of(f"{kind}*/{dataset}") for dataset in CLASSIFIED if runs_of(f"{kind}*/{dataset}")}
    lines = [[arm.words, *(table.cell_text(rows.get(arm.name, {}).get(column)) for rows in listed.values()
                           for column in ("test accuracy", "lost in a round"))] for arm in ARMS.values()
             if any(arm.name in rows for rows in listed.values())]
    heads = ["test accuracy (%)", *(text for dataset, rows in listed.items() for text in (
        f"{DATASETS[dataset]}, {rows['random']['neurons removed (%)']:.1f} % removed, "
        f"n = {rows['none']['n']}", "lost in a round"))]
    return table.as_markdown(heads, lines)


def with_test(value, star):
    """A number in Markdown, with the t-test of a difference: Wilcoxon's p-values depend on scipy's version."""
    if not isinstance(value, Difference):
        return table.cell_text(value)
    return f"{table.cell_text(Estimate(value.mean, value.half))} ({findings.probability(value.p)})" + " *" * star


def second_page_table(kind):
    """second_table in Markdown."""
    listed, lines = second_table(kind, with_test)
    heads = [text for dataset, rows in listed.items() for text in (
        f"{DATASETS[dataset]}, {rows['random']['neurons removed (%)']:.1f} % removed, n = {rows['random']['n']}",
        "minus contribution", "lost in a round")]
    return table.as_markdown(["test accuracy (%)", *heads], [[ARMS[arm].words, *cells] for arm, cells in lines])


def recovery_page_table():
    """recovery_lines in Markdown."""
    columns, lines = recovery_lines(table.cell_text)
    return table.as_markdown(["test accuracy (%)", *(f"{WORDS_OF[kind]}, {recovery}" for kind, recovery in columns)],
                             [[ARMS[arm].words, *cells] for arm, cells in lines.items()])


def vae_page_table():
    """The loss of the VAEs at the end, what a round adds to it, and the differences to the controls, in Markdown."""
    columns = ["n", "neurons removed", "test loss", "added in a round", "minus none", "minus random"]
    lines = []
    for dataset in RECONSTRUCTED:
        for key, row in (rows_of(f"vae/{dataset}") if runs_of(f"vae/{dataset}") else {}).items():
            row = {short(column): value for column, value in row.items()}
            lines.append([f"{DATASETS[dataset]}, {ARMS[key].words}",
                          *(table.cell_text(row.get(column)) for column in columns)])
    return table.as_markdown(["after 30 epochs", "n", "neurons removed (%)", *columns[2:4], "minus without pruning",
                              "minus randomised"], lines)


# {page: {the marker of a table in it: what makes the table}}
PAGES = {"README.md": {"results": lambda: accuracy_page_table("second/restarts/")},
         "docs/results.md": {"main results": lambda: accuracy_page_table("main"),
                             "filter results": lambda: accuracy_page_table("filters"),
                             **{f"second {kind} results": (lambda kind=kind: second_page_table(kind))
                                for kind in findings.SECOND if runs_of(f"second/{kind}")},
                             "recovery results": recovery_page_table},
         "docs/vae-and-celeba.md": {"vae results": vae_page_table}}


def page_with_tables(page):
    with open(os.path.join(findings.ROOT, page), encoding="utf-8") as file:
        text = file.read()
    for marker, make in PAGES[page].items():
        text = table.with_part(text, marker, make())
    return text
