"""One run over several processes: the neurons and numbers of one process, and what is said of faults."""
import contextlib
import math
import os
import re
import signal
import socket
import sys

import processes
import pytest
import tiny
import torch

IMAGES = 50  # in batches of 24: the last one has 2, so that of three processes the first gets none
ROUNDS = {"total_epochs": 4, "initial_iterations": 1, "increment": 1, "prune_percent": 20.0, "batch_size": 24}
CASES = {"contribution": {"lambda_max": 0.5}, "taylor": {}, "kfac": {"compensate": True, "ranking_images": 37}}


def environments(size):
    """What torchrun says to each of so many processes."""
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": str(size),
             "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size)}
            for rank in range(size)]


def together(size, folder, function):
    """What a function of a folder returns in each of the processes of a run."""
    running = [processes.FORKS.Process(target=work, args=(environment, str(folder), function))
               for environment in environments(size)]
    for process in running:
        process.start()
        processes.STARTED.append(process)
    for process in running:
        process.join(60)
    return [torch.load(os.path.join(str(folder), f"{size} {rank}")) for rank in range(size)]


def work(environment, folder, function):
    os.environ.update(environment)
    sys.path.append(os.path.join(processes.ROOT, "tests", "unit"))
    from pruning import spread, team
    torch.set_num_threads(1)
    here = team.Team(timeout=30)
    if here.size > 1:
        spread.start(here, torch.device("cpu"), IMAGES, "images")
    torch.save(function(folder), os.path.join(folder, f"{here.size} {here.rank}"))


def train(folder, state, workload, arm, **changes):
    """Train in a process of a run, of which only the first one has a log; returns what that says, without times."""
    import test_training
    from unit_helpers import run_settings

    from pruning import spread

    given = run_settings(**ROUNDS, **changes)
    with open(os.path.join(folder, "log") if spread.is_first() else os.devnull, "w") as log, spread.clear_faults():
        test_training.train(state, workload, given, arm, given.total_epochs, log)
        log.flush()
        return test_training.lines(log)


def train_all(folder):
    """Train every case in float64: what its log says, and the network."""
    import test_training
    from unit_helpers import classifier, random_workload

    import driver
    import vae
    from pruning import datasets

    def of_vae(model, images, labels):
        return vae.negative_elbo(model, (images + 1) / 2, 1.0)

    normalised, found = datasets.Split.normalised, {}
    datasets.EVALUATION_BATCH = 16  # so that the last one has 2 images, too
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    datasets.Split.normalised = lambda split, images: normalised(split, images).double()
    for arm, changes in CASES.items():
        for start, objective in ((classifier, driver.classify), (test_training.autoencoder, of_vae)):
            state, workload = start(), random_workload(objective, IMAGES, summed=objective is of_vae)
            lines = train(folder, state, workload, arm, **changes)
            found[arm, start.__name__] = lines, state.model.state_dict()
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return together(1, tmp_path_factory.mktemp("alone"), train_all)[0]


@pytest.mark.parametrize("size", [2, 3])
def test_results_are_those_of_one_process(size, alone, tmp_path):
    first, *others = together(size, tmp_path, train_all)
    for case, (lines, weights) in alone.items():
        assert sum(line.startswith("Round") for line in lines) == 3
        assert_same_lines(first[case][0], lines, rel=1e-5)  # of six printed digits
        for name, weight in weights.items():
            torch.testing.assert_close(first[case][1][name], weight, rtol=1e-6, atol=1e-8)
            assert all(torch.equal(first[case][1][name], other[case][1][name]) for other in others)


def assert_same_lines(found, expected, **tolerance):
    """The same words, and numbers that differ by no more than sums in another order do."""
    number = r"\d+(?:\.\d+)?(?:e-?\d+)?"
    assert [re.sub(number, "N", line) for line in found] == [re.sub(number, "N", line) for line in expected]
    found, expected = (list(map(float, re.findall(number, " ".join(lines)))) for lines in (found, expected))
    assert found == pytest.approx(expected, **tolerance)


def go_wrong(folder):
    """What is said of faults in the last process, and the statistics of a BatchNorm that sees the images themselves."""
    from torch import nn
    from unit_helpers import classifier, random_workload, state_of

    import driver
    import models
    from pruning import spread
    from pruning.errors import Lost, UserError

    def said(state, objective=driver.classify):
        try:
            train(folder, state, random_workload(objective, IMAGES), "magnitude")
        except (Lost, UserError) as error:
            return str(error)

    def not_a_number(model, images, labels):
        loss, measures = driver.classify(model, images, labels)
        return loss, {**measures, "loss": loss * (1 if spread.is_first() else math.nan)}

    def another_weight(model, images, labels):
        with torch.no_grad():
            model.layers[0].weight[0, 0] += 0 if spread.is_first() else 1e-2
        return driver.classify(model, images, labels)

    def end(model, images, labels):
        if not spread.is_first():
            os._exit(0)
        return driver.classify(model, images, labels)

    unused = classifier()
    unused.model.more = nn.Linear(1, 1)
    torch.manual_seed(1)
    model = nn.Sequential(nn.BatchNorm2d(1), models.build((1, 4, 4), [], [8, 6], 3))
    found = {"NaN": said(classifier(), not_a_number), "weight": said(classifier(), another_weight),
             "unused": said(unused),
             "nothing": said(state_of(model, torch.optim.SGD(model.parameters(), lr=0.1))),
             "statistics": model[0].running_mean}
    torch.save(found, os.path.join(folder, f"{spread.here.size} {spread.here.rank}"))
    return {**found, "end": said(classifier(), end)}


def test_a_fault_of_one_process_ends_all_with_a_line(tmp_path):
    first, last = together(2, tmp_path, go_wrong)
    for found in (first, last):
        assert found["NaN"].startswith("the loss is not finite at epoch 1, batch 0;")
        assert found["weight"].startswith("the processes of this run have come to different networks;")
        assert found["unused"].startswith("spread = batch: some weights of the network have no part in its loss;")
        assert found["nothing"] is None
    assert first["end"].startswith("another process of this run has ended or does not answer;") and "end" not in last
    alone, = together(1, tmp_path, go_wrong)
    assert {name for name, said in alone.items() if said is not None} == {"statistics"}
    assert torch.equal(first["statistics"], last["statistics"])
    torch.testing.assert_close(first["statistics"], alone["statistics"])


# ---- whole programs ----

def start(size, folders, *arguments, **options):
    """A program in so many processes, the first one in the first folder and the others in the second."""
    return [processes.Program(folders[rank > 0], *arguments, environment=environment, **options)
            for rank, environment in enumerate(environments(size))]


@pytest.mark.parametrize("program", tiny.PROGRAMS)
def test_a_run_goes_on_in_another_number_of_processes_without_a_shared_folder(program, tmp_path, tiny_mnist):
    folders = [tmp_path / name for name in ("first", "others", "alone")]
    for folder in folders:
        tiny_mnist(folder / "datasets")
    flags = [*tiny.ALONE[program], "--compare", "none,contribution", "--batch-size", "15"]
    alone = processes.Program(folders[2], *flags, program=program)
    log = tiny.log_of(folders[0], "contribution", program)
    first, other = start(2, folders, *flags, "--spread", "batch", program=program, words_and_pixels=True)
    processes.wait_for_epoch(log)
    os.kill(other.process.pid, signal.SIGTERM)
    status, _, said = first.end()
    assert status == 130 and other.end() == (130, "", "")
    assert re.fullmatch(r"interrupted after epoch \d.*; go on with: python \S+ --resume \S+",
                        tiny.one_line(said, program))
    running = start(3, folders, "--resume", log, program=program, words_and_pixels=True)
    (status, out, said), *others = [one.end() for one in running]
    assert (status, said, others) == (0, "", [(0, "", "")] * 2)
    assert alone.end()[0] == 0 and os.listdir(str(folders[1])) == ["datasets"]
    for arm in ("none", "contribution"):
        texts = (open(tiny.log_of(folder, arm, program)).read() for folder in folders[::2])
        assert_same_lines(*([line for line in tiny.without_times(text).splitlines() if line[:1] != "#"]
                            for text in texts), rel=1e-3, abs=1e-3)
