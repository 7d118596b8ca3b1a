"""Which device and which precision a run takes, and what it does to the process."""
import os
from types import SimpleNamespace

import pytest
import torch
from unit_helpers import refusal

from pruning import device


@pytest.mark.parametrize("name, kind, convolutions, flags, picked", [
    ("auto", "cpu", True, "fpu amx_bf16 sse", "bfloat16"), ("auto", "cpu", True, "avx512_bf16", "bfloat16"),
    ("auto", "cpu", True, "avx512f", "float32"), ("auto", "cpu", False, "amx_bf16", "float32"),
    ("auto", "mps", True, "", "float32"), ("bfloat16", "cpu", False, "", "bfloat16"),
    ("float32", "cpu", True, "amx_bf16", "float32")])
def test_auto_takes_bfloat16_if_it_pays(name, kind, convolutions, flags, picked, monkeypatch):
    monkeypatch.setattr(device, "processor_line", {"flags": flags}.get)
    assert device.pick_precision(name, torch.device(kind), convolutions) == picked


@pytest.mark.parametrize("kind", ["mps", "cuda"])
def test_bfloat16_is_refused_if_torch_or_the_gpu_has_none(kind, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert f"not on the device {kind}" in refusal(device.pick_precision, "bfloat16", torch.device(kind), True)


def test_on_the_processor_cuda_is_not_even_asked_for(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("this starts CUDA"))
    assert device.pick_device("cpu") == torch.device("cpu") and os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_a_device_that_is_not_there_is_named_with_those_that_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert refusal(device.pick_device, "cuda").startswith("device cuda: this machine or this torch has none; available")


def test_a_gpu_for_which_torch_has_no_kernels_is_named(monkeypatch):
    def ones(*sizes, device):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nand more")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", ones)
    for name in ("cuda", "auto"):
        message = refusal(device.pick_device, name)
        assert message.startswith("device cuda: CUDA error: no kernel image ")
        assert message.endswith("; take --device cpu")


def test_an_older_glibc_keeps_as_large_tensors_as_it_can(monkeypatch):
    taken = {}

    def mallopt(parameter, value):  # 1: taken
        if parameter == -3 and value > 2 ** 25:
            return 0
        taken[parameter] = value
        return 1
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    device.keep_freed_memory()
    assert taken == {-1: 2 ** 30, -3: 2 ** 25}


def test_fixed_noise_is_the_same_each_time_and_leaves_the_global_random_state():
    cpu, drawn = torch.device("cpu"), []
    for _ in range(2):
        torch.rand(5)
        before = torch.get_rng_state()
        with pytest.raises(KeyError), device.fixed_noise(cpu):
            drawn.append(torch.rand(3).tolist())
            raise KeyError  # the state comes back then, too
        assert torch.equal(torch.get_rng_state(), before)
    assert drawn[0] == drawn[1]
