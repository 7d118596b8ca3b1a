"""The activations, gradients and moments that criteria score by."""
import weakref

import pytest
import torch
from oracles import activations_by_hand
from torch.nn import functional
from unit_helpers import ARMS, each_network, hidden, options, passes_of

from pruning.passes import Passes, with_ridge
from pruning.selection import survivors


@each_network
def test_activations_are_those_after_the_relu_in_evaluation_mode_over_all_batches(network):
    model, images = network()
    for group in hidden(model, images):  # the activations differ between training and evaluation mode
        group.producer.register_forward_hook(lambda layer, inputs, x: functional.dropout(x, 0.5, layer.training))
    frozen = hidden(model, images)[0].consumers[0].eval()  # a part that is not trained stays in evaluation mode
    batches = list(passes_of(model, images).activations())
    expected = activations_by_hand(model, images)
    assert [[len(block) for block in blocks] for blocks in batches] == [[n] * len(expected) for n in (4, 4, 2)]
    for blocks, of_group in zip(zip(*batches), expected):
        assert of_group.gt(0).any()
        assert not torch.cat(blocks).requires_grad
        torch.testing.assert_close(torch.cat(blocks), of_group)
    assert all(module.training != (module is frozen) for module in model.modules())
    model(images)  # to its end: nothing listens any more
    assert [len(blocks) for blocks in batches] == 3 * [len(expected)]


@each_network
def test_one_pass_over_the_data_serves_all_groups_and_ends_at_the_last_consumer(network):
    model, images = network()
    groups, passes, given = hidden(model, images), [], []
    last = groups[-1].consumers[0]

    class Batches:
        def __iter__(self):
            given.append("once")
            return ((some, None) for some in images.split(4))

    groups[0].producer.register_forward_hook(lambda layer, inputs, output: passes.append(len(output)))
    for module in [last, *getattr(model, "deconvolutions", [])]:
        module.register_forward_hook(lambda *run: pytest.fail("ran on when every activation was known"))
    passed = Passes(model, groups, Batches(), with_moments=True)
    survivors(passed, ARMS["contribution"], options(), 40)
    passed.moments()
    assert (given, passes) == (["once"], [4, 4, 2])


@each_network
def test_no_batch_of_activations_is_kept_when_the_next_is_given(network):
    model, images = network()
    seen = []
    for blocks in passes_of(model, images).activations():
        assert [earlier() for earlier in seen] == len(seen) * [None]
        seen += map(weakref.ref, blocks)
    assert len(seen) == 3 * len(hidden(model, images))


@each_network
def test_gradients_leave_the_network_as_it_was(network):
    model, images = network()
    batches = list(passes_of(model, images).gradients())
    assert [[block.shape == gradient.shape for block, gradient in pairs] for pairs in batches] == (
        3 * [len(hidden(model, images)) * [True]])
    assert all(parameter.grad is None for parameter in model.parameters()) and model.training
    assert [len(pairs[0][0]) for pairs in batches] == [4, 4, 2]


@each_network
@pytest.mark.parametrize("kind", ["activations", "gradients"])
def test_passes_leave_the_global_random_state_and_repeat_their_own_numbers(network, kind):
    model, images = network()
    torch.manual_seed(9)
    before, found = torch.get_rng_state(), []
    for _ in range(2):
        found.append(list(getattr(passes_of(model, images), kind)()))
        first = next(getattr(passes_of(model, images), kind)())  # as by a criterion that needs only the first batch
        assert torch.equal(torch.get_rng_state(), before)
        assert len(first) == len(hidden(model, images))
        assert model.training and model(images) is not None  # nothing listens
        torch.manual_seed(9)
    assert str(found[0]) == str(found[1])


@each_network
def test_moments_are_those_of_all_activations_by_any_criterion(network):
    model, images = network()
    expected = [a.T @ a / len(a) for a in activations_by_hand(model, images)]
    for criterion in ("random", "contribution", "taylor"):
        passes = passes_of(model, images, with_moments=True)
        survivors(passes, ARMS[criterion], options(), 40)
        moments = passes.moments()
        for group, wanted in zip(passes.groups, expected):
            for consumer in group.consumers:
                found = next(moment for consumers, moment in moments.items() if consumer in consumers)
                torch.testing.assert_close(found, with_ridge(wanted))
