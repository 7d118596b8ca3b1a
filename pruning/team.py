"""The processes that share a command's work: those that torchrun has started, or this one alone."""
import ast
import atexit
import contextlib
import functools
import os
import sys
import threading
import time
import uuid
from datetime import timedelta

from torch import distributed
from tqdm import tqdm

from pruning import errors
from pruning.errors import LOST, Interrupted, Lost
from pruning.restart import HEARD, LOOK, Record

BEAT = 1  # seconds between two signs of life
GO_ON = "go on with --resume and any of the logs"
NO_STORE = "the store of all processes cannot be reached any more"
COMMAND = "PRUNING_COMMAND"  # in the environment of processes that --jobs starts: what the launching process has read


class Team:
    """This process and the others, by what torchrun says in the environment.

    rank, size: this process's number, and how many there are; local_rank, local_size: the same on this machine. Alone,
    a process is 0 of 1. is_started: whether torchrun has started this process; is_launched: whether --jobs has, by
    torchrun's own engine. timeout: the setting, in seconds.

    All of them read one list of entries in the store. The first process prints the lines in it. An entry that says that
    one process ends sets `status`, its exit status, in all of them; it is None before.
    """

    def __init__(self, timeout):
        def number(name, alone):
            return int(os.environ.get(name, alone)) if self.is_started else alone
        self.is_started = {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()
        self.is_launched = COMMAND in os.environ
        self.rank, self.size = number("RANK", 0), number("WORLD_SIZE", 1)
        self.local_rank, self.local_size = number("LOCAL_RANK", 0), number("LOCAL_WORLD_SIZE", 1)
        self.can_restart = number("TORCHELASTIC_MAX_RESTARTS", 0) > number("TORCHELASTIC_RESTART_COUNT", 0)
        self.timeout, self.status = timeout, None
        self.stop = None  # a signals.Stop, once there is one
        self.entries, self.reading, self.broadcasts = [], threading.Lock(), 0
        self.has_left, self.on_entry, self.beats = threading.Event(), lambda entry: None, 0
        self.record = Record(self)

    @property
    def is_first(self):
        return self.rank == 0

    def join(self):
        """Find the other processes, if there are any; from now on the first one speaks for all. Raises Lost."""
        if self.size > 1:
            self.store  # noqa: B018  made at its first use
            errors.say = self.say
            self.watch = threading.Thread(target=self.watch_others, daemon=True)
            self.watch.start()
            threading.Thread(target=self.watch_store, daemon=True).start()
            atexit.register(self.leave)

    # ---- the store ----

    @functools.cached_property
    def store(self):
        """The c10d store of all processes, under a name of its own for this start of them. Raises Lost if they do not
        find each other in time."""
        try:
            limit, is_host = timedelta(seconds=self.timeout), self.is_first
            if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
                is_host = False
            # Not by init_method="env://": that waits for the others in C++, where no signal is heard.
            store = distributed.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), self.size, is_host,
                                         limit, wait_for_workers=False)
            return distributed.PrefixStore(self.meet(store), store)
        except (LookupError, OSError, RuntimeError, ValueError) as error:
            raise Lost(f"process {self.rank} of {self.size} has not found the others within timeout = {self.timeout} s "
                       f"({str(error).splitlines()[0][:200]})")

    def meet(self, store):
        """The name of this start. A store may outlive a restart, which torchrun counts on each machine for itself. So
        each process says hello by a name of its own, and the first process answers with the name of the start."""
        if not self.is_first:
            mine = uuid.uuid4().hex
            put(store, f"hello {self.rank}", mine)
            self.wait(lambda: has(store, mine), 0)
            start = get(store, mine)
            put(store, f"{start} {self.rank}", True)
            return start
        start = uuid.uuid4().hex
        for rank in range(1, self.size):
            def is_here(rank=rank):
                if has(store, f"hello {rank}"):
                    put(store, get(store, f"hello {rank}"), start)
                return has(store, f"{start} {rank}")
            self.wait(is_here, rank)
        return start

    def wait(self, is_here, rank):
        end = time.monotonic() + self.timeout
        while not is_here():
            if time.monotonic() > end:
                raise Lost(f"process {rank} of {self.size} has not come within timeout = {self.timeout} s")
            time.sleep(LOOK)

    def put(self, key, value):
        """Put a literal into the store."""
        with self.reaching():
            put(self.store, key, value)

    def get(self, key):
        """The literal under a key, as soon as it is there. Ends this process if the team ends. Raises Interrupted if it
        is asked to stop."""
        while True:
            self.check()
            if self.stop and self.stop.asked:
                raise Interrupted(f"interrupted; {GO_ON}")
            with self.reaching():
                if has(self.store, key):
                    return get(self.store, key)
            time.sleep(LOOK)

    def claim(self, key):
        """Whether this process is the first one to ask for this key."""
        with self.reaching():
            return self.store.add(f"claimed: {key}", 1) == 1

    def broadcast(self, function):
        """What a function of the first process returns, a literal; the others do not call it. If it fails there, they
        end without a word."""
        if self.size == 1:
            return function()
        self.broadcasts += 1
        key = f"broadcast {self.broadcasts}"
        if self.is_first:
            self.put(key, function())
        return self.get(key)

    def gather(self, name, value):
        """In the first process the values of all, by rank; None in the others."""
        if self.size == 1:
            return [value]
        self.put(f"{name} {self.rank}", value)
        return [self.get(f"{name} {rank}") for rank in range(self.size)] if self.is_first else None

    def in_turn(self, name, function):
        """What a function returns, called on each machine by one process first, then by the others."""
        if self.local_size == 1:
            return function()
        key = f"{name} {self.rank - self.local_rank}"
        if self.local_rank:
            self.get(key)
            return function()
        result = function()
        self.put(key, True)
        return result

    # ---- what they tell each other ----

    def note(self, *entry):
        """Add an entry to the list."""
        with self.reaching():
            put(self.store, f"entry {self.store.add('entries', 1)}", entry)

    def hear(self):
        """Read the new entries; the first process does what they say."""
        with self.reading, self.reaching():
            for number in range(len(self.entries) + 1, self.store.add("entries", 0) + 1):
                if not has(self.store, f"entry {number}"):  # it is about to come
                    break
                kind, *said = get(self.store, f"entry {number}")
                self.entries.append((kind, *said))
                if self.is_first:
                    self.on_entry(self.entries[-1])
                if kind == "line" and self.is_first:
                    tqdm.write(said[0], file=sys.stderr if said[1] else sys.stdout)
                elif kind == "end" and self.status is None:
                    self.end(*said)

    def end(self, status, line):
        """All processes end with this status; the first one says why, unless its launcher does."""
        self.status = status
        if self.is_first:
            self.record.remember(status)
            if line and not (self.is_launched and status == 130):
                tqdm.write(line, file=sys.stderr)
            put(self.store, "heard", True)

    def write(self, line):
        """Have the first process print a line."""
        self.note("line", line, False)

    def say(self, message, status=None):
        """errors.say of all processes: the first one prints the line. With a status, all of them end."""
        line = f"{os.path.basename(sys.argv[0])}: {message}"
        try:
            self.note(*(("line", line, True) if status is None else ("end", status, line)))
            self.hear()
            if status is not None and not self.is_first:
                end = time.monotonic() + HEARD
                while not has(self.store, "heard") and time.monotonic() < end:
                    time.sleep(LOOK)
        except (SystemExit, RuntimeError):  # the store has gone with the first process
            pass
        if status is not None:
            sys.exit(status if self.status is None else self.status)

    def check(self):
        """End this process if the team ends."""
        self.hear()
        if self.status is not None:
            sys.exit(self.status)

    @contextlib.contextmanager
    def reaching(self):
        """Inside, the loss of the store ends this process."""
        try:
            yield
        except RuntimeError:
            self.lose(NO_STORE)
            sys.exit(self.status)

    def lose(self, what):
        """End this process alone, since it has lost the others. One process of each machine says so."""
        if self.status is None:
            self.status = LOST
            if self.local_rank == 0:
                tqdm.write(f"{os.path.basename(sys.argv[0])}: {what}; {GO_ON}", file=sys.stderr)

    def watch_others(self):
        """Read the entries, show signs of life and look for those of the first process, and of all in that one."""
        others = {rank: (0, time.monotonic()) for rank in (range(1, self.size) if self.is_first else [0])}
        beaten = 0
        with contextlib.suppress(SystemExit):
            while not self.has_left.wait(LOOK):
                self.hear()
                if self.status is None and time.monotonic() > beaten + BEAT:
                    beaten = time.monotonic()
                    self.beats += 1
                    with self.reaching():
                        self.store.add(f"beat {self.rank}", 1)
                        for rank, (count, since) in others.items():
                            beats = self.store.add(f"beat {rank}", 0)
                            others[rank] = (beats, beaten) if beats != count else (count, since)
                    silent = [rank for rank, (_, since) in others.items() if beaten > since + self.timeout]
                    if silent:
                        what = f"process {silent[0]} has given no sign of life for timeout = {self.timeout} s"
                        self.say(f"{what}; {GO_ON}", LOST) if self.is_first else self.lose(what)

    def watch_store(self):
        """End this process if its calls of the store have had no answer for `timeout` seconds. They would wait for ever
        once the network is cut or the process that holds the store is stopped. This thread makes no such calls."""
        beats, silent = 0, 0
        while self.status is None and not self.has_left.wait(BEAT):
            beats, silent = self.beats, 0 if self.beats != beats else silent + BEAT
            if silent > self.timeout:
                self.lose(NO_STORE)
                os._exit(LOST)

    def leave(self):
        """Stop watching. The first process waits for the others to leave, since it may hold the store."""
        with contextlib.suppress(RuntimeError):
            end = time.monotonic() + HEARD
            self.store.add("left", 1)
            while self.is_first and self.store.add("left", 0) < self.size and time.monotonic() < end:
                time.sleep(LOOK)
        self.has_left.set()
        self.watch.join(HEARD)


def put(store, key, value):
    """Put a literal into a store, and a mark that it is there: torch 1.13 has no other way to ask for that."""
    store.set(key, repr(value))
    store.add("there: " + key, 1)


def has(store, key):
    return store.add("there: " + key, 0) > 0


def get(store, key):
    return ast.literal_eval(store.get(key).decode())
