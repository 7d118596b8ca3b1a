"""Checkpoints: a run that was interrupted goes on to the same bits, and what is no whole checkpoint is refused."""
import ast
import errno
import os
import pickle
import re
import shutil
import zlib

import pytest
import torch

import checkpoint
import constants
import errors
import files
import machine
import ranking
import runlog
import training

ARMS = ["none", "contribution", "random"]
# 110 images in batches of 5: 22 batches an epoch. Shared epochs 1 to 3, rounds after 3 and 5.
TINY = {
    "driver.py": ["--dataset", "1", "--device", "cpu", "--batch-size", "5", "--hidden-widths", "10-6",
                  "--total-epochs", "6", "--initial-iterations", "3", "--increment", "2", "--checkpoint-every", "2",
                  "--compare"],
    "vae.py": ["--dataset", "1", "--device", "cpu", "--batch-size", "10", "--hidden-widths", "9-12-12-9",
               "--conv-widths", "2", "--latent", "3",
               "--total-epochs", "4", "--initial-iterations", "2", "--increment", "2", "--checkpoint-every", "3",
               "--compare"]}
PROGRAMS = list(TINY)
PREFIX = {"driver.py": "training_log", "vae.py": "vae_log"}


class StopAt:
    """In place of checkpoint.Stop: asked at the number-th time that the loop looks, counted from 1; 0: never."""

    def __init__(self, number):
        self.number, self.looks = number, 0

    def __call__(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    @property
    def asked(self):
        self.looks += 1
        return self.looks == self.number


def log_of(folder, arm, program="driver.py"):
    return files.log_path(os.path.join(str(folder), "logs"), "MNIST", arm, PREFIX[program])


def remains(folder):
    """All that a run leaves, without the times: {file: what it holds}."""
    found = {}
    where = os.path.join(str(folder), "logs", "MNIST")
    for name in sorted(os.listdir(where)):
        path = os.path.join(where, name)
        if name.endswith(".txt"):
            with open(path) as file:
                text = re.sub(r"time \S+ s|# started.*", "", file.read())
            found[name] = re.sub(r"# (commit|log_folder).*", "", text)
        elif name.endswith(".png"):
            with open(path, "rb") as file:
                found[name] = file.read()
        else:
            saved = torch.load(path, weights_only=True)
            if name.endswith(".checkpoint"):
                saved.update(ast.literal_eval(saved["text"]))
                del saved["config"]["log_folder"]
                for changing in ("text", "seconds", "extents", "environment"):
                    del saved[changing]
            found[name] = repr(bits(saved))
    return found


def bits(value):
    """A nested value with its tensors as lists of their bytes."""
    if torch.is_tensor(value):
        return str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return [(bits(key), bits(item)) for key, item in value.items()]
    return [bits(item) for item in value] if isinstance(value, (list, tuple)) else value


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """{program: what its uninterrupted run leaves}, filled on demand."""
    return {}


@pytest.fixture
def uninterrupted(whole, small, drive, monkeypatch):
    """What the uninterrupted run of a program leaves, and how often its loop looks whether to stop."""
    def remains_of(program):
        if program not in whole:
            stop = StopAt(0)
            monkeypatch.setattr(checkpoint, "Stop", stop)
            assert drive(*TINY[program], program=program)[0] == 0
            whole[program] = remains(small), stop.looks
            shutil.rmtree(str(small / "logs"))
        return whole[program]
    return remains_of


# ---- the same bits ----

# driver.py looks 23 times an epoch: before each and before every batch. The vae, with 11 batches, 12 times.
@pytest.mark.parametrize("program, looks", [
    *(("driver.py", [look]) for look in (1, 3, 24, 25, 46, 69, 70, 71, 140, 163, 276)),
    *(("vae.py", [look]) for look in (5, 25, 36, 60)),
    ("driver.py", [30, 30, 30, 60, 2, 1, 1, 50]),
    ("vae.py", [4, 4, 4, 20, 30, 20]),
])
def test_an_interrupted_run_goes_on_to_the_same_bits(program, looks, small, drive, monkeypatch, uninterrupted):
    expected, _ = uninterrupted(program)
    arguments = TINY[program]
    for look in looks:
        monkeypatch.setattr(checkpoint, "Stop", StopAt(look))
        status, out, err = drive(*arguments, program=program)
        message = re.fullmatch(rf"{program}: interrupted after epoch \d+(?: and \d+ batches of the next)?; go on with: "
                               rf"python {program} --resume (\S+)\n", err)
        assert status == 130 and message, err
        arguments = ["--resume", message.group(1)]
    monkeypatch.setattr(checkpoint, "Stop", StopAt(0))
    assert drive(*arguments, program=program)[0] == 0
    assert remains(small) == expected


@pytest.mark.parametrize("arm", ARMS)
def test_the_log_of_any_arm_names_the_run(arm, small, drive, monkeypatch, uninterrupted):
    expected, _ = uninterrupted("driver.py")
    monkeypatch.setattr(checkpoint, "Stop", StopAt(130))  # in the second arm
    assert drive(*TINY["driver.py"])[0] == 130
    assert drive("--resume", log_of(small, arm))[0] == 0
    assert remains(small) == expected


def test_finished_arms_are_not_trained_again(small, drive, monkeypatch, uninterrupted):
    _, looks = uninterrupted("driver.py")
    stop = StopAt(looks - 10)  # in the last arm's last epoch
    monkeypatch.setattr(checkpoint, "Stop", stop)
    assert drive(*TINY["driver.py"])[0] == 130
    rest = StopAt(0)
    monkeypatch.setattr(checkpoint, "Stop", rest)
    assert drive("--resume", log_of(small, "none"))[0] == 0
    assert rest.looks == looks - stop.looks + 2  # the batch's look again, and the one before the epoch


def test_a_round_that_a_later_arm_has_done_alone_is_not_done_again(small, drive, monkeypatch, uninterrupted):
    # Side by side a run may be killed right after an arm's round while an arm named before it is still where all began.
    expected, _ = uninterrupted("driver.py")
    first = [small / "logs" / "MNIST" / f"training_logwithoutPruning.{kind}" for kind in ("txt", "checkpoint")]
    kept, write = {}, checkpoint.write

    def write_then_die(run, config, logs):
        write(run, config, logs)
        if run.epoch == 3 and len(logs) == 3:
            kept.update({path: path.read_bytes() for path in first})
        if run.rounds == 1:
            raise KeyboardInterrupt
    monkeypatch.setattr(checkpoint, "write", write_then_die)
    assert drive(*TINY["driver.py"])[0] == 130
    for path, content in kept.items():
        path.write_bytes(content)
    monkeypatch.setattr(checkpoint, "write", write)
    status, out, _ = drive("--resume", log_of(small, "none"))
    assert status == 0 and "contribution: Round 2" in out and "contribution: Round 1" not in out
    assert remains(small) == expected


def test_what_a_killed_run_wrote_after_its_checkpoint_is_cut_off(small, drive, uninterrupted):
    expected, _ = uninterrupted("driver.py")
    assert drive(*TINY["driver.py"])[0] == 0
    for arm in ARMS:
        with open(log_of(small, arm), "a") as log:
            log.write("Epoch: 7, Batch: 0, Loss: 1.0, Accuracy: 50.0%\nEpoch: 7, Ba")
    assert drive("--resume", log_of(small, "none"))[0] == 0
    assert remains(small) == expected


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_finished_run_goes_on_with_more_epochs(program, small, drive, uninterrupted):
    expected, _ = uninterrupted(program)
    total = TINY[program].index("--total-epochs") + 1
    wanted = TINY[program][total]
    shorter = [*TINY[program][:total], str(int(wanted) - 1), *TINY[program][total + 1:]]
    assert drive(*shorter, program=program)[0] == 0
    status, _, _ = drive("--resume", log_of(small, "random", program), "--total-epochs", wanted, program=program)
    assert status == 0
    found = remains(small)
    assert found.keys() >= expected.keys()
    for name in expected:
        if name.endswith(".txt"):
            assert found[name].count(f"# total_epochs = {wanted}\n") == 1
            assert without_totals(found[name]) == without_totals(expected[name])
        elif name.endswith(".pt"):
            assert found[name] == expected[name]


def test_an_extension_that_was_interrupted_stays_one(small, drive, monkeypatch, uninterrupted):
    expected, _ = uninterrupted("driver.py")
    total = TINY["driver.py"].index("--total-epochs") + 1
    assert drive(*TINY["driver.py"][:total], "5", *TINY["driver.py"][total + 1:])[0] == 0
    monkeypatch.setattr(checkpoint, "Stop", StopAt(10))  # before the next checkpoint
    assert drive("--resume", log_of(small, "none"), "--total-epochs", "6")[0] == 130
    monkeypatch.setattr(checkpoint, "Stop", StopAt(0))
    assert drive("--resume", log_of(small, "random"))[0] == 0
    found = remains(small)
    assert all(found[name] == expected[name] for name in expected if name.endswith(".pt"))


@pytest.mark.parametrize("asked", [[], ["--pruning", "contribution"]])
def test_a_schedule_without_a_round_can_be_extended(asked, small, drive):
    given = ["--dataset", "1", "--device", "cpu", "--total-epochs", "2", "--initial-iterations", "3"]
    assert drive(*given, *asked)[0] == 0
    assert drive("--resume", log_of(small, "none"), "--total-epochs", "5")[0] == 0
    log = runlog.parse_log(log_of(small, "none"))
    assert [line.epoch for line in log.epochs] == [1, 2, 3, 4, 5] and log.rounds == []


def without_totals(log):
    return re.sub(r"# total_epochs.*\n", "", log)


def test_a_terminal_that_closes_during_a_round_loses_nothing(small, drive, monkeypatch):
    def write(text, **options):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    monkeypatch.setattr(training.tqdm, "write", write)
    assert drive(*TINY["driver.py"])[0] == 2
    state = checkpoint.read(log_of(small, "contribution"))
    assert (state["epoch"], state["rounds"]) == (3, 1)


def test_a_run_in_a_folder_that_was_moved_goes_on_there(small, drive, monkeypatch, uninterrupted):
    expected, _ = uninterrupted("driver.py")
    monkeypatch.setattr(checkpoint, "Stop", StopAt(100))
    assert drive(*TINY["driver.py"], "--log-folder", "elsewhere")[0] == 130
    os.rename(str(small / "elsewhere"), str(small / "logs"))
    monkeypatch.setattr(checkpoint, "Stop", StopAt(0))
    assert drive("--resume", os.path.join("logs", "MNIST", "training_logwithPruning.txt"))[0] == 0
    found = remains(small)
    assert found.keys() == expected.keys()
    for name in expected:
        if not name.endswith(".checkpoint"):  # where the flags say "elsewhere"
            assert found[name] == expected[name]


def test_a_log_that_another_run_has_replaced_is_left_to_it(small, drive, monkeypatch):
    alone = [word for word in TINY["driver.py"] if word != "--compare"] + ["--pruning", "none"]
    assert drive(*alone, "--log-folder", "other", "--seed", "7")[0] == 0
    shutil.copytree(str(small / "other"), str(small / "kept"))
    evaluate, calls = training.evaluate, []

    def replacing(*arguments):
        calls.append(0)
        if len(calls) == 4:
            os.rename(str(small / "logs"), str(small / "gone"))
            os.rename(str(small / "other"), str(small / "logs"))
        return evaluate(*arguments)
    monkeypatch.setattr(training, "evaluate", replacing)
    status, _, err = drive(*alone)
    assert status == 2 and "has been removed, renamed or replaced meanwhile" in err
    os.rename(str(small / "logs"), str(small / "found"))
    os.rename(str(small / "kept"), str(small / "logs"))
    kept = contents(small)
    shutil.rmtree(str(small / "logs"))
    os.rename(str(small / "found"), str(small / "logs"))
    assert contents(small) == kept
    with pytest.raises(errors.UserError, match="replaced meanwhile"), open(log_of(small, "none")) as log:
        os.rename(log.name, log.name + ".gone")
        checkpoint.write(None, None, [log])


# ---- what is written, and when ----

@pytest.mark.parametrize("every, epochs", [
    ("2", [0, 2, 3, 3, 4, 5, 6]),  # a round after 3 and after 5; 3 ends the shared epochs, 6 the run
    ("4", [0, 3, 3, 4, 5, 6]),
    ("100", [0, 3, 3, 5, 6])])
def test_there_is_a_checkpoint_at_the_start_every_few_epochs_after_a_round_and_at_the_end(
        every, epochs, small, drive, monkeypatch):
    written, write = [], checkpoint.write

    def recording(run, settings, logs):
        write(run, settings, logs)
        written.append((run.epoch, run.rounds))
    monkeypatch.setattr(checkpoint, "write", recording)
    arguments = [word for word in TINY["driver.py"] if word != "--compare"]
    assert drive(*arguments, "--checkpoint-every", every)[0] == 0
    assert [epoch for epoch, _ in written] == epochs
    assert [rounds for _, rounds in written] == sorted(rounds for _, rounds in written)
    assert [written.count((epoch, rounds)) for epoch, rounds in ((3, 0), (3, 1), (5, 2), (6, 2))] == [1, 1, 1, 1]


def test_a_checkpoint_says_all_that_a_run_is(small, drive, monkeypatch):
    monkeypatch.setattr(checkpoint, "Stop", StopAt(85))  # after the first round of "none", in a batch
    assert drive(*TINY["driver.py"], "--learning-rate", "0.25")[0] == 130
    state = checkpoint.read(log_of(small, "none"))
    assert state["config"]["learning_rate"] == state["flags"]["learning_rate"] == 0.25
    assert state["config"]["momentum"] == constants.MNIST["momentum"] and "momentum" not in state["flags"]
    assert (state["epoch"], state["rounds"], state["widths"], state["batches"]) == (3, 0, [10, 6], 14)
    assert state["history"].shape == (22, 2) and "cpu" in state["random"]
    assert state["extents"].keys() == {"training_logwithoutPruning.txt"}
    length, checksum = state["extents"]["training_logwithoutPruning.txt"]
    with open(log_of(small, "none"), "rb") as log:
        content = log.read()
    assert (length, checksum) == (len(content), zlib.crc32(content))
    assert [tuple(weight.shape) for weight in state["weights"].values()] == [(10, 784), (6, 10), (10, 6)]
    assert len(state["optimizer"]) == 3


# ---- refused ----

@pytest.fixture(scope="module")
def half_done(tmp_path_factory):
    """Where the logs of the fixture `interrupted` are kept for all tests."""
    return tmp_path_factory.mktemp("half_done") / "logs"


@pytest.fixture
def interrupted(small, drive, monkeypatch, half_done):
    """The folder of a comparison that was interrupted in its second arm."""
    monkeypatch.setattr(checkpoint, "Stop", StopAt(130))
    if half_done.exists():
        shutil.copytree(str(half_done), str(small / "logs"))
    else:
        assert drive(*TINY["driver.py"])[0] == 130
        shutil.copytree(str(small / "logs"), str(half_done))
    monkeypatch.setattr(checkpoint, "Stop", StopAt(0))
    return small


def contents(folder):
    found = {}
    for where, _, names in os.walk(str(folder / "logs")):
        for name in names:
            with open(os.path.join(where, name), "rb") as file:
                found[os.path.join(where, name)] = file.read()
    return found


@pytest.fixture
def refused(interrupted, drive):
    """Try to go on, and see that it is refused in one line and that nothing on disk changes; returns the line."""
    def attempt(*arguments, log=None, program="driver.py"):
        before = contents(interrupted)
        status, _, err = drive("--resume", log or log_of(interrupted, "contribution"), *arguments, program=program)
        assert status == 2 and err.count("\n") == 1, err
        assert contents(interrupted) == before
        return err
    return attempt


@pytest.mark.parametrize("flags, named", [
    (["--learning-rate", "0.5"], "learning_rate = 0.5, there 0.01"),
    (["--seed", "31", "--momentum", "0"], "seed = 31, there 30; momentum = 0.0, there 0.9"),
    (["--total-epochs", "5"], "total_epochs = 5, there 6"),
    (["--pruning", "random"], "pruning"),
    (["--dataset", "2"], "dataset = 'FashionMNIST', there 'MNIST'"),
    (["--hidden-widths", "9-6"], r"hidden_widths = \[9, 6\], there \[10, 6\]"),
    (["--deterministic", "False"], "deterministic = False, there True"),
    (["--precision", "bfloat16"], "precision = 'bfloat16', there 'float32'"),
])
def test_another_configuration_is_refused_by_name(refused, flags, named):
    assert re.search(named, refused(*flags))


@pytest.mark.parametrize("name, value, named", [
    ("seed", 31, "seed = 31, there 30"), ("prune_percent", 20, "prune_percent = 20.0, there 10.0"),
    ("MNIST", {**constants.MNIST, "momentum": 0.5}, "momentum = 0.5, there 0.9")])
def test_constants_that_were_edited_meanwhile_are_refused_by_name(refused, monkeypatch, name, value, named):
    monkeypatch.setattr(constants, name, value)
    assert named in refused()


def test_the_flag_in_ranking_that_was_turned_meanwhile_is_refused(small, drive, monkeypatch):
    monkeypatch.setattr(checkpoint, "Stop", StopAt(130))
    assert drive(*TINY["driver.py"][:-1])[0] == 130
    monkeypatch.setattr(ranking, "contribBasedPruning", False)
    status, _, err = drive("--resume", log_of(small, "contribution"))
    assert status == 2 and "pruning = 'random', there 'contribution'" in err


@pytest.mark.parametrize("name, value", [("learning_rate", 0.2), ("checkpoint_every", 1), ("vae_increment", 3)])
def test_constants_that_this_run_does_not_take_may_change(drive, monkeypatch, name, value, uninterrupted, request):
    left, _ = uninterrupted("driver.py")
    interrupted = request.getfixturevalue("interrupted")  # in the same folder, so not before
    # The learning rate is another data set's.
    if name == "learning_rate":
        monkeypatch.setitem(constants.CIFAR10, name, value)
    else:
        monkeypatch.setattr(constants, name, value)
    assert drive("--resume", log_of(interrupted, "contribution"))[0] == 0
    assert remains(interrupted) == left


def test_a_larger_total_in_constants_extends_a_run_without_flags(small, drive, monkeypatch):
    monkeypatch.setattr(constants, "total_epochs", 2)
    given = ["--dataset", "1", "--device", "cpu", "--hidden-widths", "10-6", "--pruning", "none"]
    assert drive(*given)[0] == 0
    monkeypatch.setattr(constants, "total_epochs", 4)
    assert drive("--resume", log_of(small, "none"))[0] == 0
    assert [line.epoch for line in runlog.parse_log(log_of(small, "none")).epochs] == [1, 2, 3, 4]


@pytest.mark.parametrize("name, value", [("threads", 77), ("instructions", "others")])
def test_another_number_of_threads_or_another_processor_stands_in_the_log(name, value, interrupted, drive, monkeypatch):
    environment = machine.environment
    before = runlog.parse_log(log_of(interrupted, "contribution")).header
    assert before[name] == environment(torch.device("cpu"), 1)[name]
    monkeypatch.setattr(machine, "environment", lambda *where: {**environment(*where), name: value})
    assert drive("--resume", log_of(interrupted, "contribution"))[0] == 0
    for arm in ARMS:
        with open(log_of(interrupted, arm)) as file:
            text = file.read()
        assert text.count(f"# {name} = {value!r}\n") == 1 and text.count("# started") == 1
        assert runlog.parse_log(log_of(interrupted, arm)).header[name] == value


def test_a_log_of_the_other_program_is_refused(refused, interrupted):
    assert "whose logs are called vae_log" in refused(program="vae.py")
    assert "whose logs are called training_log" in refused(log="logs/MNIST")


def test_no_log_at_all_is_refused_and_starts_nothing(refused):
    assert "whose logs are called" in refused("--resume", "")  # as an unset variable of the shell gives


def test_the_folder_is_the_logs(refused):
    assert "move that and give its new path" in refused("--log-folder", "logs")


def test_another_device_or_other_data_are_refused_by_name(refused, interrupted, monkeypatch, tiny_mnist):
    tiny_mnist(interrupted / "others", counts=(110, 21))
    assert re.search("data = '110 images .*, 21 images .*', there '110 images .*, 20 images ",
                     refused("--dataset-folder", "others"))
    raw = interrupted / "relabelled" / "MNIST" / "raw"
    shutil.copytree(str(interrupted / "datasets"), str(interrupted / "relabelled"))
    labels = raw / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-2] + bytes(reversed(labels.read_bytes()[-2:])))
    assert "data = '110 images " in refused("--dataset-folder", "relabelled")
    read = checkpoint.read

    def read_of_a_gpu(log):
        state = read(log)
        state["config"].update(device="cuda", precision="bfloat16")
        return state
    monkeypatch.setattr(checkpoint, "read", read_of_a_gpu)
    assert "device = 'cpu', there 'cuda'" in refused()
    assert "device = 'cpu', there 'cuda'; precision = 'float32', there 'bfloat16'" in refused("--device", "auto")


def test_the_checkpoint_of_another_arm_is_refused(refused, interrupted):
    shutil.copy(files.checkpoint_path(log_of(interrupted, "none")),
                files.checkpoint_path(log_of(interrupted, "random")))
    assert "worstPruning.txt and its checkpoint are not of the same run" in refused()


def test_a_missing_file_is_named(refused, interrupted):
    os.remove(files.checkpoint_path(log_of(interrupted, "random")))
    assert "worstPruning.checkpoint: no such file" in refused()
    os.remove(log_of(interrupted, "random"))
    assert "worstPruning.txt: No such file" in refused()
    assert "nowhere.txt: no such log" in refused(log="training_lognowhere.txt")


def test_a_log_that_was_cut_is_refused(refused, interrupted):
    log = log_of(interrupted, "random")
    os.truncate(log, os.path.getsize(log) // 2)
    with open(log_of(interrupted, "none"), "a") as longer:
        longer.write("stays until all is known to be well\n")
    assert "worstPruning.txt is not as it was" in refused()


def test_a_log_that_was_edited_is_refused(refused, interrupted):
    log = log_of(interrupted, "random")
    with open(log) as file:
        text = file.read()
    with open(log, "w") as file:
        file.write("# a note\n" + text)
    assert "worstPruning.txt is not as it was" in refused()


def test_a_log_under_another_name_is_refused(refused, interrupted):
    for ending in (".txt", ".checkpoint"):
        stem = os.path.splitext(log_of(interrupted, "contribution"))[0]
        os.rename(stem + ending, stem + ".1" + ending)
    assert "under the names that it began with" in refused(log=stem + ".1.txt")


def test_a_log_of_another_run_in_its_place_is_refused(refused, interrupted, drive, monkeypatch):
    environment = machine.environment
    monkeypatch.setattr(machine, "environment", lambda *where: {**environment(*where), "started": "later"})
    assert drive(*TINY["driver.py"], "--log-folder", "other")[0] == 0
    for path in (log_of(interrupted, "random"), files.checkpoint_path(log_of(interrupted, "random"))):
        shutil.copy(path.replace("logs", "other"), path)
    monkeypatch.setattr(machine, "environment", environment)
    assert "worstPruning.txt and its checkpoint are not of the same run" in refused()


class Hostile:
    """Pickled, it makes a file when it is read by a reader that does as it is told."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def flip(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1:]


@pytest.mark.parametrize("damage", [
    lambda content: b"", lambda content: content[:1], lambda content: content[:-1],
    lambda content: content[:len(content) // 2], lambda content: content[1:], lambda content: b"a text\n" * 100,
    lambda content: b"\0" * len(content), lambda content: content[:5000] + content[5100:],
    lambda content: re.sub(b"(PK\1\2.{6})\0", b"\\1\x08", content, flags=re.S)])  # "stored" becomes "deflated"
def test_a_damaged_checkpoint_is_refused(refused, interrupted, damage):
    path = files.checkpoint_path(log_of(interrupted, "contribution"))
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(damage(content))
    assert "withPruning.checkpoint is " in refused()


def test_a_flipped_byte_is_noticed_or_changes_nothing(interrupted):
    log = log_of(interrupted, "contribution")
    path = files.checkpoint_path(log)
    with open(path, "rb") as file:
        content = file.read()
    expected, noticed = repr(bits(checkpoint.read(log))), 0
    places = range(0, len(content), max(1, len(content) // 300))
    for place in places:
        with open(path, "wb") as file:
            file.write(flip(content, place))
        try:
            assert repr(bits(checkpoint.read(log))) == expected  # in the padding between a file's parts
        except errors.UserError:
            noticed += 1
    assert noticed > len(places) / 2


@pytest.mark.parametrize("save", [
    lambda what, path: torch.save(what, path),
    lambda what, path: torch.save(what, path, _use_new_zipfile_serialization=False),
    lambda what, path: pickle.dump(what, open(path, "wb"))], ids=["torch", "old torch", "pickle"])
@pytest.mark.parametrize("kind", ["hostile", "hostile inside", "hostile text", "list", "empty", "tensor", "text",
                                  "no number", "network"])
def test_a_checkpoint_of_another_kind_is_refused_and_never_run(refused, interrupted, save, kind):
    path, trap = files.checkpoint_path(log_of(interrupted, "contribution")), str(interrupted / "trap")
    state = torch.load(path, weights_only=True)
    save({"hostile": Hostile(trap), "hostile inside": {**state, "seen": Hostile(trap)},
          "hostile text": {**state, "text": f"__import__('os').mkdir({trap!r})"}, "list": [1], "empty": {},
          "tensor": torch.zeros(3), "text": "epoch", "no number": {**state, "text": "{'epoch': 1}"},
          "network": {"weights": state["weights"]}}[kind], path)
    assert "withPruning.checkpoint is " in refused()
    assert not os.path.exists(trap)


def test_a_checkpoint_of_another_network_is_refused(refused, interrupted):
    for arm in ARMS:
        path = files.checkpoint_path(log_of(interrupted, arm))
        state = torch.load(path, weights_only=True)
        state["weights"]["layers.0.weight"] = torch.zeros(10, 785)
        checkpoint.save(state, path)
    assert "does not fit the network that this code makes" in refused()
