"""The data sets, and the menu that asks for one."""
import sys

from pruning.errors import Interrupted, UserError

# {name: what figures and tables call it}; the menu's numbers are the positions.
DATASETS = {"Digits": "Digits", "MNIST": "MNIST", "FashionMNIST": "Fashion-MNIST", "CIFAR10": "CIFAR-10",
            "CIFAR100": "CIFAR-100", "CelebA": "CelebA", "Own": "your images"}
HINTS = {"Digits": " (rendered offline, needs no download)", "Own": " (your images: own_data in constants.py)"}


def numbered(datasets):
    """["0 Digits", "1 MNIST", ...] of some data sets."""
    return [f"{number} {name}" for number, name in enumerate(DATASETS) if name in datasets]


def find_dataset(text, datasets):
    """The one of `datasets` that a text means, by number or by name in any case. Raises UserError."""
    answer = text.strip().lower()
    meant = next((name for number, name in enumerate(DATASETS)
                  if answer == str(number) or answer.replace("-", "") == name.lower()), None)
    if meant in datasets:
        return meant
    where = f" here, {meant} is for vae.py alone" if meant else ""
    raise UserError(f"{text!r} is no data set{where}; expected a number or a name: "
                    + ", ".join(numbered(datasets)))


def ask_dataset(datasets):
    """Show the menu and read an answer; a terminal is asked again until the answer is a data set."""
    print("Data sets:")
    for number, name in enumerate(DATASETS):
        if name in datasets:
            print(f"  {number}  {name}{HINTS.get(name, '')}")
    while True:
        try:
            answer = input("Number of the data set: ")
            if not sys.stdin.isatty():
                print()  # a terminal shows the answer's own line break
            return find_dataset(answer, datasets)
        except UserError as error:
            if not sys.stdin.isatty():
                raise
            print(error)
        except KeyboardInterrupt:
            print()
            raise Interrupted("interrupted before a data set was chosen; nothing was started")
        except (EOFError, OSError, RuntimeError, UnicodeDecodeError):  # stdin has ended, is closed or holds no text
            print()
            raise UserError("no data set chosen; enter a number or a name, or use --dataset")
