"""Where a log comes from: the moment, the versions, the machine and the commit of this code."""
import contextlib
import os
import platform
import re
import subprocess
import time

import numpy as np
import torch

SUITE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CODE = ["driver.py", "vae.py", "plot.py", "constants.py", "ranking.py", "models.py", "pruning"]


def read_provenance(device, threads):
    """{name: value} for the header of a log."""
    machine = torch.cuda.get_device_name() if device.type == "cuda" else processor_name()
    return {"started": time.strftime("%Y-%m-%d %H:%M:%S"), "python": platform.python_version(),
            "torch": str(torch.__version__), "numpy": np.__version__, "machine": machine,
            "instructions": instructions(), "threads": threads, "commit": commit()}


def instructions():
    """The vector instructions that torch uses on this processor; others give other bits."""
    return re.search(r"CPU capability usage: (.+)", torch.__config__.show()).group(1)


def processor_name():
    return processor_line("model name") or platform.processor() or platform.machine()


def processor_line(name):
    """The value that Linux gives the first processor under this name; "" if there is none."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith(name):
                return line.split(":")[1].strip()
    return ""


def commit():
    """The commit of this code, with a note if any of its files differs from it."""
    def git(*arguments):
        # Git stands on the path, and no argument comes from outside.
        return subprocess.run(["git", *arguments], cwd=SUITE, capture_output=True)  # noqa: S603, S607
    try:
        head = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=normal", "--", *CODE).stdout
        # The code may lie in a repository that is not its own.
        foreign = git("ls-files", "--error-unmatch", os.path.join("pruning", os.path.basename(__file__))).returncode
    except OSError:
        return "unknown"
    if head.returncode or foreign:
        return "unknown"
    return head.stdout.decode().strip() + (" with changes" if changed else "")
