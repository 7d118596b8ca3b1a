"""The state of a run on disk, from which it goes on to the same bit, and the final network."""
import ast
import io
import os
import zipfile
import zlib
from collections import namedtuple
from pickle import UnpicklingError

import torch
from torch import nn

from pruning import files, spread
from pruning.errors import UserError
from pruning.groups import widths_of
from pruning.removal import remove

FORMAT = 3  # of a checkpoint; this code reads no other
# What a training.TrainingState has beside its network and its optimizer: tensors, and numbers, which are saved as text,
# since torch 1.13 reads no float with weights_only=True.
NUMBERS = {"seed": int, "epoch": int, "rounds": int, "seconds": float, "batches": int, "spent": float}
TENSORS = {"history": (torch.Tensor, type(None)), "random": dict, "seen": dict}
KEYS = {"flags": dict, "settings": dict, "provenance": dict, "extents": dict, "widths": list, **NUMBERS,
        "weights": dict, "optimizer": dict, **TENSORS}

# What a stretch of training writes to. logs: open files, each of which gets every line; checkpoint: a path; about: what
# the checkpoint says of the run, {"flags": ..., "settings": ..., "provenance": ...}; terminal: a Terminal.
Outputs = namedtuple("Outputs", "logs checkpoint about terminal")


def write(state, outputs):
    """Write a checkpoint; the one before stays until the new one is whole. In a run over several processes the first
    one writes, here and below. Raises UserError.

    It also holds how far each log is, so that what a killed run writes afterwards can be cut off. Random states are
    needed within an epoch only (TrainingState.random), since every epoch and round seeds its own streams.
    """
    if not spread.is_first():
        return
    for log in outputs.logs:
        os.fsync(log.fileno())
    text = {"format": FORMAT, **outputs.about,  # extent() raises if a log is no longer ours
            "extents": {os.path.basename(log.name): files.extent(log) for log in outputs.logs},
            "widths": widths_of(state.groups), **{name: getattr(state, name) for name in NUMBERS}}
    save({"text": repr(text), "weights": state.model.state_dict(), "optimizer": state.optimizer.state_dict()["state"],
          **{name: getattr(state, name) for name in TENSORS}}, outputs.checkpoint)


def save_network(path, network, state, about):
    """Save sizes and weights of a network for torch.load(path, weights_only=True). Raises UserError.

    network: the keyword arguments that the model was made with, before neurons were removed; its hidden_widths are
    saved as they are now. about: what else a file says, literals; as text, since torch 1.13 reads no float with
    weights_only=True.
    """
    if not spread.is_first():
        return
    weights = {name: weight.cpu() for name, weight in state.model.state_dict().items()}  # to load without a GPU
    if "hidden_widths" in network:
        hidden = [group for group in state.groups if isinstance(group.producer, nn.Linear)]
        network = {**network, "hidden_widths": widths_of(hidden)}
    about = {**about, "widths": widths_of(state.groups)}
    save({"network": network, "weights": weights, "about": repr(about)}, path)


def save(content, path):
    """torch.save that leaves the old file until the new one is whole. Raises UserError."""
    buffer = io.BytesIO()  # old versions of torch do not notice a full disk; a plain file does
    torch.save(content, buffer)
    with files.whole_file(path) as file:
        file.write(buffer.getbuffer())


def read(path):
    """A checkpoint as a dict of `KEYS`. Raises UserError for one that is missing, damaged or not ours."""
    anew = "the log and everything else are still there, but the run can only be started anew"
    try:
        with open(path, "rb") as file:
            damaged = zipfile.ZipFile(file).testzip()  # torch.load would take flipped bytes
            file.seek(0)
            saved = {} if damaged else dict(torch.load(file, map_location="cpu", weights_only=True))
        saved = {**ast.literal_eval(saved["text"]), **saved}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file, so there is nothing to go on from; start the run anew")
    except (zipfile.BadZipFile, UnpicklingError, EOFError, LookupError, NotImplementedError, OSError,
            RuntimeError, SyntaxError, TypeError, ValueError, MemoryError, zlib.error) as error:
        raise UserError(f"{path} is no whole checkpoint ({type(error).__name__}); {anew}")
    if saved.get("format") != FORMAT:
        raise UserError(f"{path} is of another version of this suite; its commit stands at the beginning of the log; "
                        "go on with that, or start the run anew")
    if not all(key in saved and isinstance(saved[key], kind) for key, kind in KEYS.items()):
        raise UserError(f"{path} is damaged or no checkpoint of this suite; {anew}")
    return saved


def restore(state, saved):
    """Bring a fresh state to that of a checkpoint and return it. Raises UserError if its network is another one."""
    try:
        remove(state.groups, list(map(torch.arange, saved["widths"])), state.optimizer)
        state.model.load_state_dict(saved["weights"])
        groups = state.optimizer.state_dict()["param_groups"]
        state.optimizer.load_state_dict({"state": saved["optimizer"], "param_groups": groups})
        if state.optimizer.defaults.get("capturable"):  # torch before 2.1 leaves the count of steps on the processor
            for weight, entry in state.optimizer.state.items():
                entry["step"] = entry["step"].to(weight.device)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        raise UserError("the checkpoint does not fit the network that this code makes; go on with the code of its "
                        f"commit, {saved['provenance'].get('commit')}")
    for name in [*NUMBERS, *TENSORS]:
        setattr(state, name, saved[name])
    return state
