"""How a command ends: what the user can mend, an interruption and a lack of memory become one line and a status."""
import contextlib
import errno
import os
import re
import signal
import sys


class UserError(Exception):
    """Something that the user can mend; the message is one line that says what is wrong and what to do."""

    def __init__(self, message):
        super().__init__(" ".join(message.splitlines()))  # a value or an argument that it quotes may have more


class Diverged(UserError):
    """The loss of a run is not finite, which says nothing of other runs."""


class Interrupted(Exception):
    """The user or the system has stopped the run; the message is one line that says how it goes on."""


def run_command(main):
    """Run the `main` of a command as report_errors does; SIGTERM counts as Ctrl-C.

    After its end either signal ends the process at once: Python would print a traceback for one that comes during its
    shutdown.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if sys.stdout:
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may hold what a terminal cannot show
    try:
        report_errors(main)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)


def report_errors(function):
    """Call a function; exit with one line and status 2 for what the user can mend, and 130 for Ctrl-C or SIGTERM."""
    try:
        function()
    except UserError as error:
        end(2, error)
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


REMEDIES = {errno.ENOSPC: "free some space", errno.EDQUOT: "free some space",
            errno.EACCES: "change its permissions or give another folder", errno.EROFS: "give another folder"}


def reason(error):
    """The system's words for an OSError, and what to do if that is known."""
    said = error.strerror or str(error)
    return f"{said}; {REMEDIES[error.errno]}" if error.errno in REMEDIES else said


def end(status, message):
    say(message)
    sys.exit(status)


def say(message):
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr, flush=True)


EDITED = ("constants.py", "models.py", "ranking.py")  # what people edit between runs


@contextlib.contextmanager
def mistakes_in_one_line():
    """Around the imports of EDITED: a mistake in one of these files becomes a UserError that names its line."""
    try:
        yield
    except Exception as error:  # whatever a typing mistake raises
        trace = error.__traceback__
        while trace.tb_next:
            trace = trace.tb_next
        path, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
        if isinstance(error, SyntaxError):
            path, line = error.filename or "", error.lineno
        file, missing = os.path.basename(path), f"{getattr(error, 'name', None)}.py"
        if isinstance(error, ModuleNotFoundError) and missing in EDITED:
            raise UserError(f"{missing}: no such file; put it back beside {file}")
        if file not in EDITED:
            raise
        raise UserError(f"{file}, line {line}: {getattr(error, 'msg', error)}")
