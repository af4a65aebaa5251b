"""Operators on quantized tensors, written as what they compute: DequantizeLinear -> operator -> QuantizeLinear.

    QLinearConv(x, s_x, z_x, w, s_w, z_w, s_y, z_y, b)
      = QuantizeLinear(Conv(DequantizeLinear(x, s_x, z_x), DequantizeLinear(w, s_w, z_w), DequantizeLinear(b, s_x s_w)))

and so for its kin: the two forms are one arithmetic (`operators/integer.py`). Signatures: ONNX's operators, and
onnxruntime/docs/ContribOperators.md for those of com.microsoft. DynamicQuantizeMatMul and MatMulIntegerToFloat are
written as the operators that ONNX Runtime made them of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

__all__ = ["MICROSOFT", "QUANTIZED", "lowered"]

Arrays = dict[str, npt.NDArray[Any]]


def lowered(nodes: Iterable[onnx.NodeProto], constants: Arrays) -> list[onnx.NodeProto]:
    """The nodes, with what they compute in place of each operator of `QUANTIZED`.

    Returns:
        The nodes; the scales of biases are added to `constants`.
    """
    found: list[onnx.NodeProto] = []
    for node in nodes:
        if node.op_type in QUANTIZED:
            found += _Lowering(node, constants).nodes
        else:
            found.append(node)
    return found


class _Lowering:
    """The nodes that one node becomes."""

    def __init__(self, node: onnx.NodeProto, constants: Arrays) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._node, self._constants = node, constants
        self._inputs = [*node.input, *[""] * 12]
        self._attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        _LOWERINGS[node.op_type](self)

    def _emit(self, op_type: str, *inputs: str, outputs: tuple[str, ...] = (), **attributes: Any) -> str:
        names = outputs or (f"{self._node.output[0]} by way of {len(self.nodes)}",)
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        self.nodes.append(onnx.helper.make_node(op_type, inputs, names, self._node.name, **attributes))
        return names[0]

    def _dequantized(self, first: int, axis: int | None = None) -> str:
        """Of the inputs tensor, scale, zero point from position `first` on."""
        return self._emit("DequantizeLinear", *self._inputs[first : first + 3], axis=axis)

    def _quantized(self, name: str, scale: str, zero: str) -> None:
        self._emit("QuantizeLinear", name, scale, zero, outputs=(self._node.output[0],))

    def _bias(self, name: str, scales: tuple[str, str], factor: float = 1.0) -> str:
        """int32, in units of the two scales' product."""
        if not name:
            return ""
        product = f"{self._node.output[0]} scale of bias"
        known = [self._constants.get(scale) for scale in scales]
        if known[0] is not None and known[1] is not None:
            scale = np.float32(factor) * known[0].reshape(()) * known[1].reshape(-1)
            self._constants[product] = (scale if scale.size > 1 else scale.reshape(())).astype(np.float32)
            return self._emit("DequantizeLinear", name, product, axis=0)
        return self._emit("Mul", self._emit("Cast", name, to=1), self._emit("Mul", *scales))

    def conv(self) -> None:
        x, w = self._dequantized(0), self._dequantized(3, 0)
        bias = self._bias(self._inputs[8], (self._inputs[1], self._inputs[4]))
        self._quantized(self._emit("Conv", x, w, bias, **self._attributes), *self._inputs[6:8])

    def gemm(self) -> None:
        settings = self._attributes
        a, b = self._dequantized(0), self._dequantized(3, 0 if settings.get("transB", 0) else 1)
        bias = self._bias(self._inputs[6], (self._inputs[1], self._inputs[4]), settings.get("alpha", 1.0))
        scale, zero = self._inputs[7:9]
        if scale:
            self._quantized(self._emit("Gemm", a, b, bias, **settings), scale, zero)
        else:
            self._emit("Gemm", a, b, bias, outputs=(self._node.output[0],), **settings)

    def matmul(self) -> None:
        self._quantized(self._emit("MatMul", self._dequantized(0, -2), self._dequantized(3, -1)), *self._inputs[6:8])

    def two(self) -> None:
        """QLinearAdd, QLinearMul."""
        op_type = self._node.op_type.removeprefix("QLinear")
        self._quantized(self._emit(op_type, self._dequantized(0), self._dequantized(3)), *self._inputs[6:8])

    def one(self) -> None:
        """The operators of one tensor."""
        op_type = self._node.op_type.removeprefix("QLinear")
        settings = {name: value for name, value in self._attributes.items() if name not in _NOT_THEIRS}
        self._quantized(self._emit(op_type, self._dequantized(0), **settings), *self._inputs[3:5])

    def concat(self) -> None:
        scale, zero, *rest = self._node.input
        parts = [self._emit("DequantizeLinear", *rest[i : i + 3]) for i in range(0, len(rest), 3)]
        self._quantized(self._emit("Concat", *parts, **self._attributes), scale, zero)

    def dynamic_matmul(self) -> None:
        """DynamicQuantizeMatMul(A, B, b_scale, b_zero_point, bias)."""
        a, b, scale, zero, bias = self._inputs[:5]
        made = tuple(f"{self._node.output[0]} {part}" for part in ("levels", "scale", "zero point"))
        self._emit("DynamicQuantizeLinear", a, outputs=made)
        self._scaled(b, (made[0], made[1], made[2]), (scale, zero), bias)

    def matmul_to_float(self) -> None:
        """MatMulIntegerToFloat(A, B, a_scale, b_scale, a_zero_point, b_zero_point, bias)."""
        a, b, a_scale, b_scale, a_zero, b_zero, bias = self._inputs[:7]
        self._scaled(b, (a, a_scale, a_zero), (b_scale, b_zero), bias)

    def _scaled(self, b: str, left: tuple[str, str, str], right: tuple[str, str], bias: str) -> None:
        n = self._emit("Cast", self._emit("MatMulInteger", left[0], b, left[2], right[1]), to=1)
        scale = self._emit("Mul", left[1], right[0])
        y = self._node.output[0]
        if bias:
            self._emit("Add", self._emit("Mul", n, scale), bias, outputs=(y,))
        else:
            self._emit("Mul", n, scale, outputs=(y,))


_NOT_THEIRS = frozenset({"channels_last", "opset"})
_LOWERINGS: Mapping[str, Callable[[_Lowering], None]] = {
    "DynamicQuantizeMatMul": _Lowering.dynamic_matmul,
    "MatMulIntegerToFloat": _Lowering.matmul_to_float,
    "QGemm": _Lowering.gemm,
    "QLinearAdd": _Lowering.two,
    "QLinearAveragePool": _Lowering.one,
    "QLinearConcat": _Lowering.concat,
    "QLinearConv": _Lowering.conv,
    "QLinearGlobalAveragePool": _Lowering.one,
    "QLinearLeakyRelu": _Lowering.one,
    "QLinearMatMul": _Lowering.matmul,
    "QLinearMul": _Lowering.two,
    "QLinearSigmoid": _Lowering.one,
    "QLinearSoftmax": _Lowering.one,
}

QUANTIZED = frozenset(_LOWERINGS)
"""What `lowered` replaces."""

MICROSOFT = QUANTIZED - {"QLinearConv", "QLinearMatMul"}
"""Those of the domain com.microsoft; the others are ONNX's."""
