"""The proof accepts what is equal and finds what is not."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from hardtemper.runtime.errors import CompressionError
from hardtemper.toolchain.compress.pruning.equivalence import assert_equals_masked

OUTPUTS = {"0": (1, 4), "1": (1, 4)}
INPUTS = {"3": (1, 4)}
KEPT = [0, 2, 3, 5]


def dense() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Sigmoid(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(4 * 16, 2)
    )
    nn.init.normal_(net[1].weight)
    nn.init.normal_(net[1].bias)
    return net.train()


def hardened(net: nn.Sequential) -> nn.Sequential:
    """Sliced by hand."""
    small = copy.deepcopy(net)
    small[0] = nn.Conv2d(3, 4, 3)
    small[1] = nn.BatchNorm2d(4)
    small[3] = nn.Conv2d(4, 4, 3)
    state = net.state_dict()
    for key, value in state.items():
        layer = key.split(".", 1)[0]
        if layer in ("0", "1") and value.ndim:
            state[key] = value[KEPT]
    state["3.weight"] = state["3.weight"][:, KEPT]
    small.load_state_dict(state)
    return small


@pytest.fixture
def images() -> Tensor:
    return torch.rand(11, 3, 8, 8, generator=torch.Generator().manual_seed(1))  # more than one piece


def test_the_right_slices_are_equal_and_nothing_is_left_behind(images: Tensor) -> None:
    net = dense()
    small = hardened(net)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    assert assert_equals_masked(net, small, outputs=OUTPUTS, inputs=INPUTS, images=images) < 1e-6
    assert net.training
    assert small.training
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in [*net.modules(), *small.modules()])


def test_the_difference_is_that_of_the_logits(images: Tensor) -> None:
    net = dense()
    small = hardened(net)
    with torch.no_grad():
        small[5].bias += 1e-5
    assert assert_equals_masked(net, small, outputs=OUTPUTS, inputs=INPUTS, images=images) == pytest.approx(
        1e-5, rel=0.1
    )


def swap_channels(small: nn.Sequential) -> None:
    small[3].weight.data = small[3].weight.data[:, [1, 0, 2, 3]]


def forget_statistics(small: nn.Sequential) -> None:
    small[1].running_mean += 0.01


def wrong_bias(small: nn.Sequential) -> None:
    small[0].bias.data[3] += 1e-3


def not_finite(small: nn.Sequential) -> None:
    small[5].weight.data[0, 0] = float("nan")


WRONG = {swap_channels: "3", forget_statistics: "3", wrong_bias: "0", not_finite: "5"}


@pytest.mark.parametrize("spoil", WRONG)
def test_the_first_layer_that_differs_is_named(spoil, images: Tensor) -> None:
    net = dense()
    small = hardened(net)
    spoil(small)
    with pytest.raises(CompressionError, match=f"filters masked: {WRONG[spoil]} differs first"):
        assert_equals_masked(net, small, outputs=OUTPUTS, inputs=INPUTS, images=images)


def test_a_layer_that_hardly_moves_the_logits_is_seen(images: Tensor) -> None:
    net = dense()
    net[5].weight.data *= 1e-9  # the logits are the bias
    small = hardened(net)
    swap_channels(small)
    with pytest.raises(CompressionError, match="3 differs first"):
        assert_equals_masked(net, small, outputs=OUTPUTS, inputs=INPUTS, images=images)


def test_a_network_that_does_not_run_is_refused(images: Tensor) -> None:
    net = dense()
    small = hardened(net)
    small[3] = net[3]
    with pytest.raises(CompressionError, match=r"does not run: pruning left two layers.*fix: keep the layers"):
        assert_equals_masked(net, small, outputs=OUTPUTS, inputs=INPUTS, images=images)


def test_other_shapes_are_refused(images: Tensor) -> None:
    net = dense()
    with pytest.raises(CompressionError, match=r"0 differs first.*got: \(8, 6, 6, 6\) for \(8, 4, 6, 6\)"):
        assert_equals_masked(net, copy.deepcopy(net), outputs=OUTPUTS, inputs=INPUTS, images=images)
