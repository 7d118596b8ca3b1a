"""A restart by torchrun, which starts all processes anew: when their run began, and whether it goes on."""
import ast
import contextlib
import glob
import os
import socket
import sys
import time

from pruning import files
from pruning.errors import LOST, UserError

LOOK = 0.1  # seconds between two looks for what another process does
HEARD = 5  # seconds for which processes wait for each other to notice


class Record:
    """What the first process keeps in a file about the run of its team, for the processes after a restart.

    agent: what started this process. It is the same after a restart, when processes of this machine may have other
    ranks. path, kept: the file of begin(), and what it holds.
    """

    def __init__(self, team):
        self.team, self.path, self.kept = team, None, None
        self.agent = f"{socket.gethostname()} {os.getppid()} {began(os.getppid())}"

    def begin(self, path, started, is_shared):
        """When the run of these processes began, as text, and whether torchrun has started them anew since. The first
        one keeps that in a file: of this path, or beside it the one of before a restart. Raises UserError if another
        one does not find it there, but should.

        started: the text for a run that begins now. Ends the processes if they were at their end before the restart.
        """
        agents = self.team.gather("agent", self.agent)
        self.path, is_restart = self.team.broadcast(lambda: self.recall(path, agents) or self.keep(
            path, {"agents": agents, "started": started, "status": None}))
        end = time.monotonic() + HEARD
        while is_shared and not read_file(self.path):
            if time.monotonic() > end:
                raise UserError(f"log_folder: process {self.team.rank} on {socket.gethostname()} does not find "
                                f"{self.path}, which process 0 has written; give a folder that all machines share")
            time.sleep(LOOK)
        self.team.gather("folder", True)  # the first one begins when all have found it
        return self.team.broadcast(lambda: self.kept["started"]), is_restart

    def recall(self, path, agents):
        for there in glob.glob(os.path.join(glob.escape(os.path.dirname(path)), "*" + os.path.splitext(path)[1])):
            kept = read_file(there)
            if kept and not set(kept["agents"]).isdisjoint(agents):
                self.path, self.kept = there, kept
                if kept["status"]:
                    self.team.note("end", kept["status"], "") if self.team.size > 1 else sys.exit(kept["status"])
                    self.team.check()
                return there, True
            if kept and all(map(is_gone, kept["agents"])):
                with contextlib.suppress(OSError):
                    os.remove(there)
        return None

    def keep(self, path, kept):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with files.whole_file(path) as file:
            file.write(repr(kept).encode())
        self.kept = kept
        return path, False

    def remember(self, status):
        """Have a restart go on with a run that was interrupted or has lost a process, and end at once after one that
        would end so again."""
        if self.kept and not (self.team.can_restart and status in (LOST, 130)):
            with contextlib.suppress(OSError, UserError):
                if status and self.team.can_restart and not self.team.is_launched:
                    self.keep(self.path, {**self.kept, "status": status})
                else:
                    os.remove(self.path)


def read_file(path):
    """The literal in a file; None if there is none."""
    with contextlib.suppress(OSError, SyntaxError, ValueError), open(path, encoding="utf-8") as file:
        return ast.literal_eval(file.read())


def is_gone(agent):
    """Whether what started the processes of a run was on this machine and has ended."""
    host, process, beginning = agent.rsplit(" ", 2)
    return host == socket.gethostname() and beginning != str(began(process))


def began(process):
    """When a process began, in ticks since Linux did; None elsewhere. The numbers of processes are used again."""
    with contextlib.suppress(OSError), open(f"/proc/{process}/stat") as file:
        return file.read().rpartition(")")[2].split()[19]
