"""When a run has its rounds, how many neurons each of them leaves, and the learning rate of every step."""
import math
from fractions import Fraction

FLOOR = 0.02  # the part of learning_rate that a cosine ends at


def rounds(settings):
    """The epochs that a round follows: initial_iterations and every increment after it, before total_epochs."""
    return range(settings.initial_iterations, settings.total_epochs, settings.increment)


def learning_rate(settings, epoch, batch, batches):
    """The rate of a step, batch 0, 1 ... of the `batches` of epoch 1, 2 ..., on a cosine from learning_rate to FLOOR of
    it: over the run or, with restarts, from each round to the next, in arms without rounds too (Loshchilov and Hutter,
    SGDR, 2017)."""
    first, length = 0, settings.total_epochs
    if settings.learning_rate_schedule == "cosine_restarts":
        since = epoch - 1 - settings.initial_iterations  # epochs since the first round
        first, length = ((epoch - 1 - since % settings.increment, settings.increment) if since >= 0
                         else (0, settings.initial_iterations))
    last = min(first + length, settings.total_epochs)
    done = (epoch - 1 - first + batch / batches) / (last - first)
    return settings.learning_rate * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * done)) / 2)


def staying(width, prune_percent):
    """How many of `width` neurons a round leaves: those of rank <= (1 - prune_percent/100) width, and at least one."""
    return max(1, int(width * (100 - Fraction(str(prune_percent))) / 100))  # floats keep 41 of 125 at 66.4 %, not 42


def final_widths(widths, settings):
    """The neurons that the schedule leaves of groups of these widths."""
    for _ in rounds(settings):
        if max(widths) == 1:
            break
        widths = [staying(width, settings.prune_percent) for width in widths]
    return widths
