"""driver.py as a whole program: at a prompt, through a pipe, interrupted, and the logs and networks it leaves."""
import os
import platform
import re
import signal
import sys
from types import SimpleNamespace

import pytest
import torch
from processes import Program, type_at_terminal, wait_for_epoch

import comparison
import config
import data
import driver
import errors
import files
import models
import ranking
import runlog
import training

ARMS = ["none", "contribution", "random"]
SHORT = ["--device", "cpu", "--total-epochs", "2", "--initial-iterations", "1", "--increment", "1"]
# 110 images in batches of 5: lines at batches 0, 10 and 20; widths 10-6 => 9-5 => 8-4.
TINY = ["--dataset", "1", "--device", "cpu", "--batch-size", "5", "--hidden-widths", "10-6", "--learning-rate", "0.1",
        "--momentum", "0", "--prune-percent", "10",
        "--total-epochs", "3", "--initial-iterations", "1", "--increment", "1"]
ENDINGS = [".checkpoint", ".pt", ".txt"]  # what a run leaves
BAR = re.compile(r"\d+%\|")


def one_line(text):
    """The message of the one line that stderr must be."""
    assert text.startswith("driver.py: ") and text.endswith("\n") and text.count("\n") == 1, text
    return text[len("driver.py: "):-1]


def log_of(folder, arm, dataset="MNIST"):
    return runlog.parse_log(files.log_path(os.path.join(str(folder), "logs"), dataset, arm))


def files_in(folder):
    return sorted(os.listdir(str(folder)))


# ---- the comparison on data set 0, run twice with the same seed ----

COMPARE = ["--dataset", "0", "--compare", "--device", "cpu", "--total-epochs", "4", "--initial-iterations", "2",
           "--increment", "1", "--prune-percent", "10", "--hidden-widths", "50-30", "--batch-size", "20", "--seed", "7"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The folder and what the two processes of the comparison said; the second run keeps the first one's files."""
    folder = tmp_path_factory.mktemp("compared")
    return folder, [Program(folder, *COMPARE, fewer_digits=20).end() for _ in range(2)]


def test_the_comparison_ends_well_and_draws_no_bar_into_a_file(compared):
    for status, out, err in compared[1]:
        assert (status, err) == (0, "")
        assert [line.split(": ")[0] for line in out.splitlines() if "Summary" in line] == ARMS
        assert not BAR.search(out)


def test_the_comparison_leaves_a_log_and_a_network_an_arm(compared):
    stems = ["training_log" + word for word in ("withPruning", "withoutPruning", "worstPruning")]
    assert files_in(compared[0] / "logs" / "Digits") == sorted(
        stem + number + ending for stem in stems for number in ("", ".1") for ending in ENDINGS)


@pytest.mark.parametrize("arm", ARMS)
def test_a_header_says_what_was_run(compared, arm):
    header = log_of(compared[0], arm, "Digits").header
    assert (header["pruning"], header["compare"], header["dataset"], header["seed"]) == (arm, ARMS, "Digits", 7)
    assert (header["torch"], header["python"]) == (torch.__version__, platform.python_version())
    assert set(config.SETTINGS) | set(config.CLASSIFIER_TABLE) <= set(header)


@pytest.mark.parametrize("arm", ARMS)
def test_a_log_holds_every_epoch_and_every_round(compared, arm):
    log = log_of(compared[0], arm, "Digits")
    batches = -(-600 // log.header["batch_size"])
    assert [(line.epoch, line.batch) for line in log.batches] == [
        (epoch, batch) for epoch in (1, 2, 3, 4) for batch in range(0, batches, 10)]
    assert [line.epoch for line in log.epochs] == [1, 2, 3, 4]
    assert [(line.number, line.epoch, line.before["widths"], line.after["widths"]) for line in log.rounds] == (
        [] if arm == "none" else [(1, 2, [50, 30], [45, 27]), (2, 3, [45, 27], [40, 24])])
    assert (log.summary["epochs"], log.summary["rounds"]) == (4, len(log.rounds))
    assert log.summary["widths"] == ([50, 30] if arm == "none" else [40, 24])


def test_the_arms_share_their_start_and_part_at_the_first_round(compared):
    batches = [log_of(compared[0], arm, "Digits").batches for arm in ARMS]
    shared = [[line for line in lines if line.epoch <= 2] for lines in batches]
    assert shared[0] == shared[1] == shared[2] and shared[0]
    later = [str([line for line in lines if line.epoch == 3]) for lines in batches]
    assert len(set(later)) == 3


@pytest.mark.parametrize("arm", ARMS)
def test_a_script_that_splits_at_commas_reads_the_accuracies(compared, arm):
    path = files.log_path(str(compared[0] / "logs"), "Digits", arm)
    with open(path) as file:
        accuracies = [float(line.split(",")[-1].split(":")[1].strip().rstrip("%"))
                      for line in file if "Accuracy" in line]
    assert accuracies == [line.measures["accuracy"] for line in runlog.parse_log(path).batches] and accuracies


@pytest.mark.parametrize("arm", ARMS)
def test_a_saved_network_is_the_one_of_the_summary(compared, arm, few_digits):
    log = log_of(compared[0], arm, "Digits")
    saved = torch.load(files.network_path(log.path), weights_only=True)
    model = models.build(**saved["network"])
    model.load_state_dict(saved["weights"])
    assert models.widths(model) == (log.rounds[-1].after["widths"] if log.rounds else log.header["hidden_widths"])
    loaded = data.load(SimpleNamespace(**log.header), torch.device("cpu"), log.header["mean"], log.header["std"])
    measures = training.evaluate(model, loaded.test, driver.classify, "test ")
    assert measures == pytest.approx({name: log.summary[name] for name in measures}, rel=1e-4)


@pytest.mark.parametrize("arm", ARMS)
def test_the_same_seed_gives_the_same_log_but_for_times(compared, arm):
    path = files.log_path(str(compared[0] / "logs"), "Digits", arm)
    texts, weights = [], []
    for name in (path, path.replace(".txt", ".1.txt")):
        with open(name) as file:
            texts.append(re.sub(r"time \S+ s\n|# started = .*\n", "\n", file.read()))
        weights.append(torch.load(files.network_path(name), weights_only=True)["weights"])
    assert texts[0] == texts[1]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


# ---- tiny runs in this process ----

def test_another_seed_gives_other_first_weights(drive, tmp_path, tiny_mnist):
    tiny_mnist(tmp_path / "datasets")
    first_losses = []
    for seed in ("1", "2"):  # all images are one batch, so that their order does not matter
        assert drive(*TINY, "--seed", seed, "--batch-size", "110")[0] == 0
        first_losses.append(log_of(tmp_path, "contribution").batches[0].measures["loss"])
    assert abs(first_losses[0] - first_losses[1]) > 1e-3


def test_an_arm_trains_alone_as_it_does_in_the_comparison(drive, tmp_path, tiny_mnist):
    tiny_mnist(tmp_path / "datasets")
    assert drive(*TINY, "--compare")[0] == 0
    for arm in ARMS:
        in_comparison = log_of(tmp_path, arm)
        assert drive(*TINY, "--pruning", arm)[0] == 0
        alone = log_of(tmp_path, arm)
        assert alone.batches == in_comparison.batches
        assert [line[:4] for line in alone.rounds] == [line[:4] for line in in_comparison.rounds]


def test_a_log_is_on_disk_while_its_run_goes_on(drive, tmp_path, tiny_mnist, monkeypatch):
    tiny_mnist(tmp_path / "datasets")
    monkeypatch.setattr(training, "finish", lambda *arguments: sys.exit(log_of(tmp_path, "none").epochs[-1].epoch))
    assert drive(*TINY, "--pruning", "none")[0] == 3


def test_a_schedule_without_a_round_writes_one_log(drive, tmp_path, tiny_mnist):
    tiny_mnist(tmp_path / "datasets")
    status, _, err = drive(*TINY, "--initial-iterations", "3", "--pruning", "contribution")
    assert (status, err) == (0, "")
    assert files_in(tmp_path / "logs" / "MNIST") == ["training_logwithoutPruning" + ending for ending in ENDINGS]
    log = log_of(tmp_path, "none")
    assert log.header["pruning"] == "none" and not log.rounds
    assert [line.epoch for line in log.epochs] == [1, 2, 3]


def test_random_pruning_writes_its_historic_name(drive, tmp_path, tiny_mnist):
    tiny_mnist(tmp_path / "datasets")
    status, _, err = drive(*TINY, "--pruning", "random")
    assert (status, err) == (0, "")
    assert files_in(tmp_path / "logs" / "MNIST") == ["training_logworstPruning" + ending for ending in ENDINGS]
    log = log_of(tmp_path, "random")
    assert log.header["pruning"] == "random"
    assert [(line.epoch, line.after["widths"]) for line in log.rounds] == [(1, [9, 5]), (2, [8, 4])]


@pytest.mark.parametrize("program", ["driver.py", "vae.py"])
@pytest.mark.parametrize("blocked", ["logs", "logs/MNIST"])
def test_a_log_folder_that_cannot_be_made_stops_the_run_before_training(
        drive, tmp_path, tiny_mnist, monkeypatch, blocked, program):
    tiny_mnist(tmp_path / "datasets")
    (tmp_path / blocked).parent.mkdir(exist_ok=True)
    (tmp_path / blocked).write_text("a file")
    monkeypatch.setattr(training, "train", lambda *arguments: pytest.fail("trained"))
    status, _, err = drive("--dataset", "1", program=program)
    assert status == 2 and err.startswith(program) and blocked in err and err.count("\n") == 1
    assert (tmp_path / blocked).read_text() == "a file"


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_its_log(drive, tmp_path, tiny_mnist):
    tiny_mnist(tmp_path / "datasets")
    status, _, err = drive(*TINY, "--learning-rate", "1e30")
    named = re.search(r"epoch (\d+), batch (\d+)", one_line(err))
    assert status == 2 and named and "learning_rate" in err
    log = log_of(tmp_path, "contribution")
    place = tuple(map(int, named.groups()))
    assert place in ((1, 1), (1, 2)) and [line[:2] for line in log.batches] == [(1, 0)]
    assert files_in(tmp_path / "logs" / "MNIST") == ["training_logwithPruning" + ending for ending in ENDINGS[::2]]


def test_a_network_that_breaks_at_its_last_step_is_no_success(drive, tmp_path, tiny_mnist):
    tiny_mnist(tmp_path / "datasets")
    status, _, err = drive(*TINY, "--learning-rate", "1e38", "--batch-size", "110", "--total-epochs", "1")
    assert status == 2 and "not finite" in one_line(err)


@pytest.mark.parametrize("error", [
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    RuntimeError("CUDA out of memory."), MemoryError()])
def test_too_little_memory_is_one_line(drive, monkeypatch, error):
    def fail(*arguments):
        raise error
    monkeypatch.setattr(data, "load", fail)
    status, _, err = drive("--dataset", "0")
    assert status == 2 and "memory" in one_line(err) and "batch_size" in err


@pytest.mark.parametrize("message", ["shapes do not match", "elements refer to a single memory location"])
def test_another_runtime_error_is_no_users_mistake(drive, monkeypatch, message):
    def fail(*arguments):
        raise RuntimeError(message)
    monkeypatch.setattr(data, "load", fail)
    with pytest.raises(RuntimeError, match=message):
        drive("--dataset", "0")


def test_images_that_are_too_small_for_their_convolutions_are_named(drive, tmp_path, tiny_mnist):
    tiny_mnist(tmp_path / "datasets")
    status, _, err = drive(*TINY, "--conv-widths", "2-2-2-2", "--total-epochs", "1")
    assert status == 0, err
    with pytest.raises(errors.UserError, match="4 convolutions cannot halve an image of 15 x 28 pixels"):
        driver.check_sides((1, 15, 28), [2, 2, 2, 2])


def test_a_bad_flag_stops_the_run_before_it_reads_anything(drive, monkeypatch):
    monkeypatch.setattr(data, "load", lambda *arguments: pytest.fail("read"))
    status, out, err = drive("--dataset", "1", "--total-epoch", "3")
    assert (status, out) == (2, "") and "--total-epoch" in one_line(err)


def test_help_explains_every_flag_with_its_value(drive):
    status, out, err = drive("-h")
    assert (status, err) == (0, "")
    text = " ".join(out.split())
    constants = config.load_constants()
    for name, setting in {**config.SETTINGS, **config.CLASSIFIER_TABLE}.items():
        flag = "--" + name.replace("_", "-") + " "
        explained = text[text.rindex(flag):]
        assert " ".join(setting.meaning.split()) in explained and setting.legal in explained, name
        if name in config.SETTINGS:
            assert f"(now: {constants[name]})" in explained[:explained.index(")") + 1], name
    assert all(flag in text for flag in ("--dataset", "--pruning", "--compare", "--inital-iterations"))


# ---- its own process ----

def test_a_wrong_answer_through_a_pipe_ends_with_one_line(tmp_path):
    status, _, err = Program(tmp_path, *SHORT, text="x\n0\n").end()
    assert status == 2 and "'x'" in one_line(err)


def test_a_data_set_may_come_through_a_pipe(tmp_path):
    status, _, err = Program(tmp_path, *SHORT, text="0\n", fewer_digits=20).end()
    assert (status, err) == (0, "")
    assert [line.epoch for line in log_of(tmp_path, "contribution", "Digits").epochs] == [1, 2]


def test_ctrl_c_in_training_keeps_every_finished_epoch(tmp_path, tiny_mnist):
    tiny_mnist(tmp_path / "datasets")
    running = Program(tmp_path, *TINY, "--total-epochs", "100000")
    path = files.log_path(str(tmp_path / "logs"), "MNIST", "contribution")
    wait_for_epoch(path, 5)
    os.kill(running.process.pid, signal.SIGINT)
    status, _, err = running.end()
    assert status == 130 and "interrupted" in one_line(err)
    log = runlog.parse_log(path)
    finished = len(log.epochs)
    assert finished >= 5 and [line.epoch for line in log.epochs] == list(range(1, finished + 1))
    assert [line[:2] for line in log.batches if line.epoch <= finished] == [
        (epoch, batch) for epoch in range(1, finished + 1) for batch in (0, 10, 20)]


# ---- a terminal ----

def test_a_terminal_is_asked_until_the_answer_is_a_data_set_and_shows_a_bar(tmp_path):
    status, screen = type_at_terminal(tmp_path, ["driver.py", *SHORT], [b"x\n", b"7\n", b"\n", b"-1\n", b"0\n"])
    assert status == 0 and screen.startswith("Data sets:\n"), screen
    assert re.findall(r"^(.*) is no data set; .*0 to 4", screen, re.M) == ["'x'", "'7'", "''", "'-1'"]
    assert BAR.search(screen) and "contribution 2/2 45-27" in screen and "Traceback" not in screen
    assert [line.epoch for line in log_of(tmp_path, "contribution", "Digits").epochs] == [1, 2]


@pytest.mark.parametrize("key", [b"\x04", b"\x03"], ids=["ctrl-d", "ctrl-c"])
def test_the_menu_can_be_left(tmp_path, key):
    status, screen = type_at_terminal(tmp_path, ["driver.py", *SHORT], [key])
    assert status == 2, screen
    assert "driver.py: no data set chosen" in screen.splitlines()[-1] and "Traceback" not in screen
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("scores, message", [
    ([torch.rand(50)], r"shapes \[\(50,\)\]; expected a tensor a group, \[\(50,\), \(30,\)\]"),
    ([torch.rand(50), [1.0] * 30], r"shapes \[\(50,\), 'list'\]"),
    ([torch.rand(50), torch.rand(30, 1)], r"shapes \[\(50,\), \(30, 1\)\]"),
    ([torch.rand(50), torch.full((30,), float("nan"))], "no finite numbers"),
    ((torch.full((width,), float("nan")) for width in (50, 30)), "no finite numbers"),
])
def test_a_criterion_that_does_not_score_every_neuron_is_refused(drive, tmp_path, monkeypatch, scores, message):
    monkeypatch.setitem(ranking.CRITERIA, "last", lambda groups, passes, options: scores)
    monkeypatch.setattr(comparison, "ARMS", ["none", *ranking.CRITERIA])
    status, _, err = drive("--dataset", "0", "--pruning", "last", "--total-epochs", "2", "--initial-iterations", "1")
    assert status == 2
    assert re.fullmatch(rf"driver.py: the criterion last in ranking.py gives scores .*{message}.*\n", err)


def test_a_further_criterion_is_one_more_function(tmp_path, monkeypatch):
    monkeypatch.setitem(ranking.CRITERIA, "last", lambda groups, activations, options: [
        -torch.arange(group.producer.out_features, dtype=torch.float64) for group in groups])
    monkeypatch.setattr(comparison, "ARMS", ["none", *ranking.CRITERIA])
    monkeypatch.setattr("sys.argv", ["driver.py", "--dataset", "0", "--pruning", "last", "--total-epochs", "2",
                                     "--initial-iterations", "1", "--log-folder", str(tmp_path)])
    driver.main()
    log = runlog.parse_log(str(tmp_path / "Digits" / "training_loglastPruning.txt"))
    assert log.header["pruning"] == "last" and log.summary["widths"] == [45, 27]
