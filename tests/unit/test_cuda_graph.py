"""When a step is recorded and when it is replayed; what else depends on the device."""
import pytest
import torch

from pruning import cuda_graph, datasets, device, errors


def test_a_call_is_replayed_after_the_first_three_of_its_shape(monkeypatch):
    class Graph:
        def replay(self):
            replayed.append(len(place))
            result.copy_(2 * place)

    def recorded(function, argument):
        nonlocal place, result
        place, result = argument, function(argument)
        return Graph(), place, result

    called, replayed, place, result = [], [], None, None
    monkeypatch.setattr(cuda_graph, "recorded", recorded)
    recording = cuda_graph.Recording()

    def double(x):
        called.append(len(x))
        return 2 * x

    for number in range(6):
        assert recording.run(double, torch.full((5,), float(number))).tolist() == [2.0 * number] * 5
    assert called == [5] * 4 and replayed == [5] * 3  # the fourth time to record it
    assert recording.run(double, torch.ones(2)).tolist() == [2.0, 2.0]
    assert called == [5] * 4 + [2] and replayed == [5] * 3
    assert recording.run(double, torch.ones(5)).tolist() == [2.0] * 5 and replayed == [5] * 4


@pytest.mark.parametrize("said, kind, named", [
    ("operation not permitted when stream is capturing\nand more", errors.UserError,
     r"not permitted when stream is capturing\); .* --cuda-graphs False"),
    ("CUDA out of memory. Tried to allocate 2 GiB", RuntimeError, "^CUDA out of memory")])
def test_why_a_call_was_not_recorded_is_what_itself_said(said, kind, named, monkeypatch):
    class Recorder:
        def __init__(self, graph, stream):
            pass

        def __enter__(self):
            pass

        def __exit__(self, *error):
            raise RuntimeError("operation failed due to a previous error during capture")

    def function(argument):
        raise RuntimeError(said)

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", Recorder)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: None)
    with pytest.raises(kind, match=named):
        cuda_graph.recorded(function, torch.ones(1))


@pytest.mark.parametrize("device, is_contiguous", [("cpu", False), ("meta", True)])
def test_the_layout_of_images_is_the_fast_one_of_the_device(device, is_contiguous):
    split = datasets.Split(torch.zeros(2, 4, 4, 3, dtype=torch.uint8), torch.zeros(2), "cpu", 0.5, 0.5)
    assert split.normalised(split.images.to(device)).is_contiguous() == is_contiguous


def test_the_state_of_chance_comes_back():
    torch.manual_seed(5)
    torch.rand(3)
    states = device.random_states(torch.device("cpu"))
    first = torch.randn(9)
    device.set_random_states({})
    device.set_random_states(states)
    assert torch.equal(torch.randn(9), first)
