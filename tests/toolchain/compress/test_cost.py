"""Counts against arithmetic by hand and against torch-pruning's counter."""

from __future__ import annotations

import pytest
import torch
import torch_pruning
from torch import Tensor, nn

from hardtemper.bench.data.vision import torchvision
from hardtemper.runtime.errors import CompressionError
from hardtemper.toolchain.compress.cost import costs

# layer on an image of 8 x 10 x 10, kind, parameters, MACs
BY_HAND = [
    (nn.Conv2d(8, 16, 3, padding=1), "conv", 16 * 8 * 9 + 16, 100 * 16 * 8 * 9),
    (nn.Conv2d(8, 16, 3, stride=2, bias=False), "conv", 16 * 8 * 9, 16 * 16 * 8 * 9),
    (nn.Conv2d(8, 16, (1, 3), groups=4), "grouped conv", 16 * 2 * 3 + 16, 10 * 8 * 16 * 2 * 3),
    (nn.Conv2d(8, 8, 5, groups=8), "depthwise conv", 8 * 25 + 8, 36 * 8 * 25),
    (nn.Conv2d(8, 16, 5, groups=8), "grouped conv", 16 * 25 + 16, 36 * 16 * 25),
    (nn.ConvTranspose2d(8, 4, 2, stride=2), "conv", 8 * 4 * 4 + 4, 100 * 8 * 4 * 4),
    (nn.Linear(10, 7), "linear", 10 * 7 + 7, 80 * 70),
    (nn.BatchNorm2d(8), "norm", 16, 0),
    (nn.PReLU(8), "PReLU", 8, 0),
]


@pytest.mark.parametrize(("layer", "kind", "parameters", "macs"), BY_HAND, ids=[repr(case[0]) for case in BY_HAND])
def test_one_layer_by_hand(layer: nn.Module, kind: str, parameters: int, macs: int) -> None:
    cost = costs(nn.Sequential(layer), input_shape=(8, 10, 10))["0"]
    assert (cost.kind, cost.parameters, cost.macs) == (kind, parameters, macs)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_layers_agree_with_torch_pruning(name: str) -> None:
    model = torchvision().models.get_model(name, weights=None, num_classes=10).eval()
    found = costs(model, input_shape=(3, 32, 32))
    _, parameters, theirs, _ = torch_pruning.utils.count_ops_and_params(
        model, torch.zeros(1, 3, 32, 32), layer_wise=True
    )
    assert sum(cost.parameters for cost in found.values()) == parameters
    for layer_name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):  # none has a bias, which torch-pruning would count
            assert found[layer_name].macs == theirs[layer]
        if isinstance(layer, nn.Linear):
            assert found[layer_name].macs == theirs[layer] - layer.out_features


def test_a_layer_called_twice_counts_twice_and_shared_parameters_once() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            self.twin = nn.Conv2d(3, 3, 1)
            self.twin.weight = self.conv.weight
            self.unused = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.twin(self.conv(self.conv(x)))

    found = costs(Net(), input_shape=(3, 4, 4))
    assert found["conv"].macs == 2 * found["twin"].macs == 2 * 16 * 9
    assert (found["conv"].parameters, found["twin"].parameters) == (12, 3)
    assert found["unused"].macs == 0


def test_modes_and_hooks_are_restored() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout())
    net.train()
    net[1].eval()
    before = net[1].running_mean.clone()
    costs(net, input_shape=(3, 4, 4))
    assert [layer.training for layer in net.modules()] == [True, True, False, True]
    assert torch.equal(net[1].running_mean, before)
    assert not net[0]._forward_hooks


def test_an_image_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(
        CompressionError, match=r"does not take an image of shape \(1, 8, 8\).*fix: give the input_shape"
    ):
        costs(nn.Conv2d(3, 4, 1), input_shape=(1, 8, 8))
