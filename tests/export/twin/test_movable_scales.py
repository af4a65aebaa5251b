"""Which scales move, which only together, and which are held."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import Tensor, nn

from hardtemper.export.lower import FloatGraph, lower
from hardtemper.export.quantization.quantize import IntegerGraph, quantize
from hardtemper.export.quantization.scheme import Scheme
from hardtemper.export.twin.movable_scales import MovableScales, movable_scales

Pixels = Callable[..., NDArray[np.uint8]]


def integers(net: nn.Module, pixels: Pixels, **settings: int) -> IntegerGraph:
    return quantize(lower(net.eval(), input_shape=(1, 8, 8)), pixels(8, (1, 8, 8)), scheme=Scheme(**settings))


def found(integer: IntegerGraph) -> MovableScales:
    return movable_scales(integer.model, integer.bounded)


def scales_around(model: onnx.ModelProto, op_type: str) -> set[str]:
    """Of what nodes of an operator read and give."""
    (node,) = (node for node in model.graph.node if node.op_type == op_type)
    near = {*node.input, *node.output}
    return {
        other.input[1]
        for other in model.graph.node
        if other.op_type in ("QuantizeLinear", "DequantizeLinear") and near.intersection((*other.input, *other.output))
    }


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        return self.head((x + self.second(x)).relu().flatten(1))  # type: ignore[no-any-return]


def test_a_chain_moves_scale_by_scale(pixels: Pixels) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 10))
    for bits in (8, 4):  # at 4 bits a Clip of integers ends the range, at codes that no scale changes
        scales = found(integers(net, pixels, weight_bits=bits, activation_bits=bits))
        assert len(scales.together) == 2
        assert sorted(scales.weights.values()) == [4, 6, 10]
        assert len(scales.biases) == 3
        assert scales.held == 1  # the pixels'


def test_terms_move_with_their_sum(pixels: Pixels) -> None:
    integer = integers(Sum(), pixels)
    scales = found(integer)
    around = scales_around(integer.model, "Add")
    assert len(around) == 3
    assert any(around <= set(names) for names in scales.together)


def test_what_moves_numbers_stays_on_one_grid(pixels: Pixels) -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4, 3)
    )
    integer = integers(net, pixels)
    around = scales_around(integer.model, "MaxPool")
    assert any(around <= set(names) for names in found(integer).together)


def test_bounds_and_functions_hold_their_scales(pixels: Pixels) -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Hardtanh(0, 0.3), nn.Conv2d(4, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(64, 3)
    )
    integer = integers(net, pixels)
    scales = found(integer)
    assert integer.bounded
    assert scales.together == ()
    assert len(scales.weights) == 3
    assert scales.held >= 4


def test_pixels_and_constants_are_held(pixels: Pixels, residual_graph: FloatGraph) -> None:
    class Offset(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Conv2d(1, 4, 3, padding=1)
            self.offset = nn.Parameter(0.1 * np.pi * nn.Parameter(self.net.weight.new_ones(4, 8, 8)).cumsum(1))
            self.head = nn.Linear(256, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head((self.net(x).relu() + self.offset).relu().flatten(1))  # type: ignore[no-any-return]

    scales = found(integers(Offset(), pixels))
    assert scales.together == ()
    residual = quantize(residual_graph, pixels(8, (3, 12, 12)))
    names = {name for group in found(residual).together for name in group}
    pixel = next(node for node in residual.model.graph.node if node.input[0] == residual.model.graph.input[0].name)
    assert names
    assert pixel.input[1] not in names


def test_a_scale_that_something_else_reads_is_held(pixels: Pixels) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    integer = integers(net, pixels)
    ((scale,),) = found(integer).together
    model = onnx.ModelProto()
    model.CopyFrom(integer.model)
    model.graph.node.append(onnx.helper.make_node("Identity", [scale], ["seen"]))
    assert movable_scales(model).together == ()
