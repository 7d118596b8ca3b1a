"""--tensorboard: the measures of epochs and rounds, and a VAE's pictures. The text log stays the source of all figures.
"""
import os

from pruning.errors import UserError


class Boards:
    """Writes to `tensorboard/<log's name>` beside each of the logs, inside `with`; to none if it is not wanted.

    epoch: the last one that is done; what an interrupted run wrote after it is not shown. Raises UserError if the
    package is not installed.
    """

    def __init__(self, wanted, logs, epoch):
        self.writers = [writer_of(log.name, epoch) for log in logs if wanted]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for writer in self.writers:
            writer.close()

    def add(self, epoch, measures, suffix=""):
        """A point for every number of {measure: value}, under names such as accuracy/test."""
        for writer in self.writers:
            for name, value in measures.items():
                if isinstance(value, (int, float)):
                    split, _, measure = name.rpartition(" ")
                    writer.add_scalar(f"{measure}/{f'{split} {suffix}'.strip()}", value, epoch)

    def add_picture(self, epoch, path):
        """A picture from its file; None stands for no picture."""
        if self.writers and path:
            from matplotlib import image  # here, since few runs need it

            moment = os.path.splitext(os.path.basename(path))[0].partition("_log")[2].partition("_")[2]
            for writer in self.writers:
                writer.add_image(f"pictures/{moment}", image.imread(path), epoch, dataformats="HWC")


def summary_writer():
    """The class that writes for TensorBoard. Raises UserError if the package is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("--tensorboard needs a package: pip install tensorboard")
    return SummaryWriter


def writer_of(log, epoch):
    folder, name = os.path.split(os.path.splitext(log)[0])
    return summary_writer()(os.path.join(folder, "tensorboard", name), purge_step=epoch + 1)
