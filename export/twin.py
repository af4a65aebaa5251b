"""ONNX -> a differentiable torch module, node for node: the twin of the engine.

The twin computes on the integers. Behind a DequantizeLinear a value is not a float tensor but a pair (n, s) that stands
for s * n, with n integer-valued; convolutions, sums and pools work on n alone, and QuantizeLinear makes of it

    q = clamp(round_half_even(n * m) + z),    m = fl(s / s_y)

one float32 multiplication, which is what integer kernels do with an int32 accumulator. Sums of dequantized floats
would round, and near ties round differently. Gradients are straight-through: round and the weights' rounding have
derivative one, a clamp has derivative zero outside its range.

Any classifier graph of the operators in `twin_ops` works, float or Q/DQ, whoever made it. torch is imported here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from ..runtime.errors import ModelError, UnsupportedOperatorError
from .scaled import Value, dense, round_ste
from .twin_ops import OPERATORS

__all__ = ["Twin"]


class Twin(nn.Module):
    """The differentiable form of an ONNX classifier.

    Args:
        model: one image input, [N, C, H, W] uint8 (pixels) or float in [0, 1]; first output: logits [N, K].
        shadow: float values to train instead of the stored integers, by initializer name (`IntegerGraph.shadow`).

    Attributes:
        takes_pixels: whether the graph's input is uint8.
        input_shape: (C, H, W).
        output: name of the logits in the graph.

    Raises:
        UnsupportedOperatorError: operators that the twin does not know, all of them listed.
        ModelError: a graph that is not an image classifier.
    """

    def __init__(self, model: onnx.ModelProto, *, shadow: Mapping[str, npt.NDArray[np.float32]] | None = None) -> None:
        super().__init__()
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        graph = self._model.graph
        known = {t.name for t in graph.initializer}
        inputs = [i for i in graph.input if i.name not in known]
        if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
            raise ModelError(
                "the ONNX graph",
                expected="one input [N, C, H, W]",
                got=f"{len(inputs)} inputs",
                fix="export a classifier",
            )
        self._input = inputs[0].name
        self.takes_pixels = inputs[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
        dims = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim]
        self.input_shape: tuple[int, int, int] = (dims[1], dims[2], dims[3])
        self.output = graph.output[0].name
        self._nodes = [_Node(node) for node in graph.node]
        _refuse_unknown(self._nodes)
        self._constants: dict[str, str] = {}
        self._integers: dict[str, str] = {}
        self._limits: dict[str, tuple[float, float]] = {}
        self._load_constants(shadow or {})

    def _load_constants(self, shadow: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """Weights become parameters, everything else buffers; an integer weight is trained through its shadow."""
        graph = self._model.graph
        weights = _trained(self._nodes)
        scales = {node.inputs[0]: node.inputs[1] for node in self._nodes if node.op_type == "DequantizeLinear"}
        axes = {node.inputs[0]: node.attributes.get("axis", 1) for node in self._nodes}
        arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        for node in list(self._nodes):
            if node.op_type == "Constant":
                arrays[node.outputs[0]] = _constant_of(node)
                self._nodes.remove(node)
        for index, (name, array) in enumerate(arrays.items()):
            key = f"c{index}"
            self._constants[name] = key
            tensor = torch.from_numpy(np.array(array, order="C"))
            if name in weights and array.dtype.kind == "i" and name in scales:
                self._integers[name] = key
                step = _along(torch.from_numpy(np.array(arrays[scales[name]])), tensor.dim(), axes[name])
                values = torch.from_numpy(np.array(shadow[name])) if name in shadow else tensor * step
                self.register_buffer(f"{key}_step", step)
                # a shadow starts at the integer it was rounded to, so that the first forward is the graph as it stands
                exact = torch.where((values / step).round() == tensor, values, tensor * step)
                self.register_parameter(key, nn.Parameter(exact))
                self._limits[key] = _limits(array)
            elif name in weights and array.dtype.kind == "f":
                self.register_parameter(key, nn.Parameter(tensor))
            else:
                self.register_buffer(key, tensor)

    def _constant(self, name: str) -> Value:
        key = self._constants[name]
        stored: Tensor = getattr(self, key)
        if name not in self._integers:
            return stored
        step: Tensor = getattr(self, f"{key}_step")
        return round_ste(stored / step).clamp(*self._limits[key])

    def forward(self, images: Tensor) -> Tensor:
        """Logits float32 [N, K] of float images [N, C, H, W] in [0, 1].

        Where the graph takes pixels, x * 255 is rounded to them with a straight-through gradient.
        """
        return dense(self._run(images, ())[self.output])

    def activations(self, images: Tensor) -> dict[str, Tensor]:
        """Every QuantizeLinear's output as integer-valued tensors, and the logits, by ONNX value name."""
        found = self._run(images, self.quantizers)
        return {name: dense(found[name]) for name in [*self.quantizers, self.output]}

    @property
    def quantizers(self) -> tuple[str, ...]:
        """The results of the QuantizeLinear nodes on activations, in graph order."""
        nodes = [node for node in self._nodes if node.op_type == "QuantizeLinear"]
        return tuple(node.outputs[0] for node in nodes if node.inputs[0] not in self._constants)

    def _run(self, images: Tensor, keep: Iterable[str]) -> dict[str, Value]:
        x = images
        if self.takes_pixels:
            x = round_ste(images * 255).clamp(0, 255)
        values: dict[str, Value] = {self._input: x}
        kept: dict[str, Value] = {}
        wanted = {*keep, self.output}
        left = self._readers()
        for node in self._nodes:
            arguments = [
                None if not name else values[name] if name in values else self._constant(name) for name in node.inputs
            ]
            values[node.outputs[0]] = result = OPERATORS[node.op_type](node.attributes, *arguments)
            if node.outputs[0] in wanted:
                kept[node.outputs[0]] = result
            for name in node.inputs:
                left[name] = left.get(name, 0) - 1
                if left[name] == 0:
                    values.pop(name, None)
        return kept

    def _readers(self) -> dict[str, int]:
        count: dict[str, int] = {}
        for node in self._nodes:
            for name in node.inputs:
                count[name] = count.get(name, 0) + 1
        return count

    def to_onnx(self) -> onnx.ModelProto:
        """The ONNX graph with the trained weights written back: integers where it held integers."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        parameters = dict(self.named_parameters())
        for tensor in model.graph.initializer:
            key = self._constants[tensor.name]
            if key not in parameters:
                continue
            with torch.no_grad():
                value = dense(self._constant(tensor.name)).cpu().numpy()
            stored = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(value.astype(stored.dtype), tensor.name))
        return model

    def shadow(self) -> dict[str, npt.NDArray[np.float32]]:
        """The float values behind the integers, as trained, by initializer name."""
        parameters = dict(self.named_parameters())
        return {name: parameters[key].detach().cpu().numpy() for name, key in self._integers.items()}


class _Node:
    """A node with its attributes as plain Python values."""

    __slots__ = ("attributes", "domain", "inputs", "name", "op_type", "outputs")

    def __init__(self, node: onnx.NodeProto) -> None:
        self.op_type = node.op_type
        self.domain = node.domain
        self.name = node.name
        self.inputs = list(node.input)
        self.outputs = list(node.output)
        self.attributes: dict[str, Any] = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _refuse_unknown(nodes: list[_Node]) -> None:
    unknown: dict[str, list[str]] = {}
    for node in nodes:
        if node.op_type not in OPERATORS and node.op_type != "Constant":
            label = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            unknown.setdefault(label, []).append(node.name or node.outputs[0])
    if unknown:
        raise UnsupportedOperatorError(
            "the twin does not know all operators of this graph",
            expected=", ".join(sorted(OPERATORS)),
            got=", ".join(f"{op} ({', '.join(names[:3])})" for op, names in sorted(unknown.items())),
            fix="attack this graph with black-box attacks only",
        )


def _trained(nodes: list[_Node]) -> set[str]:
    """Names of the tensors that Conv, Gemm and MatMul take as weights and biases, through Q/DQ where there is one."""
    source = {
        node.outputs[0]: node.inputs[0] for node in nodes if node.op_type in ("DequantizeLinear", "QuantizeLinear")
    }
    found: set[str] = set()
    for node in nodes:
        if node.op_type not in ("Conv", "Gemm", "MatMul", "Add"):
            continue
        for name in node.inputs[0 if node.op_type in ("Add", "MatMul") else 1 :]:
            while name in source:
                name = source[name]
            found.add(name)
    return found


def _constant_of(node: _Node) -> npt.NDArray[Any]:
    (value,) = node.attributes.values()
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.array(value)


def _limits(array: npt.NDArray[Any]) -> tuple[float, float]:
    """The integers that a stored tensor may take: its type's, symmetric, or 7 bits where it holds no more."""
    kind = np.iinfo(array.dtype)
    if array.dtype == np.int8:
        largest = 63 if np.abs(array.astype(np.int16)).max(initial=0) <= 63 else 127
        return min(-largest, float(array.min(initial=0))), largest
    return float(kind.min), float(kind.max)


def _along(step: Tensor, rank: int, axis: int) -> Tensor:
    """A per-channel vector shaped so that it broadcasts along `axis` of a tensor of `rank`."""
    if step.numel() == 1:
        return step.reshape(())
    shape = [1] * rank
    shape[axis % rank] = -1
    return step.reshape(shape)
