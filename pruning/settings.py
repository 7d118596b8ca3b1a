"""The values of a run: what each one means, what is legal, and whether constants.py and the flags keep to it.

constants.py says the same words beside each value; tests/unit/test_settings.py holds the two together.
"""
import difflib
import os
import re
from collections import namedtuple

from pruning import files, menu
from pruning.errors import UserError

Setting = namedtuple("Setting", "kind legal is_legal meaning")
COUNT = "1 to 999999999", lambda n: 1 <= n < 10 ** 9  # of epochs; a log's lines hold no longer number
FACTOR = "0 or more", lambda x: 0 <= x < float("inf")
BOOLEAN = "True or False", lambda choice: True
FOLDER = "a folder", lambda text: text and "\x00" not in text

# Every name that constants.py may hold, with its type, its legal values in words and as a test, and its meaning.
SETTINGS = {
    "total_epochs": Setting(int, *COUNT, "epochs of training in all"),
    "initial_iterations": Setting(int, *COUNT, "epochs before the first round; no pruning from total_epochs on"),
    "increment": Setting(int, *COUNT, "epochs between two rounds"),
    "prune_percent": Setting(float, "above 0 and below 100", lambda x: 0 < x < 100,
                             "percent of a layer's present neurons that a round removes"),
    "lambda_average": Setting(float, *FACTOR, "weight of C_avg, the mean share in the next layer's inputs"),
    "lambda_max": Setting(float, *FACTOR, "weight of C_max, the largest share; above 0 a round takes longer"),
    "ranking_images": Setting(int, "0 or more", lambda n: n >= 0,
                              "training images that a round ranks by, drawn anew each time, 0 for all"),
    "compensate": Setting(bool, *BOOLEAN,
                          "a round refits the next layer's weights to that layer's old output"),
    "prune_filters": Setting(bool, *BOOLEAN,
                             "a round removes filters of convolutions too, not only hidden neurons"),
    "seed": Setting(int, "0 to 4294967295", lambda n: 0 <= n < 2 ** 32,
                    "fixes first weights, batches, sampled latents and random ranking"),
    "seeds": Setting(int, "1 to 10000", lambda n: 1 <= n <= 10000, "runs of every arm, with seed, seed + 1, ..."),
    "jobs": Setting(int, "1 to 1000", lambda n: 1 <= n <= 1000,
                    "processes of this machine that share the work and its processor's threads"),
    "timeout": Setting(int, "1 to 1000000", lambda n: 1 <= n <= 10 ** 6,
                       "seconds without a sign of life after which a process counts as lost"),
    "spread": Setting(str, "empty or batch", lambda s: s in ("", "batch"),
                      "batch: all processes train one run, each a share of every batch"),
    "checkpoint_every": Setting(int, *COUNT,
                                "epochs between two checkpoints; there is one after every round too"),
    "device": Setting(str, "auto, cpu, cuda or mps", lambda s: s in ("auto", "cpu", "cuda", "mps"), "where to train"),
    "precision": Setting(str, "auto, float32 or bfloat16", lambda s: s in ("auto", "float32", "bfloat16"),
                         "of products in steps and rounds, auto for bfloat16 if it pays"),
    "deterministic": Setting(bool, *BOOLEAN,
                             "the same bits at every run on one machine; may be slower on a GPU"),
    "cuda_graphs": Setting(bool, *BOOLEAN,
                           "a GPU records a training step once and then launches it whole"),
    "holdout": Setting(int, "0 to 10000", lambda n: 0 <= n <= 10000,
                       "training images held out, and tested on in place of the test set"),
    "dataset_folder": Setting(str, *FOLDER, "where torchvision downloads the data sets to"),
    "own_data": Setting(str, "empty, a folder or FILE.FUNCTION", lambda text: "\x00" not in text,
                        "images of your own, which the data set Own reads"),
    "log_folder": Setting(str, *FOLDER, "where logs, networks and figures go, one folder per data set"),
}

# They change no result. own_data is only a place: a header's `data` tells which images were there.
RESULTLESS = {"checkpoint_every", "cuda_graphs", "dataset_folder", "jobs", "log_folder", "own_data", "spread",
              "timeout"}
FOLDERS = ["dataset_folder", "own_data", "log_folder"]
SCHEDULE = ["total_epochs", "initial_iterations", "increment"]  # each program has these of its own

# Every name that a data set's table holds: in both programs, for driver.py and for vae.py.
TRAINING = {
    "batch_size": Setting(int, "1 to 1000000", lambda n: 1 <= n <= 10 ** 6, "images per step"),
    "optimizer": Setting(str, "sgd, adam or adamw", lambda s: s in ("sgd", "adam", "adamw"),
                         "what updates the weights, as in torch.optim"),
    # Adam's first step divides the rate by 1 - 0.9, which must still be a float32.
    "learning_rate": Setting(float, "above 0, at most 1e37", lambda x: 0 < x <= 1e37, "step size of the optimizer"),
    "learning_rate_schedule": Setting(str, "constant, cosine or cosine_restarts",
                                      lambda s: s in ("constant", "cosine", "cosine_restarts"),
                                      "kept, or lowered to 2 % along a cosine: over the run, or anew after each round"),
    "momentum": Setting(float, "0 to below 1", lambda x: 0 <= x < 1, "momentum of sgd; adam and adamw ignore it"),
    "weight_decay": Setting(float, "0 to 1", lambda x: 0 <= x <= 1,
                            "L2 penalty of sgd and adam, decoupled weight decay of adamw"),
}
CLASSIFIER_TABLE = {
    "network": Setting(str, "empty, NAME or FILE.NAME", lambda text: re.fullmatch(r"((\w+\.)?\w+)?", text),
                       "your own class for the network, in models.py or in FILE.py; hidden_widths and conv_widths are "
                       "then ignored"),
    "hidden_widths": Setting(list, "a list of at least one width, each 1 to 8192",
                             lambda widths: widths and 1 <= min(widths) <= max(widths) <= 8192,
                             "neurons of each hidden Linear layer, which are ranked and pruned"),
    "conv_widths": Setting(list, "a list of at most 4 widths, each 1 to 4096",
                           lambda widths: len(widths) <= 4 and all(1 <= width <= 4096 for width in widths),
                           "filters of each 3x3 convolution, with ReLU and 2x2 max-pooling"),
    **TRAINING,
    "augment": Setting(bool, *BOOLEAN, "mirror and shift training images at random, by up to 4 pixels"),
    "mean": Setting(float, "finite", lambda x: abs(x) < float("inf"), "pixels become (pixel - mean) / std"),
    "std": Setting(float, "above 0", lambda x: 0 < x < float("inf"), "pixels become (pixel - mean) / std"),
}
VAE_TABLE = {
    "hidden_widths": Setting(list, "a list of 2, 4, 6 ... widths, each 1 to 8192",
                             lambda widths: widths and len(widths) % 2 == 0 and 1 <= min(widths) <= max(widths) <= 8192,
                             "neurons of the encoder's hidden Linear layers, then of as many of the decoder, which are "
                             "ranked and pruned"),
    "conv_widths": CLASSIFIER_TABLE["conv_widths"]._replace(
        meaning="filters of each 4x4 convolution, which halves the image; mirrored in the decoder"),
    "latent": Setting(int, "1 to 8192", lambda n: 1 <= n <= 8192, "dimensions of the latent; never pruned"),
    **TRAINING,
    "kld_weight": Setting(float, *FACTOR, "loss = BCE + kld_weight * KLD"),
}

# prefix: of the program's own names in constants.py; log: how its logs' names begin; datasets: its menu; table: what a
# data set's table holds. CelebA has no classes.
Program = namedtuple("Program", "prefix log datasets table")
CLASSIFIER = Program("", files.CLASSIFIER_LOG, [name for name in menu.DATASETS if name != "CelebA"],
                     CLASSIFIER_TABLE)
VAE = Program("vae_", files.VAE_LOG, list(menu.DATASETS), VAE_TABLE)

OTHER_SPELLINGS = {"inital_iterations": "initial_iterations"}  # the historic spelling of the published constants.py


def frozen(values):
    """A dict of checked values as attributes that cannot be set."""
    return namedtuple("Settings", values)(**values)


def read_constants(module):
    """The public values of constants.py as a dict, each of them known, of its type and legal. Raises UserError.

    A folder that is not absolute is one beside constants.py, from whatever folder a program is started.
    """
    found = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    settings = {**SETTINGS, **{VAE.prefix + name: SETTINGS[name] for name in SCHEDULE}}
    tables = {program.prefix + dataset: program.table for program in (CLASSIFIER, VAE) for dataset in program.datasets}
    checked = check_names(found, settings, tables, "constants.py")
    suite, here = os.path.dirname(os.path.abspath(module.__file__)), os.getcwd()
    if suite != here:
        checked.update((name, os.path.join(suite, checked[name])) for name in FOLDERS
                       if name != "own_data" or is_path(checked[name]))
    return checked


def is_path(own_data):
    """Whether own_data is a folder, neither empty nor a function such as my_data.load; ./my_data.load is a folder."""
    return not re.fullmatch(r"(\w+\.\w+)?", own_data)


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
    """The value, with a whole number made a float if the setting is one. Raises UserError for what is not legal."""
    number = float(value) if setting.kind is float and type(value) is int and abs(value) < 1e300 else value
    right_type = type(number) is setting.kind  # not isinstance: True is no number of epochs
    if setting.kind is list and right_type:
        right_type = all(type(item) is int for item in number)
    if not right_type or not setting.is_legal(number):
        kind = {int: "a whole number, ", float: "a number, "}.get(setting.kind, "")
        raise UserError(f"{where}: {name} = {value!r}; legal: {kind}{setting.legal}")
    return os.path.expanduser(number) if name in FOLDERS else number


def check_unchanged(values, earlier, log):
    """Raise UserError if values differ from those of the run that goes on. More epochs may be asked for, and what
    changes no result may differ."""
    changed = [f"{name} = {value!r}, there {earlier.get(name)!r}" for name, value in values.items()
               if name not in RESULTLESS and value != earlier.get(name)
               and not (name == "total_epochs" and value > earlier.get(name, value))]
    if changed:
        raise UserError(f"{log}: this run began with other values than constants.py, ranking.py or a flag now gives: "
                        f"{'; '.join(changed)}; set them back, there or by a flag")
    end = earlier.get("total_epochs")
    if values.get("total_epochs") != end and values.get("learning_rate_schedule", "constant") != "constant":
        raise UserError(f"{log}: the cosine of this run ends with total_epochs = {end}, so that the run cannot be "
                        "extended; start it anew")
