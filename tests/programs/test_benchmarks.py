"""What the benchmarks time: the programs' own networks and epochs; and the products that these are compared with."""
import itertools
import os
import sys

import pytest
import torch
from conftest import ROOT

sys.path.append(os.path.join(ROOT, "benchmarks"))
import bench  # noqa: E402
import epoch  # noqa: E402
import growth  # noqa: E402
import pruned  # noqa: E402
import side_by_side  # noqa: E402

import constants  # noqa: E402
import driver  # noqa: E402
import vae  # noqa: E402
from pruning.groups import widths_of  # noqa: E402


@pytest.mark.parametrize("program, dataset, shape", [(driver, "MNIST", (28, 28, 1)), (driver, "CIFAR10", (32, 32, 3)),
                                                     (vae, "MNIST", (28, 28, 1))])
def test_a_network_is_trained_and_pruned_as_the_program_does(program, dataset, shape):
    prepared = pruned.prepare(program, shape, 150, "--dataset", dataset)
    table = getattr(constants, f"{'vae_' if program is vae else ''}{dataset}")
    model = prepared.state.model
    assert widths_of(prepared.state.groups) == table["hidden_widths"]
    assert prepared.settings.batch_size == table["batch_size"]
    before = [parameter.detach().clone() for parameter in model.parameters()]
    pruned.epoch(prepared)()
    assert all(not torch.equal(old, new) for old, new in zip(before, model.parameters()))
    pruned.prune(prepared, itertools.repeat(5))
    assert widths_of(prepared.state.groups) == [5] * len(table["hidden_widths"])
    pruned.epoch(prepared)()


def test_the_work_of_an_epoch_and_of_a_ranking_is_that_by_hand():
    prepared = pruned.prepare(driver, (28, 28, 1), 20, "--dataset", "MNIST")
    forward = [784 * 50, 50 * 30, 30 * 10]
    back = [784 * 50, 2 * 50 * 30, 2 * 30 * 10]  # of the weights, and of what comes in where that is no image
    c_avg = [2 * 50 * 30, 2 * 30 * 10]  # the sums over a layer's inputs, and the shares summed over the images
    assert growth.products(prepared) == (sum(forward) + sum(back), sum(forward[:2]) + sum(c_avg))


def test_steps_without_autograd_and_torch_optim_train_the_same_weights():
    def prepare():
        torch.manual_seed(30)  # one batch an epoch, whose order changes little
        return pruned.prepare(driver, (28, 28, 1), 40, "--dataset", "MNIST", "--batch-size", "40")

    by_suite, by_hand = prepare(), prepare()
    before = [weight.detach().clone() for weight in by_suite.state.model.parameters()]
    for train in (pruned.epoch(by_suite), epoch.by_hand(by_hand)):
        train()
        train()
    for old, one, other in zip(before, by_suite.state.model.parameters(), by_hand.state.model.parameters()):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-6)
        assert (one - old).abs().max() > 1e-4


def test_a_precision_that_the_device_lacks_is_named_once(monkeypatch):
    monkeypatch.setattr(side_by_side, "PRECISIONS", ["float32"])
    monkeypatch.setattr(side_by_side, "in_turn", lambda *functions: [[1.0, 1.0]] * len(functions))
    case = epoch.CIFAR10._replace(by_us=50, by_recipe=50)
    dataset = epoch.ColourImages(*epoch.random_images(case.by_recipe, case.shape))
    own, missing = epoch.rows_of(case, dataset)
    assert own.ratio == 1 and "scaled from 50 images, CIFAR10 net, batch 128, float32, against" in own.what
    assert "bfloat16: not measured" in missing.what and missing.wanted == case.wanted["bfloat16"]


def test_two_functions_are_called_in_turn_after_one_call_to_warm_up(monkeypatch):
    called, clock = [], iter(range(1000))
    monkeypatch.setattr(side_by_side.time, "perf_counter", lambda: next(clock))
    own, other = side_by_side.in_turn(lambda: called.append("own"), lambda: called.append("other"))
    assert called == ["own", "other"] * (1 + side_by_side.REPEATS)
    assert (own, other) == ((1,) * side_by_side.REPEATS,) * 2
    assert side_by_side.medians([1, 2, 9], [4, 4, 9]) == (2, 4, 2)  # the median of 4 / 1, 4 / 2 and 9 / 9


def test_a_reader_sees_the_rows_that_have_a_bound_and_may_unfold_the_others():
    bounds = ["", "< 1", "", "> 2"]
    rows = [side_by_side.Row(f"row {number}", "", "", "", wanted) for number, wanted in enumerate(bounds)]
    seen, folded = bench.two_tables(rows).split("<details>")
    assert [number for number in range(4) if f"| row {number} |" in seen] == [1, 3]
    assert [number for number in range(4) if f"| row {number} |" in folded] == [0, 2]
