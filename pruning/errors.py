"""How a command ends: what the user can mend, an interruption and a lack of memory become one line and a status."""
import contextlib
import errno
import importlib.util
import os
import re
import signal
import sys
import traceback


class UserError(Exception):
    """Something that the user can mend; the message is one line that says what is wrong and what to do."""

    def __init__(self, message):
        super().__init__(" ".join(message.splitlines()))  # a value or an argument that it quotes may have more


class Diverged(UserError):
    """The loss of a run is not finite, which says nothing of other runs."""


class Lost(Exception):
    """Other processes of this run do not answer; the message is one line that says so."""


LOST = 75  # the exit status then: that of sysexits.h for what may be tried again


class Interrupted(Exception):
    """The user or the system has stopped the run; the message is one line that says how it goes on."""


# Ctrl-C, the wish of another program, and the end of the terminal; Windows lacks the last one.
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def on_signals(handler):
    """Have Ctrl-C and SIGTERM handled so, unless the process was started to ignore them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def prepare_imports(*packages):
    """Before a command imports these packages: name those that are missing, and let Ctrl-C end the process in one line.
    As an exception it may get lost in an import."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        end(2, f"{sys.executable} has no {', '.join(missing)}; activate the environment that `make demo` sets up, with "
               "`. .venv/bin/activate`, or install requirements.txt")

    def end_at_once(number, frame):
        say("interrupted before it began; nothing was started", 130)
        os._exit(130)
    on_signals(end_at_once)


def run_command(main):
    """Run the `main` of a command as report_errors does; SIGTERM counts as Ctrl-C.

    After its end either signal ends the process at once: Python would print a traceback for one that comes during its
    shutdown.
    """
    on_signals(signal.default_int_handler)
    if sys.stdout:
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may hold what a terminal cannot show
    try:
        report_errors(main)
    finally:
        on_signals(signal.SIG_DFL)


def report_errors(function):
    """Call a function; exit with one line and status 2 for what the user can mend, 130 for Ctrl-C or SIGTERM, and
    LOST if other processes are lost."""
    try:
        function()
    except UserError as error:
        end(2, error)
    except Lost as error:
        end(LOST, error)
    except Interrupted as stop:
        end(130, stop)
    except KeyboardInterrupt:
        end(130, "interrupted; a run that has a checkpoint goes on with --resume and its log")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        end(1, "the program that read the output has gone")
    except (MemoryError, RuntimeError) as error:
        if not is_lack_of_memory(error):
            raise
        end(2, "there is not enough memory for this; take a smaller batch_size, hidden_widths or conv_widths")
    except OSError as error:
        end(2, f"{error.filename or 'input or output'}: {reason(error)}")


def ended_well(name, function, *arguments):
    """Call a function; name it if it diverges. Returns whether it has not."""
    try:
        function(*arguments)
    except Diverged as error:
        say(f"{name}: {error}")
        return False
    return True


NO_MEMORY = "out of memory|not enough memory|allocate memory"  # torch's words for it


def is_lack_of_memory(error):
    return isinstance(error, MemoryError) or bool(re.search(NO_MEMORY, str(error)))


IN_THE_WAY = "a file is where a folder should be; give another folder"
REMEDIES = {errno.ENOSPC: "free some space", errno.EDQUOT: "free some space",
            errno.EACCES: "change its permissions or give another folder", errno.EROFS: "give another folder",
            errno.ENOTDIR: IN_THE_WAY, errno.EEXIST: IN_THE_WAY}


def reason(error):
    """The system's words for an OSError, and what to do if that is known."""
    said = error.strerror or str(error)
    return f"{said}; {REMEDIES[error.errno]}" if error.errno in REMEDIES else said


def end(status, message):
    say(message, status)
    sys.exit(status)


def say(message, status=None):
    """Print a line of this command, which with a status is its last one. Where several processes work together, the
    Team's own function takes this one's place; before, only one process of a machine speaks."""
    if status is None or os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr, flush=True)


EDITED = ("constants.py", "models.py", "ranking.py")  # what people edit between runs, beside files of their own
PROGRAMS = ("driver.py", "vae.py", "plot.py")


@contextlib.contextmanager
def mistakes_in_one_line():
    """Around imports and calls of what people write: a mistake there becomes a UserError that names its line."""
    try:
        yield
    except (UserError, Lost, Interrupted):
        raise
    except Exception as error:  # whatever a mistake raises
        if is_lack_of_memory(error):
            raise
        lines = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        if isinstance(error, SyntaxError):
            lines.append((error.filename or "", error.lineno))
        own = [(os.path.basename(path), line) for path, line in lines if is_edited(path)]
        missing = f"{getattr(error, 'name', None)}.py"
        if isinstance(error, ModuleNotFoundError) and missing in EDITED:
            raise UserError(f"{missing}: no such file; put it back beside {os.path.basename(lines[-1][0])}")
        if not own:
            raise
        file, line = own[-1]
        said = getattr(error, "msg", None) or str(error) or type(error).__name__
        raise UserError(f"{file}, line {line}: {said}")


def is_edited(path):
    """Whether a file of code is one of EDITED, or another one beside constants.py that people have put there."""
    folder, name = os.path.split(path)
    if "site-packages" in path or "dist-packages" in path:  # torch.distributed has a constants.py too
        return False
    beside = os.path.isfile(path) and os.path.exists(os.path.join(folder, "constants.py"))
    return name in EDITED or beside and name not in PROGRAMS
