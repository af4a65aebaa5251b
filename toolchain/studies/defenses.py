"""A zoo of broken defenses: graphs around a classifier that hide its gradients and leave it as weak as it was.

A defense is ONNX text before the classifier (`image` -> `x`) or behind it (`scores` -> `logits`). The kinds are those
of Athalye et al. 2018 (arXiv:1802.00420: gradients that shatter, vanish, explode or are random), with the defenses that
Carlini et al. 2019 (arXiv:1902.06705) and Tramer et al. 2020 (arXiv:2002.08347) took apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

__all__ = ["DEFENSES", "Defense", "defended"]

Array = NDArray[Any]

_OPSET = 18


@dataclass(frozen=True, kw_only=True, slots=True)
class Defense:
    """One of the zoo.

    Attributes:
        what: what it does to gradients.
        before: nodes that make `x` of `image`, in ONNX's textual syntax; "" for none.
        behind: nodes that make `logits` of `scores`; "" for none.
        constants: what the nodes name, by name.
        square: the images are padded to a multiple of 8, as `padded`, and cut back from `restored`.
    """

    what: str
    before: str = ""
    behind: str = ""
    constants: Mapping[str, Any] = field(default_factory=dict)
    square: bool = False


def _f(value: Any) -> Array:
    return np.asarray(value, np.float32)


def _i(*values: int) -> Array:
    return np.asarray(values, np.int64)


_TWELFTHS = _f((np.arange(12) + 0.5) / 12).reshape(12, 1, 1)
_SIXTEENTHS = _f(np.arange(1, 17) / 16).reshape(16, 1, 1)

DEFENSES: Mapping[str, Defense] = {
    "none": Defense(what="the network itself"),
    "floor": Defense(
        what="the image has few levels: Floor has no slope",
        before="m = Mul(image, n) f = Floor(m) x = Div(f, n)",
        constants={"n": _f(12)},
    ),
    "floor, four levels": Defense(
        what="the image has four levels; most pixels cannot be moved to another one",
        before="m = Mul(image, n) f = Floor(m) x = Div(f, n)",
        constants={"n": _f(4)},
    ),
    "cast to integers": Defense(
        what="the image goes through int64",
        before="m = Mul(image, n) i = Cast<to=7>(m) f = Cast<to=1>(i) x = Div(f, n)",
        constants={"n": _f(22)},
    ),
    "bit depth": Defense(
        what="the image goes through a coarse QuantizeLinear",
        before="q = QuantizeLinear(image, s, z) x = DequantizeLinear(q, s, z)",
        constants={"s": _f(1 / 10), "z": np.uint8(0)},
    ),
    "thermometer code": Defense(
        what="each pixel becomes twelve comparisons (Buckman et al. 2018)",
        before="g = Greater(image, levels) c = Cast<to=1>(g) u = ReduceSum<keepdims=1>(c, one) x = Div(u, n)",
        constants={"levels": _TWELFTHS, "one": _i(1), "n": _f(12)},
    ),
    "signs": Defense(
        what="each pixel becomes the mean of sixteen signs",
        before="d = Sub(image, levels) s = Sign(d) u = ReduceMean<keepdims=1>(s, one) v = Add(u, l) x = Mul(v, half)",
        constants={"levels": _SIXTEENTHS, "one": _i(1), "l": _f(1), "half": _f(0.5)},
    ),
    "shattered": Defense(
        what="a saw: the gradient points the other way everywhere",
        before="r = Mod<fmod=1>(image, p) t = Mul(r, two) d = Sub(image, t) x = Add(d, p)",
        constants={"p": _f(1 / 128), "two": _f(2)},
    ),
    "exploding": Defense(
        what="sqrt(x)^2: the gradient is not a number where a pixel is black",
        before="s = Sqrt(image) x = Mul(s, s)",
    ),
    "jpeg": Defense(
        what="the image's 8 x 8 cosine transform is rounded (Guo et al. 2018)",
        before="""a = MatMul(padded, transposed) b = MatMul(cosines, a) m = Mul(b, n) r = Round(m) d = Div(r, n)
                  e = MatMul(d, cosines) restored = MatMul(transposed, e)""",
        constants={"n": _f(100)},
        square=True,
    ),
    "noise": Defense(
        what="Gaussian noise on the image, new at every call",
        before="r = RandomNormalLike<scale=0.02>(image) x = Add(image, r)",
    ),
    "noisy rounding": Defense(
        what="levels at random: the noise hides the steps, the steps hide the gradient",
        before="r = RandomUniformLike(image) m = Mul(image, n) a = Add(m, r) f = Floor(a) x = Div(f, n)",
        constants={"n": _f(20)},
    ),
    "random shift": Defense(
        what="the image is padded and cut at random (Xie et al. 2018)",
        before="""p = Pad(image, sides) r = RandomUniform<shape=[2], low=0.0, high=1.999>() f = Floor(r)
                  s = Cast<to=7>(f) e = Add(s, size) x = Slice(p, s, e, axes)""",
        constants={"sides": _i(0, 0, 0, 0, 0, 0, 1, 1), "axes": _i(2, 3)},
    ),
    "huge logits": Defense(
        what="the cross-entropy is zero in float32",
        behind="logits = Mul(scores, k)",
        constants={"k": _f(1e5)},
    ),
    "softmax in half precision": Defense(
        what="a sharp softmax behind a Cast to float16 gives 0 and 1",
        behind="m = Mul(scores, k) h = Cast<to=10>(m) s = Softmax<axis=1>(h) logits = Cast<to=1>(s)",
        constants={"k": _f(300)},
    ),
    "rounded probabilities": Defense(
        what="two decimals of a sharp softmax",
        behind="m = Mul(scores, k) s = Softmax<axis=1>(m) p = Mul(s, n) r = Round(p) logits = Div(r, n)",
        constants={"k": _f(5), "n": _f(100)},
    ),
    "rounded logits": Defense(
        what="logits in steps of a half",
        behind="d = Div(scores, k) r = Round(d) logits = Mul(r, k)",
        constants={"k": _f(0.5)},
    ),
    "labels only": Defense(
        what="1 for the largest logit, 0 for the others",
        behind="t = ReduceMax<keepdims=1>(scores, one) g = Equal(scores, t) logits = Cast<to=1>(g)",
        constants={"one": _i(1)},
    ),
    "detector": Defense(
        what="an answer that is sure enough is replaced by a constant one",
        behind="""t = ReduceMax<keepdims=1>(scores, one) g = Equal(scores, t) c = Cast<to=1>(g)
                  p = Softmax<axis=1>(scores) q = ReduceMax<keepdims=1>(p, one) sure = Greater(q, limit)
                  logits = Where(sure, c, p)""",
        constants={"one": _i(1), "limit": _f(0.6)},
    ),
}
"""By name; "none" first."""


def defended(network: nn.Sequential, shape: tuple[int, int, int], defense: Defense) -> onnx.ModelProto:
    """The network as float ONNX with the defense around it.

    Args:
        network: of Conv2d, ReLU, Flatten and Linear.
        shape: (C, H, W) of its images.
        defense: one of `DEFENSES`.
    """
    text, constants = _network(network)
    before, more = defense.before or "x = Identity(image)", dict(defense.constants)
    if defense.square:
        before, more = _padded(before, more, shape)
    more["size"] = _i(*shape[1:])
    nodes = f"{before} {text} {defense.behind or 'logits = Identity(scores)'}"
    c, h, w = shape
    classes = [layer for layer in network if isinstance(layer, nn.Linear)][-1].out_features
    header = f'<ir_version: 8, opset_import: ["" : {_OPSET}]>'
    model = onnx.parser.parse_model(
        f"{header} defended (float[N,{c},{h},{w}] image) => (float[N,{classes}] logits) {{ {nodes} }}"
    )
    used = {name for node in model.graph.node for name in node.input}
    for name, value in {**constants, **more}.items():
        if name in used:
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    onnx.checker.check_model(model, full_check=True)
    return model


_PLAIN: Mapping[type[nn.Module], str] = {nn.ReLU: "Relu", nn.Flatten: "Flatten"}


def _network(network: nn.Sequential) -> tuple[str, dict[str, Array]]:
    """Nodes that make `scores` of `x`, and their constants."""
    text: list[str] = []
    constants: dict[str, Array] = {}
    now = "x"
    for number, layer in enumerate(network):
        made = "scores" if number + 1 == len(network) else f"layer{number}"
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert layer.bias is not None
            constants |= {f"w{number}": layer.weight.detach().numpy(), f"b{number}": layer.bias.detach().numpy()}
        if isinstance(layer, nn.Conv2d):
            pad, step = layer.padding[0], layer.stride[0]
            settings = f"pads=[{pad},{pad},{pad},{pad}], strides=[{step},{step}]"
            text.append(f"{made} = Conv<{settings}>({now}, w{number}, b{number})")
        elif isinstance(layer, nn.Linear):
            text.append(f"{made} = Gemm<transB=1>({now}, w{number}, b{number})")
        else:
            text.append(f"{made} = {_PLAIN[type(layer)]}({now})")
        now = made
    return " ".join(text), constants


def _padded(before: str, constants: dict[str, Any], shape: tuple[int, int, int]) -> tuple[str, dict[str, Any]]:
    """Around nodes that make `restored` of `padded`, for the block-wise cosine transform."""
    side = 8 * math.ceil(max(shape[1:]) / 8)
    cosines = np.kron(np.eye(side // 8), _cosines())
    constants |= {"cosines": _f(cosines), "transposed": _f(cosines.T)}
    constants["more"] = _i(0, 0, 0, 0, 0, 0, side - shape[1], side - shape[2])
    constants |= {"nought": _i(0, 0), "plane": _i(2, 3)}
    return f"padded = Pad(image, more) {before} x = Slice(restored, nought, size, plane)", constants


def _cosines() -> NDArray[np.float64]:
    """The orthonormal DCT-II of 8 numbers, as a matrix."""
    k, n = np.arange(8)[:, None], np.arange(8)[None]
    matrix: NDArray[np.float64] = np.cos(np.pi * (2 * n + 1) * k / 16) * math.sqrt(2 / 8)
    matrix[0] /= math.sqrt(2)
    return matrix
