"""Forward passes of the training set through a frozen network: the activations and gradients that criteria score by."""
import contextlib

import torch

from pruning.device import exact, fixed_noise


class Passes:
    """Forward passes of the training set through a frozen model in evaluation mode, batch by batch.

    batches: a function that yields images and labels. objective: that of a Workload, with a measure "loss", the mean
    over a batch. with_moments: whether `activations` also gathers what `moments` gives. Activations are handed
    on batch by batch: all of CelebA's would take 8 GB.
    """

    def __init__(self, model, batches, objective, with_moments=False):
        self.model, self.groups, self.batches, self.objective = model, model.groups(), batches, objective
        self.with_moments, self.gathered = with_moments, None

    @torch.no_grad()
    def activations(self):
        """Yield the activations of a batch as the consumers get them, after the ReLU: [(B, N), ...], one per group.

        A VAE decodes posterior means.
        """
        squares, count = [], 0
        with self.listening(to_the_end=False) as heard:
            for images, _ in self.batches():
                heard.clear()
                with contextlib.suppress(Reached):
                    self.model(images)
                if self.with_moments:
                    squares, count = added(squares, [a.T @ a for a in map(exact, heard)]), count + len(heard[0])
                yield list(heard)
        if self.with_moments:
            self.gathered = squares, count  # here, since a criterion may end its pass early

    def gradients(self):
        """Yield pairs of a batch's activations and the gradients of its images' losses by them, one per group.

        As in training, a VAE samples one latent per image; the samples are the same at every round.
        """
        device = next(self.model.parameters()).device
        with self.listening(to_the_end=True) as heard, fixed_noise(device):
            for images, labels in self.batches():
                heard.clear()
                with torch.enable_grad():
                    mean = self.objective(self.model, images, labels)[1]["loss"]
                    gradients = torch.autograd.grad(len(labels) * mean, heard)
                yield [(block.detach(), gradient) for block, gradient in zip(heard, gradients)]

    @contextlib.contextmanager
    def listening(self, to_the_end):
        """Give a list to which a forward pass in evaluation mode adds the activations of every group."""
        def hear(module, inputs):
            heard.append(inputs[0])
            if len(heard) == len(self.groups) and not to_the_end:
                raise Reached

        heard, training = [], self.model.training
        hooks = [group.consumers[0].register_forward_pre_hook(hear) for group in self.groups]
        self.model.eval()
        try:
            yield heard
        finally:
            self.model.train(training)
            for hook in hooks:
                hook.remove()

    def moments(self):
        """A^T A / F of all F activations A (F, N), float64, one tensor (N, N) per group; from the criterion's own pass
        if it made one without gradients."""
        if self.gathered is None:
            for _ in self.activations():
                pass
        squares, count = self.gathered
        return [total / count for total in squares]


class Reached(Exception):
    """Ends a forward pass when all activations are known: a VAE's transposed convolutions need not run."""


def mean_over_passes(batches, function):
    """The mean over all images of a function of their numbers, (B, N) -> (B, N); one tensor (N,) per group."""
    totals, count = [], 0
    for blocks in batches:
        totals = added(totals, [function(exact(block)).sum(0) for block in blocks])
        count += len(blocks[0])
    return [total / count for total in totals]


def added(totals, terms):
    """Each total and its term; [] stands for no totals yet."""
    return [total + term for total, term in zip(totals, terms)] if totals else terms
