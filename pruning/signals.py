"""The wish to stop a run: Ctrl-C, SIGTERM, or a terminal that closes."""
import os
import signal
from types import SimpleNamespace

from pruning.errors import SIGNALS

ALONE = SimpleNamespace(is_started=False, status=None)  # in the place of a team.Team


class Stop:
    """Inside `with Stop() as stop:` the first Ctrl-C, SIGTERM or closed terminal sets stop.asked; a second one ends the
    program at once. A signal that the program was started to ignore, as by nohup, stays ignored.

    team: a team.Team, whose end sets stop.asked too. Its launcher may send a signal twice, so there no second one ends.
    """
    def __init__(self, team=ALONE):
        self.heard, self.team = False, team

    @property
    def asked(self):
        return self.heard or self.team.status is not None

    def __enter__(self):
        present = {number: signal.getsignal(number) for number in SIGNALS}
        self.earlier = {number: handler for number, handler in present.items() if handler != signal.SIG_IGN}
        for number in self.earlier:
            signal.signal(number, self.ask)
        return self

    def __exit__(self, *error):
        for number, handler in self.earlier.items():
            signal.signal(number, handler)

    def ask(self, number, frame):
        self.heard = True
        if not self.team.is_started:
            self.__exit__()
            if os.isatty(2):
                os.write(2, b"\nstopping after this batch or round; once more to stop at once\n")
