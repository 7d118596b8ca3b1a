"""Tiny runs: their flags, their logs, and what they leave on disk."""
import ast
import os
import re

import torch

from pruning import files

ARMS = ["none", "contribution", "random"]
# 110 images in batches of 5: 22 batches an epoch. Shared epochs 1 to 3, rounds after 3 and 5.
ALONE = {
    "driver.py": ["--dataset", "1", "--device", "cpu", "--batch-size", "5", "--hidden-widths", "10-6",
                  "--total-epochs", "6", "--initial-iterations", "3", "--increment", "2", "--checkpoint-every", "2"],
    "vae.py": ["--dataset", "1", "--device", "cpu", "--batch-size", "20", "--hidden-widths", "9-12-12-9",
               "--conv-widths", "2", "--latent", "3",
               "--total-epochs", "4", "--initial-iterations", "2", "--increment", "2", "--checkpoint-every", "3"]}
TINY = {program: [*flags, "--compare"] for program, flags in ALONE.items()}
PROGRAMS = list(TINY)
PREFIX = {"driver.py": "training_log", "vae.py": "vae_log"}


class StopAt:
    """In place of signals.Stop: asked at the number-th time that the loop looks, counted from 1; 0: never."""

    def __init__(self, number):
        self.number, self.looks = number, 0

    def __call__(self, team):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    @property
    def asked(self):
        self.looks += 1
        return self.looks == self.number


def log_of(folder, arm, program="driver.py", seed=None, dataset="MNIST"):
    """The path of an arm's log."""
    return files.log_path(os.path.join(str(folder), "logs"), dataset, arm, PREFIX[program], seed)


def stem_of(folder, arm, program="driver.py"):
    """The path of an arm's log without its ending."""
    return os.path.splitext(log_of(folder, arm, program))[0]


def start_of(folder, first="none", program="driver.py", seed=None):
    """The path of the start that the arms of a comparison share."""
    return files.start_path(log_of(folder, first, program, seed))


def contents(folder):
    """{path: bytes} of all files in a folder and below."""
    found = {}
    for where, _, names in os.walk(str(folder)):
        for path in (os.path.join(where, name) for name in names):
            with open(path, "rb") as file:
                found[path] = file.read()
    return found


def without_times(text):
    """What a log says, without what differs between two runs of the same flags."""
    return re.sub(r"time \S+ s|# (started|commit|log_folder).*", "", text)


def remains(folder):
    """All that a run leaves, without the times: {file: what it holds}."""
    found = {}
    where = os.path.join(str(folder), "logs", "MNIST")
    for name in sorted(os.listdir(where)):
        path = os.path.join(where, name)
        if name.endswith(".txt"):
            with open(path) as file:
                found[name] = without_times(file.read())
        elif name.endswith(".png"):
            with open(path, "rb") as file:
                found[name] = file.read()
        else:
            saved = torch.load(path, weights_only=True)
            if not name.endswith(".pt"):
                saved.update(ast.literal_eval(saved["text"]))
                del saved["settings"]["log_folder"]
                for changing in ("text", "seconds", "extents", "provenance"):
                    del saved[changing]
            found[name] = repr(bits(saved))
    return found


def bits(value):
    """A nested value with its tensors as lists of their bytes."""
    if torch.is_tensor(value):
        return str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return [(bits(key), bits(item)) for key, item in value.items()]
    return [bits(item) for item in value] if isinstance(value, (list, tuple)) else value


def one_line(text, program="driver.py"):
    """The message of the one line that stderr must be."""
    assert text.startswith(f"{program}: ") and text.endswith("\n") and text.count("\n") == 1, text
    return text[len(program) + 2:-1]
