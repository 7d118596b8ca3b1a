"""Draw accuracy, or a VAE's loss and its parts, and neurons left against the epoch, from the text logs.

    python plot.py                     every data set that has logs: logs/<data set>/comparison.png and comparison.pdf
    python plot.py logs/Digits         the logs of one folder
    python plot.py one.txt two.txt     these logs in one figure, saved beside the first
    python plot.py --figure KIND ...   another figure, of finished runs: removed (accuracy at the end against the part
                                       of the neurons removed), rounds (before and right after each round), variants
                                       (ways of ranking: other lambdas, fewer images, compensated), differences (of
                                       every arm to contribution, paired by seed), seconds (an epoch)
    python plot.py --table ...         no figure but tables of these logs, printed and written as .md, .csv and .tex:
                                       means over seeds, intervals, differences to none and random
    ... --control ARM                  with --table or --figure differences: the differences to this arm

Logs that differ only in their seed are drawn as their mean, with its interval. Every data set has panels of its own.
Logs of vae.py have a figure of their own, vae_comparison. A run that is still going is drawn up to where its log is
whole. A log that cannot be read is named and left out; the exit status is then 2.
"""
import argparse
import os
import sys

from pruning import errors

if __name__ == "__main__":
    errors.prepare_imports("numpy", "matplotlib", "tqdm")

import matplotlib
from matplotlib import pyplot

from pruning import command_line, settings
from pruning.plots import curves, find, style, summaries, table


def main():
    arguments = read_arguments()
    if not arguments.show:
        matplotlib.use("Agg")
    (output, forms), complete, stems = name_and_forms(arguments), True, set()
    for paths in find.groups_of_logs(arguments.logs or [log_folder()]):
        kinds = find.read(paths)
        read = [run.path for runs in kinds.values() for run in runs]
        complete = complete and all(path in read or find.has_just_begun(path) for path in paths)
        for kind, runs in kinds.items():
            stem = stem_of(output, kind, os.path.dirname(paths[0]))
            if stem in stems:
                raise errors.UserError(f"--output {arguments.output}: the figures of several folders would have this "
                                       "name; give one folder, or a name without a path")
            stems.add(stem)
            complete = draw_or_tabulate(runs, arguments, stem, forms) and complete
    if arguments.show:
        pyplot.show()
        if pyplot.get_backend().lower() == "agg":
            raise errors.UserError("--show: there is no display for a window; the files are written")
    if not complete:
        sys.exit(2)


def read_arguments():
    parser = command_line.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", nargs="*", help="log files, or folders of logs; or one folder of such folders (now: "
                        "the log_folder of constants.py)")
    parser.add_argument("--output", metavar="NAME", default="comparison",
                        help="the files' name, from the first log's folder on; one with an ending, such as x.svg, is "
                        "written alone (now: comparison)")
    parser.add_argument("--format", type=some_forms, default=["png", "pdf"], metavar="FORM,...",
                        help=f"the forms of a figure, some of {','.join(style.FORMS)} (now: png,pdf)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--figure", choices=["epochs", *summaries.KINDS], default="epochs",
                      help="what is drawn (now: epochs)")
    what.add_argument("--table", action="store_true", help="print and write tables of the logs instead (needs scipy)")
    parser.add_argument("--control", metavar="ARM", help="what --table and --figure differences subtract from other "
                        "arms (now: none and random in a table, contribution in the figure)")
    parser.add_argument("--show", action="store_true", help="open a window as well")
    arguments = parser.parse_args()
    if arguments.control and not (arguments.table or arguments.figure == "differences"):
        parser.error("--control goes with --table or --figure differences")
    return arguments


def some_forms(text):
    if not set(text.split(",")) <= set(style.FORMS):
        raise argparse.ArgumentTypeError(f"{text!r} is not legal; legal: some of {','.join(style.FORMS)}")
    return text.split(",")


def log_folder():
    with errors.mistakes_in_one_line():
        import constants
    return settings.read_constants(constants)["log_folder"]


def name_and_forms(arguments):
    """The files' name without its ending, and the forms to write: that of the ending alone, if it has one."""
    name, _, ending = arguments.output.rpartition(".")
    legal = table.FORMS if arguments.table else style.FORMS
    if ending in legal:
        return name, [ending]
    if name and ending.isalpha():
        what, endings = "table" if arguments.table else "figure", ", ".join(f".{form}" for form in legal)
        raise errors.UserError(f"--output {arguments.output}: no {what} is written as .{ending}; give an ending of "
                               f"{endings}, or none")
    if arguments.table:
        return arguments.output, list(table.FORMS)
    return arguments.output + f"_{arguments.figure}" * (arguments.figure != "epochs"), arguments.format


def stem_of(output, kind, beside):
    """The path of the files without their endings; its folder is made."""
    folder, name = os.path.split(output)
    folder = os.path.join(beside, folder)
    os.makedirs(folder or ".", exist_ok=True)
    return os.path.normpath(os.path.join(folder, kind + name))


def draw_or_tabulate(runs, arguments, stem, forms):
    """Draw or tabulate runs; returns whether all of them could be shown."""
    shown = find.finished(runs) if arguments.table or arguments.figure != "epochs" else runs
    control, arms = [arguments.control] * bool(arguments.control), dict.fromkeys(run.variant for run in shown)
    if shown and not arms.keys() >= {*control}:
        errors.say(f"--control {arguments.control}: no log of this arm; there are logs of "
                   + ", ".join(f"'{arm}'" for arm in arms))
        return False
    if shown and arguments.table:
        table.write(shown, stem, forms, *control)
    elif shown:
        lines = curves.lines_of(shown)
        curves.describe(lines)
        try:
            if arguments.figure == "epochs":
                curves.say_what_differs(shown)
                curves.draw(lines)
            else:
                summaries.KINDS[arguments.figure](shown, *control)
        except errors.UserError as error:  # of one folder; others may have what this figure needs
            errors.say(error)
            return False
        style.save(stem, forms, dpi=300)
    return len(shown) == len(runs)


if __name__ == "__main__":
    errors.run_command(main)
