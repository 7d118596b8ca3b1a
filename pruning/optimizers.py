"""The optimizer of a run and its learning rate. If a schedule moves the rate, a CUDA graph reads it from the GPU."""
import inspect

import torch

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
# Since torch 2.3 SGD has a fused kernel too, and all of them take the rate as a tensor.
TENSOR_RATES = "fused" in inspect.signature(torch.optim.SGD).parameters


def make_optimizer(model, settings):
    """The optimizer of a model's parameters."""
    kind = OPTIMIZERS[settings.optimizer]
    options = {"lr": settings.learning_rate, "momentum": settings.momentum, "weight_decay": settings.weight_decay}
    device, moves = next(model.parameters()).device, settings.learning_rate_schedule != "constant"
    if device.type == "cuda" and (moves or kind is not torch.optim.SGD):
        # One kernel for all weights. Adam also counts its steps on the GPU, as a graph needs it.
        options.update(fused=True, capturable=True)
        if moves and TENSOR_RATES:
            options["lr"] = torch.tensor(settings.learning_rate, device=device)
    known = inspect.signature(kind).parameters  # momentum is SGD's, capturable Adam's; older versions lack fused
    return kind(model.parameters(), **{name: value for name, value in options.items() if name in known})


def set_rate(optimizer, rate):
    """Set the learning rate of the next step. A tensor is filled, since a recorded step reads that same one."""
    for group in optimizer.param_groups:
        if torch.is_tensor(group["lr"]):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def is_recordable(optimizer, settings):
    """Whether a recorded step follows the rate: in a graph a number stays what it was."""
    return settings.learning_rate_schedule == "constant" or torch.is_tensor(optimizer.param_groups[0]["lr"])
