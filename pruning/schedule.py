"""When a run has its rounds, and how many neurons each of them leaves."""
from fractions import Fraction


def rounds(settings):
    """The epochs that a round follows: initial_iterations and every increment after it, before total_epochs."""
    return range(settings.initial_iterations, settings.total_epochs, settings.increment)


def staying(width, prune_percent):
    """How many of `width` neurons a round leaves: those of rank <= (1 - prune_percent/100) width, and at least one."""
    return max(1, int(width * (100 - Fraction(str(prune_percent))) / 100))  # floats keep 41 of 125 at 66.4 %, not 42


def final_widths(settings):
    """The neurons that the schedule leaves in each hidden layer."""
    widths = settings.hidden_widths
    for _ in rounds(settings):
        if max(widths) == 1:
            break
        widths = [staying(width, settings.prune_percent) for width in widths]
    return widths
