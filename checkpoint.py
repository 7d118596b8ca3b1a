"""The state of a run on disk, beside its log, from which the run goes on to the same bit; and the wish to stop it."""
import ast
import io
import os
import signal
import zipfile
import zlib
from pickle import UnpicklingError

import torch

import files
import models
from config import values_of
from errors import UserError

# What a Run has beside its network and its optimizer: numbers, which are saved as text, since torch 1.13 reads no float
# with weights_only=True, and tensors.
NUMBERS = {"seed": int, "epoch": int, "rounds": int, "seconds": float, "batches": int, "spent": float}
TENSORS = {"history": (torch.Tensor, type(None)), "random": dict, "seen": dict}
KEYS = {"flags": dict, "config": dict, "environment": dict, "extents": dict, "widths": list, **NUMBERS,
        "weights": dict, "optimizer": dict, **TENSORS}


def write(run, config, logs):
    """Write the checkpoint of every one of `logs`; the one before stays until the new one is whole. Raises UserError.

    It holds the configuration, the run, and how far each log is, to cut off what a killed run writes after it. No
    random state is needed but within an epoch (Run.random): every epoch and round seeds its own streams.
    """
    for log in logs:
        files.check_there(log)  # or another run's checkpoint would be replaced
        os.fsync(log.fileno())
    text = {"flags": config.flags, "config": values_of(config), "environment": config.environment,
            "extents": {os.path.basename(log.name): files.extent(log) for log in logs},
            "widths": models.widths(run.model), **{name: getattr(run, name) for name in NUMBERS}}
    save({"text": repr(text), "weights": run.model.state_dict(), "optimizer": run.optimizer.state_dict()["state"],
          **{name: getattr(run, name) for name in TENSORS}}, *(files.checkpoint_path(log.name) for log in logs))


def save_network(path, network, model):
    """Save sizes and weights of a network for torch.load(path, weights_only=True). Raises UserError.

    network: the keyword arguments that the model was made with, before neurons were removed.
    """
    weights = {name: weight.cpu() for name, weight in model.state_dict().items()}  # to load where there is no GPU
    save({"network": {**network, "hidden_widths": models.widths(model)}, "weights": weights}, path)


def save(content, *paths):
    """torch.save to each of the paths, where the old file stays until the new one is whole. Raises UserError."""
    buffer = io.BytesIO()  # old versions of torch do not notice a full disk, a plain file does
    torch.save(content, buffer)
    for path in paths:
        with files.whole_file(path) as file:
            file.write(buffer.getbuffer())


def read(log):
    """The checkpoint of a log, a dict of `KEYS`. Raises UserError for one that is missing, damaged or not ours."""
    path = files.checkpoint_path(log)
    anew = "the log and everything else are still there, but the run can only be started anew"
    try:
        with open(path, "rb") as file:
            damaged = zipfile.ZipFile(file).testzip()  # torch.load would take flipped bytes
            file.seek(0)
            state = {} if damaged else torch.load(file, map_location="cpu", weights_only=True)
        state = {**ast.literal_eval(state["text"]), **state}
    except FileNotFoundError:
        if not os.path.exists(log):
            raise UserError(f"{log}: no such log; give one that a run of this program has written")
        raise UserError(f"{path}: no such file, so there is nothing to go on from; start the run anew")
    except (zipfile.BadZipFile, UnpicklingError, EOFError, LookupError, NotImplementedError, OSError,
            RuntimeError, SyntaxError, TypeError, ValueError, MemoryError, zlib.error) as error:
        raise UserError(f"{path} is no whole checkpoint ({type(error).__name__}); {anew}")
    if not all(isinstance(state.get(key), kind) for key, kind in KEYS.items()):
        raise UserError(f"{path} is damaged or no checkpoint of this suite; {anew}")
    return state


def restore(run, state):
    """Bring a fresh run to the state of a checkpoint and return it. Raises UserError where its network is another."""
    try:
        models.remove(run.model.groups(), list(map(torch.arange, state["widths"])), run.optimizer)
        run.model.load_state_dict(state["weights"])
        groups = run.optimizer.state_dict()["param_groups"]
        run.optimizer.load_state_dict({"state": state["optimizer"], "param_groups": groups})
        if run.optimizer.defaults.get("capturable"):  # torch before 2.1 leaves the count of steps on the processor
            for weight, entry in run.optimizer.state.items():
                entry["step"] = entry["step"].to(weight.device)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        raise UserError("the checkpoint does not fit the network that this code makes; go on with the code of then, "
                        f"commit {state['environment'].get('commit')}")
    for name in [*NUMBERS, *TENSORS]:
        setattr(run, name, state[name])
    return run


class Stop:
    """Inside `with Stop() as stop:` the first Ctrl-C, SIGTERM or closed terminal sets stop.asked; a second one ends the
    program at once. A signal that the program was started to ignore, as by nohup, stays ignored."""
    signals = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

    def __init__(self):
        self.heard, self.parent = False, None

    @property
    def asked(self):
        return self.heard or (self.parent is not None and os.getppid() != self.parent)

    def follow_parent(self):
        """In a forked process: leave the terminal's Ctrl-C to the parent, which tells of it; stop when it is gone."""
        self.parent = os.getppid()
        os.setpgid(0, 0)

    def __enter__(self):
        present = {number: signal.getsignal(number) for number in self.signals}
        self.earlier = {number: handler for number, handler in present.items() if handler != signal.SIG_IGN}
        for number in self.earlier:
            signal.signal(number, self.ask)
        return self

    def __exit__(self, *error):
        for number, handler in self.earlier.items():
            signal.signal(number, handler)

    def ask(self, number, frame):
        self.heard = True
        self.__exit__()
        if os.isatty(2) and self.parent is None:
            os.write(2, b"\nstopping after this batch or round; once more to stop at once\n")
