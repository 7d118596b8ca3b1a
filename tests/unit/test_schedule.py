"""The epochs of the rounds, the neurons that each round leaves, exact against fractions, and the rates of the steps."""
import math
from fractions import Fraction

import pytest
import torch
from unit_helpers import run_settings

from pruning import schedule

TEN_PERCENT = [
    [50, 45, 40, 36, 32, 28, 25, 22, 19, 17], [30, 27, 24, 21, 18, 16, 14, 12, 10, 9],
    [256, 230, 207, 186, 167, 150], [128, 115, 103, 92, 82, 73], [2, 1, 1, 1]]


@pytest.mark.parametrize("total, initial, increment, epochs", [
    (100, 30, 10, [30, 40, 50, 60, 70, 80, 90]), (100, 30, 15, [30, 45, 60, 75, 90]), (100, 100, 10, []),
    (5, 30, 10, []), (11, 3, 4, [3, 7]), (10, 3, 4, [3, 7]), (7, 3, 10, [3]), (5, 1, 1, [1, 2, 3, 4])])
def test_rounds_follow_these_epochs(total, initial, increment, epochs):
    given = run_settings(total_epochs=total, initial_iterations=initial, increment=increment)
    assert list(schedule.rounds(given)) == epochs


@pytest.mark.parametrize("batches", [1, 7])
@pytest.mark.parametrize("name, total, initial, increment, stretches", [
    ("cosine", 10, 3, 4, [10]), ("cosine_restarts", 10, 3, 4, [3, 4, 3]), ("cosine_restarts", 11, 3, 4, [3, 4, 4]),
    ("cosine_restarts", 5, 1, 1, [1, 1, 1, 1, 1]), ("cosine_restarts", 5, 30, 10, [5]),
    ("cosine_restarts", 7, 7, 2, [7]), ("cosine_restarts", 100, 30, 15, [30, 15, 15, 15, 15, 10])])
def test_rates_are_those_of_torchs_cosine_annealing_started_anew_in_each_stretch(
        name, total, initial, increment, stretches, batches):
    given = run_settings(total_epochs=total, initial_iterations=initial, increment=increment, learning_rate=0.3,
                         learning_rate_schedule=name)
    expected = []
    for epochs in stretches:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
        annealing = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches, 0.02 * 0.3)
        for _ in range(epochs * batches):
            expected.append(annealing.get_last_lr()[0])
            optimizer.step()
            annealing.step()
    assert [schedule.learning_rate(given, epoch, batch, batches) for epoch in range(1, total + 1)
            for batch in range(batches)] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("widths", TEN_PERCENT, ids=str)
def test_ten_percent_a_round_leaves_these_widths(widths):
    assert [schedule.staying(width, 10) for width in widths[:-1]] == widths[1:]


@pytest.mark.parametrize("percent", ["10", "0.1", "7", "12.5", "29", "33.3", "58", "66.4", "70.4", "99.9"])
def test_the_number_that_stays_is_exact(percent):
    # In floating point (1 - percent/100) * N can fall below the whole number that it is: 66.4 percent of 125.
    exact = {width: max(1, math.floor((1 - Fraction(percent) / 100) * width)) for width in range(1, 301)}
    assert {width: schedule.staying(width, float(percent)) for width in exact} == exact


@pytest.mark.parametrize("percent", [10, 33.3, 66.4, 99.9])
@pytest.mark.parametrize("total", [2, 3, 8, 500])
def test_final_widths_are_what_round_after_round_leaves(percent, total):
    given = run_settings(total_epochs=total, increment=1, prune_percent=percent)
    first = widths = [125, 30, 1]
    for _ in range(2, total):
        widths = [schedule.staying(width, percent) for width in widths]
    assert schedule.final_widths(first, given) == widths and first == [125, 30, 1]
