"""Many runs over several processes: each takes the next piece of the comparisons' work until none is left."""
import contextlib
import functools
import itertools
import time

from tqdm import tqdm

from pruning.errors import Interrupted, ended_well
from pruning.team import GO_ON, LOOK

START = "epochs before the first round"  # what messages call the part that arms share
DIVERGED = 3  # the status of a piece whose run has diverged, or one before it


class Piece:
    """A piece of a comparison's work. after: the pieces that must have ended well before it begins. arms: whose logs it
    writes. status: None until it has ended; then 0 or DIVERGED."""

    def __init__(self, name, comparison, arms, work, after):
        self.name, self.comparison, self.arms, self.work, self.after = name, comparison, arms, work, after
        self.status = None


def pieces_of(comparison, plan):
    """The shared start if it has arms that have not branched, every arm to do, then what is done with all of them.

    plan: these two lists of arms."""
    unbranched, to_do = plan
    start = [Piece(comparison.name(START), comparison, unbranched, comparison.train_start, [])] * bool(unbranched)
    arms = [Piece(comparison.name(arm.name), comparison, [arm], functools.partial(comparison.train_arm, arm),
                  start if arm in comparison.sharing else []) for arm in to_do]
    return [*start, *arms, Piece(comparison.name("the end"), comparison, [], comparison.conclude, arms)]


def side_by_side(comparisons, team, stop, terminal):
    """Do the work of all comparisons together with the other processes; returns for each piece whether it ended well.

    stop: a signals.Stop. terminal: a Terminal. A piece that diverges is named, and the others go on, except those after
    it. Raises Interrupted if this process was asked to stop, and ends it if another process has failed.
    """
    pieces = list(itertools.chain.from_iterable(map(pieces_of, comparisons, planned(comparisons, team))))
    terminal.write, claimed = team.write, set()
    with bar_of(pieces, team, terminal):
        while True:
            team.check()
            note_ended(pieces, team.entries)
            left = [piece for piece in pieces if piece.status is None]
            if not left:
                return [piece.status == 0 for piece in pieces]
            waiting = [piece for piece in left if piece not in claimed]
            ready = [piece for piece in waiting if all(one.status == 0 for one in piece.after)]
            try:
                if stop.asked:
                    raise Interrupted("asked to stop")
                if not ready:
                    time.sleep(LOOK)
                    continue
                piece = next_of(ready, waiting, team.size)
                claimed.add(piece)
                if team.claim(piece.name):
                    with piece.comparison.open_in(team, piece.arms):
                        well = ended_well(piece.name, piece.work)
                    team.note("ended", pieces.index(piece), 0 if well else DIVERGED)
            except Interrupted:
                team.check()
                raise Interrupted(f"interrupted with {len(left)} of {len(pieces)} pieces of the work to do; {GO_ON}")


def planned(comparisons, team):
    """Of each comparison the arms that have not branched from its start and those to do, as the first process finds. An
    earlier run's checkpoints may still lie where a comparison without logs will have its own."""
    plan = team.broadcast(lambda: [[bool(comparison.logs), *([arm.name for arm in arms] for arms in (
        comparison.unbranched() if comparison.logs else comparison.sharing, comparison.to_do()))]
        for comparison in comparisons])
    for comparison, (has_begun, *named) in zip(comparisons, plan):
        for log in comparison.logs.values():
            log.close()  # for the process that goes on with it
        comparison.logs, comparison.has_logs = {}, has_begun
        yield [[arm for arm in comparison.arms if arm.name in names] for names in named]


def note_ended(pieces, entries):
    """Set the status of the pieces that have ended, and of those that cannot begin any more."""
    for kind, *said in entries:
        if kind == "ended":
            pieces[said[0]].status = said[1]
    for piece in pieces:  # each stands behind those that it waits for
        if DIVERGED in (one.status for one in piece.after):
            piece.status = DIVERGED


def next_of(ready, waiting, processes):
    """The first of the pieces that may begin; if few are left, the first that others wait for, since these could not
    begin before the end of all the rest."""
    awaited = [piece for piece in ready if any(piece in later.after for later in waiting)]
    return awaited[0] if awaited and len(ready) <= 2 * processes else ready[0]


@contextlib.contextmanager
def bar_of(pieces, team, terminal):
    """The bar over all pieces, in the first process. The thread that reads the entries moves it."""
    with tqdm(total=len(pieces), disable=True if terminal.quiet or not team.is_first else None, leave=False,
              smoothing=0, bar_format="{n} of {total} pieces |{bar}| {remaining} left") as bar:
        team.on_entry = lambda entry: bar.update(entry[0] == "ended")
        try:
            yield
        finally:
            team.on_entry = lambda entry: None
