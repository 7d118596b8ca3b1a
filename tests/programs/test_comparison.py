"""The arms of a comparison, of several seeds, one after the other and side by side; criteria of one's own."""
import os
import re
from types import SimpleNamespace

import pytest
import torch
from processes import Program
from tiny import ALONE, PROGRAMS, contents, log_of, one_line, without_times

import ranking
from pruning import arms, device, files, pieces, runlog

EVERY = list(arms.ARMS)
SEEDS = ["--seeds", "2", "--compare", "scratch,random,contribution"]
DRIVER = ALONE["driver.py"]


def texts_in(folder):
    """{log: what it says}, without what differs between an arm of a comparison and the arm alone."""
    return {name: re.sub("# (jobs|seeds?|pruning|compare|initial_widths) = .*", "",
                         without_times((folder / "MNIST" / name).read_text()))
            for name in sorted(os.listdir(str(folder / "MNIST"))) if name.endswith(".txt")}


# ---- arms ----

@pytest.mark.parametrize("program", PROGRAMS)
def test_every_arm_has_the_widths_of_all_and_the_start_of_the_warm_ones(program, small, drive):
    status, _, err = drive(*ALONE[program], "--compare", ",".join(EVERY), program=program)
    assert (status, err) == (0, "")
    logs = {arm: runlog.parse_log(log_of(small, arm, program)) for arm in EVERY}
    assert [log.header["pruning"] for log in logs.values()] == EVERY
    shared = logs["none"].header["initial_iterations"]
    starts = {arm: [line for line in log.batches if line.epoch <= shared] for arm, log in logs.items()}
    assert all((start == starts["none"]) == (arm != "scratch") for arm, start in starts.items())
    final = logs["random"].summary["widths"]
    assert {arm: log.summary["widths"] == final for arm, log in logs.items()} == {arm: arm != "none" for arm in EVERY}
    assert all(len(log.epochs) == logs["none"].header["total_epochs"] for log in logs.values())
    assert logs["scratch"].rounds == [] and logs["scratch"].header["initial_widths"] == final
    assert logs["scratch"].header["hidden_widths"] == logs["none"].header["hidden_widths"]
    different = ["none", "contribution", "random", "reversed", "scratch"]
    assert len({str(logs[arm].batches) for arm in different}) == len(different)


@pytest.mark.parametrize("program, together", [("driver.py", "none,contribution,scratch,taylor"),
                                               ("vae.py", "none,contribution,random")])
def test_an_arm_by_itself_is_that_of_a_comparison(program, together, small, drive):
    assert drive(*ALONE[program], "--compare", together, "--log-folder", "together", program=program)[0] == 0
    for arm in together.split(","):
        assert drive(*ALONE[program], "--pruning", arm, "--log-folder", "alone", program=program)[0] == 0
    expected = texts_in(small / "together")
    assert texts_in(small / "alone") == expected and len(expected) == len(together.split(","))
    for name in expected:
        network = name.replace(".txt", ".pt")
        one, other = (torch.load(str(small / folder / "MNIST" / network), weights_only=True)["weights"]
                      for folder in ("alone", "together"))
        assert all(torch.equal(one[weight], other[weight]) for weight in one)


@pytest.mark.parametrize("flags, message", [
    (["--ranking-images", "111"], "ranking_images = 111; there are 110 training images"),
    (["--holdout", "110"], "holdout = 110; there are 110 training images"),
    (["--pruning", "scratch", "--initial-iterations", "6"], "no round, so there are no final widths to start with"),
    (["--seed", str(2 ** 32 - 1), "--seeds", "2"], "legal: up to 4294967295")])
def test_values_that_do_not_fit_the_data_the_schedule_or_each_other_are_one_line(small, drive, flags, message):
    status, _, err = drive(*DRIVER, *flags)
    assert status == 2 and message in one_line(err)


def test_a_further_criterion_is_one_more_function(small, drive, monkeypatch):
    monkeypatch.setitem(ranking.CRITERIA, "last", lambda groups, passes, options: [
        -torch.arange(group.producer.out_features, dtype=torch.float64) for group in groups])
    assert drive(*DRIVER, "--pruning", "last")[0] == 0
    log = runlog.parse_log(str(small / "logs" / "MNIST" / "training_loglastPruning.txt"))
    assert log.header["pruning"] == "last" and log.summary["widths"] == [8, 4]


# ---- seeds, side by side ----

@pytest.mark.parametrize("program", PROGRAMS)
def test_runs_side_by_side_change_no_bit(program, small):
    for folder, count in (("one", "1"), ("two", "2")):
        given = [*ALONE[program], *SEEDS, "--jobs", count, "--log-folder", folder]
        status, _, err = Program(small, *given, program=program, words_and_pixels=True).end()
        assert (status, err) == (0, ""), err
    assert texts_in(small / "one") == texts_in(small / "two")
    one, two = ({os.path.basename(path): content for path, content in contents(small / folder).items()}
                for folder in ("one", "two"))
    assert one.keys() == two.keys() and not [name for name in one if name.endswith(".start")]
    pictures = [name for name in one if name.endswith(".png")]
    assert bool(pictures) == (program == "vae.py") and all(one[name] == two[name] for name in pictures)


def test_seeds_are_the_runs_of_each_seed(small, drive):
    assert drive(*DRIVER, *SEEDS, "--log-folder", "both")[0] == 0
    both = texts_in(small / "both")
    assert len(both) == 6
    for seed in ("30", "31"):
        assert drive(*DRIVER, *SEEDS, "--seeds", "1", "--seed", seed, "--log-folder", seed)[0] == 0
        alone = {name.replace(".txt", f"-seed{seed}.txt"): text for name, text in texts_in(small / seed).items()}
        assert len(alone) == 3 and alone.items() <= both.items()
        assert all(runlog.parse_log(str(small / "both" / "MNIST" / name)).header["seed"] == int(seed) for name in alone)


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_run_that_diverges_is_named_and_the_others_go_on(small, count):
    status, _, err = Program(small, *DRIVER, *SEEDS, "--jobs", count, diverges="worstPruning-seed30").end()
    assert status == 2
    assert re.fullmatch("random, seed 30: the loss is not finite at epoch 4, batch 7; .*", one_line(err))
    logs = [runlog.parse_log(path) for path in contents(small / "logs") if path.endswith(".txt")]
    assert sorted((log.header["pruning"], log.header["seed"]) for log in logs if not log.summary) == [("random", 30)]
    assert [log.header["diverged"] for log in logs if "diverged" in log.header] == [
        "the loss is not finite at epoch 4, batch 7"]
    assert len(logs) == 6
    # The run that has diverged may be gone on with, after a change; the other seed is through.
    starts = [os.path.basename(path) for path in contents(small / "logs") if path.endswith(".start")]
    assert starts == ["training_logworstPruning-seed30.start"]


@pytest.mark.parametrize("count", ["1", "2"])
def test_what_shares_the_epochs_of_a_run_that_diverges_is_not_begun(small, count):
    flags = ["--compare", "--seeds", "2", "--learning-rate", "1e30", "--jobs", count]
    status, _, err = Program(small, *DRIVER, *flags).end()
    line = r"driver\.py: epochs before the first round, seed \d+: the loss is not finite at epoch 1, batch \d+; .*\n"
    assert status == 2 and re.fullmatch(f"({line}){{2}}", err)
    assert not [path for path in contents(small / "logs") if path.endswith(".checkpoint")]


def test_a_seeds_logs_are_closed_with_its_last_run(small, drive, monkeypatch):
    opened, most, new = set(), [], files.create

    def create(*given):
        logs = new(*given)
        opened.update(logs)
        most.append(sum(not log.closed for log in opened))
        return logs
    monkeypatch.setattr(files, "create", create)
    assert drive(*DRIVER, "--compare", "none,scratch", "--seeds", "3", "--total-epochs", "4")[0] == 0
    assert most == [2] * 3 and all(log.closed for log in opened)
    assert drive("--resume", log_of(small, "none", seed=32))[0] == 0


def test_no_process_waits_long_for_the_last_seeds_shared_epochs():
    """Three seeds of three arms on two processes: 30 epochs that a seed's arms share and 70 more each, 720 in all."""
    length = {}
    for _ in range(3):
        first = pieces.Piece("start", None, [], None, [])
        length.update({first: 30, **{pieces.Piece(arm, None, [], None, [first]): 70 for arm in "abc"}})
    now, running, waiting = 0, {}, list(length)
    while waiting or running:
        ready = [piece for piece in waiting if not any(first in waiting or first in running for first in piece.after)]
        if ready and len(running) < 2:
            piece = pieces.next_of(ready, waiting, 2)
            waiting.remove(piece)
            running[piece] = now + length[piece]
        else:
            done = min(running, key=running.get)
            now = running.pop(done)
    assert now == 380  # 360 would be without any idle moment, 410 is what the order of the pieces takes


@pytest.mark.parametrize("count, threads", [(1, 4), (2, 2), (3, 1), (9, 1)])
@pytest.mark.parametrize("torchrun", [False, True])
def test_processes_share_the_threads_of_their_machine(monkeypatch, count, threads, torchrun):
    given = []
    monkeypatch.setattr(device, "THREADS", 1 if torchrun else 4)  # torchrun gives a process one
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda process: range(4), raising=False)
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    device.share_threads(SimpleNamespace(is_started=torchrun, is_launched=False), count)
    assert given == [threads]
