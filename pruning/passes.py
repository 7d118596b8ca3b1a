"""Forward passes of the training set through a frozen network: the activations and gradients that criteria score by."""
import contextlib

import torch
from torch import nn

from pruning import spread
from pruning.device import exact, fixed_noise, single
from pruning.layers import by_neuron, columns, in_evaluation, rows_of

PATCHES = 64  # images at a time whose patches are laid out for `moments`
RIDGE = 1e-6  # of the mean square of a column


class Passes:
    """Forward passes of a data set through a frozen model in evaluation mode, batch by batch.

    groups: the NeuronGroups that are listened to. batches: an iterable of images and labels, such as a DataLoader,
    which is gone through anew for each pass. loss: (model, images, labels) -> the mean loss of a batch, for
    `gradients` and `curvatures`. with_moments: whether a pass of `inputs` also gathers what `moments` gives.
    Activations are handed on batch by batch: all of CelebA's would take 8 GB. If a run is spread over several
    processes, each has its share of every batch; `total` and `largest` are the sum and the maximum over all of them.
    """

    total, largest = staticmethod(spread.total), staticmethod(spread.largest)

    def __init__(self, model, groups, batches, loss=None, with_moments=False):
        self.model, self.groups, self.batches, self.loss = model, groups, batches, loss
        self.with_moments, self.gathered = with_moments, None

    @torch.no_grad()
    def inputs(self):
        """Yield what all consumers get in a batch: {consumer: (B, ...)}, under autocast with little precision. A VAE
        decodes posterior means."""
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
        with self.listening(to_the_end=True) as heard:
            for images, labels in self.batches:
                heard.clear()
                loss = self.summed_loss(images, labels)
                consumers = [consumer for group in self.groups for consumer in distinct(group, heard)]
                gradients = torch.autograd.grad(loss, [heard[consumer] for consumer in consumers])
                activations = {consumer: heard[consumer].detach() for consumer in consumers}
                yield list(zip(self.by_group(activations), self.by_group(dict(zip(consumers, gradients)))))

    @torch.enable_grad()
    def summed_loss(self, images, labels):
        """The sum of the losses of a batch's images."""
        if self.loss is None:
            raise ValueError("this criterion needs a loss: Passes(model, groups, batches, loss)")
        return len(labels) * self.loss(self.model, images, labels)

    def moments(self):
        """{consumers: H} for each tuple of consumers that read the same inputs, a group's neurons or a part of them.

        H = A^T A / images + ridge of their inputs A (rows, columns): a row per place of the consumers' outputs, columns
        as layers.columns has them; float64. The ridge, RIDGE of the mean of H's diagonal, makes it invertible. From the
        criterion's own pass if that gathered it.
        """
        if self.gathered is None:
            self.with_moments = True
            for _ in self.inputs():
                pass
        return self.gathered.of_inputs()

    def curvatures(self):
        """{consumers: G^T G / rows} of the gradients G (rows, outputs) of the images' losses by the outputs of these
        consumers, one beside the other; float64. The same pass gathers the `moments`."""
        def keep(consumer, inputs, output):
            outputs[consumer] = output
            return output.clone()  # a ReLU may work in place

        outputs, gathered = {}, Moments(self.groups)
        with self.listening(to_the_end=True, at_output=keep) as heard:
            for images, labels in self.batches:
                heard.clear()
                loss = self.summed_loss(images, labels)
                gradients = dict(zip(heard, torch.autograd.grad(loss, [outputs[consumer] for consumer in heard])))
                gathered.add(heard, gradients)
        self.gathered = gathered
        return gathered.of_gradients()

    def by_group(self, given):
        """{consumer: what it gets of every neuron} as one tensor per group; consumers with the same input count once,
        others give further places."""
        blocks = [[by_neuron(single(given[consumer]), consumer, group.width) for consumer in distinct(group, given)]
                  for group in self.groups]
        return [torch.cat([part.reshape(*part.shape[:2], -1) for part in some], 2) if len(some) > 1 else some[0]
                for some in blocks]

    @contextlib.contextmanager
    def listening(self, to_the_end, at_output=None):
        """Give a dict in which a forward pass in evaluation mode puts the input of every consumer; at_output: a forward
        hook of the consumers. A pass to the end has the same random numbers each time."""
        def hear(consumer, inputs):
            heard[consumer] = inputs[0]
            if to_the_end and not inputs[0].requires_grad:  # all layers before it are frozen
                heard[consumer] = inputs[0].detach().requires_grad_()
            if len(heard) == len(consumers) and not to_the_end:
                raise Reached
            return (heard[consumer], *inputs[1:])

        heard = {}
        consumers = [consumer for group in self.groups for consumer in group.consumers]
        hooks = [consumer.register_forward_pre_hook(hear) for consumer in consumers]
        hooks += [consumer.register_forward_hook(at_output) for consumer in consumers if at_output]
        noise = fixed_noise(next(self.model.parameters()).device) if to_the_end else contextlib.nullcontext()
        try:
            with in_evaluation(self.model), noise:
                yield heard
        finally:
            for hook in hooks:
                hook.remove()


class Reached(Exception):
    """Ends a forward pass when all activations are known: a VAE's transposed convolutions need not run."""


class Moments:
    """Sums over batches for `moments` and `curvatures`, each by the consumers that it is of."""

    def __init__(self, groups):
        self.groups, self.images, self.rows = groups, 0, {}
        self.inputs, self.gradients = {}, {}

    def add(self, heard, gradients=None):
        """Add a batch: {consumer: its input} and, if it is known, {consumer: the gradient by its output}."""
        self.images += len(next(iter(heard.values())))
        for consumers in (some for group in self.groups for some in together(group, heard)):
            x = heard[consumers[0]].detach()
            for part in [x] if isinstance(consumers[0], nn.Linear) else x.split(PATCHES):
                a = exact(columns(consumers[0], part))
                self.inputs[consumers] = self.inputs.get(consumers, 0) + a.T @ a
            if gradients:
                g = exact(torch.cat([rows_of(consumer, gradients[consumer]) for consumer in consumers], 1))
                self.gradients[consumers] = self.gradients.get(consumers, 0) + g.T @ g
                self.rows[consumers] = self.rows.get(consumers, 0) + len(g)

    def of_inputs(self):
        return {consumers: with_ridge(mean(total, self.images)) for consumers, total in self.inputs.items()}

    def of_gradients(self):
        return {consumers: mean(total, self.rows[consumers]) for consumers, total in self.gradients.items()}


def with_ridge(moment, part=RIDGE):
    """The moment with this part of the mean of its diagonal added to the diagonal; above 0 even if no neuron is active.
    """
    ridge = part * moment.diagonal().mean().clamp(min=1e-30)
    return moment + ridge * torch.eye(len(moment)).to(moment)


def together(group, heard):
    """The group's consumers as tuples, Linear ones together if they read the same tensor."""
    found = []
    for consumer in group.consumers:
        same = [other for other in found if isinstance(consumer, nn.Linear) and isinstance(other[0], nn.Linear)
                and heard[consumer] is heard[other[0]]]
        if same:
            found[found.index(same[0])] += (consumer,)
        else:
            found.append((consumer,))
    return found


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
    return list(map(mean, totals, counts))


def mean(total, count):
    """The sum of the totals of all processes by the sum of their counts."""
    return spread.total(total) / spread.total(torch.tensor(count))


def added(totals, terms):
    """Each total and its term; [] stands for no totals yet."""
    return [total + term for total, term in zip(totals, terms)] if totals else terms
