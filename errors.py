"""How a command ends: what the user can mend, an interruption or a lack of memory becomes one line and a status."""
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
    """Run the `main` of a command, see report_errors; SIGTERM is as Ctrl-C. Once it has ended both end the process at
    once: Python would print a traceback where one comes while it shuts down."""
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
    """Call it; end with status 2 and one line for what the user can mend, 130 for Ctrl-C or SIGTERM."""
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


NO_MEMORY = "out of memory|not enough memory|allocate memory"  # what torch says of a lack of it


def is_lack_of_memory(error):
    return isinstance(error, MemoryError) or bool(re.search(NO_MEMORY, str(error)))


REMEDIES = {errno.ENOSPC: "free some space", errno.EDQUOT: "free some space",
            errno.EACCES: "change its permissions or give another folder", errno.EROFS: "give another folder"}


def reason(error):
    """What the system says of an OSError, and what to do where that is known."""
    said = error.strerror or str(error)
    return f"{said}; {REMEDIES[error.errno]}" if error.errno in REMEDIES else said


def end(status, message):
    say(message)
    sys.exit(status)


def say(message):
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr, flush=True)


def mistake_in(file, error):
    """What a file that people edit raised when it was read, and in which of its lines."""
    line = getattr(error, "lineno", None) or last_frame(error.__traceback__).tb_lineno
    return f"{file}, line {line}: {' '.join(str(getattr(error, 'msg', error)).split())}"


def last_frame(trace):
    while trace.tb_next:
        trace = trace.tb_next
    return trace


def report_uncaught(kind, error, trace):
    """One line for a typing error in ranking.py, which is read before a command begins; Python's own words for all
    else."""
    code = last_frame(trace).tb_frame.f_code
    path = error.filename if issubclass(kind, SyntaxError) else code.co_filename if code.co_name == "<module>" else ""
    if os.path.basename(path) == "ranking.py":
        end(2, mistake_in("ranking.py", error))
    sys.__excepthook__(kind, error, trace)


sys.excepthook = report_uncaught
