"""The device of a run: which one, in which precision it multiplies, and how exactly it repeats itself."""
import contextlib
import ctypes
import os

import torch

from pruning.errors import UserError
from pruning.provenance import processor_line

THREADS = torch.get_num_threads()  # of this process, before any are given to others


def share_threads(team, at_once):
    """Take this process's part of its machine's threads and return how many they are.

    team: a team.Team. at_once: the processes of this machine that share them. torchrun leaves each process one thread,
    whatever the processor has.
    """
    count = THREADS
    if team.is_started and not team.is_launched:
        count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(max(1, count // at_once))
    return torch.get_num_threads()


def pick_device(name, number=0):
    """The torch device of this name; "auto" takes a GPU if there is one. On a GPU this thread then works in a stream of
    its own. Raises UserError for a device that is not there.

    number: of this process on its machine; several GPUs are dealt out to the processes.
    """
    if name == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Adam would initialise CUDA, which takes memory of the GPU
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
            if torch.cuda.device_count() > 1:
                torch.cuda.set_device(number % torch.cuda.device_count())
            torch.ones(1, device=name).add(1).item()
        except RuntimeError as error:  # such as a GPU for which this torch has no kernels
            raise UserError(f"device cuda: {str(error).splitlines()[0]}; take --device cpu")
        if torch.cuda.current_stream() == torch.cuda.default_stream():  # no graph can be recorded on that one
            torch.cuda.set_stream(torch.cuda.Stream())
    return torch.device(name)


def pick_precision(name, device, has_convolutions):
    """"bfloat16" or "float32" for a training step. Raises UserError if this torch or this GPU lacks it.

    "auto" takes bfloat16 if the device has instructions for it and the network has convolutions: the small networks of
    MNIST spend more on the casts than their products gain.
    """
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
    """The context of a training step. With "bfloat16" its matrix products and convolutions take numbers of 8 bits'
    precision and sum in float32; weights, gradients and the optimizer stay in float32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext()


def exact(tensor):
    """The tensor in float64, moved to the processor if its device has no float64 (mps)."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def single(tensor):
    """The tensor in float32 if it has less precision, as an autocast network gives it."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def repeat_exactly(deterministic):
    """With True every operation gives the same bits each time, on a GPU as well; an operation that cannot, warns."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it, and reads it when it starts
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32, in convolutions as in matrix products
    if hasattr(torch.utils, "deterministic"):
        torch.utils.deterministic.fill_uninitialized_memory = False  # we read no memory that was not written


def keep_freed_memory():
    """Have glibc keep the memory of freed large tensors for the next ones. To get it from the system again, page by
    page, took a fifth of a CIFAR-10 epoch and two fifths of an evaluation. Other systems are left alone."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-1, 2 ** 30)  # M_TRIM_THRESHOLD
        mallopt(-3, 2 ** 30) or mallopt(-3, 2 ** 25)  # M_MMAP_THRESHOLD; older glibc caps it at 32 MB


def random_states(device):
    """The states of torch's global generators that work on this device draws from, {device type: state}."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = getattr(torch, device.type).get_rng_state()
    return states


def set_random_states(states):
    for name, state in states.items():
        (torch if name == "cpu" else getattr(torch, name)).set_rng_state(state)


@contextlib.contextmanager
def fixed_noise(device):
    """The same random numbers inside every `with` of this; afterwards the global generators are as they were."""
    states = random_states(device)
    torch.manual_seed(0)
    try:
        yield
    finally:
        set_random_states(states)
