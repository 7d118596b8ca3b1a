"""The order in which the neurons of a group go if each time the one goes that the others replace best."""
import math

import torch

from pruning.device import exact
from pruning.layers import matrix
from pruning.removal import places

LAG = 64  # columns of products that are subtracted together; one by one they would wait for the memory


def steps_of_removal(group, moments, curvatures):
    """The step at which each neuron of a group goes, least cost first, with a refit after each (equations 3 and 4 of
    the report): float64 (width,). Takes about 2 inputs^3 multiply-adds.

    moments, curvatures: {consumers: a matrix}, as Passes gives them. With the moment H of the consumers' inputs, their
    weights W and their curvature C, the identity if there is none, let G = W^T C W. The removal of a neuron, which owns
    a block B of inputs, costs trace(G_BB ([H^-1]_BB)^-1). Then, with Y = ([H^-1]_BB)^-1 [H^-1]_B and T the identity
    without Y in the rows B, H^-1 becomes H^-1 - [H^-1]_B^T Y, and G becomes T^T G T. Costs of several consumers add up.
    Of equal ones the higher index goes first.
    """
    width, parts = group.width, []
    for consumers, moment in moments.items():
        if consumers[0] in group.consumers:
            weight = exact(torch.cat([matrix(consumer).detach() for consumer in consumers]))
            curved = curvatures[consumers] @ weight if consumers in curvatures else weight
            parts.append((Lagged(torch.linalg.inv(moment), width), Lagged(weight.T @ curved, width)))
    steps = torch.full((width,), math.inf, dtype=torch.float64)
    for step in range(width):
        costs = sum((g.blocks * torch.linalg.inv(inverse.blocks)).sum((1, 2)) for inverse, g in parts).cpu()
        costs = costs.where(steps.isinf(), steps.new_tensor(math.inf))
        neuron = int((costs == costs.min()).nonzero()[-1])
        steps[neuron] = step
        for inverse, g in parts:
            eliminate(inverse, g, neuron)
    return steps


def eliminate(inverse, g, neuron):
    """Take a neuron's inputs out of H^-1 and G; what is then left in its rows and columns is not used again."""
    block = places(torch.tensor([neuron]), len(g.square), len(g.blocks))
    rows, rows_of_g = inverse.rows(block), g.rows(block)
    y = torch.linalg.solve(rows[:, block], rows)
    half = rows_of_g - rows_of_g[:, block] @ y / 2
    inverse.subtract(rows.T, y)
    g.subtract(torch.cat([y, half]).T, torch.cat([half, y]))
    inverse.blocks[neuron] = torch.eye(len(block))


class Lagged:
    """A square matrix less products of low rank. They are subtracted from its blocks on the diagonal at once, from the
    rest when LAG columns have come together.

    blocks: (width, inputs, inputs), one for each of `width` neurons.
    """

    def __init__(self, square, width):
        self.square, self.left, self.right = square, square[:, :0], square[:0]
        by_neuron = square.view(width, len(square) // width, width, -1)
        self.blocks = by_neuron.diagonal(dim1=0, dim2=2).permute(2, 0, 1).clone()

    def rows(self, block):
        return self.square[block] - self.left[block] @ self.right

    def subtract(self, left, right):
        """Subtract left (inputs, rank) @ right (rank, inputs)."""
        width, inputs, _ = self.blocks.shape
        self.blocks -= left.reshape(width, inputs, -1) @ right.view(-1, width, inputs).transpose(0, 1)
        self.left, self.right = torch.cat([self.left, left], 1), torch.cat([self.right, right])
        if len(self.right) >= LAG:
            self.square.addmm_(self.left, self.right, alpha=-1)
            self.left, self.right = self.left[:, :0], self.right[:0]
