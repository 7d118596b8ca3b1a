"""The arms that a comparison can have: one record each, for the training, the logs, the terminal and the figures."""
import re
from collections import namedtuple

from pruning.errors import UserError

# name: in flags and in a log's header; words: in figures and tables; log_word: in the name of its log; colour, marker:
# in figures, None for a spare one; dashes: of its lines there, on and off in turn, () for a solid line; criterion: the
# function of ranking.py that scores its neurons, or None.
Arm = namedtuple("Arm", "name words log_word colour marker dashes criterion", defaults=(None, None, (), None))

# The log words of the first three are the published ones; "worst" is the historic name of the randomised arm. The
# colours of Okabe and Ito can be told apart by the colour-blind. In grey, those of the first three still differ, and
# dashes tell the others apart. style.DASHED, which marks training measures, is not among these dashes.
ARMS = {arm.name: arm for arm in [
    Arm("none", "without pruning", "withoutPruning", "#000000", "o"),
    Arm("contribution", "contribution-based pruning", "withPruning", "#0072B2", "s"),
    Arm("random", "randomised pruning", "worstPruning", "#E69F00", "^"),
    Arm("reversed", "reversed contribution", "reversedPruning", "#D55E00", "v", (1, 1)),
    Arm("magnitude", "magnitude", "magnitudePruning", "#009E73", "D", (6, 1, 1, 1)),
    Arm("activation", "mean activation", "activationPruning", "#CC79A7", "P", (6, 1, 1, 1, 1, 1)),
    Arm("taylor", "Taylor", "taylorPruning", "#56B4E9", "X", (1, 3)),
    Arm("apoz", "APoZ", "apozPruning", "#8C6D1F", "p", (9, 3)),
    Arm("obs", "optimal brain surgeon", "obsPruning", "#882255", "<", (2, 2, 6, 2)),
    Arm("kfac", "K-FAC", "kfacPruning", "#332288", ">", (4, 1, 4, 3)),
    Arm("scratch", "small network from scratch", "fromScratch", "#7F7F7F", "*", (3, 1, 3, 1, 1, 1)),
]}
COMPARED = ["none", "contribution", "random"]  # the arms of --compare, if it does not name others


def named(name):
    """The record of an arm. A criterion of one's own is called by its name everywhere."""
    return ARMS.get(name) or Arm(name, name, f"{name}Pruning")


def with_criteria(criteria):
    """{name: Arm} of all that can be trained: without pruning, an arm per criterion, from scratch.

    criteria: {name: function}. Raises UserError for a name that no flag or no log can have.
    """
    arms = {name: named(name)._replace(criterion=criterion) for name, criterion in criteria.items()}
    taken = {arm.log_word.lower() for arm in ARMS.values()}
    for name in arms:
        if name in ("none", "scratch") or (name not in ARMS and named(name).log_word.lower() in taken):
            raise UserError(f"ranking.py, CRITERIA: {name!r} is the name of another arm or of its log; rename it")
        if not (isinstance(name, str) and re.fullmatch(r"\w([\w .+-]*\w)?", name)):
            raise UserError(f"ranking.py, CRITERIA: {name!r} cannot be the name of an arm; legal: letters, digits and "
                            "_, with spaces . + - between them")
        taken.add(named(name).log_word.lower())
    return {"none": ARMS["none"], **arms, "scratch": ARMS["scratch"]}
