"""The operators whose sizes are told from the file: those of ordinary image classifiers.

Rule: from shapes and constants of the inputs follow the shapes of the outputs, as ONNX defines them. What a rule was
not written for (a stride of 0, a Reshape that does not come out even, computed sizes) is an `UntoldError`, no guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .given import Given, Rule, Shape, axis_of, need
from .moved_sizes import flatten, gather, pad, reduced, reshape, slice_, split, squeeze, transpose, unsqueeze
from .tensor_data import ELEMENT_TYPES
from .window_sizes import conv, global_pool, pool

__all__ = ["RULES"]


def _as(place: int, outputs: int = 1) -> Rule:
    return lambda given: [given.shape(place)] * outputs


def _broadcast(*places: int) -> Rule:
    def rule(given: Given) -> Sequence[Shape]:
        shapes = [given.shape(place) for place in places or range(len(given.shapes))]
        rank = max(map(len, shapes), default=0)
        found = []
        for sizes in zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True):
            need(len(set(sizes) - {1}) <= 1)
            found.append(next((size for size in sizes if size != 1), 1))
        return [tuple(found)]

    return rule


def _gemm(place: int) -> Rule:
    def rule(given: Given) -> Sequence[Shape]:
        a, b = given.shape(0), given.shape(place)
        need(len(a) == len(b) == 2)
        a = a[::-1] if given.number(b"transA", 0) else a
        b = b[::-1] if given.number(b"transB", 0) else b
        need(a[1] == b[0])
        return [(a[0], b[1])]

    return rule


def _matmul(place: int) -> Rule:
    def rule(given: Given) -> Sequence[Shape]:
        a, b = given.shape(0), given.shape(place)
        need(len(a) >= 2 and len(b) >= 2 and a[-1] == b[-2])
        (outer,) = _broadcast(0, 1)(given._replace(shapes=(a[:-2], b[:-2])))
        return [(*outer, a[-2], b[-1])]

    return rule


def _concat(first: int, step: int) -> Rule:
    def rule(given: Given) -> Sequence[Shape]:
        shapes = [given.shape(place) for place in range(first, len(given.shapes), step)]
        need(bool(shapes) and b"axis" in given.attributes)
        axis = axis_of(given.number(b"axis", 0), len(shapes[0]))
        need(len({len(shape) for shape in shapes}) == 1)
        need(len({(*shape[:axis], -1, *shape[axis + 1 :]) for shape in shapes}) == 1)
        return [(*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])]

    return rule


def _filled(given: Given) -> Sequence[Shape]:
    sizes = given.constant(0)
    need(min(sizes, default=1) >= 0)
    return [sizes]


def _expand(given: Given) -> Sequence[Shape]:
    x, sizes = given.shape(0), given.constant(1)
    need(min(sizes, default=1) >= 1)
    return _broadcast(0, 1)(given._replace(shapes=(x, sizes)))


def _cast(given: Given) -> Sequence[Shape]:
    need(given.number(b"to", 0) in ELEMENT_TYPES)
    return [given.shape(0)]


def _shape(given: Given) -> Sequence[Shape]:
    """Since opset 15 a part of the sizes, cut out as Python's slices are."""
    rank = len(given.shape(0))
    return [(len(range(*slice(given.number(b"start", 0), given.number(b"end", rank)).indices(rank))),)]


# fmt: off
_SAME = (
    "Abs", "BatchNormalization", "Ceil", "Celu", "Clip", "DequantizeLinear", "Elu", "Erf", "Exp", "Floor",
    "Gelu", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "LayerNormalization", "LeakyRelu", "Log",
    "LogSoftmax", "Mish", "Neg", "Not", "QLinearLeakyRelu", "QLinearSigmoid", "QLinearSoftmax", "QuantizeLinear",
    "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softmax", "Softplus", "Softsign", "Sqrt", "Tanh",
)
_TOGETHER = (
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod",
    "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor",
)
# fmt: on

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_SAME, _as(0)),
    "Cast": _cast,
    **dict.fromkeys(_TOGETHER, _broadcast()),
    **dict.fromkeys(("ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"), reduced),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "QLinearGlobalAveragePool"), global_pool),
    **dict.fromkeys(("AveragePool", "MaxPool", "QLinearAveragePool"), pool),
    **dict.fromkeys(("QLinearAdd", "QLinearMul"), _broadcast(0, 3)),
    "Concat": _concat(0, 1),
    "ConstantOfShape": _filled,
    "Conv": conv(1),
    "ConvInteger": conv(1),
    "Dropout": _as(0, 2),
    "DynamicQuantizeLinear": lambda given: [given.shape(0), (), ()],
    "Expand": _expand,
    "Flatten": flatten,
    "Gather": gather,
    "Gemm": _gemm(1),
    "MatMul": _matmul(1),
    "MatMulInteger": _matmul(1),
    "Pad": pad,
    "QGemm": _gemm(3),
    "QLinearConcat": _concat(2, 3),
    "QLinearConv": conv(3),
    "QLinearMatMul": _matmul(3),
    "Reshape": reshape,
    "Shape": _shape,
    "Slice": slice_,
    "Split": split,
    "Squeeze": squeeze,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
"""By operator; the quantized ones of com.microsoft among them, whose names ONNX does not use otherwise."""
