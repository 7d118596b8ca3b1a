"""A run that was interrupted goes on to the same bits; what is not as that run left it is refused and stays."""
import errno
import os
import re
import shutil

import pytest
import torch
from processes import Program
from tiny import ALONE, ARMS, PROGRAMS, TINY, StopAt, contents, log_of, one_line, remains, start_of, stem_of

import constants
import ranking
from pruning import checkpoint, comparison, runlog, signals, terminal, training

EVERY_KIND = [*ALONE["driver.py"], "--compare", "scratch,none,random"]


@pytest.fixture
def stop_at(monkeypatch):
    """Interrupt what runs next at this look; 0: never. driver.py looks 23 times an epoch, before it and before every
    batch, so 69 times in the start and as often in the rest of each arm; vae.py looks 7 times an epoch, 14 and 14."""
    def stop_at(look):
        stop = StopAt(look)
        monkeypatch.setattr(signals, "Stop", stop)
        return stop
    return stop_at


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """{command: what its uninterrupted run leaves}, filled on demand."""
    return {}


@pytest.fixture
def uninterrupted(whole, small, drive, stop_at):
    """What the uninterrupted run of a command leaves, and how often its loop looks whether to stop."""
    def remains_of(program, flags=None):
        flags = flags or TINY[program]
        key = " ".join(flags)
        if key not in whole:
            stop = stop_at(0)
            assert drive(*flags, program=program)[0] == 0
            whole[key] = remains(small), stop.looks
            assert not [name for name in whole[key][0] if name.endswith(".start")]
            shutil.rmtree(str(small / "logs"))
        return whole[key]
    return remains_of


# ---- the same bits ----

@pytest.mark.parametrize("program, looks, flags", [
    *(("driver.py", [look], "") for look in (1, 3, 24, 25, 46, 69, 70, 71, 140, 163, 276)),
    *(("vae.py", [look], "") for look in (3, 15, 21, 35)),
    ("driver.py", [30, 30, 30, 60, 2, 1, 1, 50], ""),
    ("vae.py", [2, 2, 2, 12, 17, 12], ""),
    ("driver.py", [30, 100, 46], "--learning-rate-schedule cosine --augment True --weight-decay 0.01"),
    ("driver.py", [30, 100], "--learning-rate-schedule cosine_restarts --optimizer adamw --weight-decay 0.1"),
    ("vae.py", [4, 16], "--learning-rate-schedule cosine_restarts --optimizer sgd --learning-rate 1e-5 --momentum 0.5"),
    ("vae.py", [4, 16], "--learning-rate-schedule cosine --optimizer adamw --weight-decay 0.1"),
])
def test_an_interrupted_run_goes_on_to_the_same_bits(program, looks, flags, small, drive, stop_at, uninterrupted):
    arguments = [*TINY[program], *flags.split()]
    expected, _ = uninterrupted(program, arguments)
    for look in looks:
        stop_at(look)
        status, _, err = drive(*arguments, program=program)
        message = re.fullmatch(r"interrupted after epoch \d+(?: and \d+ batches of the next)?; go on with: "
                               rf"python {program} --resume (\S+)", one_line(err, program))
        assert status == 130 and message, err
        arguments = ["--resume", message.group(1)]
    stop_at(0)
    assert drive(*arguments, program=program)[0] == 0
    assert remains(small) == expected


@pytest.mark.parametrize("flags, look, arm", [
    *((TINY["driver.py"], 150, arm) for arm in ARMS),  # none has ended, contribution is in epoch 4, random at the start
    (TINY["driver.py"], 40, "random"),                 # in the start
    (EVERY_KIND, 40, "scratch"), (EVERY_KIND, 40, "random"), (EVERY_KIND, 90, "scratch"), (EVERY_KIND, 90, "none"),
    ([*ALONE["driver.py"], "--compare", "none,scratch"], 40, "scratch")])  # nothing is shared, so there is no start
def test_the_log_of_any_arm_names_the_run(flags, look, arm, small, drive, stop_at, uninterrupted):
    expected, _ = uninterrupted("driver.py", flags)
    stop_at(look)
    assert drive(*flags)[0] == 130
    stop_at(0)
    assert drive("--resume", log_of(small, arm))[0] == 0
    assert remains(small) == expected


def test_the_shared_epochs_are_one_file_until_an_arm_branches(small, drive, stop_at):
    stop_at(40)
    assert drive(*TINY["driver.py"])[0] == 130
    names = [os.path.basename(log_of(small, arm)) for arm in ARMS]
    assert sorted(os.listdir(str(small / "logs" / "MNIST"))) == sorted([*names, "training_logwithoutPruning.start"])
    saved = checkpoint.read(start_of(small))
    assert sorted(saved["extents"]) == sorted(names) and (saved["epoch"], saved["batches"]) == (1, 15)
    stop_at(0)
    assert drive("--resume", log_of(small, "none"))[0] == 0
    assert not os.path.exists(start_of(small))


def test_a_start_is_kept_with_the_log_of_its_run(small, drive, stop_at):
    stop_at(40)
    assert drive(*TINY["driver.py"])[0] == 130
    before = contents(small / "logs")
    stop_at(0)
    assert drive(*TINY["driver.py"], "--seed", "31")[0] == 0
    after = contents(small / "logs")
    for path, content in before.items():
        assert after[re.sub(r"\.(\w+)$", r".1.\1", path)] == content
    assert not os.path.exists(start_of(small))


@pytest.mark.parametrize("asked, first", [
    (["--pruning", "random"], "random"), (["--compare", "scratch,random"], "scratch")])
def test_an_arm_that_shares_nothing_has_its_own_checkpoint_from_its_first_moment(asked, first, small, drive, stop_at):
    stop_at(1)
    assert drive(*ALONE["driver.py"], *asked)[0] == 130
    left = {name for name in os.listdir(str(small / "logs" / "MNIST")) if not name.endswith(".txt")}
    assert left == {os.path.basename(stem_of(small, first)) + ".checkpoint"}


def test_finished_arms_are_not_trained_again(small, drive, stop_at, uninterrupted):
    _, looks = uninterrupted("driver.py")
    stop = stop_at(looks - 10)  # in the last arm's last epoch
    assert drive(*TINY["driver.py"])[0] == 130
    rest = stop_at(0)
    assert drive("--resume", log_of(small, "none"))[0] == 0
    assert rest.looks == looks - stop.looks + 2  # the batch's look again, and the one before the epoch


@pytest.mark.parametrize("arm", ["none", "contribution"])
def test_an_arm_without_its_own_checkpoint_begins_at_the_start_again(arm, small, drive, stop_at, uninterrupted):
    """Side by side a run may be killed when one arm has done its round and the one before it has not branched."""
    expected, _ = uninterrupted("driver.py")
    stop_at(150)
    assert drive(*TINY["driver.py"])[0] == 130
    os.remove(stem_of(small, arm) + ".checkpoint")
    stop_at(0)
    status, out, _ = drive("--resume", log_of(small, "none"))
    assert status == 0 and out.count("contribution: round 1 ") == (arm == "contribution")
    assert remains(small) == expected


def test_what_a_killed_run_wrote_after_its_checkpoint_is_cut_off(small, drive, uninterrupted):
    expected, _ = uninterrupted("driver.py")
    assert drive(*TINY["driver.py"])[0] == 0
    for arm in ARMS:
        with open(log_of(small, arm), "a") as log:
            log.write("Epoch: 7, Batch: 0, Loss: 1.0, Accuracy: 50.0%\nEpoch: 7, Ba")
    assert drive("--resume", log_of(small, "none"))[0] == 0
    assert remains(small) == expected


def test_a_terminal_that_closes_during_a_round_loses_nothing(small, drive, monkeypatch):
    def write(text, **options):
        if "round 1" in text:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
    monkeypatch.setattr(terminal.tqdm, "write", write)
    assert drive(*TINY["driver.py"])[0] == 2
    saved = checkpoint.read(stem_of(small, "contribution") + ".checkpoint")
    assert (saved["epoch"], saved["rounds"]) == (3, 1)


def test_a_run_in_a_folder_that_was_moved_goes_on_there(small, drive, stop_at, uninterrupted):
    expected, _ = uninterrupted("driver.py")
    stop_at(100)
    assert drive(*TINY["driver.py"], "--log-folder", "worstPruning")[0] == 130  # as a part of a log's name
    log = os.path.join("worstPruning", "MNIST", "training_logworstPruning.txt")
    status, _, err = drive("--resume", log, "--seed", "1")
    assert status == 2 and "seed = 1, there 30" in err
    os.rename(str(small / "worstPruning"), str(small / "logs"))
    stop_at(0)
    assert drive("--resume", os.path.join("logs", "MNIST", "training_logwithPruning.txt"))[0] == 0
    found = remains(small)
    assert found.keys() == expected.keys()
    for name in expected:
        if not name.endswith(".checkpoint"):  # where the flags say "worstPruning"
            assert found[name] == expected[name]


def test_a_log_that_another_run_has_replaced_is_left_to_it(small, drive, monkeypatch):
    alone = [*ALONE["driver.py"], "--pruning", "none"]
    assert drive(*alone, "--log-folder", "other", "--seed", "7")[0] == 0
    kept, evaluate, calls = contents(small / "other"), training.evaluate, []

    def replacing(*arguments):
        calls.append(0)
        if len(calls) == 4:
            os.rename(str(small / "logs"), str(small / "gone"))
            os.rename(str(small / "other"), str(small / "logs"))
        return evaluate(*arguments)
    monkeypatch.setattr(training, "evaluate", replacing)
    status, _, err = drive(*alone)
    assert status == 2 and "has been removed, renamed or replaced" in err
    os.rename(str(small / "logs"), str(small / "other"))
    assert contents(small / "other") == kept


@pytest.mark.parametrize("every, start, unpruned, pruned", [
    ("2", [(0, 0), (2, 0), (3, 0)], [(4, 0), (6, 0)], [(3, 1), (4, 1), (5, 2), (6, 2)]),  # (epoch, rounds)
    ("100", [(0, 0), (3, 0)], [(6, 0)], [(3, 1), (5, 2), (6, 2)])])
def test_there_is_a_checkpoint_at_the_start_every_few_epochs_after_a_round_and_at_the_end(
        every, start, unpruned, pruned, small, drive, monkeypatch):
    written, write = {}, checkpoint.write

    def recording(state, outputs):
        write(state, outputs)
        written.setdefault(os.path.basename(outputs.checkpoint), []).append((state.epoch, state.rounds))
    monkeypatch.setattr(checkpoint, "write", recording)
    assert drive(*TINY["driver.py"], "--checkpoint-every", every)[0] == 0
    stem = "training_log{}Pruning.{}".format
    assert written == {stem("without", "start"): start, stem("without", "checkpoint"): unpruned,
                       stem("with", "checkpoint"): pruned, stem("worst", "checkpoint"): pruned}


# ---- more epochs ----

def with_total(program, epochs):
    place = TINY[program].index("--total-epochs") + 1
    return [*TINY[program][:place], str(epochs), *TINY[program][place + 1:]]


@pytest.mark.parametrize("program, wanted", [("driver.py", 6), ("vae.py", 4)])
def test_a_finished_run_goes_on_with_more_epochs(program, wanted, small, drive, uninterrupted):
    def without_totals(log):
        return re.sub(r"# total_epochs.*\n", "", log)
    expected, _ = uninterrupted(program)
    assert drive(*with_total(program, wanted - 1), program=program)[0] == 0
    log = log_of(small, "random", program)
    assert drive("--resume", log, "--total-epochs", str(wanted), program=program)[0] == 0
    found = remains(small)
    assert found.keys() >= expected.keys()
    for name in expected:
        if name.endswith(".txt"):
            assert found[name].count(f"# total_epochs = {wanted}\n") == 1
            assert without_totals(found[name]) == without_totals(expected[name])
        elif name.endswith(".pt"):
            assert found[name] == expected[name]


def test_a_run_with_a_cosine_is_not_extended(small, drive):
    assert drive(*with_total("driver.py", 4), "--learning-rate-schedule", "cosine")[0] == 0
    before = contents(small)
    status, _, err = drive("--resume", log_of(small, "none"), "--total-epochs", "6")
    assert status == 2 and "ends with total_epochs = 4, so that the run cannot be extended" in one_line(err)
    assert contents(small) == before


def test_an_extension_that_was_interrupted_stays_one(small, drive, stop_at, uninterrupted):
    expected, _ = uninterrupted("driver.py")
    assert drive(*with_total("driver.py", 5))[0] == 0
    stop_at(10)  # before the next checkpoint
    assert drive("--resume", log_of(small, "none"), "--total-epochs", "6")[0] == 130
    stop_at(0)
    assert drive("--resume", log_of(small, "random"))[0] == 0
    found = remains(small)
    assert all(found[name] == expected[name] for name in expected if name.endswith(".pt"))


@pytest.mark.parametrize("asked", [[], ["--pruning", "contribution"]])
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_run_without_a_round_is_extended_by_a_flag_or_in_constants(program, asked, small, drive, monkeypatch):
    prefix = {"driver.py": "", "vae.py": "vae_"}[program]
    monkeypatch.setattr(constants, prefix + "total_epochs", 2)
    place = ALONE[program].index("--total-epochs")
    assert drive(*ALONE[program][:place], *ALONE[program][place + 2:], *asked, program=program)[0] == 0
    stem = os.path.basename(stem_of("", "none", program))
    assert all(name.startswith(stem) for name in os.listdir(str(small / "logs" / "MNIST")))
    monkeypatch.setattr(constants, prefix + "total_epochs", 3)
    for more in ([], ["--total-epochs", "4"]):
        assert drive("--resume", log_of(small, "none", program), *more, program=program)[0] == 0
    log = runlog.parse_log(log_of(small, "none", program))
    assert [line.epoch for line in log.epochs] == [1, 2, 3, 4] and log.rounds == []
    assert log.header["pruning"] == "none"


def test_a_comparison_with_a_network_from_scratch_is_not_extended_to_other_widths(small, drive):
    assert drive(*ALONE["driver.py"], "--compare", "random,scratch")[0] == 0
    before = contents(small)
    status, _, err = drive("--resume", log_of(small, "random"), "--total-epochs", "10")
    assert status == 2 and "end with other widths than this network has" in one_line(err)
    assert contents(small) == before


# ---- refused, or not ----

@pytest.fixture(scope="module")
def half_done(tmp_path_factory):
    """Where the logs of the fixture `interrupted` are kept for all tests."""
    return tmp_path_factory.mktemp("half_done") / "logs"


@pytest.fixture
def interrupted(small, drive, stop_at, half_done):
    """The folder of a comparison that was interrupted in its second arm; the third one has not branched."""
    if half_done.exists():
        shutil.copytree(str(half_done), str(small / "logs"))
    else:
        stop_at(150)
        assert drive(*TINY["driver.py"])[0] == 130
        shutil.copytree(str(small / "logs"), str(half_done))
    stop_at(0)
    return small


@pytest.fixture
def refused(interrupted, drive):
    """Try to go on, and see that it is refused in one line and that nothing on disk changes; returns the line."""
    def attempt(*arguments, log=None, program="driver.py"):
        before = contents(interrupted)
        status, _, err = drive("--resume", log or log_of(interrupted, "contribution"), *arguments, program=program)
        assert status == 2 and contents(interrupted) == before
        return one_line(err, program)
    return attempt


@pytest.mark.parametrize("flags, named", [
    (["--learning-rate", "0.5"], "learning_rate = 0.5, there 0.01"),
    (["--seed", "31", "--momentum", "0"], "seed = 31, there 30; momentum = 0.0, there 0.9"),
    (["--total-epochs", "5"], "total_epochs = 5, there 6"),
    (["--pruning", "random"], "pruning"),
    (["--dataset", "2"], "dataset = 'FashionMNIST', there 'MNIST'"),
    (["--hidden-widths", "9-6"], "hidden_widths = [9, 6], there [10, 6]"),
    (["--deterministic", "False"], "deterministic = False, there True"),
    (["--precision", "bfloat16"], "precision = 'bfloat16', there 'float32'"),
    (["--log-folder", "logs"], "move that and give its new path"),
    (["--resume", ""], "whose logs are called"),  # as an unset variable of the shell gives
])
def test_other_flags_are_refused_by_name(refused, flags, named):
    assert named in refused(*flags)


@pytest.mark.parametrize("module, name, value, named", [
    (constants, "seed", 31, "seed = 31, there 30"),
    (constants, "prune_percent", 20, "prune_percent = 20.0, there 10.0"),
    (constants, "MNIST", {**constants.MNIST, "momentum": 0.5}, "momentum = 0.5, there 0.9")])
def test_constants_that_were_edited_since_are_refused_by_name(refused, monkeypatch, module, name, value, named):
    monkeypatch.setattr(module, name, value)
    assert named in refused()


def test_the_flag_in_ranking_that_was_turned_since_is_refused(small, drive, stop_at, monkeypatch):
    stop_at(130)
    assert drive(*ALONE["driver.py"])[0] == 130
    monkeypatch.setattr(ranking, "contribBasedPruning", False)
    status, _, err = drive("--resume", log_of(small, "contribution"))
    assert status == 2 and "pruning = 'random', there 'contribution'" in err


def test_constants_that_this_run_does_not_take_may_change(interrupted, drive, monkeypatch):
    monkeypatch.setitem(constants.CIFAR10, "learning_rate", 0.2)  # another data set's
    monkeypatch.setattr(constants, "checkpoint_every", 1)
    monkeypatch.setattr(constants, "vae_increment", 3)
    assert drive("--resume", log_of(interrupted, "contribution"))[0] == 0


@pytest.mark.parametrize("name, value", [("threads", 77), ("instructions", "others")])
def test_another_number_of_threads_or_another_processor_stands_in_the_log(name, value, interrupted, drive, monkeypatch):
    read = comparison.read_provenance
    before = runlog.parse_log(log_of(interrupted, "contribution")).header
    assert before[name] == read(torch.device("cpu"), 1)[name]
    monkeypatch.setattr(comparison, "read_provenance", lambda *where: {**read(*where), name: value})
    assert drive("--resume", log_of(interrupted, "contribution"))[0] == 0
    for arm in ARMS[1:]:  # the first one had ended
        with open(log_of(interrupted, arm)) as file:
            text = file.read()
        assert text.count(f"# {name} = {value!r}\n") == 1 and text.count("# started") == 1
        assert runlog.parse_log(log_of(interrupted, arm)).header[name] == value


def test_a_log_of_the_other_program_or_of_none_is_refused(refused):
    assert "whose logs are called vae_log" in refused(program="vae.py")
    assert "logs/MNIST: a folder; give one of the logs in it" in refused(log="logs/MNIST")
    assert "nowhere.txt: no such log" in refused(log="training_lognowhere.txt")


def test_another_device_or_other_data_are_refused_by_name(refused, interrupted, monkeypatch, tiny_mnist):
    tiny_mnist(interrupted / "others", counts=(110, 21))
    assert re.search("data = '110 images .*, 21 images .*', there '110 images .*, 20 images ",
                     refused("--dataset-folder", "others"))
    labels = interrupted / "relabelled" / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    shutil.copytree(str(interrupted / "datasets"), str(interrupted / "relabelled"))
    labels.write_bytes(labels.read_bytes()[:-2] + bytes(reversed(labels.read_bytes()[-2:])))
    assert "data = '110 images " in refused("--dataset-folder", "relabelled")
    read = checkpoint.read

    def read_of_a_gpu(path):
        saved = read(path)
        saved["settings"].update(device="cuda", precision="bfloat16")
        return saved
    monkeypatch.setattr(checkpoint, "read", read_of_a_gpu)
    assert "device = 'cpu', there 'cuda'" in refused()
    assert "device = 'cpu', there 'cuda'; precision = 'float32', there 'bfloat16'" in refused("--device", "auto")


def test_the_checkpoint_of_another_arm_is_refused(refused, interrupted):
    shutil.copy(stem_of(interrupted, "none") + ".checkpoint", stem_of(interrupted, "random") + ".checkpoint")
    assert "worstPruning.txt and its checkpoint are not of the same run" in refused()


def test_a_missing_file_is_named(refused, interrupted):
    os.remove(start_of(interrupted))  # from which random would branch
    assert "worstPruning.checkpoint: no such file" in refused()
    assert "worstPruning.checkpoint: no such file" in refused(log=log_of(interrupted, "random"))
    os.remove(log_of(interrupted, "random"))
    assert "worstPruning.txt: No such file" in refused()


@pytest.mark.parametrize("header", [
    "pruning = []", "pruning = 'random'\n# compare = 5", "compare = [[1]]", "pruning = 3"])
def test_a_log_without_a_checkpoint_may_say_anything(refused, interrupted, header):
    with open(log_of(interrupted, "random"), "w") as log:
        log.write(f"# {header}\n")
    assert "worstPruning" in refused(log=log_of(interrupted, "random"))


def cut(text):
    return text[:len(text) // 2]


@pytest.mark.parametrize("arm", ["random", "contribution", "none"])  # at the start, in its epochs and finished
@pytest.mark.parametrize("edit", [cut, "# a note\n{}".format])
def test_a_log_that_was_cut_or_edited_is_refused(refused, interrupted, arm, edit):
    with open(log_of(interrupted, arm)) as file:
        text = file.read()
    with open(log_of(interrupted, arm), "w") as file:
        file.write(edit(text))
    with open(log_of(interrupted, "contribution"), "a") as longer:
        longer.write("stays until all is known to be well\n")
    assert f"{os.path.basename(log_of('', arm))} is not as it was" in refused()


def test_a_log_under_another_name_is_refused(refused, interrupted):
    stem = stem_of(interrupted, "contribution")
    for ending in (".txt", ".checkpoint"):
        os.rename(stem + ending, stem + ".1" + ending)
    assert "under the names that it began with" in refused(log=stem + ".1.txt")


@pytest.mark.parametrize("kind", [".checkpoint", ".start"])
def test_a_log_of_another_run_in_its_place_is_refused(refused, interrupted, drive, stop_at, monkeypatch, kind):
    read, name = comparison.read_provenance, "random" if kind == ".checkpoint" else "none"
    monkeypatch.setattr(comparison, "read_provenance", lambda *where: {**read(*where), "started": "later"})
    stop_at({".checkpoint": 0, ".start": 40}[kind])
    assert drive(*TINY["driver.py"], "--log-folder", "other")[0] in (0, 130)
    for path in (log_of(interrupted, "random"), stem_of(interrupted, name) + kind):
        shutil.copy(path.replace("logs", "other"), path)
    monkeypatch.setattr(comparison, "read_provenance", read)
    assert "worstPruning.txt and its checkpoint are not of the same run" in refused()


@pytest.mark.parametrize("arm", ARMS)  # its own checkpoint of the last moment, of a round's epoch, and the start
def test_a_damaged_checkpoint_or_start_is_refused(refused, interrupted, arm):
    path = start_of(interrupted) if arm == "random" else stem_of(interrupted, arm) + ".checkpoint"
    os.truncate(path, os.path.getsize(path) // 2)
    assert f"{os.path.basename(path)} is no whole checkpoint" in refused()


def test_a_checkpoint_of_an_older_version_is_refused(refused, interrupted, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
    assert "withPruning.checkpoint is of another version of this suite" in refused()


def test_a_checkpoint_of_another_network_is_refused(refused, interrupted):
    for path in (interrupted / "logs" / "MNIST").glob("*"):
        if path.suffix in (".checkpoint", ".start"):
            saved = torch.load(str(path), weights_only=True)
            saved["weights"]["layers.0.weight"] = torch.zeros(10, 785)
            checkpoint.save(saved, str(path))
    assert "does not fit the network that this code makes" in refused()


# ---- several seeds ----

SEEDS = [*ALONE["driver.py"], "--seeds", "2", "--compare", "contribution,random"]


@pytest.mark.parametrize("which", ["random", "contribution"])
def test_a_later_seeds_log_that_was_edited_is_refused_before_anything_changes(small, drive, monkeypatch, which):
    """Of seed 31, `contribution` has ended and `random` not; seed 30 has."""
    finish = training.finish

    def ends(state, workload, log):
        if log.name.endswith("worstPruning-seed31.txt"):
            raise training.Diverged("killed")
        return finish(state, workload, log)
    monkeypatch.setattr(training, "finish", ends)
    assert drive(*SEEDS)[0] == 2
    log = log_of(small, which, seed=31)
    with open(log, "r+b") as file:
        file.write(b"$")
    before = contents(small)
    status, _, err = drive("--resume", log_of(small, "random", seed=30))
    assert status == 2 and f"{os.path.basename(log)} is not as it was at its checkpoint" in one_line(err)
    assert contents(small) == before


@pytest.mark.parametrize("program", PROGRAMS)
def test_finished_runs_are_left_alone_by_a_resume(program, small, drive, monkeypatch):
    flags = [*ALONE[program], "--seeds", "2", "--compare", "scratch,random,contribution"]
    assert drive(*flags, program=program)[0] == 0
    before = contents(small / "logs")
    monkeypatch.setattr(training, "train_epoch", lambda *run: pytest.fail("it was finished"))
    status, out, err = drive("--resume", log_of(small, "scratch", program, seed=30), program=program)
    assert (status, err) == (0, "") and out.count(": finished\n") == 6
    assert contents(small / "logs") == before


def test_a_new_run_by_several_processes_keeps_what_an_interrupted_one_left(interrupted):
    left = set(os.listdir(str(interrupted / "logs" / "MNIST")))
    assert Program(interrupted, *TINY["driver.py"], "--jobs", "2").end()[0] == 0
    there = set(os.listdir(str(interrupted / "logs" / "MNIST")))
    assert {name.replace(".", ".1.", 1) for name in left if name.endswith("checkpoint")} <= there


def test_a_restart_by_torchrun_with_other_values_is_refused(small, drive, stop_at, monkeypatch):
    for name, value in (("RANK", 0), ("WORLD_SIZE", 1), ("MASTER_ADDR", "localhost"), ("TORCHELASTIC_MAX_RESTARTS", 1)):
        monkeypatch.setenv(name, str(value))
    stop_at(150)
    assert drive(*TINY["driver.py"])[0] == 130
    stop_at(0)
    status, _, err = drive(*TINY["driver.py"], "--lambda-max", "0.5")
    assert status == 2 and "lambda_max = 0.5, there 0.0" in one_line(err)
    stop_at(0)
    status, out, _ = drive(*TINY["driver.py"])
    assert status == 0 and "a process was killed; all were started anew" in out
