"""The groups that are found in networks of every wiring, and the ones that are refused."""
import dataclasses

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from unit_helpers import refusal

from pruning.groups import NOT_CALLED, NeuronGroup, find_groups, groups_of, widths_of
from pruning.removal import remove

weight_norm = getattr(parametrizations, "weight_norm", nn.utils.weight_norm)  # of torch before 2.1


class Net(nn.Module):
    """A network of named layers; its forward pass is a function of them and an image."""

    def __init__(self, forward, groups=None, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.way = forward
        if groups:
            self.groups = lambda: groups(self)

    def forward(self, x):
        return self.way(self, x)


class Positive(nn.Linear):
    def forward(self, x):
        return functional.linear(x, self.weight.exp(), self.bias)


@dataclasses.dataclass
class Result:
    logits: torch.Tensor
    count: int


def conv(inputs, outputs, **options):
    return nn.Conv2d(inputs, outputs, 3, padding=1, **options)


LINEAR = {"a": nn.Linear(6, 8), "b": nn.Linear(8, 8), "c": nn.Linear(8, 8), "last": nn.Linear(8, 3)}
ADDED, OUTPUTS = "its neurons are added to or joined with those of ", "its neurons are outputs of the network"

# {name: (network, shape of an image, {producer: (consumers, followers)}, {layer left whole: the beginning of why})}
WIRINGS = {
    "Sequential": (nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 3)), (6,),
                   {"0": (["3"], [])}, {"3": OUTPUTS}),
    "functional ReLU and dropout": (
        Net(lambda s, x: s.c(functional.dropout(s.b(s.a(x).relu_()).relu(), 0.5, s.training)), a=nn.Linear(6, 5),
            b=nn.Linear(5, 4), c=nn.Linear(4, 3)), (6,), {"a": (["b"], []), "b": (["c"], [])}, {"c": OUTPUTS}),
    "BatchNorm before and after the activation": (
        Net(lambda s, x: s.last(s.after(functional.relu(s.b(functional.relu(s.before(s.a(x)), inplace=True))))
                                .mean((2, 3))), a=conv(2, 4), before=nn.BatchNorm2d(4), b=conv(4, 5),
            after=nn.BatchNorm2d(5), last=nn.Linear(5, 3)), (2, 6, 6),
        {"a": (["b"], ["before"]), "b": (["last"], ["after"])}, {"last": OUTPUTS}),
    "flatten": (nn.Sequential(conv(2, 4), nn.Sigmoid(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.BatchNorm1d(16),
                              nn.Linear(16, 3)), (2, 6, 6), {"0": (["5"], ["4"])}, {"5": OUTPUTS}),
    "a residual block": (
        Net(lambda s, x: s.last(s.c(s.inner(s.b(s.relu(s.a(x)))).relu() + s.relu(s.a2(x))).relu()), a=nn.Linear(6, 8),
            a2=nn.Linear(6, 8), relu=nn.ReLU(), b=nn.Linear(8, 7), inner=nn.Linear(7, 8), c=nn.Linear(8, 5),
            last=nn.Linear(5, 3)), (6,),
        {"a": (["b"], []), "b": (["inner"], []), "c": (["last"], [])},
        {"a2": ADDED + "inner before c", "inner": ADDED + "a2 before c", "last": OUTPUTS}),
    "a skip from the input": (
        Net(lambda s, x: s.b(s.a(x).relu() + x), a=nn.Linear(6, 6), b=nn.Linear(6, 3)), (6,), {},
        {"a": ADDED + "the input before b", "b": OUTPUTS}),
    "concatenation": (
        Net(lambda s, x: s.last(torch.cat([s.a(x), s.b(x)], 1).relu()), a=nn.Linear(6, 4), b=nn.Linear(6, 5),
            last=nn.Linear(9, 3)), (6,), {}, {"a": ADDED + "b before last", "b": ADDED + "a before last",
                                              "last": OUTPUTS}),
    "a layer used twice": (
        Net(lambda s, x: s.last(s.b(s.b(s.a(x).relu()).relu()).relu()), a=nn.Linear(6, 8), b=nn.Linear(8, 8),
            last=nn.Linear(8, 3)), (6,), {}, {"a": "b is called 2 times", "b": "b is called 2 times", "last": OUTPUTS}),
    "shared weights": (
        Net(lambda s, x: s.last(s.b(s.a(x).relu()).relu()), a=nn.Linear(8, 8), b=nn.Linear(8, 8),
            last=nn.Linear(8, 3)), (8,), {}, {"a": "a shares its weight with b", "b": "b shares its weight with a",
                                              "last": OUTPUTS}),
    "two heads": (
        Net(lambda s, x: (lambda h: {"mean": s.mean(h), "others": [s.scale(h)]})(s.a(x).tanh()), a=nn.Linear(6, 5),
            mean=nn.Linear(5, 3), scale=nn.Linear(5, 2)), (6,), {"a": (["mean", "scale"], [])},
        {"mean": OUTPUTS, "scale": OUTPUTS}),
    "transposed convolutions": (
        nn.Sequential(nn.Linear(6, 8), nn.Unflatten(1, (2, 2, 2)), nn.ConvTranspose2d(2, 4, 3), nn.PReLU(4),
                      nn.ConvTranspose2d(4, 3, 2)), (6,), {"2": (["4"], ["3"])},
        {"0": "its neurons do not stay apart on their way to 2", "4": OUTPUTS}),
    "grouped convolutions": (
        nn.Sequential(conv(2, 4), nn.ReLU(), conv(4, 4, groups=4), nn.ReLU(), conv(4, 3)), (2, 5, 5), {},
        {"0": "2 is a grouped convolution", "2": "2 is a grouped convolution", "4": OUTPUTS}),
    "neurons that are mixed": (
        nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.Softmax(1), nn.Linear(8, 3)), (6,), {},
        {"0": "its neurons do not stay apart on their way to 2", "2": "its neurons do not stay apart on their way to 4",
         "4": OUTPUTS}),
    "a scale for each neuron": (
        Net(lambda s, x: s.b(s.scale * s.a(x)), a=nn.Linear(6, 5), b=nn.Linear(5, 3),
            scale=nn.Parameter(torch.rand(5))), (6,), {},
        {"a": "without some of its neurons the network fails: ", "b": OUTPUTS}),
    "weight_norm": (nn.Sequential(weight_norm(nn.Linear(6, 5)), nn.ReLU(), nn.Linear(5, 3)), (6,), {},
                    {"0": "0 computes its weight from others", "2": OUTPUTS}),
    "weights tied by their memory": (
        Net(lambda s, x: s.last(s.b(s.a(x).relu()).relu()), a=nn.Linear(8, 5), b=nn.Linear(5, 8), last=nn.Linear(8, 3)),
        (8,), {}, {"a": "a shares its weight with b", "b": "b shares its weight with a", "last": OUTPUTS}),
    "an input that is overwritten": (
        Net(lambda s, x: (lambda h: s.b(h) + s.c(h.relu_()))(s.a(x)), a=nn.Linear(6, 5), b=nn.Linear(5, 3),
            c=nn.Linear(5, 3)), (6,), {}, {"a": "b reads a tensor that is overwritten in place afterwards",
                                           "b": OUTPUTS, "c": OUTPUTS}),
    "another branch in training": (
        Net(lambda s, x: (lambda h: s.b(h) + (h @ torch.ones(8, 3) if s.training else 0))(s.a(x)), a=nn.Linear(6, 8),
            b=nn.Linear(8, 3)), (6,), {}, {"a": "without some of its neurons the network fails in training mode",
                                           "b": OUTPUTS}),
    "a width that must be even": (
        Net(lambda s, x: s.b(s.a(x).view(len(x), 2, -1).relu().flatten(1)), a=nn.Linear(6, 8), b=nn.Linear(8, 3)), (6,),
        {}, {"a": "without some of its neurons the network fails: ", "b": OUTPUTS}),
    "neurons in another order": (
        Net(lambda s, x: s.b(s.a(x).flip(1)), a=nn.Linear(6, 7), b=nn.Linear(7, 3)), (6,), {},
        {"a": "its neurons do not stay apart on their way to b", "b": OUTPUTS}),
    "a way that depends on the numbers": (
        Net(lambda s, x: s.b(s.a(x)) if s.a(x).sum() > 1e9 else s.c(s.a(x)), a=nn.Linear(6, 8), b=nn.Linear(8, 3),
            c=nn.Linear(8, 3)), (6,), {}, {"a": "a is called 2 times", "b": NOT_CALLED,
                                           "c": OUTPUTS}),
    "a PReLU with one slope": (nn.Sequential(nn.Linear(6, 5), nn.PReLU(), nn.Linear(5, 3)), (6,), {"0": (["2"], [])},
                               {"2": OUTPUTS}),
    "a layer with a forward pass of its own": (
        nn.Sequential(nn.Linear(6, 5), nn.ReLU(), Positive(5, 3), nn.ReLU(), nn.Linear(3, 2)), (6,),
        {"2": (["4"], [])}, {"0": "2 has a forward pass of its own", "4": OUTPUTS}),
    "a result in a dataclass": (
        Net(lambda s, x: Result(s.b(s.a(x)), 3), a=nn.Linear(6, 5), b=nn.Linear(5, 3)), (6,), {"a": (["b"], [])},
        {"b": OUTPUTS}),
    "a layer that is not called": (
        Net(lambda s, x: s.b(s.a(x)), a=nn.Linear(6, 5), spare=nn.Linear(5, 4), b=nn.Linear(5, 3)), (6,),
        {"a": (["b"], [])}, {"b": OUTPUTS, "spare": NOT_CALLED}),
    "a sequence": (
        Net(lambda s, x: s.b(functional.gelu(s.a(x.view(-1, 2, 3)))).mean(1), a=nn.Linear(3, 5), b=nn.Linear(5, 3)),
        (6,), {"a": (["b"], [])}, {"b": OUTPUTS}),
}
WIRINGS["shared weights"][0].b.weight = WIRINGS["shared weights"][0].a.weight
WIRINGS["weights tied by their memory"][0].b.weight.data = WIRINGS["weights tied by their memory"][0].a.weight.data.T


@pytest.mark.parametrize("network, shape, found, left", WIRINGS.values(), ids=WIRINGS)
def test_groups_are_found_in_every_wiring_or_their_layers_named_with_the_reason(network, shape, found, left):
    torch.manual_seed(2)
    example, named = torch.rand(4, *shape), {module: name for name, module in network.named_modules()}
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    def hooks():
        return [len(hooked) for module in network.modules()
                for hooked in (module._forward_pre_hooks, module._forward_hooks)]

    hooked = hooks()
    groups, others = find_groups(network, example)
    assert {named[group.producer]: tuple([named[module] for module in part] for part in group[1:])
            for group in groups} == found
    assert set(others) == set(left)
    assert all(others[name].startswith(reason) for name, reason in left.items()), others
    # Nothing is left behind: no hooks, no replaced forward passes, the same mode, the same weights and statistics.
    assert network.training and hooks() == hooked
    assert all("forward" not in vars(module) for module in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def chain_of(*names):
    return lambda net: [NeuronGroup(getattr(net, first), [getattr(net, second)])
                        for first, second in zip(names, names[1:])]


# Groups that a network names by mistake: {what is wrong: (network, what the message says)}.
MISTAKES = {
    "a sum of branches": (
        Net(lambda s, x: (lambda h: s.c(h + s.b(h).relu()))(s.a(x).relu()), chain_of("a", "b", "c"),
            a=nn.Linear(6, 8), b=nn.Linear(8, 8), c=nn.Linear(8, 3)), ", a: without some of its neurons the network "),
    "a consumer is missing": (
        Net(lambda s, x: s.b(s.a(x)) + s.c(s.a2(x)), lambda s: [NeuronGroup(s.a, [s.c])], a=nn.Linear(6, 8),
            a2=nn.Linear(6, 8), b=nn.Linear(8, 3), c=nn.Linear(8, 3)), ", a: without some of its neurons the network"),
    "a BatchNorm is missing": (
        Net(lambda s, x: s.b(s.norm(s.a(x))), chain_of("a", "b"), a=nn.Linear(6, 8), norm=nn.BatchNorm1d(8),
            b=nn.Linear(8, 3)), ", a: without some of its neurons the network fails: "),
    "a layer is called twice": (
        Net(lambda s, x: s.b(s.a(s.a(x).relu()).relu()), chain_of("a", "b"), a=nn.Linear(6, 6), b=nn.Linear(6, 3)),
        ", a: a is called 2 times in a forward pass"),
    "not a layer": (
        Net(lambda s, x: s.b(s.norm(s.a(x))), lambda s: [NeuronGroup(s.a, [s.norm])], a=nn.Linear(6, 8),
            norm=nn.LayerNorm(8), b=nn.Linear(8, 3)), ", a: norm is a LayerNorm, whose neurons cannot be removed"),
    "a layer that is named twice": (
        Net(lambda s, x: s.b(s.a(x)), lambda s: 2 * chain_of("a", "b")(s), a=nn.Linear(6, 8), b=nn.Linear(8, 3)),
        " names the neurons of a twice"),
    "a layer of another network": (
        Net(lambda s, x: s.b(s.a(x)), lambda s: [NeuronGroup(s.a, [nn.Linear(8, 3)])], a=nn.Linear(6, 8),
            b=nn.Linear(8, 3)), ", a: Linear is no layer of the network"),
}


@pytest.mark.parametrize("network, words", MISTAKES.values(), ids=MISTAKES)
def test_groups_that_a_network_names_by_mistake_are_refused(network, words):
    torch.manual_seed(3)
    assert refusal(groups_of, network, torch.rand(4, 6), False).startswith("Net.groups()" + words)


def test_a_networks_own_groups_win_in_their_own_order():
    net = Net(lambda s, x: s.c(s.b(s.a(x).relu()).relu()), lambda s: chain_of("a", "b", "c")(s)[::-1],
              a=nn.Linear(6, 8), b=nn.Linear(8, 5), c=nn.Linear(5, 3))
    assert widths_of(groups_of(net, torch.rand(4, 6), False)[0]) == [5, 8]


@pytest.mark.parametrize("network, words", [
    (nn.Sequential(nn.Linear(6, 3)), "has no hidden neurons that can be pruned; 0: its neurons are outputs"),
    (nn.Sequential(nn.Unflatten(1, (1, 2, 3)), conv(1, 4), nn.Flatten(), nn.Linear(24, 3)),
     "prune_filters = True prunes its filters")])
def test_a_network_without_groups_is_a_user_error(network, words):
    assert words in refusal(groups_of, network, torch.rand(4, 6), False)


@pytest.mark.parametrize("forward, words", [
    (lambda s, x: s.a(input=x), "a gets its input by keyword; call it as layer(x)"),
    (lambda s, x: s.a(x).argmax(1), "returns Tensor without a floating-point tensor"),
    (lambda s, x: s.missing(x), "cannot process an image of the shape (6,): 'Net' object has no attribute 'missing'")])
def test_a_forward_pass_that_cannot_be_followed_is_a_user_error(forward, words):
    assert words in refusal(find_groups, Net(forward, a=nn.Linear(6, 3)), torch.rand(4, 6))


@pytest.mark.parametrize("groups", [lambda s: [(s.a,)], lambda s: [NeuronGroup(s.a, s.b)], lambda s: None])
def test_what_is_no_list_of_groups_is_a_user_error(groups):
    net = Net(lambda s, x: s.b(s.a(x)), groups, a=nn.Linear(6, 5), b=nn.Linear(5, 3))
    assert "must return a list of NeuronGroup" in refusal(groups_of, net, torch.rand(4, 6), False)


def test_an_attribute_called_groups_is_no_list_of_groups():
    net = Net(lambda s, x: s.b(s.a(x)), a=nn.Linear(6, 5), b=nn.Linear(5, 3))
    net.groups = 1  # as torchvision's ResNet has
    assert widths_of(groups_of(net, torch.rand(4, 6), False)[0]) == [5]


def test_outputs_that_are_not_a_number_are_no_proof():
    net = Net(lambda s, x: s.c(s.b(s.a(x))) * s.b(s.a(x)).sum() * float("nan"), lambda s: [NeuronGroup(s.b, [s.c])],
              a=nn.Linear(6, 5), b=nn.Linear(5, 4), c=nn.Linear(4, 3))
    assert "b" in refusal(groups_of, net, torch.rand(4, 6), False)


def test_lazy_layers_are_initialised_by_the_runs_own_seed():
    weights = []
    for seed in (30, 30, 31):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(3))
        assert widths_of(find_groups(net, torch.rand(4, 6, generator=torch.Generator().manual_seed(1)))[0]) == [5]
        weights.append(net[0].weight.tolist())
    assert weights[0] == weights[1] != weights[2]


def test_a_layer_keeps_a_forward_pass_that_was_set_on_it():
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    own = net[0].forward
    net[0].forward = wrapped = lambda x: own(x)
    find_groups(net, torch.rand(4, 6))
    assert vars(net[0])["forward"] is wrapped


def test_a_resnet_loses_the_inner_filters_of_its_blocks_alone():
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=10).eval()
    example, names = torch.rand(2, 3, 32, 32), {module: name for name, module in net.named_modules()}
    groups, left = find_groups(net, example)
    blocks = [f"layer{stage}.{block}" for stage in range(1, 5) for block in range(2)]
    assert [names[group.producer] for group in groups] == [f"{block}.conv1" for block in blocks]
    assert [names[follower] for group in groups for follower in group.followers] == [f"{block}.bn1" for block in blocks]
    assert left["fc"] == OUTPUTS and all(reason.startswith(ADDED) for name, reason in left.items() if name != "fc")


def test_an_example_that_a_network_cannot_process_is_a_user_error():
    assert "an image of the shape (5,)" in refusal(groups_of, nn.Sequential(nn.Linear(6, 3)), torch.rand(4, 5), False)


# ---- random networks ----

BETWEEN = {"linear": [nn.ReLU, nn.Tanh, lambda: nn.Dropout(0.4), nn.Identity],
           "conv": [nn.ReLU, lambda: nn.MaxPool2d(2, 1), nn.Sigmoid, lambda: nn.AvgPool2d(2, 1)]}


@st.composite
def networks(draw):
    """A chain of layers of random kinds and widths, the shape of its images, and what stays of each hidden layer."""
    layers, keeps = [], []
    sizes = draw(st.lists(st.integers(2, 6), min_size=2, max_size=4))
    convolutions = draw(st.integers(0, len(sizes) - 1))
    width, shape = (2, (2, 21, 20)) if convolutions else (5, (5,))
    for number, size in enumerate(sizes):
        is_conv = number < convolutions
        norm = [nn.BatchNorm2d, nn.BatchNorm1d][not is_conv]
        if is_conv:
            kernel, stride = draw(st.sampled_from([1, 3])), draw(st.sampled_from([1, 2]))
            layers.append(nn.Conv2d(width, size, kernel, stride, 1, bias=draw(st.booleans())))
        else:
            layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten()] * (number == convolutions and number > 0)
            width = 4 * width if number == convolutions and number > 0 else width
            layers.append(nn.Linear(width, size, bias=draw(st.booleans())))
        extra = [norm(size)] if draw(st.booleans()) else []
        between = draw(st.sampled_from(BETWEEN["conv" if is_conv else "linear"]))
        extra.insert(draw(st.integers(0, len(extra))), between())
        layers += extra if number < len(sizes) - 1 else []
        keeps.append(sorted(draw(st.sets(st.integers(0, size - 1), min_size=1))))
        width = size
    return nn.Sequential(*layers), shape, keeps[:-1]


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(networks())
def test_a_random_network_gives_without_neurons_what_it_gives_with_their_activations_set_to_zero(drawn):
    model, shape, keeps = drawn
    torch.manual_seed(1)
    model.double()
    for _ in range(2):
        model(torch.randn(8, *shape).double())  # running statistics of its own
    model.eval()
    images = torch.randn(5, *shape).double()
    groups, left = find_groups(model, images)
    assert len(groups) == len(keeps) and len(left) == 1
    hooks = []
    for group, keep in zip(groups, keeps):
        gone = [k for k in range(group.width) if k not in keep]

        def mask(module, inputs, width=group.width, gone=gone):
            x = inputs[0].clone()
            x.view(len(x), width, -1)[:, gone] = 0
            return x
        hooks += [consumer.register_forward_pre_hook(mask) for consumer in group.consumers]
    expected = model(images)
    for hook in hooks:
        hook.remove()
    remove(groups, list(map(torch.tensor, keeps)))
    torch.testing.assert_close(model(images), expected, rtol=0, atol=1e-10)
    assert find_groups(model, images)[0] == groups and widths_of(groups) == list(map(len, keeps))
