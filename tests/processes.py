"""The programs as processes of their own, forked from one that has imported torch already."""
import atexit
import builtins
import contextlib
import ctypes
import fcntl
import importlib
import itertools
import multiprocessing
import os
import pty
import resource
import runpy
import select
import signal
import struct
import sys
import tempfile
import termios
import time

import constants
from pruning import checkpoint, digits, errors, files, training
from pruning.plots import vae_pictures

ROOT = os.path.dirname(os.path.abspath(constants.__file__))
PROMPT = b"Number of the data set: "

# What the processes are forked from. It has imported torch, which takes seconds, and started none of OpenMP's threads.
os.environ["PYTHONPATH"] = os.pathsep.join([ROOT, os.path.join(ROOT, "tests")])
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["processes", "driver", "vae", "matplotlib.figure", "torchvision.datasets"])

SUITE = ["driver", "vae", "constants", "models", "ranking", "pruning"]
STARTED = []  # the processes of a test


class Program:
    """A program that runs in a process of its own, in a folder.

    text: what comes through the pipe that is its stdin. conditions: what it runs under, see run_main.
    """

    def __init__(self, folder, *arguments, program="driver.py", text="", **conditions):
        self.streams = [tempfile.NamedTemporaryFile("w+") for _ in range(2)]
        ours, its = FORKS.Pipe()
        names = [stream.name for stream in self.streams]
        self.process = FORKS.Process(target=run_main, args=(its, text, names, str(folder), [program, *arguments],
                                                            conditions))
        self.process.start()
        STARTED.append(self.process)
        its.close()
        assert ours.poll(60), "it does not begin"
        with contextlib.suppress(EOFError):  # it ended before
            ours.recv()

    def end(self, seconds=60):
        """Its exit status and what it said on stdout and on stderr."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, "it goes on"
        return (self.process.exitcode, *(stream.read() for stream in self.streams))


def run_main(begun, text, streams, folder, arguments, conditions):
    """Run a program under these conditions.

    kill_at: SIGKILL before its number-th change of a file under logs/; kill_after: SIGKILL when it has written so many
    checkpoints; diverges: a part of the name of the log whose loss is not finite in epoch 4; file_limit: bytes that no
    file may exceed, and stdout goes nowhere; no_rights: as if not started by root; fewer_digits: data set 0 is so many
    times smaller; words_and_pixels: pictures are not drawn; suite: the folder of a copy of the suite whose program and
    edited files are taken; terminal: the path of the terminal that it runs at; environment: variables, such as
    torchrun's.
    """
    os.chdir(folder)
    os.environ.update(conditions.get("environment", {}))
    constants.__file__ = os.path.join(folder, "constants.py")  # its folders are beside it
    sys.argv = arguments
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored
    if "file_limit" in conditions:
        streams[0] = os.devnull
        resource.setrlimit(resource.RLIMIT_FSIZE, (conditions["file_limit"], resource.RLIM_INFINITY))
    open_streams(text, streams, conditions.get("terminal"))
    if "no_rights" in conditions:  # root, too, is held to what a file's mode allows: no capabilities, of 3 kinds
        ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
    if "fewer_digits" in conditions:
        digits.render = fewer_digits(conditions["fewer_digits"])
    if "words_and_pixels" in conditions:
        vae_pictures.save = save_words_and_pixels
    if "kill_at" in conditions:
        kill = killer(conditions["kill_at"])
        for module, name in ((builtins, "open"), (os, "rename"), (os, "replace"), (os, "remove"), (os, "fsync")):
            setattr(module, name, killed_before(getattr(module, name), kill))
    if "kill_after" in conditions:
        kill, write = killer(conditions["kill_after"]), checkpoint.write
        checkpoint.write = lambda *written: (write(*written), kill())
    if "diverges" in conditions:
        training.train_epoch = diverging(conditions["diverges"])
    if "suite" in conditions:
        for name in ("constants", "models", "ranking"):
            sys.modules.pop(name, None)
        sys.path.insert(0, conditions["suite"])
        begun.send(None)
        runpy.run_path(os.path.join(conditions["suite"], arguments[0]), run_name="__main__")
    else:
        main = importlib.import_module(os.path.splitext(arguments[0])[0]).main
        begun.send(None)
        try:
            errors.run_command(main)
        finally:
            if "environment" in conditions:
                atexit._run_exitfuncs()  # multiprocessing leaves them out


def open_streams(text, paths, terminal):
    """Make files of stdout and stderr, and a pipe with a text of stdin; or a terminal of all three."""
    if terminal:
        os.setsid()
        descriptors = [os.open(terminal, os.O_RDWR)] * 3  # the session's own from now on
    else:
        reading, writing = os.pipe()
        os.write(writing, text.encode())
        os.close(writing)
        descriptors = [reading, *(os.open(path, os.O_WRONLY) for path in paths)]
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", 1)


def killer(number):
    """What kills this process when it is called the number-th time."""
    calls = itertools.count(1)
    return lambda: next(calls) == number and os.kill(os.getpid(), signal.SIGKILL)


def killed_before(function, kill, open=open):
    def call(subject, *arguments, **options):
        reads = function is open and arguments in ((), ("r",), ("rb",))
        if (isinstance(subject, int) or "logs" in str(subject)) and not reads:  # a descriptor, or a path
            kill()
        return function(subject, *arguments, **options)
    return call


def diverging(name, train_epoch=training.train_epoch):
    """What trains until a log of this name comes to epoch 4."""
    def train(state, workload, settings, outputs, bar, stop):
        if state.epoch == 4 and name in outputs.logs[0].name:
            raise training.not_finite(state.epoch, 7, settings)
        return train_epoch(state, workload, settings, outputs, bar, stop)
    return train


def fewer_digits(times, render=digits.render):
    """What renders so many times fewer images."""
    return lambda count, seed: render(count // times, seed)


def save_words_and_pixels(figure, path):
    """In place of vae_pictures.save: a file of a picture's words and pixels. To draw one takes long."""
    axes, = figure.axes
    words = [text.get_text() for text in (*figure.texts, *axes.get_xticklabels(), *axes.get_yticklabels())]
    with files.whole_file(path) as file:
        file.write(repr(words).encode() + axes.images[0].get_array().tobytes())


def wait_for_epoch(path, number=2, seconds=60):
    """Wait until a log has this epoch."""
    end = time.monotonic() + seconds
    while not (os.path.exists(path) and f"After epoch {number}:" in open(path).read()):
        assert time.monotonic() < end, "not within a minute"
        time.sleep(0.01)


def type_at_terminal(folder, arguments, answers, seconds=60, **conditions):
    """Run a program at a terminal, typing an answer each time the menu asks; returns (exit status, the screen).

    arguments: the program's file, and its flags.
    """
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    running = Program(folder, *arguments[1:], program=arguments[0], terminal=os.ttyname(its), **conditions)
    os.close(its)
    screen, asked, end = b"", 0, time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            ready = select.select([ours], [], [], 1)[0]
            if ready:
                try:
                    screen += os.read(ours, 65536)
                except OSError:  # how a terminal says that the program has gone
                    break
            asks = asked < screen.count(PROMPT) and asked < len(answers)
            # Typed again where the menu waits on: Python misses a Ctrl-C in the moment before it reads.
            if asks or (not ready and screen.rstrip(b"^C").endswith(PROMPT)):
                time.sleep(0.05)
                asked += asks
                os.write(ours, answers[asked - 1])
        return running.end(max(1, end - time.monotonic()))[0], screen.decode().replace("\r\n", "\n")
    finally:
        os.close(ours)
