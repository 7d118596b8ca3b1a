"""One run over several processes: each takes its share of every batch, and a sum is the sum over all of them.

All of them call these functions in the same order, since most wait for the others. A process that works alone has whole
batches, and its sums are its own.
"""
import contextlib
import math
import re
import warnings
from collections import namedtuple
from datetime import timedelta
from types import SimpleNamespace

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from pruning import errors
from pruning.device import exact
from pruning.errors import Lost, UserError

TOLERANCE = 1e-6  # how far the norms of weights may differ between processes, in parts
BROKEN = "connect|peer|broken pipe|timed? ?out|gloo|nccl"  # torch's words for it
UNUSED = "parameters that were not used in producing loss"


class Share(namedtuple("Share", "rows whole weight")):
    """What a process takes of a batch of `whole` images: the slice `rows`, which is the part `weight` of it.

    There may be more processes than images. One that gets none takes the first image with the weight 0, so that its
    network runs and its generators draw as the others' do.
    """

    def scaled(self, loss, summed):
        """The loss of this share, such that the mean of all processes' gradients is the gradient of the batch's loss.
        summed: whether that is a sum over the images, not their mean."""
        return here.size * (bool(self.weight) if summed else self.weight) * loss if is_on() else loss


# This process. gradients: the group of processes that averages them; share: of the batch at hand.
here = SimpleNamespace(rank=0, size=1, gradients=None, share=Share(slice(0, 0), 0, 0))


# ---- who is here ----

def start(team, device, images, data):
    """Share a run with the other processes of a Team from now on. Raises UserError if they cannot.

    images: in the smallest set that they share. data: what all have read, as datasets.fingerprint says it.
    """
    gpus = torch.cuda.device_count() if device.type == "cuda" else math.inf
    if device.type == "mps":
        raise UserError("spread = batch: processes cannot share a run on the device mps; legal: cpu or cuda")
    if team.local_size > gpus:
        raise UserError(f"spread = batch: {team.local_size} processes, {gpus} GPUs on this machine; start one process "
                        "for each GPU")
    if team.size > images:
        raise UserError(f"spread = batch: {team.size} processes for {images} images, of training set, test set or "
                        "ranking_images; take no more processes than images")
    found = team.gather("data", data)  # also makes sure that all have come so far
    others = team.broadcast(lambda: [rank for rank, data in enumerate(found) if data != found[0]])
    if others:
        raise UserError(f"spread = batch: process {others[0]} has read other images than process 0")
    warnings.filterwarnings("ignore", "Grad strides do not match")  # of convolutions; it is said to cost a copy
    limit = timedelta(seconds=team.timeout)
    here.rank, here.size = team.rank, team.size
    if not is_first():  # what all say, the first one says
        errors.say = lambda message, status=None: status is None or team.say(message, status)
    with clear_faults():
        distributed.init_process_group("gloo", store=team.store, rank=team.rank, world_size=team.size, timeout=limit)
        if device.type == "cuda":  # gloo goes through the processor, which is good enough for all other sums
            here.gradients = distributed.new_group(backend="nccl", timeout=limit)


@contextlib.contextmanager
def clear_faults():
    """Inside, the loss of another process raises Lost, and a network that cannot be spread UserError."""
    try:
        yield
    except RuntimeError as error:
        if is_on() and UNUSED in str(error):
            raise UserError("spread = batch: some weights of the network have no part in its loss; leave them out, or "
                            "freeze them by requires_grad_(False)")
        if not is_on() or not re.search(BROKEN, str(error), re.IGNORECASE):
            raise
        raise Lost("another process of this run has ended or does not answer; go on with --resume and its log")


def end():
    """From now on this process works alone."""
    if is_on():
        distributed.destroy_process_group()
        here.size = 1


def is_on():
    return here.size > 1


def is_first():
    return here.rank == 0


# ---- shares ----

def share(whole):
    """The Share of this process in a batch, which is the batch at hand from now on."""
    first, last = (number * whole // here.size for number in (here.rank, here.rank + 1))
    here.share = Share(slice(first, last) if first < last else slice(0, 1), whole, (last - first) / whole)
    return here.share


def noise(images, width):
    """Standard normal numbers (B, width) for B images: for the share of the batch at hand, those that one process draws
    for all of the batch."""
    rows = here.share.rows
    if not is_on() or len(images) != rows.stop - rows.start:  # such as images that are not shared
        return torch.randn(len(images), width, device=images.device)
    return torch.randn(here.share.whole, width, device=images.device)[rows]


# ---- the step ----

class Parallel(DistributedDataParallel):
    """A network whose gradients are the means over all processes, with the network's own attributes. It is for the
    weights that the network has now: a removal replaces them."""

    def __init__(self, model):
        super().__init__(model, process_group=here.gradients, gradient_as_bucket_view=True)

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)


def parallel(model):
    """The network whose loss is minimised: as a Parallel, if it is spread over several processes."""
    return Parallel(model) if is_on() else model


@torch.no_grad()
def average_buffers(model, share):
    """Give the statistics of a BatchNorm, and other buffers, their mean over the images of all shares."""
    buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()] if is_on() else []
    if buffers:
        means = total(share.weight * exact(torch.cat([buffer.flatten() for buffer in buffers])))
        for buffer, mean in zip(buffers, means.split([buffer.numel() for buffer in buffers])):
            buffer.copy_(mean.view_as(buffer))


# ---- sums ----

def total(tensor):
    """The sum of a tensor over all processes; of one that works alone the tensor itself."""
    return reduced(tensor, "SUM")


def largest(tensor):
    """The maximum of every entry of a tensor over all processes; of one that works alone the tensor itself."""
    return reduced(tensor, "MAX")


def reduced(tensor, operation):
    if not is_on():
        return tensor
    result = tensor.detach().cpu().clone()
    distributed.all_reduce(result, getattr(distributed.ReduceOp, operation))
    return result.to(tensor.device)


def first_says(function):
    """What a function of the first process returns; the others do not call it."""
    if not is_on():
        return function()
    said = [function() if is_first() else None]
    distributed.broadcast_object_list(said)
    return said[0]


def agreed(stop):
    """The Stop of a run: of one that is spread over several processes a wish of any of them."""
    return SharedStop(stop) if is_on() else stop


class SharedStop:
    """As signals.Stop, but all processes ask together and get one answer."""

    def __init__(self, own):
        self.own = own

    @property
    def asked(self):
        return bool(largest(torch.tensor(float(self.own.asked))))


def differences(model):
    """What a run over several processes does differently from one process, a line each."""
    lines = {nn.modules.batchnorm._BatchNorm: "BatchNorm normalises by each process's share of a batch alone",
             nn.modules.dropout._DropoutNd: "Dropout draws in each process for its share of a batch"}
    return [line for kind, line in lines.items() if is_on() and any(isinstance(one, kind) for one in model.modules())]


@torch.no_grad()
def require_agreement(keeps, model):
    """Raise UserError if the processes keep other neurons or have other weights than each other."""
    if is_on():
        norms = [exact(weight).norm().cpu() for weight in model.parameters()]
        found = torch.cat([*map(exact, keeps), torch.stack(norms)])
        if not (largest(found) + largest(-found) <= TOLERANCE * largest(found.abs())).all():
            raise UserError("the processes of this run have come to different networks; that is a fault of a machine, "
                            "or of a criterion whose sums are not those of all processes (passes.total)")
