"""Small runs for the tests of plot.py and its package: as RunLogs, as Runs and as the text of their logs."""
from pruning import runlog
from pruning.plots.runs import Run
from pruning.runlog import Batch, Epoch, Round, RunLog

WIDTHS = [[50, 30], [45, 27], [40, 24]]  # 80, 72 and 64 neurons
ROUNDS = ((1, 85.0, 60.5), (2, 90.0, 88.0))


def run_log(arm="contribution", seed=30, tests=(85.0, 90.0, 91.5), rounds=ROUNDS, end=None, time=12.0,
            training=((70.0, 81.0), (80.0, 90.0), (85.0, 90.0)), path=None, **header):
    """A finished run.

    tests: the test accuracy after each epoch, or a dict of measures; rounds: (epoch, test before, test after); end: the
    one in the summary; training: the accuracies of each epoch's batches, or dicts of measures.
    """
    rounds = () if arm in ("none", "scratch") else rounds
    left = 0 if arm == "none" else -1 if arm == "scratch" else len(rounds)
    header = {"dataset": "MNIST", "total_epochs": len(tests), "initial_iterations": 1, "increment": 1,
              "prune_percent": 10.0, "pruning": arm, "seed": seed, "holdout": 0, "hidden_widths": WIDTHS[0], **header}
    batches = [Batch(epoch, 10 * number, value if isinstance(value, dict) else {"loss": 0.5, "accuracy": value})
               for epoch, values in enumerate(training, 1) for number, value in enumerate(values)]
    states = [[{"widths": WIDTHS[number + side], "neurons": sum(WIDTHS[number + side]), **measured(test)}
               for side, test in enumerate(both)] for number, (_, *both) in enumerate(rounds)]
    summary = {"epochs": len(tests), "rounds": len(rounds), "neurons": sum(WIDTHS[left]), "parameters": 99,
               "multiply-adds": 77, "training accuracy": 99.5, **measured(tests[-1] if end is None else end),
               "time": time}
    epochs = [Epoch(epoch, {**measured(test), "time": epoch + seed / 10}) for epoch, test in enumerate(tests, 1)]
    entries = [Round(number, rounds[number - 1][0], *state, 0.5) for number, state in enumerate(states, 1)]
    return RunLog(path or f"{arm}{seed}.txt", header, batches, epochs, entries, summary)


def measured(test):
    return test if isinstance(test, dict) else {"test accuracy": test}


def run(*arguments, **options):
    return Run(run_log(*arguments, **options))


def text_of(log):
    """The text of the log that tells this."""
    text = runlog.format_header(log.header)
    for epoch in log.epochs:
        text += "".join(runlog.format_batch(*batch) for batch in log.batches if batch.epoch == epoch.epoch)
        text += runlog.format_epoch(*epoch)
        text += "".join(runlog.format_round(*entry) for entry in log.rounds if entry.epoch == epoch.epoch)
    return text + runlog.format_summary(log.summary)


def log_text(*arguments, **options):
    return text_of(run_log(*arguments, **options))


def vae_measures(bce, kld, prefix=""):
    return {prefix + "loss": bce + kld, prefix + "BCE": bce, prefix + "KLD": kld}


def vae_log(bces=((300.0, 260.0), (255.0, 250.0)), kld=10.0, **header):
    """A VAE's run: an epoch for every pair of BCEs, of its one batch and of the test set; a round after the first."""
    tests = [vae_measures(test, kld, "test ") for _, test in bces]
    end = {"training loss": 1.0, **tests[-1], "test PSNR": 20.0, "active units": 3}
    return run_log(tests=tests, rounds=[(1, tests[0], vae_measures(bces[0][1] + 7, kld - 1, "test "))], end=end,
                   training=[[vae_measures(training, kld)] for training, _ in bces], **header)


def epoch_text(epoch, test, training=(80.0, 90.0)):
    """The batch lines of one epoch and, if there is a test accuracy, its test line."""
    text = "".join(runlog.format_batch(epoch, 10 * number, {"loss": 0.5, "accuracy": accuracy})
                   for number, accuracy in enumerate(training))
    return text + (runlog.format_epoch(epoch, {"test accuracy": test, "time": 0.1}) if test is not None else "")


# The log of another program: no header, and its epochs restart after a round.
HISTORIC = epoch_text(1, None, (10.0, 20.0)) + epoch_text(2, None, (30.0,)) + epoch_text(1, None, (40.0, 50.0, 60.0))
