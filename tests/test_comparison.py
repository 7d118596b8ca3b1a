"""The arms of a comparison, of several seeds and side by side; --dry-run; how exactly a run repeats itself."""
import collections
import os
import re
import sys

import pytest
import torch
from test_checkpoint import ARMS, TINY, log_of

import comparison
import config
import driver
import errors
import files
import jobs
import machine
import rehearsal
import runlog
import training

PROGRAMS = ["driver.py", "vae.py"]


def everything(folder):
    return sorted(os.path.join(where, name) for where, folders, names in os.walk(str(folder)) for name in names)


def told(out):
    """What a dry run says: {word: the rest of its line}."""
    return dict(re.findall(r"^(data|arms|rounds after epochs|widths|time|disk): (.*)$", out, re.M))


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_dry_run_tells_what_the_run_then_takes_and_leaves_nothing(program, small, drive):
    before = everything(small)
    status, out, err = drive(*TINY[program], "--dry-run", program=program)
    assert (status, err) == (0, "") and everything(small) == before
    assert drive(*TINY[program], program=program)[0] == 0

    says, logs = told(out), [runlog.parse_log(log_of(small, arm, program)) for arm in ARMS]
    shared = logs[0].header["initial_iterations"]
    epochs = shared + sum(len(log.epochs) - shared for log in logs)
    pruned = logs[1]
    assert says["data"] == "MNIST, 110 training and 20 test images"
    assert says["arms"] == f"none, contribution, random; {epochs} epochs in all, {len(pruned.rounds)} rounds an arm"
    assert says["rounds after epochs"] == ", ".join(str(line.epoch) for line in pruned.rounds)
    assert says["widths"].split(" => ") == [runlog.format_value("widths", sizes) for sizes in (
        pruned.header["hidden_widths"], pruned.summary["widths"])]
    assert re.fullmatch(r"about \d+ seconds \(\S+ s an epoch, \S+ s a round\)", says["time"])
    size = sum(os.path.getsize(path) for path in everything(small / "logs") if not path.endswith(".png"))
    found = float(re.match(r"about (\S+) MB in logs, \S+ [GM]B free", says["disk"]).group(1)) * 1e6
    assert 0.5 < found / size < 2


def test_a_dry_run_makes_no_folder_and_shortens_long_lists(small, drive):
    flags = ["--log-folder", str(small / "new" / "a" / "b"), "--total-epochs", "100000"]
    status, out, _ = drive(*TINY["driver.py"], "--dry-run", *flags)
    assert status == 0 and sorted(os.listdir(str(small))) == ["datasets"]
    assert told(out)["rounds after epochs"] == "3, 5, 7, ..., 99999"


def test_a_dry_run_does_two_batches_and_a_round_of_every_arm(small, drive, monkeypatch):
    calls = collections.Counter()

    def counted(name):
        function = getattr(training, name)

        def call(*arguments):
            calls[name] += 1
            return function(*arguments)
        monkeypatch.setattr(training, name, call)
    for name in ("step", "prune", "train_epoch"):
        counted(name)
    assert drive(*TINY["driver.py"], "--batch-size", "60", "--dry-run")[0] == 0
    assert calls == {"step": 2, "prune": 2}


@pytest.mark.parametrize("given, count, epochs", [
    ([], "1", 3 + 3 * 3), ([], "2", 3 + 2 * 3), ([], "3", 3 + 3), (["--seeds", "2"], "2", 3 + 3 * 3),
    (["--initial-iterations", "5"], "3", 5 + 1)])
def test_a_dry_run_knows_that_shared_epochs_come_first_and_arms_are_not_split(small, drive, monkeypatch, given, count,
                                                                             epochs):
    monkeypatch.setattr(jobs, "THREADS", 4)
    monkeypatch.setattr(rehearsal, "timed", lambda function, *arguments: (0, function(*arguments)))
    monkeypatch.setattr(training, "try_batches", lambda *arguments: ({"loss": 1.0, "accuracy": 5.0}, 60 / 22))
    status, out, _ = drive(*TINY["driver.py"], *given, "--jobs", count, "--dry-run")
    assert status == 0 and told(out)["time"].startswith(f"about {epochs}.0 minutes")  # an epoch takes one


def test_a_dry_run_without_pruning_has_no_round(small, drive):
    status, out, _ = drive(*TINY["driver.py"][:-1], "--pruning", "none", "--dry-run")
    says = told(out)
    assert status == 0 and says["arms"] == "none; 6 epochs in all, 0 rounds an arm"
    assert (says["rounds after epochs"], says["widths"]) == ("none", "10-6 => 10-6")


@pytest.mark.parametrize("flags, message", [
    (["--learning-rate", "1e30"], "the loss is not finite at epoch 1, batch [12];"),
    (["--dataset", "2"], "FashionMNIST could not be read"),
    (["--resume", "logs/MNIST/training_logwithPruning.txt"], "not allowed with"),
    (["--hidden-widths", "0"], "hidden_widths")])
def test_a_dry_run_names_what_stands_in_the_way(small, drive, flags, message):
    before = everything(small)
    status, _, err = drive(*TINY["driver.py"], "--dry-run", *flags)
    assert status == 2 and re.search(message, err.splitlines()[-1]) and everything(small) == before


def test_a_dry_run_refuses_a_disk_without_room(small, drive, monkeypatch):
    usage = collections.namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(200 * 1000))
    status, out, err = drive(*TINY["driver.py"], "--dry-run")
    assert status == 2 and re.fullmatch(r"driver.py: logs: the run needs about \S+ MB, the disk has 0.2 MB; .*\n", err)
    assert "dry run" not in out


# ---- arms ----

EVERY = ",".join(comparison.ARMS)


def lines(path):
    """What a log says, without what differs from run to run of the same."""
    with open(path) as file:
        return re.sub(r"time \S+ s|# (started|commit|jobs|seeds?|pruning|compare|log_folder|initial_widths) = .*", "",
                      file.read())


def logs_in(folder):
    return {name: lines(os.path.join(str(folder), "MNIST", name))
            for name in sorted(os.listdir(str(folder / "MNIST"))) if name.endswith(".txt")}


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_arm_has_the_widths_of_all_and_the_start_of_the_warm_ones(program, small, drive):
    status, _, err = drive(*TINY[program][:-1], "--compare", EVERY, program=program)
    assert (status, err) == (0, "")
    logs = {arm: runlog.parse_log(log_of(small, arm, program)) for arm in comparison.ARMS}
    assert [log.header["pruning"] for log in logs.values()] == comparison.ARMS
    shared = logs["none"].header["initial_iterations"]
    starts = {arm: [line for line in log.batches if line.epoch <= shared] for arm, log in logs.items()}
    assert all((start == starts["none"]) == (arm != "scratch") for arm, start in starts.items())
    final = logs["random"].summary["widths"]
    assert {arm: log.summary["widths"] == final for arm, log in logs.items()} == {
        arm: arm != "none" for arm in comparison.ARMS}
    assert all(len(log.epochs) == logs["none"].header["total_epochs"] for log in logs.values())
    assert logs["scratch"].rounds == [] and logs["scratch"].header["initial_widths"] == final
    assert logs["scratch"].header["hidden_widths"] == logs["none"].header["hidden_widths"]


def test_an_arm_by_itself_is_that_of_a_comparison(small, drive):
    assert drive(*TINY["driver.py"][:-1], "--compare", "scratch, taylor", "--log-folder", "together")[0] == 0
    together = logs_in(small / "together")
    for arm in ("scratch", "taylor"):
        assert drive(*TINY["driver.py"][:-1], "--pruning", arm, "--log-folder", "alone")[0] == 0
    assert logs_in(small / "alone") == together and len(together) == 2


@pytest.mark.parametrize("text, named", [
    ("contribution,worst", "'worst'"), ("random,random", "'random'"), ("", "''"), ("random,,none", "''")])
def test_a_list_of_arms_is_checked(small, drive, text, named):
    status, _, err = drive(*TINY["driver.py"][:-1], f"--compare={text}")
    assert status == 2 and err.count("\n") == 1 and f"{named}; legal: some of none, contribution" in err


def test_an_arm_of_a_list_may_have_spaces_around_and_in_its_name():
    assert config.arm_list(["none", "L1 norm"], "none, L1 norm ") == ["none", "L1 norm"]


# ---- seeds, side by side ----

@pytest.mark.parametrize("count, threads", [(1, 4), (2, 2), (3, 1), (9, 1)])
def test_jobs_share_the_threads(monkeypatch, count, threads):
    monkeypatch.setattr(jobs, "THREADS", 4)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    assert jobs.divide_threads(count, torch.device("cpu")) == threads


SEEDS = ["--seeds", "2", "--compare", "scratch,random,contribution"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_seeds_are_the_runs_of_each_seed_and_jobs_change_no_bit(program, small, drive):
    given = [*TINY[program][:-1], *SEEDS]
    for folder, count in (("one", "1"), ("two", "2")):
        status, out, err = drive(*given, "--jobs", count, "--log-folder", folder, program=program)
        assert (status, err) == (0, ""), err
    one, two = (logs_in(small / folder) for folder in ("one", "two"))
    assert one == two and len(one) == 6
    assert drive(*given, "--seeds", "1", "--seed", "31", "--log-folder", "alone", program=program)[0] == 0
    assert {name.replace(".txt", "-seed31.txt"): text for name, text in logs_in(small / "alone").items()} == {
        name: text for name, text in one.items() if "31" in name}
    headers = [runlog.parse_log(str(small / "two" / "MNIST" / name)).header for name in two]
    assert sorted(header["seed"] for header in headers) == [30] * 3 + [31] * 3
    pictures = {folder: sorted(path for path in os.listdir(str(small / folder / "MNIST")) if path.endswith(".png"))
                for folder in ("one", "two")}
    assert pictures["one"] == pictures["two"] and bool(pictures["one"]) == (program == "vae.py")
    for name in pictures["one"]:
        assert (small / "one" / "MNIST" / name).read_bytes() == (small / "two" / "MNIST" / name).read_bytes()


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_run_that_diverges_is_named_and_the_others_go_on(small, monkeypatch, capfd, count):
    train_epoch = training.train_epoch

    def diverging(run, task, config, logs, bar, stop):
        if run.epoch == 4 and "worstPruning-seed30" in logs[0].name:
            raise training.not_finite(run.epoch, 7, config)
        train_epoch(run, task, config, logs, bar, stop)
    monkeypatch.setattr(training, "train_epoch", diverging)
    monkeypatch.chdir(small)
    monkeypatch.setattr(sys, "argv", ["driver.py", *TINY["driver.py"][:-1], *SEEDS, "--jobs", count])
    with pytest.raises(SystemExit) as end:
        errors.run_command(driver.main)
    assert end.value.code == 2
    assert re.fullmatch(r"driver.py: random, seed 30: the loss is not finite at epoch 4, batch 7; .*\n",
                        capfd.readouterr().err)
    logs = [runlog.parse_log(path) for path in everything(small / "logs") if path.endswith(".txt")]
    assert sorted((log.header["pruning"], log.header["seed"]) for log in logs if not log.summary) == [("random", 30)]
    assert len(logs) == 6


def test_what_shares_the_epochs_of_a_run_that_diverges_is_not_begun(small, drive):
    status, _, err = drive(*TINY["driver.py"], "--seeds", "2", "--learning-rate", "1e30")
    line = r"driver\.py: epochs before the first round, seed \d+: the loss is not finite at epoch 1, batch \d+; .*\n"
    assert status == 2 and re.fullmatch(f"({line}){{2}}", err)


def test_a_seeds_logs_are_closed_with_its_last_run(small, drive, monkeypatch):
    opened, most, new = set(), [], files.create

    def create(paths):
        logs = new(paths)
        opened.update(logs)
        most.append(sum(not log.closed for log in opened))
        return logs
    monkeypatch.setattr(files, "create", create)
    assert drive(*TINY["driver.py"][:-1], "--compare", "none,scratch", "--seeds", "4")[0] == 0
    assert most == [2] * 4 and all(log.closed for log in opened)
    assert drive("--resume", files.log_path(str(small / "logs"), "MNIST", "none", seed=32))[0] == 0


@pytest.mark.parametrize("program", PROGRAMS)
def test_finished_runs_are_left_alone_by_a_resume(program, small, drive, monkeypatch):
    given = [*TINY[program][:-1], *SEEDS]
    assert drive(*given, program=program)[0] == 0
    before = {path: open(path, "rb").read() for path in everything(small / "logs")}
    monkeypatch.setattr(training, "train_epoch", lambda *run: pytest.fail("it was finished"))
    log = next(path for path in before if path.endswith("30.txt"))
    status, out, err = drive("--resume", log, program=program)
    assert (status, err) == (0, "") and out.count(": finished\n") == 6
    assert {path: open(path, "rb").read() for path in everything(small / "logs")} == before


@pytest.mark.parametrize("which", ["random", "contribution"])
def test_a_later_seeds_log_that_was_edited_is_refused_before_anything_changes(small, drive, monkeypatch, which):
    """Of seed 31, `contribution` has ended and `random` not; seed 30 has."""
    compare = [*TINY["driver.py"][:-1], "--seeds", "2", "--compare", "contribution,random"]
    finish = training.finish

    def ends(run, task, logs):
        if logs[0].name.endswith("worstPruning-seed31.txt"):
            raise errors.UserError("killed")
        return finish(run, task, logs)
    monkeypatch.setattr(training, "finish", ends)
    assert drive(*compare)[0] == 2
    log = files.log_path(str(small / "logs"), "MNIST", which, seed=31)
    with open(log, "r+b") as file:
        file.write(b"$")
    before = {path: open(path, "rb").read() for path in everything(small / "logs")}
    status, _, err = drive("--resume", files.log_path(str(small / "logs"), "MNIST", "random", seed=30))
    assert status == 2 and f"{os.path.basename(log)} is not as it was at its checkpoint" in err
    assert {path: open(path, "rb").read() for path in everything(small / "logs")} == before


def test_a_comparison_with_a_network_from_scratch_is_not_extended_to_other_widths(small, drive):
    assert drive(*TINY["driver.py"][:-1], "--compare", "random,scratch")[0] == 0
    before = {path: open(path, "rb").read() for path in everything(small / "logs")}
    status, _, err = drive("--resume", log_of(small, "random"), "--total-epochs", "10")
    assert status == 2 and "end with other widths than this network has" in err and err.count("\n") == 1
    assert {path: open(path, "rb").read() for path in everything(small / "logs")} == before


@pytest.mark.parametrize("flags, message", [
    (["--ranking-images", "111"], "ranking_images = 111; there are 110 training images"),
    (["--holdout", "110"], "holdout = 110; there are 110 training images"),
    (["--pruning", "scratch", "--initial-iterations", "6"], "no round, so there are no final widths to start with")])
def test_values_that_do_not_fit_the_data_or_the_schedule_are_one_line(small, drive, flags, message):
    status, _, err = drive(*TINY["driver.py"][:-1], *flags)
    assert status == 2 and err.count("\n") == 1 and message in err


def test_a_dry_run_from_scratch_has_the_small_networks_widths(small, drive):
    _, out, _ = drive(*TINY["driver.py"][:-1], "--pruning", "scratch", "--dry-run")
    assert told(out)["widths"] == "8-4 => 8-4" and "out_features=8" in out


def test_a_dry_run_says_the_widths_that_only_the_network_from_scratch_has(small, drive):
    _, out, _ = drive(*TINY["driver.py"][:-1], "--compare", "none,scratch", "--dry-run")
    assert told(out)["widths"] == "10-6 => 8-4"


def test_more_seeds_than_there_are_are_refused(small, drive):
    status, _, err = drive(*TINY["driver.py"], "--seed", str(2 ** 32 - 1), "--seeds", "2")
    assert status == 2 and "legal: up to 4294967295" in err


def test_runs_side_by_side_need_a_processor_that_forks(monkeypatch):
    with pytest.raises(errors.UserError, match="legal here: 1"):
        jobs.divide_threads(2, torch.device("cuda"))
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
    with pytest.raises(errors.UserError, match="legal here: 1"):
        jobs.divide_threads(2, torch.device("cpu"))


def test_no_process_waits_long_for_the_last_seeds_shared_epochs():
    """Three seeds of three arms on two processes: 30 epochs that a seed's arms share and 70 more each, 720 in all."""
    units = {}
    for _ in range(3):
        first = jobs.Unit("shared", None, None, None, [])
        units.update({first: 30, **{jobs.Unit(arm, None, None, None, [first]): 70 for arm in "abc"}})
    now, running, waiting = 0, {}, list(units)
    while waiting or running:
        ready = [unit for unit in waiting if not any(first in waiting or first in running for first in unit.after)]
        if ready and len(running) < 2:
            unit = jobs.next_of(ready, waiting, 2)
            waiting.remove(unit)
            running[unit] = now + units[unit]
        else:
            done = min(running, key=running.get)
            now = running.pop(done)
    assert now == 380  # 360 would be without any idle moment, 410 is what the order of the units takes


def test_runs_side_by_side_begin_in_the_order_that_next_of_says(small, drive, monkeypatch):
    asked, begun, next_of, begin = [], [], jobs.next_of, jobs.begin

    def recording(*given):
        asked.append(next_of(*given))
        return asked[-1]
    monkeypatch.setattr(jobs, "next_of", recording)
    monkeypatch.setattr(jobs, "begin", lambda unit, threads, stop: begun.append(unit) or begin(unit, threads, stop))
    assert drive(*TINY["driver.py"][:-1], *SEEDS, "--jobs", "2")[0] == 0
    assert asked == begun and len(asked) == 8


def test_a_dry_run_counts_seeds_and_jobs(small, drive):
    _, out, _ = drive(*TINY["driver.py"][:-1], *SEEDS, "--dry-run")
    # Of every seed 6 epochs from scratch, 3 shared ones and 3 of each of the two arms.
    assert told(out)["arms"] == "scratch, random, contribution, with 2 seeds each; 30 epochs in all, 2 rounds an arm"


# ---- determinism ----

@pytest.mark.parametrize("choice", ["True", "False"])
def test_deterministic_reaches_torch(small, drive, choice):
    try:
        assert drive(*TINY["driver.py"], "--dry-run", "--deterministic", choice)[0] == 0
        assert torch.are_deterministic_algorithms_enabled() == (choice == "True")
        assert torch.backends.cudnn.deterministic == (choice == "True") != torch.backends.cudnn.benchmark
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        machine.repeat_exactly(True)


def test_the_state_of_chance_comes_back():
    torch.manual_seed(5)
    torch.rand(3)
    states = machine.random_states(torch.device("cpu"))
    first = torch.randn(9)
    machine.set_random_states({})
    machine.set_random_states(states)
    assert torch.equal(torch.randn(9), first)
