"""The machine that a run is on: its device, how exactly it repeats itself, how a GPU is given a training step, and what
a log's header says of it."""
import contextlib
import ctypes
import os
import platform
import re
import subprocess
import time
from collections import Counter

import numpy as np
import torch

from errors import UserError, is_lack_of_memory


def pick_device(name):
    """The torch device of this name; "auto" takes a GPU if there is one. What this thread does on a GPU is from then on
    in a stream of its own. Raises UserError for a device that is not there."""
    if name == "cpu":
        # --jobs forks, which a process cannot in which CUDA has started: the question whether there is one starts it,
        # and so does Adam.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return torch.device(name)
    recent = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 5)  # before, mps restored no random state
    mps = recent and torch.backends.mps.is_available()
    available = {"cuda": torch.cuda.is_available(), "mps": mps, "cpu": True}
    if name == "auto":
        name = next(device for device in available if available[device])
    if not available[name]:
        there = ", ".join(device for device in available if available[device])
        raise UserError(f"device {name}: this machine or this torch has none; available: {there}")
    if name == "cuda":
        try:
            torch.ones(1, device=name).add(1).item()
        except RuntimeError as error:  # such as a GPU for which this torch has no kernels
            raise UserError(f"device cuda: {str(error).splitlines()[0]}; take --device cpu")
        if torch.cuda.current_stream() == torch.cuda.default_stream():  # on which no graph can be recorded
            torch.cuda.set_stream(torch.cuda.Stream())
    return torch.device(name)


def pick_precision(name, device, has_convolutions):
    """"bfloat16" or "float32" for a training step. "auto" takes bfloat16 where the device has instructions for it and
    the network has convolutions: the small networks of MNIST spend more on the casts than their products gain. Raises
    UserError where this torch or this GPU cannot."""
    if name == "auto":
        name = "bfloat16" if has_convolutions and multiplies_bfloat16(device) else "float32"
    if name == "bfloat16" and device.type != "cpu" and not multiplies_bfloat16(device):
        raise UserError(f"precision bfloat16: not on the device {device.type}; take float32 or another device")
    return name


def multiplies_bfloat16(device):
    if device.type == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    return device.type == "cpu" and not {"amx_bf16", "avx512_bf16"}.isdisjoint(processor_line("flags").split())


def autocast(device, precision):
    """The context of a training step: with "bfloat16" its matrix products and convolutions take numbers of 8 bits'
    precision and sum in float32; weights, their gradients and the optimizer stay in float32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext()


def repeat_exactly(deterministic):
    """With True every operation gives the same bits each time, on a GPU as well; an operation that cannot, warns."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for; read when it starts
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32, in convolutions as in matrix products
    if hasattr(torch.utils, "deterministic"):
        torch.utils.deterministic.fill_uninitialized_memory = False  # we read no memory that was not written


def keep_freed_memory():
    """Have glibc keep what large tensors free, for the next ones: to get it anew from the system, page by page, took a
    fifth of a CIFAR-10 epoch and two fifths of an evaluation. On other systems nothing changes."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-1, 2 ** 30)  # M_TRIM_THRESHOLD
        mallopt(-3, 2 ** 30) or mallopt(-3, 2 ** 25)  # M_MMAP_THRESHOLD, of which an older glibc takes 32 MB at most


class Recording:
    """A function that a GPU is given again and again: after a while recorded as a CUDA graph, and launched as one.

    To launch the 50 kernels of a small network's step takes several times as long as their work. A graph goes on with
    the very tensors that the function used, so after a round, which replaces them, a new recording is needed; and with
    the numbers that Python computed when it was recorded.
    """

    WARM_UP = 3  # calls before it is recorded, in which optimizers and libraries make what they keep

    def __init__(self):
        self.calls, self.graphs = Counter(), {}

    def run(self, function, argument):
        """function(argument) of a tensor on the GPU, always of the same function; the result holds until the next call.
        Each shape of the argument has its own graph. Raises UserError for a function in which the processor waits for
        the GPU."""
        shape = argument.shape
        if self.calls[shape] < self.WARM_UP:
            self.calls[shape] += 1
            return function(argument)
        if shape not in self.graphs:
            self.graphs[shape] = recorded(function, argument.clone())
        graph, own_argument, result = self.graphs[shape]
        own_argument.copy_(argument)
        graph.replay()
        return result


def recorded(function, argument):
    """The CUDA graph of a call, the argument that it reads and the result that it writes."""
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            result = function(argument)
    except RuntimeError as error:
        cause = error.__context__ or error  # the end of a recording that failed is an error too
        if is_lack_of_memory(cause):
            raise cause
        raise UserError(f"a training step cannot be recorded for the GPU ({str(cause).splitlines()[0]}), as where it "
                        "reads a number with .item(); take --cuda-graphs False, which is slower")
    return graph, argument, result


def random_states(device):
    """The states of torch's own generators that an epoch on this device draws from, {device type: state}."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = getattr(torch, device.type).get_rng_state()
    return states


def set_random_states(states):
    for name, state in states.items():
        (torch if name == "cpu" else getattr(torch, name)).set_rng_state(state)


def environment(device, threads):
    """What the head of a log says about the moment, the versions, the machine and the commit of this code."""
    machine = torch.cuda.get_device_name() if device.type == "cuda" else processor_name()
    return {"started": time.strftime("%Y-%m-%d %H:%M:%S"), "python": platform.python_version(),
            "torch": str(torch.__version__), "numpy": np.__version__, "machine": machine,
            "instructions": instructions(), "threads": threads, "commit": commit()}


def instructions():
    """The vector instructions that torch uses on this processor: others give other bits."""
    return re.search(r"CPU capability usage: (.+)", torch.__config__.show()).group(1)


def processor_name():
    return processor_line("model name") or platform.processor() or platform.machine()


def processor_line(name):
    """What Linux says of the first processor under this name; "" where it does not."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith(name):
                return line.split(":")[1].strip()
    return ""


def commit():
    """The commit of this code, with a note where its Python files differ from it."""
    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=os.path.dirname(os.path.abspath(__file__)),
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        head = git("rev-parse", "--short=12", "HEAD")
        changed = git("diff", "--quiet", "HEAD", "--", "*.py").returncode
        # Not of a repository that this code merely lies in.
        foreign = git("ls-files", "--error-unmatch", os.path.basename(__file__)).returncode
    except OSError:
        return "unknown"
    if head.returncode or foreign:
        return "unknown"
    return head.stdout.decode().strip() + (" with changes" if changed else "")
