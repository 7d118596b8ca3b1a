"""How a GPU is given a training step: recorded once as a CUDA graph, and launched whole."""
from collections import Counter

import torch

from pruning.errors import UserError, is_lack_of_memory


class Recording:
    """A function that a GPU runs again and again: recorded as a CUDA graph after a few calls, then launched as one.

    Launching the 50 kernels of a small network's step one by one takes several times as long as their work. A graph
    keeps the tensors and Python's numbers of its recording. A round replaces the tensors, so it needs a new one.
    """

    WARM_UP = 3  # calls before the recording, in which optimizers and libraries make what they keep

    def __init__(self):
        self.calls, self.graphs = Counter(), {}

    def run(self, function, argument):
        """function(argument), for a tensor on the GPU and always the same function; the result holds until the next
        call. Each shape of the argument has its own graph. Raises UserError if the function makes the processor wait
        for the GPU."""
        shape = argument.shape
        if self.calls[shape] < self.WARM_UP:
            self.calls[shape] += 1
            return function(argument)
        if shape not in self.graphs:
            self.graphs[shape] = recorded(function, argument.clone())
        graph, own_argument, result = self.graphs[shape]
        own_argument.copy_(argument)
        graph.replay()
        return result


def recorded(function, argument):
    """The CUDA graph of a call, the argument that it reads and the result that it writes."""
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            result = function(argument)
    except RuntimeError as error:
        cause = error.__context__ or error  # the end of a recording that failed is an error too
        if is_lack_of_memory(cause):
            raise cause
        raise UserError(f"a training step cannot be recorded for the GPU ({str(cause).splitlines()[0]}); does it read "
                        "a number with .item()? Change that, or take --cuda-graphs False, which is slower")
    return graph, argument, result
