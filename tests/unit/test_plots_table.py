"""The tables over seeds: their numbers by hand, and their three forms."""
import csv
import io

import pytest
from plot_logs import run

from pruning.errors import UserError
from pruning.plots import table
from pruning.plots.statistics import Estimate

ENDS = {"none": (95.0, 96.0, 97.0), "contribution": (90.0, 92.0, 94.0), "random": (89.0, 91.5, 92.0)}
TITLE = "MNIST, driver.py, 3 epochs; after epoch 1 and every 2 epochs a round of 10.0 %"
WITHOUT, RANDOM = "minus without pruning", "minus randomised pruning"


def runs(ends, **header):
    """{arm: ends of the seeds 1, 2 ...}: runs of three epochs with a round that loses `seed` points after the first."""
    return [run(arm, seed, end=end, tests=[80.0, 79.0 if seed == 3 else 80.0, 80.0], increment=2,
                rounds=[(1, 80.0, 80.0 - seed)], time=10.0 if arm == "none" else 12.0 + seed, **header)
            for arm, values in ends.items() for seed, end in enumerate(values, 1)]


def shown(runs):
    """{title: rows as {column: cell}} of the tables in Markdown."""
    lines = table.markdown(table.tables(runs)).split("\n")
    starts = [number for number, line in enumerate(lines) if "; " in line]
    return {lines[start]: read(lines[start + 2:lines.index("", start + 2)]) for start in starts}


def read(lines):
    head, _, *rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    assert all(len(row) == len(head) for row in rows)
    return [dict(zip(head, row)) for row in rows]


def test_means_intervals_and_paired_differences_are_those_by_hand():
    pytest.importorskip("scipy")
    ((none, contribution, random),) = shown(runs(ENDS)).values()
    # t(0.975) with 2 degrees of freedom is 4.3027: +- 4.3027 s / sqrt(3), with s = 1 for none and for the rounds, and
    # s = 2 for contribution.
    assert none == {"arm": "without pruning", "n": "3", "neurons removed (%)": "0.0", "parameters": "99",
                    "multiply-adds": "77", "test accuracy": "96.00 ± 2.48",
                    "training accuracy (whole set)": "99.50 ± 0.00",
                    WITHOUT: "", RANDOM: "", "lost in a round": "", "epochs to regain it": "",
                    "rounds that regain it (%)": "", "seconds": "10.0"}
    # Against none: -5, -4, -3, so t = -4 sqrt(3). Against random: 1, 0.5, 2, so t = sqrt(7). With 2 degrees of freedom
    # p = 1 - |t| / sqrt(2 + t^2). Seed 3 loses 3 points in its round and takes 2 epochs to regain them, 1 takes 1.
    assert contribution == {
        **none, "arm": "contribution-based pruning", "neurons removed (%)": "10.0", "test accuracy": "92.00 ± 4.97",
        WITHOUT: "-4.00 ± 2.48 (p = 0.02)", RANDOM: "1.17 ± 1.90 (p = 0.12)", "lost in a round": "2.00 ± 2.48",
        "epochs to regain it": "1.3", "rounds that regain it (%)": "100.0", "seconds": "14.0"}
    assert (random["arm"], random[RANDOM]) == ("randomised pruning", "")


def test_ways_of_ranking_are_rows_of_one_table_against_the_same_controls():
    some = runs({"none": (95.0, 96.0), "random": (90.0, 91.0), "contribution": (92.0, 93.0)})
    some += runs({"contribution": (94.0, 95.0), "random": (94.0, 95.0)}, compensate=True)
    some += runs({"contribution": (95.0, 96.0)}, lambda_average=0.5, lambda_max=0.5)
    some += runs({"contribution": (96.0, 97.0)}, ranking_images=100)
    (rows,) = shown(some).values()
    assert [(row["arm"], row[RANDOM]) for row in rows] == [
        ("without pruning", ""), ("contribution-based pruning", "2.00 ± 0.00"),
        ("contribution-based pruning, C_avg : C_max = 0.5 : 0.5", "5.00 ± 0.00"),
        ("contribution-based pruning, by 100 images", "6.00 ± 0.00"),
        ("contribution-based pruning, compensated", "4.00 ± 0.00"),
        ("randomised pruning", ""), ("randomised pruning, compensated", "4.00 ± 0.00")]


def test_another_control_takes_the_place_of_the_usual_ones():
    pytest.importorskip("scipy")
    ((_, columns, rows),) = table.tables(runs(ENDS), "contribution")
    assert [name for name in columns if "minus" in name] == ["minus contribution-based pruning"]
    found = [row["minus contribution-based pruning"] for row in rows]
    assert [difference and difference.pairs for difference in found] == [[5, 4, 3], None, [-1, -0.5, -2]]


def test_a_difference_takes_the_seeds_that_both_arms_have_and_one_seed_has_no_interval():
    (rows,) = shown(runs({"contribution": (90.0, 92.0, 94.0), "random": (89.0,)})).values()
    assert (rows[0]["n"], rows[0][RANDOM]) == ("3", "1.00 (n = 1)")
    assert (rows[1]["test accuracy"], rows[1]["lost in a round"]) == ("89.00", "1.00")


def test_runs_of_other_settings_have_a_table_of_their_own_whose_title_says_which():
    rounds = "after epoch 1 and every 2 epochs a round of 10.0 %"
    found = shown(runs({"none": (95.0,)}, momentum=0.5) + runs({"none": (80.0,)}, momentum=0.9, holdout=5)
                  + runs({"none": (70.0,)}, dataset="Digits"))
    assert list(found) == [
        f"MNIST, driver.py, 3 epochs; {rounds}; holdout 0; momentum 0.5",
        f"MNIST, driver.py, 3 epochs; {rounds}; holdout 5; momentum 0.9", f"Digits, driver.py, 3 epochs; {rounds}"]
    assert [row[name] for (row,), name in zip(found.values(), ("test accuracy", "held-out accuracy", "test accuracy"))
            ] == ["95.00", "80.00", "70.00"]
    some = runs({"none": (1.0,)}, latent=3) + runs({"none": (1.0,)}, precision="float32", latent=3)
    some += [run("none", initial_iterations=3, increment=2, latent=3)]
    assert list(shown(some)) == [
        f"MNIST, vae.py, 3 epochs; {rounds}; precision not recorded",
        f"MNIST, vae.py, 3 epochs; {rounds}; precision 'float32'",
        "MNIST, vae.py, 3 epochs; no round; precision not recorded"]


def test_the_other_forms_hold_the_same_numbers():
    pytest.importorskip("scipy")
    tables = list(table.tables(runs(ENDS)))
    ((none, contribution, random),) = shown(runs(ENDS)).values()
    rows = list(csv.DictReader(io.StringIO(table.comma_separated(tables))))
    text = table.latex(tables)
    assert [row["arm"] for row in rows] == [row["arm"] for row in (none, contribution, random)]
    for row, cells in zip(rows, (none, contribution, random)):
        assert f"{float(row['test accuracy']):.2f} ± {float(row['test accuracy, half']):.2f}" == cells["test accuracy"]
        assert cells["test accuracy"].replace("±", r"$\pm$") in text
    assert float(rows[1][WITHOUT + ", p"]) == pytest.approx(1 - 48 ** 0.5 / 50 ** 0.5)
    assert rows[1][RANDOM + ", n"] == "3" and rows[0][RANDOM] == ""
    assert text.count(r"\\") == 4 and r"neurons removed (\%)" in text and r"\toprule" in text


def test_on_the_terminal_a_table_fits_100_columns_and_loses_no_cell():
    pytest.importorskip("scipy")
    some = runs({arm: [value + seed / 7 for seed, value in enumerate(3 * ends)] for arm, ends in ENDS.items()})
    some += runs({"contribution": (91.0, 92.0)}, compensate=True, ranking_images=100, lambda_average=0.25)
    tables = list(table.tables(some))
    lines = table.for_terminal(tables).split("\n")
    assert max(map(len, lines)) <= 100 and lines[0] == TITLE
    blocks = "\n".join(lines[2:]).strip().split("\n\n")
    assert len(blocks) > 2 and {block.split()[0] for block in blocks} == {"arm"}
    (_, columns, listed), = tables
    cells = [table.cell_text(row[name], row["n"]) for row in listed for name in columns if name != "arm"]
    assert all(text in "\n".join(lines) for text in [*columns, *cells])


def test_of_a_log_with_the_last_epoch_alone_no_column_says_how_long_a_loss_takes_to_regain():
    some = runs({"random": (90.0,)})
    assert "epochs to regain it" in shown(some)[TITLE][0]
    some[0].epochs = some[0].epochs[-1:]
    (row,) = shown(some)[TITLE]
    assert not [name for name in row if "regain" in name] and row["lost in a round"] == "1.00"


def test_a_mean_that_is_nearly_nothing_has_no_sign():
    assert [table.cell_text(Estimate(mean, 0.2)) for mean in (-0.004, -0.006)] == ["0.00 ± 0.20", "-0.01 ± 0.20"]


def test_a_part_of_a_text_stands_between_its_two_lines():
    text = "head\n<!-- a -->\nold\n<!-- a -->\ntail <!-- b -->\n"
    new = table.with_part(text, "a", "new")
    assert new == "head\n<!-- a -->\n\nnew\n\n<!-- a -->\ntail <!-- b -->\n" == table.with_part(new, "a", "new")
    with pytest.raises(UserError, match="this page has 1 lines `<!-- b -->`; expected two"):
        table.with_part(text, "b", "new")
