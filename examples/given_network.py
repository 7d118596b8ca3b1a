"""Pruning a network that is trained already, then saving, loading and exporting it.

    python examples/given_network.py    about half a minute on two cores

Writes small_vgg.pt, and small_vgg.onnx if the packages onnx and onnxscript are installed, into the folder that it is
called from.
"""
import importlib.util

import own_loop  # puts the suite's folder on the path
import torch

# isort: split
from pruning.groups import find_groups
from pruning.measures import count_parameters, multiply_adds
from pruning.passes import Passes
from pruning.removal import load_weights, remove
from pruning.selection import Options, highest
from ranking import taylor

WIDTHS = [3, 6, 6, 12, 24]  # that each group is to have


def loss(model, images, labels):
    return torch.nn.functional.cross_entropy(model(images), labels)


def main(model=None):
    model = model or own_loop.main()  # stands for your own trained network
    images, labels = own_loop.digits(1000, 2)
    groups, left_whole = find_groups(model, images[:8])
    for name, reason in left_whole.items():
        print(f"{name} stays whole: {reason}")
    before = count_parameters(model), multiply_adds(model, images[:1])
    scores = taylor(groups, Passes(model, groups, [(images, labels)], loss), Options())
    remove(groups, [highest(some, width) for some, width in zip(scores, WIDTHS)])
    after = count_parameters(model), multiply_adds(model, images[:1])
    print(f"parameters {before[0]:,} => {after[0]:,}, multiply-adds {before[1]:,} => {after[1]:,}")
    torch.save(model.state_dict(), "small_vgg.pt")

    network = own_loop.vgg()
    load_weights(network, torch.load("small_vgg.pt", weights_only=True))
    network.eval()

    torch.testing.assert_close(network(images), model.eval()(images), rtol=0, atol=0)
    if hasattr(torch, "export"):
        exported = torch.export.export(network, (images[:8],)).module()
        torch.testing.assert_close(exported(images[:8]), network(images[:8]))
        print("exported by torch.export")
    if importlib.util.find_spec("onnxscript"):
        torch.onnx.export(network, (images[:8],), "small_vgg.onnx", dynamo=True)
        print("exported to small_vgg.onnx")


if __name__ == "__main__":
    main()
