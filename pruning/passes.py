"""Forward passes of the training set through a frozen network: the activations and gradients that criteria score by."""
import contextlib

import torch
from torch import nn

from pruning.device import exact, fixed_noise
from pruning.layers import by_neuron, columns, in_evaluation

PATCHES = 64  # images at a time whose patches are laid out for `moments`


class Passes:
    """Forward passes of a data set through a frozen model in evaluation mode, batch by batch.

    groups: the NeuronGroups that are listened to. batches: an iterable of images and labels, such as a DataLoader,
    which is gone through anew for each pass. loss: (model, images, labels) -> the mean loss of a batch, for
    `gradients`. with_moments: whether a pass without gradients also gathers what `moments` gives. Activations are
    handed on batch by batch: all of CelebA's would take 8 GB.
    """

    def __init__(self, model, groups, batches, loss=None, with_moments=False):
        self.model, self.groups, self.batches, self.loss = model, groups, batches, loss
        self.with_moments, self.gathered = with_moments, None

    @torch.no_grad()
    def inputs(self):
        """Yield what all consumers get in a batch: {consumer: (B, ...)}. A VAE decodes posterior means."""
        moments = Moments(self.groups) if self.with_moments else None
        with self.listening(to_the_end=False) as heard:
            for images, _ in self.batches:
                heard.clear()
                with contextlib.suppress(Reached):
                    self.model(images)
                if moments:
                    moments.add(heard)
                yield dict(heard)
        if not heard:
            raise ValueError("there are no batches; an iterator serves one pass alone, so give a list or a DataLoader")
        self.gathered = moments  # here, since a criterion may end its pass early

    def activations(self):
        """Yield the activations of a batch as the consumers get them, after the ReLU: one tensor per group, (B, N) or,
        if a neuron has several places, (B, N, places)."""
        return map(self.by_group, self.inputs())

    def gradients(self):
        """Yield pairs of a batch's activations and the gradients of its images' losses by them, one per group.

        As in training, a VAE samples one latent per image; the samples are the same at every round.
        """
        if self.loss is None:
            raise ValueError("this criterion needs a loss: Passes(model, groups, batches, loss)")
        with self.listening(to_the_end=True) as heard, fixed_noise(next(self.model.parameters()).device):
            for images, labels in self.batches:
                heard.clear()
                yield self.pairs(heard, images, labels)

    def pairs(self, heard, images, labels):
        with torch.enable_grad():
            loss = len(labels) * self.loss(self.model, images, labels)
            consumers = [consumer for group in self.groups for consumer in distinct(group, heard)]
            gradients = torch.autograd.grad(loss, [heard[consumer] for consumer in consumers])
        activations = {consumer: heard[consumer].detach() for consumer in consumers}
        return list(zip(self.by_group(activations), self.by_group(dict(zip(consumers, gradients)))))

    def by_group(self, given):
        """{consumer: what it gets of every neuron} as one tensor per group; consumers with the same input count once,
        others give further places."""
        blocks = [[by_neuron(given[consumer], consumer, group.width) for consumer in distinct(group, given)]
                  for group in self.groups]
        return [torch.cat([part.reshape(*part.shape[:2], -1) for part in some], 2) if len(some) > 1 else some[0]
                for some in blocks]

    @contextlib.contextmanager
    def listening(self, to_the_end):
        """Give a dict in which a forward pass in evaluation mode puts the input of every consumer."""
        def hear(consumer, inputs):
            heard[consumer] = inputs[0]
            if to_the_end and not inputs[0].requires_grad:  # all layers before it are frozen
                heard[consumer] = inputs[0].detach().requires_grad_()
            if len(heard) == len(hooks) and not to_the_end:
                raise Reached
            return (heard[consumer], *inputs[1:])

        heard = {}
        hooks = [consumer.register_forward_pre_hook(hear) for group in self.groups for consumer in group.consumers]
        try:
            with in_evaluation(self.model):
                yield heard
        finally:
            for hook in hooks:
                hook.remove()

    def moments(self):
        """{consumer: A^T A / F of the F rows of its inputs A (F, columns), float64}, without transposed convolutions;
        from the criterion's own pass if it made one without gradients."""
        if self.gathered is None:
            self.with_moments = True
            for _ in self.inputs():
                pass
        return self.gathered.means()


class Reached(Exception):
    """Ends a forward pass when all activations are known: a VAE's transposed convolutions need not run."""


class Moments:
    """Sums of A^T A over batches of the inputs A of consumers."""

    def __init__(self, groups):
        self.groups, self.totals, self.rows = groups, {}, {}

    def add(self, heard):
        for group in self.groups:
            for consumer in group.consumers:
                x, linear = heard[consumer], isinstance(consumer, nn.Linear)
                first = next(other for other in group.consumers if heard[other] is x)
                if first is not consumer and linear and isinstance(first, nn.Linear):
                    self.totals[consumer], self.rows[consumer] = self.totals[first], self.rows[first]
                elif not isinstance(consumer, nn.ConvTranspose2d):
                    for part in [x] if linear else x.split(PATCHES):
                        a = exact(columns(consumer, part))
                        self.totals[consumer] = self.totals.get(consumer, 0) + a.T @ a
                        self.rows[consumer] = self.rows.get(consumer, 0) + len(a)

    def means(self):
        return {consumer: total / self.rows[consumer] for consumer, total in self.totals.items()}


def distinct(group, given):
    """The group's consumers that are given something, without those that get the same tensor as an earlier one."""
    found = []
    for consumer in filter(given.__contains__, group.consumers):
        if all(given[consumer] is not given[other] for other in found):
            found.append(consumer)
    return found


def mean_over_passes(batches, function):
    """The mean over all images and places of a function of their numbers, which keeps their shape; one tensor (N,) per
    group. batches: lists of (B, N) or (B, N, places), one per group."""
    totals, counts = [], []
    for blocks in batches:
        values = [function(exact(block)).transpose(0, 1).flatten(1) for block in blocks]
        totals = added(totals, [value.sum(1) for value in values])
        counts = added(counts, [value.shape[1] for value in values])
    return [total / count for total, count in zip(totals, counts)]


def added(totals, terms):
    """Each total and its term; [] stands for no totals yet."""
    return [total + term for total, term in zip(totals, terms)] if totals else terms
