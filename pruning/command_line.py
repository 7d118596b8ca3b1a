"""The flags: they win over constants.py, and the menu asks for a data set if they name none."""
import argparse
import difflib
import functools
import os
import re
from collections import namedtuple

from pruning import menu
from pruning.arms import COMPARED
from pruning.errors import UserError
from pruning.settings import FOLDERS, OTHER_SPELLINGS, SETTINGS, check_value, read_constants

# What this command line asks for besides values. flags: those of this one and of the run that goes on; resume: the log
# of that run, or None; earlier: its checkpoint; dry_run: whether to try only; quiet, verbose, tensorboard: flags.
Request = namedtuple("Request", "flags resume earlier dry_run quiet verbose tensorboard")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are UserErrors with a hint."""

    arms = ()

    def error(self, message):
        stray, hint = re.match("unrecognized arguments: ([^ =]+)", message), "-h lists the flags"
        near = nearest(stray.group(1), re.findall("--[a-z-]+", self.format_usage())) if stray else None
        if near:
            hint = f"did you mean {near}?"
        elif stray and stray.group(1) in self.arms:
            hint = "arms are listed with commas, as in --compare none,random"
        raise UserError(f"{message}; {hint}")


def nearest(flag, flags):
    """The one of the flags that a mistyped one may mean: --learning-rate for --learning_rate, --lr and --rate."""
    def initials(words):
        return "--" + "".join(word[0] for word in words.strip("-").split("-"))
    close = difflib.get_close_matches(flag, flags, 1)
    parts = [known for known in flags if flag[2:] in known[2:].split("-") or flag == initials(known)]
    return (parts + close + [None])[0] if flag.startswith("--") else None


def read_command(arguments, description, program, constants, default_pruning, arms, recall):
    """The checked values of a command line without the program's name, as a dict, and its Request. Raises UserError.

    program: settings.CLASSIFIER or VAE. constants: the module. arms: those that can be trained, by name. recall: log ->
    the checkpoint of its run, whose flags need not be given again.
    """
    known = read_constants(constants)
    values = {name: known.get(program.prefix + name, known[name]) for name in SETTINGS}
    for argument in arguments:
        if argument.endswith("=--"):  # argparse makes an empty list of it
            raise UserError(f"{argument}: -- is no value")
    flags = vars(make_parser(values, program, description, default_pruning, arms).parse_args(arguments))
    asked = {name: flags.pop(name, False) for name in ("dry_run", "quiet", "verbose", "tensorboard")}
    resume = flags.pop("resume", None)
    earlier = {"flags": {}, "settings": {}}
    if resume is not None:
        if os.path.isdir(resume):
            raise UserError(f"--resume {resume}: a folder; give one of the logs in it")
        if not os.path.basename(resume).startswith(program.log):
            raise UserError(f"--resume {resume}: no log of this program, whose logs are called {program.log}...")
        if "log_folder" in flags:
            raise UserError("--log-folder: a run goes on in the folder of its log; move that and give its new path")
        earlier = recall(resume)
    flags = {**earlier["flags"], **flags}
    flags["dataset"] = (menu.find_dataset(flags["dataset"], program.datasets) if "dataset" in flags
                        else menu.ask_dataset(program.datasets))
    table = {**SETTINGS, **program.table}
    values.update(known[program.prefix + flags["dataset"]], pruning=default_pruning, compare=[])
    for name, value in flags.items():
        values[name] = check_value(name, value, table[name], flag(name)) if name in table else value
    for name in values["compare"] or [values["pruning"]]:
        if name not in arms:
            raise UserError(f"{resume}: the arm {name!r} of this run is no longer in ranking.py, CRITERIA; put it back")
    least = earlier["settings"].get("total_epochs", 1)
    if values["total_epochs"] < least:
        raise UserError(f"{resume}: total_epochs = {values['total_epochs']}, there {least}; it can only grow, so give "
                        f"{least} or more")
    check_together(values, program.prefix)
    if values["initial_iterations"] >= values["total_epochs"] and values["pruning"] != "none":
        print(f"no neuron will be removed: {program.prefix}initial_iterations = {values['initial_iterations']} leaves "
              f"no round in {program.prefix}total_epochs = {values['total_epochs']}")
        values["pruning"] = flags["pruning"] = "none"  # as if asked for, so that an extended run goes on so
    if values["compare"] and "pruning" not in flags:
        values["pruning"] = ", ".join(values["compare"])
    if resume:
        values["log_folder"] = os.path.normpath(os.path.join(os.path.dirname(resume), os.pardir))
    return values, Request(flags, resume, earlier, **asked)


def check_together(values, prefix):
    """Raise UserError for values that are legal one by one but not together."""
    if values["lambda_average"] == values["lambda_max"] == 0:
        raise UserError("lambda_average and lambda_max are both 0, which ranks no neuron above another; legal: one "
                        "above 0")
    if values["initial_iterations"] >= values["total_epochs"]:
        if values["compare"]:
            raise UserError(f"--compare: {prefix}initial_iterations = {values['initial_iterations']} leaves no epoch "
                            f"to prune in; legal: below {prefix}total_epochs = {values['total_epochs']}")
        if values["pruning"] == "scratch":
            raise UserError("--pruning scratch: this schedule has no round, so there are no final widths to start with")
    if values["seed"] + values["seeds"] > 2 ** 32:
        raise UserError(f"seeds = {values['seeds']} from seed = {values['seed']} on; legal: up to 4294967295")


def flag(name):
    return "--" + name.replace("_", "-")


def make_parser(values, program, description, default_pruning, arms):
    # Under python -OO a module has no docstring.
    parser = Parser(description=(description or "").partition("\n")[0], allow_abbrev=False,
                    argument_default=argparse.SUPPRESS)
    numbered = ", ".join(menu.numbered(program.datasets))
    parser.arms = arms
    parser.add_argument("--dataset", help=f"number or name: {numbered}; without it the menu asks")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--pruning", choices=list(arms), help=f"how neurons are chosen (now: {default_pruning})")
    which.add_argument("--compare", metavar="ARMS", nargs="?", const=COMPARED, default=argparse.SUPPRESS,
                       type=functools.partial(arm_list, arms), help="train these arms, with commas between them, from "
                       f"one shared start; arms: {', '.join(arms)} (without a list: {', '.join(COMPARED)})")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--resume", metavar="LOG", help="go on with the run that wrote this log from its last "
                       "checkpoint; a larger --total-epochs extends it, even if it has ended")
    yes = {"action": "store_true", "default": argparse.SUPPRESS}
    begin.add_argument("--dry-run", **yes,
                       help="try everything for a moment, say what the run will take, leave nothing")
    more_or_less = parser.add_mutually_exclusive_group()
    more_or_less.add_argument("--quiet", **yes, help="print little more than the last table and what goes wrong")
    more_or_less.add_argument("--verbose", **yes, help="print the log's whole header and the network as well")
    parser.add_argument("--tensorboard", **yes, help="write the measures of epochs and rounds for TensorBoard too "
                        "(needs the package tensorboard)")
    kinds = {int: (number_of(int, "a whole number"), "N"), float: (number_of(float, "a number, as in 0.1"), "X"),
             str: (str, ""), list: (widths, "N-N"),
             bool: (lambda text: {"true": True, "false": False}.get(text.lower(), text), "")}
    for name, setting in {**SETTINGS, **program.table}.items():
        now = "empty" if values.get(name) == "" else values.get(name, "as in the data set's table")
        kind, metavar = (or_empty, "") if setting.legal.startswith("empty") else kinds[setting.kind]
        metavar = metavar or ("FOLDER" if name in FOLDERS else re.sub(", | or ", "|", setting.legal))
        written = "; written 50-30" * (setting.kind is list) + ", - for none" * (name == "conv_widths")
        parser.add_argument(flag(name), type=kind, metavar=metavar,
                            help=f"{setting.meaning}; {setting.legal}{written} (now: {now})".replace("%", "%%"))
    for other, name in OTHER_SPELLINGS.items():  # a flag that -h does not list
        parser.add_argument(flag(other), dest=name, type=kinds[SETTINGS[name].kind][0], help=argparse.SUPPRESS)
    return parser


def arm_list(arms, text):
    """The arms of a list with commas between them. Raises UserError."""
    names = [name.strip() for name in text.split(",")]
    if "" in names:
        raise UserError(f"--compare {text}: a name is missing; write the list without spaces, as in none,random")
    for name in names:
        if name not in arms:
            raise UserError(f"--compare {text}: {name!r} is no arm; legal: some of {', '.join(arms)}, each once")
        if names.count(name) > 1:
            raise UserError(f"--compare {text}: {name!r} stands twice; name each arm once")
    return names


def number_of(kind, words):
    """What reads a flag's number."""
    def read(text):
        try:
            return kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {words}")
    return read


def or_empty(text):
    return "" if text == "empty" else text


def widths(text):
    """The list that a flag writes as 50-30; - is the empty list."""
    if not re.fullmatch(r"-?|\d+(-\d+)*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of widths; write it as 50-30, an empty one as -")
    return [] if text in ("", "-") else [int(width) for width in text.split("-")]
