"""Which channels are tied in small networks whose answer is plain."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from hardtemper.bench.data.vision import torchvision
from hardtemper.runtime.errors import CompressionError
from hardtemper.toolchain.compress.pruning.coupling import trace
from hardtemper.toolchain.compress.pruning.groups import UNFOLLOWED


class Net(nn.Module):
    """Layers by name and a forward function of (net, x)."""

    def __init__(self, forward: Callable[[nn.Module, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.function = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def conv(inputs: int, outputs: int, **settings: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, **settings)


def pooled(net: nn.Module, x: Tensor) -> Tensor:
    return net.fc(x.mean((2, 3)))


LOGITS = (("fc",), 2, "logits layer: its outputs are the classes")

GROUPS = {
    "chain": (
        Net(
            lambda m, x: pooled(m, m.b(m.norm(m.a(x)).relu())),
            a=conv(3, 4), norm=nn.BatchNorm2d(4), b=conv(4, 6), fc=nn.Linear(6, 2),
        ),
        [(("a",), 4, ""), (("b",), 6, ""), LOGITS],
    ),
    "residual": (
        Net(
            lambda m, x: pooled(m, (y := m.a(x)) + m.c(m.b(y))),
            a=conv(3, 4), b=conv(4, 6), c=conv(6, 4), fc=nn.Linear(4, 2),
        ),
        [(("a", "c"), 4, ""), (("b",), 6, ""), LOGITS],
    ),
    "depthwise": (
        Net(lambda m, x: pooled(m, m.d(m.a(x))), a=conv(3, 4), d=conv(4, 4, groups=4), fc=nn.Linear(4, 2)),
        [(("a", "d"), 4, ""), LOGITS],
    ),
    "grouped": (
        Net(lambda m, x: pooled(m, m.g(m.a(x))), a=conv(3, 8), g=conv(8, 12, groups=2), fc=nn.Linear(12, 2)),
        [(("a",), 4, ""), (("g",), 6, ""), LOGITS],
    ),
    "multiplier": (
        Net(lambda m, x: pooled(m, m.g(m.a(x))), a=conv(3, 4), g=conv(4, 8, groups=4), fc=nn.Linear(8, 2)),
        [(("a",), 1, ""), (("g",), 2, ""), LOGITS],
    ),
    "concat": (
        Net(lambda m, x: pooled(m, torch.cat([m.a(x), m.b(x)], 1)), a=conv(3, 4), b=conv(3, 6), fc=nn.Linear(10, 2)),
        [(("a",), 4, ""), (("b",), 6, ""), LOGITS],
    ),
    "concat added": (
        Net(
            lambda m, x: pooled(m, torch.cat([m.a(x), m.b(x)], 1) + m.c(x)),
            a=conv(3, 4), b=conv(3, 6), c=conv(3, 10), fc=nn.Linear(10, 2),
        ),
        [(("a", "b", "c"), 10, ""), LOGITS],
    ),
    "convolution gives logits": (
        Net(lambda m, x: m.b(m.a(x)).mean((2, 3)), a=conv(3, 4), b=conv(4, 2)),
        [(("a",), 4, ""), (("b",), 2, "logits layer: its outputs are the classes")],
    ),
    "squeeze and excite": (
        Net(
            lambda m, x: pooled(m, (y := m.a(x)) * m.up(m.down(y.mean((2, 3))).relu()).sigmoid()[:, :, None, None]),
            a=conv(3, 4), down=nn.Linear(4, 3), up=nn.Linear(3, 4), fc=nn.Linear(4, 2),
        ),
        [(("a", "up"), 4, ""), (("down",), 3, ""), LOGITS],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", GROUPS)
def test_groups(case: str) -> None:
    net, expected = GROUPS[case]
    found = trace(net, input_shape=(3, 6, 6)).groups
    assert [(group.layers, len(group.units), group.obstacle) for group in found] == expected


def test_flattening_ties_a_channel_to_its_columns() -> None:
    net = nn.Sequential(conv(3, 4), nn.Flatten(), nn.Linear(4 * 36, 2))
    group, _ = trace(net, input_shape=(3, 6, 6)).groups
    assert group.units[1].outputs == {"0": (1,)}
    assert group.units[1].inputs == {"2": tuple(range(36, 72))}


def shared() -> nn.Module:
    net = nn.Sequential(conv(3, 3), nn.ReLU(), conv(3, 3), nn.Flatten(), nn.Linear(3 * 36, 2))
    net[2].weight = net[0].weight
    return net


def weighted() -> nn.Module:
    net = Net(lambda m, x: pooled(m, m.a(x) * m.gamma), a=conv(3, 4), fc=nn.Linear(4, 2))
    net.gamma = nn.Parameter(torch.ones(4, 1, 1))
    return net


def uneven() -> nn.Module:
    return nn.Sequential(conv(3, 8), conv(8, 4, groups=4), nn.Flatten(), nn.Linear(4 * 36, 2))


MUST_STAY = {
    "GroupNorm": (
        lambda: nn.Sequential(conv(3, 4), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(4 * 36, 2)),
        "GroupNorm(2, 4",
    ),
    "shared weights": (shared, "'0' shares its weights with '2'"),
    "bare parameter": (weighted, "the parameter 'gamma' has an entry for every channel"),
    "grouped unevenly": (uneven, "'1' is a grouped convolution of a shape that cannot be sliced"),
    "parametrized": (
        lambda: nn.Sequential(conv(3, 4), parametrizations.weight_norm(conv(4, 4)), nn.Flatten(), nn.Linear(4 * 36, 2)),
        "the weight of '1' is computed from others",
    ),
}


@pytest.mark.parametrize("case", MUST_STAY)
def test_what_cannot_be_sliced_is_named(case: str) -> None:
    make, reason = MUST_STAY[case]
    obstacle = trace(make(), input_shape=(3, 6, 6)).groups[0].obstacle
    assert obstacle.startswith("tied to a group that must stay: ")
    assert reason in obstacle


def test_remove_slices_weights_and_reads() -> None:
    net, _ = GROUPS["chain"]
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    coupling = trace(net, input_shape=(3, 6, 6))
    coupling.remove([coupling.groups[0].units[j] for j in (3, 0)], net)
    state = net.state_dict()
    assert torch.equal(state["a.weight"], weights["a.weight"][[1, 2]])
    assert torch.equal(state["norm.running_var"], weights["norm.running_var"][[1, 2]])
    assert torch.equal(state["b.weight"], weights["b.weight"][:, [1, 2]])
    assert torch.equal(state["b.bias"], weights["b.bias"])
    assert (net.a.out_channels, net.b.in_channels, net.norm.num_features) == (2, 2, 2)


def test_what_torch_pruning_loses_track_of_must_stay() -> None:
    """Splits and shuffles, where it divides by zero and indexes what is not there."""
    net = torchvision().models.shufflenet_v2_x0_5(weights=None, num_classes=2)
    groups = {name: group for group in trace(net, input_shape=(3, 32, 32)).groups for name in group.layers}
    assert groups["stage2.0.branch1.2"].obstacle == groups["stage2.1.branch2.5"].obstacle == UNFOLLOWED
    assert groups["conv1.0"].obstacle == groups["stage2.1.branch2.0"].obstacle == ""


def test_a_pixel_shuffle_gives_fewer_channels() -> None:
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.PixelShuffle(2), nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(64, 2))
    first, second, logits = trace(net, input_shape=(1, 5, 5)).groups
    assert (first.obstacle, second.obstacle) == (UNFOLLOWED, "")
    assert logits.obstacle.startswith("logits layer")


def test_a_network_that_cannot_be_traced_is_refused() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise KeyError("no")

    with pytest.raises(CompressionError, match=r"channels of this network cannot be followed; .*got: KeyError"):
        trace(Broken(), input_shape=(1, 4, 4))
