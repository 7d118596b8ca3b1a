"""The wish to stop a run: Ctrl-C, SIGTERM, or a terminal that closes."""
import os
import signal


class Stop:
    """Inside `with Stop() as stop:` the first Ctrl-C, SIGTERM or closed terminal sets stop.asked; a second one ends the
    program at once. A signal that the program was started to ignore, as by nohup, stays ignored."""
    signals = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

    def __init__(self):
        self.heard, self.parent = False, None

    @property
    def asked(self):
        return self.heard or (self.parent is not None and os.getppid() != self.parent)

    def follow_parent(self):
        """In a forked process: leave the terminal's Ctrl-C to the parent, which passes it on; stop if it has gone."""
        self.parent = os.getppid()
        os.setpgid(0, 0)

    def __enter__(self):
        present = {number: signal.getsignal(number) for number in self.signals}
        self.earlier = {number: handler for number, handler in present.items() if handler != signal.SIG_IGN}
        for number in self.earlier:
            signal.signal(number, self.ask)
        return self

    def __exit__(self, *error):
        for number, handler in self.earlier.items():
            signal.signal(number, handler)

    def ask(self, number, frame):
        self.heard = True
        self.__exit__()
        if os.isatty(2) and self.parent is None:
            os.write(2, b"\nstopping after this batch or round; once more to stop at once\n")
