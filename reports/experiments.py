"""Run the experiments of the report, one after the other; finished ones are kept and not run again.

    python reports/experiments.py            all of them: `make experiments`
    python reports/experiments.py main       those whose names begin with main
    python reports/experiments.py --list     their names, and which are finished

Full logs go to logs/experiments/<name>. What the report needs of them goes to reports/results/<name>: the first batch
line, all epoch lines (of a sweep only the last), rounds and summary. After Ctrl-C or a crash the same command goes on.
As many runs go side by side as torch has threads, with one thread each; those of `cost` run one by one with all
threads.
"""
import contextlib
import glob
import os
import sys
import time
from collections import namedtuple

from tqdm import tqdm

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
import constants  # noqa: E402
import driver  # noqa: E402
import ranking  # noqa: E402
import vae  # noqa: E402
from pruning import command_line, device, errors, files, runlog, settings  # noqa: E402
from pruning.arms import COMPARED, with_criteria  # noqa: E402

WORK, RESULTS = os.path.join("logs", "experiments"), os.path.join("reports", "results")
JOBS = ["--device", "cpu", "--jobs", str(device.THREADS)]
PROGRAMS = {driver: settings.CLASSIFIER, vae: settings.VAE}

# program: driver or vae. seconds: roughly what it took on 2 cores with AVX-512 and bfloat16; for the progress bar.
Experiment = namedtuple("Experiment", "name program flags seconds")

SCHEDULE = "--total-epochs 100 --initial-iterations 30"
ARMS = list(with_criteria(ranking.CRITERIA))
SECOND_ORDER = ["obs", "kfac"]
FIRST_ARMS = [arm for arm in ARMS if arm not in SECOND_ORDER]  # those of the first volume
CONTROLS = ["magnitude", "scratch"]
OTHERS = [arm for arm in FIRST_ARMS if arm not in COMPARED + CONTROLS]
SMALL = ["MNIST", "FashionMNIST"]
PUBLISHED = {"MNIST": "--batch-size 5000 --learning-rate 0.1 --momentum 0", "CIFAR10": "--learning-rate 0.1"}
RESTARTED_RATE = 0.02  # chosen on held-out images, see expectations.md
RECOVERIES = [1, 2, 4, 8, 16]  # epochs after each of nine rounds, of 160 epochs
INCREMENTS = [24, 18, 12, 10, 6, 4]  # remove 29, 38, 51, 58, 79 and 94 % of 784-50-30-10's neurons; `main` has 8: 68 %


def experiments():
    """All experiments: those of the second volume, then those of the first."""
    yield from second_volume()
    yield from first_volume()


def second_volume():
    """Seeds from 130 on, which no result had seen when expectations.md was written. Where many seeds take long
    they are several experiments, so that the first ones are kept early."""
    restarts = f"--learning-rate-schedule cosine_restarts --learning-rate {RESTARTED_RATE}"
    for first in (130, 135):
        for dataset in SMALL:
            for kind, more, seconds in (("restarts", restarts, 1200),
                                        ("constant", "", 1200), ("published", PUBLISHED["MNIST"], 500)):
                yield classifier(f"second/{kind}/{first}/{dataset}", f"--dataset {dataset} {SCHEDULE} --increment 8 "
                                 f"--seed {first} --seeds 5 --compare {','.join(ARMS)} {more}", seconds)
    arms = ",".join(["contribution", "random", "magnitude", *SECOND_ORDER, "scratch"])
    for kind, more in (("restarts", restarts), ("constant", "")):
        for recovery in RECOVERIES:
            yield classifier(f"second/recovery/{kind}/{recovery}/MNIST", f"--dataset MNIST --total-epochs 160 "
                             f"--initial-iterations {160 - 9 * recovery} --increment {recovery} --seed 130 --seeds 5 "
                             f"--compare {arms} {more}", 1200)
    for increment in INCREMENTS:
        for dataset in SMALL:
            yield classifier(f"second/sweep/{increment}/{dataset}", f"--dataset {dataset} {SCHEDULE} --increment "
                             f"{increment} --seed 130 --seeds 5 --compare {arms} {restarts}", 700)
    at_42_percent = f"{SCHEDULE} --increment 15 --precision bfloat16"
    for dataset, first, seeds, second_order in (("CIFAR100", 130, 3, SECOND_ORDER), ("CIFAR100", 133, 2, SECOND_ORDER),
                                                ("CIFAR10", 130, 5, ["kfac"]), ("CIFAR10", 135, 5, ["kfac"])):
        compared = ",".join(["none", "contribution", "random", "magnitude", *second_order, "scratch"])
        yield classifier(f"second/constant/{first}/{dataset}", f"--dataset {dataset} {at_42_percent} --seed {first} "
                         f"--seeds {seeds} --compare {compared}", 1900 * seeds)
    yield classifier("second/published/130/CIFAR100", f"--dataset CIFAR100 {at_42_percent} --seed 130 "
                     f"--seeds 3 --pruning contribution {PUBLISHED['CIFAR10']}", 1500)
    for dataset in ("FashionMNIST", "CIFAR10"):
        yield Experiment(f"second/vae/{dataset}", vae, f"--dataset {dataset} --total-epochs 60 --initial-iterations 12 "
                         "--increment 12 --seed 130 --seeds 5 --precision bfloat16 --compare "
                         "none,contribution,random,magnitude,obs,scratch", 9000)


def first_volume():
    """The small networks' first."""
    for dataset in SMALL:
        at_68_percent = f"--dataset {dataset} {SCHEDULE} --increment 8 --seeds 10"
        every_arm = f"{at_68_percent} --compare {','.join(FIRST_ARMS)}"
        yield classifier(f"main/{dataset}", every_arm, 970)
        yield classifier(f"published/{dataset}", f"{every_arm} {PUBLISHED['MNIST']}", 400)
        yield classifier(f"compensated/{dataset}",
                         f"{at_68_percent} --compare contribution,random,magnitude,reversed --compensate True", 430)
        for average, maximum in ((0, 1), (0.5, 0.5)):
            yield classifier(f"lambdas/{average}-{maximum}/{dataset}", f"{at_68_percent} --compare contribution "
                             f"--lambda-average {average} --lambda-max {maximum}", 150)
        for images in (100, 1000, 10000):
            yield classifier(f"images/{images}/{dataset}",
                             f"{at_68_percent} --compare contribution --ranking-images {images}", 140)
    for increment in INCREMENTS:
        for dataset in SMALL:
            yield classifier(f"sweep/{increment}/{dataset}", f"--dataset {dataset} {SCHEDULE} --increment {increment} "
                             f"--seeds 5 --compare {','.join(FIRST_ARMS[1:-1])}", 370)

    # These take hours. The arms that a reader asks for come first.
    at_42_percent = f"{SCHEDULE} --increment 15 --seeds 3"
    for dataset in ("CIFAR10", "CIFAR100"):
        for kind, more in (("main", ""), ("published", PUBLISHED["CIFAR10"])):
            for part, arms, seconds in (("", COMPARED + CONTROLS, 4300), ("-others", OTHERS, 3300)):
                yield classifier(f"{kind}{part}/{dataset}", f"--dataset {dataset} {at_42_percent} --precision bfloat16 "
                                 f"--compare {','.join(arms)} {more}", seconds)
    for precision, seconds in (("float32", 1200), ("bfloat16", 720)):
        yield classifier(f"precision/{precision}/CIFAR10", "--dataset CIFAR10 --seeds 5 --total-epochs 40 --pruning "
                         f"none --precision {precision}", seconds)
    yield classifier("float32/CIFAR10", f"--dataset CIFAR10 {at_42_percent} --precision float32 --compare "
                     f"{','.join(COMPARED)}", 4000)
    yield classifier("filters/CIFAR10", f"--dataset CIFAR10 {at_42_percent} --precision bfloat16 --seed 130 "
                     f"--prune-filters True --compare {','.join(COMPARED)}", 3600)
    yield classifier("compensated/CIFAR10", f"--dataset CIFAR10 {at_42_percent} --precision bfloat16 "
                     "--compare contribution,random --compensate True", 1800)
    for dataset in ("FashionMNIST", "CIFAR10"):
        at_35_percent = f"--dataset {dataset} --total-epochs 30 --initial-iterations 6 --increment 6 --seeds 3 "
        at_35_percent += "--precision bfloat16"
        yield Experiment(f"vae/{dataset}", vae,
                         f"{at_35_percent} --compare none,contribution,random,magnitude,scratch", 2700)
        yield Experiment(f"vae-compensated/{dataset}", vae,
                         f"{at_35_percent} --compare contribution,random --compensate True", 1000)

    # How long an epoch takes before the first round and after the last one, with as many rounds as above, on an
    # otherwise idle machine. One run has all threads, and afterwards this process cannot fork: these come last.
    alone = "--pruning contribution --precision float32 --jobs 1"
    yield classifier("cost/MNIST", f"--dataset MNIST --total-epochs 23 --initial-iterations 5 --increment 2 --seeds 5 "
                     f"{alone}", 80)
    yield classifier("cost/CIFAR10", f"--dataset CIFAR10 --total-epochs 18 --initial-iterations 4 --increment 3 "
                     f"--seeds 2 {alone}", 200)
    yield Experiment("cost/FashionMNIST", vae, f"--dataset FashionMNIST --total-epochs 12 --initial-iterations 4 "
                     f"--increment 2 --seeds 2 {alone}", 200)


def classifier(name, flags, seconds):
    return Experiment(name, driver, flags, seconds)


def main():
    parser = command_line.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="how experiments' names begin; without any, all are run")
    parser.add_argument("--list", action="store_true", help="print the names and which are finished")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    chosen = [experiment for experiment in experiments()
              if not arguments.names or experiment.name.startswith(tuple(arguments.names))]
    if not chosen:
        raise errors.UserError(f"no experiment's name begins with {' or '.join(arguments.names)}; --list names them")
    if arguments.list:
        for experiment in chosen:
            print(f"{experiment.name}: {state_of(experiment)}")
        return
    complete = True
    to_do = [experiment for experiment in chosen if not is_finished(experiment)]
    with tqdm(total=sum(experiment.seconds for experiment in to_do), unit="s", disable=None,
              bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left") as bar:
        for number, experiment in enumerate(to_do, 1):
            bar.set_description(f"{number}/{len(to_do)} {experiment.name}")
            started = time.monotonic()
            try:
                run(experiment)
                keep(experiment)
                tqdm.write(f"{experiment.name}: finished after {(time.monotonic() - started) / 60:.1f} minutes")
            except errors.UserError as error:  # such as CIFAR-100 without a network
                tqdm.write(f"{experiment.name}: not run ({error})", file=sys.stderr)
                complete = False
            except SystemExit:
                # One of its runs diverged or failed, as was printed. A table without it would be biased.
                tqdm.write(f"{experiment.name}: not finished, as said above; its logs stay in "
                           f"{os.path.join(WORK, experiment.name)}, none is kept for the report", file=sys.stderr)
                complete = False
            except errors.Interrupted:
                raise errors.Interrupted("interrupted; the same command goes on")
            bar.update(experiment.seconds)
    if not complete:
        sys.exit(2)


def run(experiment):
    """Run an experiment in this process, anew or from its checkpoints; what it prints goes to a file."""
    folder, dataset = os.path.split(os.path.join(WORK, experiment.name))
    logs = os.path.join(folder, dataset, PROGRAMS[experiment.program].log)
    begun = sorted(glob.glob(logs + "*.checkpoint") + glob.glob(logs + "*.start"))
    flags = [*JOBS, *experiment.flags.split()]
    flags += ["--resume", os.path.splitext(begun[0])[0] + ".txt"] if begun else ["--log-folder", folder]
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, dataset + ".out"), "a") as out, contextlib.redirect_stdout(out):
        sys.argv = [experiment.program.__name__ + ".py", *flags]
        try:
            experiment.program.main()
        except SystemExit as end:  # with several jobs a program ends with their status
            if end.code:
                raise


def keep(experiment):
    """Write what the report needs of every log to the results."""
    os.makedirs(os.path.join(RESULTS, experiment.name), exist_ok=True)
    for name in log_names(experiment):
        with open(os.path.join(WORK, experiment.name, name), encoding="utf-8") as log:
            lines = list(compact(log, "sweep" in experiment.name))
        with files.whole_file(os.path.join(RESULTS, experiment.name, name)) as file:
            file.write("".join(lines).encode())


def compact(lines, last_epoch_alone):
    """The lines of a log without the batch lines after the first one, and, with `last_epoch_alone`, without the lines
    of all epochs but the last."""
    has_batch, last_epoch = False, ""
    for line in lines:
        if line.startswith("Epoch:"):
            if not has_batch:
                yield line
            has_batch = True
        elif line.startswith("After epoch") and last_epoch_alone:
            last_epoch = line
        elif line.startswith("Summary:"):
            yield last_epoch + line
        else:
            yield line


def state_of(experiment):
    if is_finished(experiment):
        return "finished"
    has_others = os.path.exists(os.path.join(RESULTS, experiment.name))
    return "to do" + f"; {RESULTS} has it with other arms or flags" * has_others


def is_finished(experiment):
    """Whether the results have a finished log of every arm and seed, with the flags of the experiment."""
    paths = [os.path.join(RESULTS, experiment.name, name) for name in log_names(experiment)]
    if not all(map(os.path.exists, paths)):
        return False
    logs, asked = map(runlog.parse_log, paths), flags_of(experiment)
    return all(log.summary and all(log.header.get(name) == value for name, value in asked.items() if name not in (
        "jobs", "pruning", "seed")) for log in logs)


def log_names(experiment):
    """The names of the logs of every arm and seed."""
    flags = flags_of(experiment)
    first = flags.get("seed", settings.read_constants(constants)["seed"])
    seeds = range(first, first + flags["seeds"]) if flags["seeds"] > 1 else [None]
    return [os.path.basename(files.log_path("", "", arm, PROGRAMS[experiment.program].log, seed))
            for arm in flags.get("compare", [flags.get("pruning")]) for seed in seeds]


def flags_of(experiment):
    """{name: value} of an experiment's flags."""
    parser = command_line.make_parser({}, PROGRAMS[experiment.program], "", "", ARMS)
    return vars(parser.parse_args(experiment.flags.split()))


if __name__ == "__main__":
    errors.run_command(main)
