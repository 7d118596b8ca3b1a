"""What a run says of itself by its log, and which runs form an experiment."""
import pytest
from plot_logs import ROUNDS, run, run_log, vae_log

from pruning.errors import UserError
from pruning.plots import find
from pruning.plots.runs import Run, by_variant, experiments, first_of_each
from pruning.runlog import Batch, RunLog


def bare(path, **header):
    """A run by a log of batch lines alone."""
    return Run(RunLog(path, header, [Batch(1, 0, {"loss": 1.0, "accuracy": 50.0})], [], [], {}))


@pytest.mark.parametrize("path, header, name, words, dataset", [
    ("logs/MNIST/training_logworstPruning.txt", {}, "random", "randomised pruning", "MNIST"),
    ("FashionMNIST/training_logworstPruning.txt", {"pruning": "apoz"}, "apoz", "APoZ", "Fashion-MNIST"),
    ("here/my.txt", {"dataset": "CIFAR10"}, "my.txt", "my.txt", "CIFAR-10"),
    ("here/my.txt", {}, "my.txt", "my.txt", "data set not recorded"),
    ("here/my.txt", {"dataset": ["x"], "pruning": 7}, "7", "7", "['x']")])
def test_the_arm_and_the_data_set_are_those_of_the_header_or_else_of_the_path(path, header, name, words, dataset):
    found = bare(path, **header)
    assert (found.arm.name, found.words, found.dataset) == (name, words, dataset)


@pytest.mark.parametrize("arm, header, ways", [
    ("contribution", {"lambda_average": 1.0, "lambda_max": 0.0}, []),
    ("contribution", {"lambda_average": 0.5, "lambda_max": 0.5}, ["C_avg : C_max = 0.5 : 0.5"]),
    ("contribution", {"lambda_max": "x"}, ["C_avg : C_max = 1 : x"]),
    ("taylor", {"lambda_max": 0.5, "ranking_images": 100, "compensate": True}, ["by 100 images", "compensated"]),
    ("random", {"ranking_images": 100, "lambda_max": 0.5}, []), ("magnitude", {"ranking_images": 100}, []),  # no image
    ("magnitude", {"ranking_images": 100, "compensate": True}, ["by 100 images", "compensated"]),
    ("none", {"ranking_images": 100, "compensate": True}, []), ("scratch", {"compensate": True}, [])])
def test_a_variant_is_an_arm_with_the_ways_that_matter_to_it(arm, header, ways):
    found = bare("log.txt", pruning=arm, **header)
    assert found.variant == ", ".join([arm, *ways]) and found.words == ", ".join([found.arm.words, *ways])


def test_what_came_of_a_run():
    found = run()
    assert (found.at_the_end(), found.percent_removed()) == (91.5, pytest.approx(20))
    assert found.lost_in_a_round() == (24.5 + 2) / 2
    assert run("scratch", initial_widths=[40, 24]).percent_removed() == pytest.approx(20)
    vae = Run(vae_log())
    assert (vae.at_the_end(), vae.lost_in_a_round()) == (260.0, 6.0)  # a loss that is added is positive
    assert [found.called("test accuracy"), run(holdout=5).called("test accuracy"), found.called("training loss")] == [
        "test accuracy", "held-out accuracy", "training loss (whole set)"]


@pytest.mark.parametrize("after, wanted", [
    ({3: 79.0, 4: 81.0}, [2, None]), ({3: 80.0, 4: 70.0, 5: 89.0}, [1, 1]), ({}, [None, None]), ({6: 99.0}, [None, 2])])
def test_epochs_to_regain_what_a_round_lost_are_counted_up_to_the_next_round(after, wanted):
    tests = [{1: 99.0, 2: 80.0, **after}.get(epoch, 0.0) for epoch in range(1, 7)]
    found = run(tests=tests, rounds=[(2, 80.0, 0.0), (4, 85.0, 0.0)])
    assert list(found.epochs_to_regain()) == wanted


def test_a_loss_is_regained_from_above():
    losses = [(0.0, 250.0), (0.0, 255.0), (0.0, 249.0)]
    assert list(Run(vae_log(losses)).epochs_to_regain()) == [2]


def test_an_experiment_is_the_runs_that_differ_in_variant_and_seed_alone():
    runs = [run("random", 31), run("contribution", 31, compensate=True), run("contribution", 30),
            run("none", started="now", jobs=3), run("contribution", batch_size=7)]
    assert {variant: list(seeds.items()) for variants in list(experiments(runs).values())[:1]
            for variant, seeds in variants.items()} == {
        "none": [(30, runs[3])], "contribution": [(30, runs[2])], "contribution, compensated": [(31, runs[1])],
        "random": [(31, runs[0])]}
    first, other = experiments(runs).values()
    assert list(first) == ["none", "contribution", "contribution, compensated", "random"]
    assert other == {"contribution": {30: runs[4]}}


def test_a_run_without_pruning_joins_the_experiments_that_have_none_whatever_its_schedule():
    none, *pruned = run("none", initial_iterations=100), run("contribution"), run("random"), run("random", increment=7)
    assert list(experiments([none, *pruned]).values()) == [
        {"none": {30: none}, "contribution": {30: pruned[0]}, "random": {30: pruned[1]}},
        {"none": {30: none}, "random": {30: pruned[2]}}]
    assert by_variant([none, *pruned])["none"] == [{30: none}]
    restarts = {"learning_rate_schedule": "cosine_restarts"}  # which the schedule decides
    for apart in ([none, run("none"), pruned[0]], [run("none", batch_size=7), pruned[0]],
                  [run("none", initial_iterations=100, **restarts), run("contribution", **restarts)]):
        assert len(experiments(apart)) == 2


def test_the_order_of_the_values_in_constants_is_no_difference():
    assert len(experiments([run(seed=1, batch_size=10, momentum=0.5), run(seed=2, momentum=0.5, batch_size=10)])) == 1


def test_two_runs_of_one_variant_and_seed_are_refused_or_the_first_is_taken():
    runs = [run(path="a.txt"), run(path="b.txt"), run("random")]
    with pytest.raises(UserError, match="a.txt and b.txt are of one arm and one seed; leave one out"):
        experiments(runs)
    assert list(first_of_each(runs).values()) == [runs[0], runs[2]]


WHOLE = run_log(compensate=False, lambda_average=1.0)
SUMMARY = "summary; a run that was interrupted goes on with --resume"


def without(values, name):
    return {key: value for key, value in values.items() if key != name}


@pytest.mark.parametrize("part, value, missing", [
    *(("header", {**WHOLE.header, name: value}, name) for name, value in [
        ("total_epochs", "six"), ("seed", [2]), ("dataset", 3), ("lambda_average", "a"), ("compensate", 1)]),
    *(("header", without(WHOLE.header, name), name) for name in ("pruning", "hidden_widths", "prune_percent")),
    ("summary", {}, SUMMARY), ("summary", without(WHOLE.summary, "test accuracy"), "test accuracy"),
    *(("summary", {**WHOLE.summary, name: value}, name) for name, value in [
        ("parameters", float("nan")), ("multiply-adds", float("nan")), ("training accuracy", 1e200)]),
    ("rounds", [WHOLE.rounds[0]._replace(after=without(WHOLE.rounds[0].after, "neurons"))], "neurons"),
    ("rounds", [WHOLE.rounds[0]._replace(before={"neurons": 80, "test loss": 3.0})], "test accuracy"),
    ("rounds", [], "line for one of its rounds"),
    ("epochs", [WHOLE.epochs[0]._replace(measures={"test accuracy": 80.0, "time": float("nan")})], "time")])
def test_a_log_that_is_no_finished_run_is_named_and_left_out(monkeypatch, capsys, part, value, missing):
    monkeypatch.setattr("sys.argv", ["plot.py"])
    good, bad = Run(WHOLE), Run(WHOLE._replace(**{part: value, "path": "bad.txt"}))
    assert find.finished([bad, good]) == [good]
    assert capsys.readouterr().err == (
        f"plot.py: bad.txt is left out, no finished run of this suite: it has no {missing}\n")


def test_of_two_logs_of_one_arm_and_seed_the_second_is_named_and_left_out(capsys):
    runs = [run(path="a.txt"), run(path="b.txt"), run(seed=31), run(compensate=True, rounds=ROUNDS[:1])]
    assert find.finished(runs) == [runs[0], *runs[2:]]
    assert "b.txt is left out, of the same arm and seed as a.txt\n" in capsys.readouterr().err


def test_what_an_earlier_version_did_not_log_may_be_missing():
    header = {**without(WHOLE.header, "compensate"), "holdout": 0}
    found = Run(WHOLE._replace(header=header, summary=without(WHOLE.summary, "multiply-adds")))
    assert found.lacks() == []
