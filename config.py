"""constants.py, the flags and the menu become one checked configuration.

`resolve` is the only door: it returns an argparse.Namespace with a value for every name in SETTINGS and in the tables
of the program, or raises UserError with one line that says what is wrong and what is legal.
"""
import argparse
import difflib
import functools
import importlib
import os
import re
import sys
from collections import namedtuple

from errors import UserError, mistake_in

DATASETS = ["Digits", "MNIST", "FashionMNIST", "CIFAR10", "CIFAR100", "CelebA"]  # the menu's numbers: the positions
NOTES = {"Digits": " (rendered offline, needs no download)"}

Setting = namedtuple("Setting", "kind legal is_legal meaning")
COUNT = "1 to 999999999", lambda n: 1 <= n < 10 ** 9  # of epochs; a log's lines hold no longer number

# Every name that constants.py may hold, with its type, its legal values in words and as a test, and its meaning.
SETTINGS = {
    "total_epochs": Setting(int, *COUNT, "epochs of training in all"),
    "initial_iterations": Setting(int, *COUNT,
                                  "epochs before the first round; total_epochs or more: no pruning"),
    "increment": Setting(int, *COUNT, "epochs between two rounds"),
    "prune_percent": Setting(float, "above 0 and below 100", lambda x: 0 < x < 100,
                             "percent of a layer's present neurons that a round removes"),
    "lambda_average": Setting(float, "0 or more", lambda x: 0 <= x < float("inf"), "weight of C_avg in the score"),
    "lambda_max": Setting(float, "0 or more", lambda x: 0 <= x < float("inf"), "weight of C_max in the score"),
    "ranking_images": Setting(int, "0 or more", lambda n: n >= 0,
                              "training images that a round ranks by, drawn anew each time; 0: all of them"),
    "compensate": Setting(bool, "True or False", lambda choice: True,
                          "a round refits the weights that stay to what their layers gave before"),
    "seed": Setting(int, "0 to 4294967295", lambda n: 0 <= n < 2 ** 32,
                    "fixes first weights, batches, sampled latents and random ranking"),
    "seeds": Setting(int, "1 to 10000", lambda n: 1 <= n <= 10000, "runs with seed, seed + 1, ... of every arm"),
    "jobs": Setting(int, "1 to 1000", lambda n: 1 <= n <= 1000,
                    "runs side by side, which share the processor's threads"),
    "checkpoint_every": Setting(int, *COUNT,
                                "epochs between two checkpoints; there is one after every round and at the end too"),
    "device": Setting(str, "auto, cpu, cuda or mps", lambda s: s in ("auto", "cpu", "cuda", "mps"), "where to train"),
    "precision": Setting(str, "auto, float32 or bfloat16", lambda s: s in ("auto", "float32", "bfloat16"),
                         "of the products in a training step; auto: bfloat16 where it pays"),
    "deterministic": Setting(bool, "True or False", lambda choice: True,
                             "the same bits at every run on the same machine; False may be faster on a GPU"),
    "cuda_graphs": Setting(bool, "True or False", lambda choice: True,
                           "a GPU records a training step once and launches it whole; False: kernel by kernel"),
    "holdout": Setting(int, "0 to 10000", lambda n: 0 <= n <= 10000,
                       "training images held out and measured in place of the test set"),
    "dataset_folder": Setting(str, "a folder", lambda s: s and "\x00" not in s,
                              "where the data sets are or will be downloaded to"),
    "log_folder": Setting(str, "a folder", lambda s: s and "\x00" not in s, "where logs, networks and figures go"),
}

RESULTLESS = {"checkpoint_every", "cuda_graphs", "dataset_folder", "jobs", "log_folder"}  # they change no result

SCHEDULE = ["total_epochs", "initial_iterations", "increment"]  # each program has these of its own

# Every name that a data set's table holds, for driver.py and for vae.py.
CLASSIFIER_TABLE = {
    "hidden_widths": Setting(list, "a list of at least one width, each 1 to 8192",
                             lambda widths: widths and 1 <= min(widths) <= max(widths) <= 8192,
                             "neurons of each hidden layer, written 50-30"),
    "conv_widths": Setting(list, "a list of at most 4 widths, each 1 to 4096",
                           lambda widths: len(widths) <= 4 and all(1 <= width <= 4096 for width in widths),
                           "filters of each convolution, written 16-32, - for none"),
    "batch_size": Setting(int, "1 to 1000000", lambda n: 1 <= n <= 10 ** 6, "images a step"),
    "learning_rate": Setting(float, "above 0, at most 1e38", lambda x: 0 < x <= 1e38, "step size of SGD"),
    "momentum": Setting(float, "0 to below 1", lambda x: 0 <= x < 1, "momentum of SGD"),
    "mean": Setting(float, "a number", lambda x: abs(x) < float("inf"), "pixels become (pixel - mean) / std"),
    "std": Setting(float, "above 0", lambda x: 0 < x < float("inf"), "pixels become (pixel - mean) / std"),
}
VAE_TABLE = {
    "hidden_widths": Setting(list, "a list of 2, 4, 6 ... widths, each 1 to 8192",
                             lambda widths: widths and len(widths) % 2 == 0 and 1 <= min(widths) <= max(widths) <= 8192,
                             "neurons of the encoder's hidden layers, then the decoder's, written 256-512-512-256"),
    "conv_widths": CLASSIFIER_TABLE["conv_widths"]._replace(
        meaning="filters of each convolution, which halves the image; mirrored in the decoder; written 16-32, - for "
                "none"),
    "batch_size": CLASSIFIER_TABLE["batch_size"],
    # Adam's first step divides the rate by 1 - 0.9, which must still be a float32.
    "learning_rate": Setting(float, "above 0, at most 1e37", lambda x: 0 < x <= 1e37, "step size of Adam"),
    "latent": Setting(int, "1 to 8192", lambda n: 1 <= n <= 8192, "dimensions of the latent"),
    "kld_weight": Setting(float, "0 or more", lambda x: 0 <= x < float("inf"), "loss = BCE + kld_weight * KLD"),
}

# prefix: of the program's own names in constants.py; log: how its logs' names start; datasets: its menu; table: what a
# data set's table holds. CelebA has no classes.
Program = namedtuple("Program", "prefix log datasets table")
CLASSIFIER = Program("", "training_log", DATASETS[:-1], CLASSIFIER_TABLE)
VAE = Program("vae_", "vae_log", DATASETS, VAE_TABLE)

COMPARED = ["none", "contribution", "random"]  # the arms of --compare, if it does not name others

OTHER_SPELLINGS = {"inital_iterations": "initial_iterations"}  # the historic spelling of the published constants.py


# ---- constants.py ----

def load_constants(module_name="constants"):
    """The public names of constants.py as a dict, each of them known, of its type and within its legal values."""
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UserError(f"{module_name}.py: {error}")
    except Exception as error:  # whatever a typing error in the file raises
        raise UserError(mistake_in(module_name + ".py", error))
    found = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    settings = {**SETTINGS, **{VAE.prefix + name: SETTINGS[name] for name in SCHEDULE}}
    tables = {program.prefix + dataset: program.table for program in (CLASSIFIER, VAE) for dataset in program.datasets}
    return check_names(found, settings, tables, module_name + ".py")


def check_names(found, settings, tables, where):
    """Check a dict of values against `settings`; `tables` has the settings of the entries that are dicts themselves."""
    checked = {}
    for name, value in found.items():
        name = str(name)
        known = OTHER_SPELLINGS.get(name, name)
        if known in checked:
            raise UserError(f"{where}: {known} stands there twice, once as {name}; delete one")
        if known in tables:
            if not isinstance(value, dict):
                raise UserError(f"{where}: {name} = {value!r}; expected a table {{...}}")
            checked[known] = check_names(value, tables[known], {}, f"{where}, {name}")
        elif known in settings:
            checked[known] = check_value(known, value, settings[known], where)
        else:
            near = difflib.get_close_matches(name, list(settings) + list(tables), 1)
            hint = f"did you mean {near[0]}?" if near else "known are " + ", ".join([*settings, *tables])
            raise UserError(f"{where}: unknown name {name}; {hint}")
    for name in [*settings, *tables]:
        if name not in checked:
            raise UserError(f"{where}: {name} is missing")
    return checked


def check_value(name, value, setting, where):
    """The value, a whole number as a float where any number will do. Raises UserError for a type or value not legal."""
    number = float(value) if setting.kind is float and type(value) is int and abs(value) < 1e300 else value
    right_type = type(number) is setting.kind  # not isinstance: True is no number of epochs
    if setting.kind is list and right_type:
        right_type = all(type(item) is int for item in number)
    if not right_type or not setting.is_legal(number):
        kind = {int: "a whole number, ", float: "a number, "}.get(setting.kind, "")
        raise UserError(f"{where}: {name} = {value!r}; legal: {kind}{setting.legal}")
    return number


# ---- the command line ----

class Parser(argparse.ArgumentParser):
    def error(self, message):
        unknown = re.match("unrecognized arguments: (--[^ =]+)", message)
        flags = re.findall("--[a-z-]+", self.format_usage())
        near = difflib.get_close_matches(unknown.group(1), flags, 1) if unknown else []
        raise UserError(f"{message}; {f'did you mean {near[0]}?' if near else '-h lists the flags'}")


def resolve(arguments, description, program, default_pruning, arms, recall):
    """The checked configuration of one run: flags win over constants.py, the menu asks what neither says.

    arguments: the command line without the program's name. program: CLASSIFIER or VAE. arms: the names that --pruning
    takes. recall: log -> {"flags": ..., "config": ..., "environment": ...} of the run that --resume goes on with, whose
    flags need not be given again; all values together must be those of that run, but for a larger total_epochs. Raises
    UserError.
    """
    constants = load_constants()
    values = {name: constants.get(program.prefix + name, constants[name]) for name in SETTINGS}
    for argument in arguments:
        if argument.endswith("=--"):  # argparse makes an empty list of it
            raise UserError(f"{argument}: -- is no value")
    flags = vars(make_parser(values, program, description, default_pruning, arms).parse_args(arguments))
    resume, dry_run = flags.pop("resume", None), flags.pop("dry_run", False)
    earlier = {"flags": {}, "config": {}, "environment": {}}
    if resume is not None:
        if not os.path.basename(resume).startswith(program.log):
            raise UserError(f"--resume {resume}: no log of this program, whose logs are called {program.log}...")
        if "log_folder" in flags:
            raise UserError("--log-folder: a run goes on in the folder of its log; move that and give its new path")
        earlier = recall(resume)
    flags = {**earlier["flags"], **flags}
    dataset = find_dataset(flags["dataset"], program.datasets) if "dataset" in flags else ask_dataset(program.datasets)
    flags["dataset"] = dataset
    settings = {**SETTINGS, **program.table}
    values.update(constants[program.prefix + dataset], pruning=default_pruning, compare=[])
    for name, value in flags.items():
        values[name] = check_value(name, value, settings[name], flag(name)) if name in settings else value
    if values["lambda_average"] == values["lambda_max"] == 0:
        raise UserError("lambda_average and lambda_max are both 0, which ranks no neuron above another; legal: one "
                        "above 0")
    if values["initial_iterations"] >= values["total_epochs"]:
        if values["compare"]:
            raise UserError(f"--compare: {program.prefix}initial_iterations = {values['initial_iterations']} leaves no "
                            f"epoch to prune in; legal: below {program.prefix}total_epochs = {values['total_epochs']}")
        if values["pruning"] == "scratch":
            raise UserError("--pruning scratch: this schedule has no round, so there are no final widths to start with")
        values["pruning"] = flags["pruning"] = "none"  # kept as if said, since a run with more epochs goes on so
    if values["seed"] + values["seeds"] > 2 ** 32:
        raise UserError(f"seeds = {values['seeds']} from seed = {values['seed']} on; legal: up to 4294967295")
    if values["compare"] and "pruning" not in flags:
        values["pruning"] = ", ".join(values["compare"])
    if resume:
        check_unchanged(values, earlier["config"], resume)
        values["log_folder"] = os.path.normpath(os.path.join(os.path.dirname(resume), os.pardir))
    return argparse.Namespace(**values, flags=flags, resume=resume, dry_run=dry_run, environment=earlier["environment"])


def values_of(settings):
    """The values of a configuration as a dict, without what is said besides of this one command and its machine."""
    return {name: value for name, value in vars(settings).items()
            if name not in ("flags", "resume", "dry_run", "environment")}


def check_unchanged(values, earlier, log):
    """Raise UserError where values differ from the earlier ones, but for more epochs and what changes no result; "auto"
    may be what it was."""
    changed = [f"{name} = {value!r}, there {earlier.get(name)!r}" for name, value in values.items()
               if name not in RESULTLESS and value not in (earlier.get(name), "auto")
               and not (name == "total_epochs" and value > earlier.get(name, value))]
    if changed:
        raise UserError(f"{log}: a run goes on with its own configuration, and now constants.py, ranking.py or a flag "
                        f"says otherwise: {'; '.join(changed)}; set it back, there or by a flag")


def flag(name):
    return "--" + name.replace("_", "-")


def make_parser(values, program, description, default_pruning, arms):
    parser = Parser(description=description, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    menu = ", ".join(f"{number} {name}" for number, name in enumerate(program.datasets))
    parser.add_argument("--dataset", help=f"number or name: {menu}; without it the menu asks")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--pruning", choices=arms, help=f"how neurons are chosen (now: {default_pruning})")
    yes = {"action": "store_true", "default": argparse.SUPPRESS}
    which.add_argument("--compare", metavar="ARMS", nargs="?", const=COMPARED, default=argparse.SUPPRESS,
                       type=functools.partial(arm_list, arms), help="train these arms, with commas between them, from "
                       f"one shared start; arms: {', '.join(arms)} (without a list: {', '.join(COMPARED)})")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--resume", metavar="LOG", help="go on with the run that wrote this log from its last "
                       "checkpoint; with a larger --total-epochs also where it has ended")
    begin.add_argument("--dry-run", help="try everything for a moment, say what the run will take, leave nothing",
                       **yes)
    kinds = {int: (int, "N"), float: (float, "X"), str: (str, "TEXT"), list: (widths, "N-N"), bool: (truth, "BOOL")}
    for name, setting in {**SETTINGS, **program.table}.items():
        now = values.get(name, "as in the data set's table")
        spellings = [name] + [other for other, known in OTHER_SPELLINGS.items() if known == name]
        kind, metavar = kinds[setting.kind]
        parser.add_argument(*map(flag, spellings), dest=name, type=kind, metavar=metavar,
                            help=f"{setting.meaning}; {setting.legal} (now: {now})".replace("%", "%%"))
    return parser


def arm_list(arms, text):
    """The arms of a list with commas between them. Raises UserError."""
    names = [name.strip() for name in text.split(",")]
    wrong = [name for name in names if name not in arms or names.count(name) > 1]
    if wrong:
        raise UserError(f"--compare {text}: {wrong[0]!r}; legal: some of {', '.join(arms)}, each once")
    return names


def truth(text):
    """True or False as a flag writes it."""
    return {"true": True, "false": False}.get(text.lower(), text)


def widths(text):
    """The list that a flag writes as 50-30; - is the empty list."""
    return [] if text in ("", "-") else [int(width) for width in text.split("-")]


def find_dataset(text, datasets):
    """The name of the one of `datasets` with this number or name, whatever its case and hyphens."""
    answer = text.strip().lower()
    meant = next((name for number, name in enumerate(DATASETS)
                  if answer == str(number) or answer.replace("-", "") == name.lower()), None)
    if meant in datasets:
        return meant
    where = f" here, {meant} is for vae.py alone" if meant else ""
    raise UserError(f"{text!r} is no data set{where}; expected a number from 0 to {len(datasets) - 1} or a name, "
                    + ", ".join(datasets))


def ask_dataset(datasets):
    """Show the menu and read a number; a terminal is asked again until the answer is one."""
    print("Data sets:")
    for number, name in enumerate(datasets):
        print(f"  {number}  {name}{NOTES.get(name, '')}")
    while True:
        try:
            return find_dataset(input("Number of the data set: "), datasets)
        except UserError as error:
            if not sys.stdin.isatty():
                raise
            print(error)
        except (EOFError, KeyboardInterrupt, OSError, RuntimeError, UnicodeDecodeError):  # ended, or no text
            print()
            raise UserError(f"no data set chosen; enter a number, 0 to {len(datasets) - 1}, or use --dataset")
