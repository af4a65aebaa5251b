"""Every function of one tensor: exact, away from ties, and with a gradient that is the real function's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from hardtemper.export.lower import lower_onnx
from hardtemper.export.quantization.quantize import quantize
from hardtemper.export.quantization.scheme import Scheme
from hardtemper.export.quantization.ties import NEAREST
from hardtemper.export.twin.twin import Twin

CONSTANTS: dict[str, Any] = {
    "one": np.float32(1), "half": np.float32(0.5), "root": np.float32(2**0.5), "three": np.float32(3),
    "six": np.float32(6), "zero": np.float32(0), "k": np.float32(1.702), "cube": np.float32(3),
    "c1": np.float32(0.044715), "c2": np.float32(0.7978845608), "slope": np.linspace(-0.2, 0.4, 4, dtype=np.float32),
}  # fmt: skip
CONSTANTS["slope"] = CONSTANTS["slope"].reshape(4, 1, 1)

FUNCTIONS = {
    "silu": ("g = Sigmoid(b) y = Mul(b, g)", []),
    "sigmoid": ("y = Sigmoid(b)", []),
    "leaky relu": ("y = LeakyRelu<alpha=0.1>(b)", []),
    "relu": ("r = Relu(b) y = Concat<axis=1>(r, b)", []),
    "clip": ("r = Clip(b, zero, six) y = Concat<axis=1>(r, b)", []),
    "h-swish": ("y = HardSwish(b)", ["HardSwish"]),
    "h-swish of parts": ("t = Add(b, three) c = Clip(t, zero, six) m = Mul(b, c) y = Div(m, six)",
                         ["Add, Clip, Mul, Div"]),
    "h-sigmoid": ("h = HardSigmoid(b) y = Concat<axis=1>(h, b)", ["HardSigmoid"]),
    "tanh": ("y = Tanh(b)", ["Tanh"]),
    "gelu of erf": ("d = Div(b, root) e = Erf(d) f = Add(e, one) m = Mul(b, f) y = Mul(m, half)", ["Gelu"]),
    "gelu of tanh": (("p = Pow(b, cube) q = Mul(p, c1) s = Add(b, q) t = Mul(s, c2) h = Tanh(t) v = Add(h, one) "
                     "m = Mul(b, v) y = Mul(m, half)"), ["Pow, Mul, Add, Tanh"]),
    "quick gelu": ("t = Mul(b, k) g = Sigmoid(t) y = Mul(b, g)", ["Mul, Sigmoid"]),
    "elu": ("y = Elu(b)", ["Elu"]),
    "selu": ("y = Selu(b)", ["Selu"]),
    "celu": ("y = Celu<alpha=0.7>(b)", ["Celu"]),
    "prelu": ("y = PRelu(b, slope)", ["PRelu"]),
    "mish": ("y = Mish(b)", ["Mish"]),
    "mish of parts": ("s = Softplus(b) t = Tanh(s) y = Mul(b, t)", ["Softplus, Tanh, Mul"]),
    "softplus of parts": ("e = Exp(b) f = Add(e, one) y = Log(f)", ["Exp, Add, Log"]),
    "softsign": ("s = Abs(b) t = Add(s, one) y = Div(b, t)", ["Abs, Add, Div"]),
    "residual": ("t = Tanh(b) y = Add(b, t)", ["Tanh, Add"]),
}  # fmt: skip


def _constants(text: str) -> dict[str, Any]:
    names = set(text.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return {name: value for name, value in CONSTANTS.items() if name in names}


@pytest.mark.parametrize(("text", "floats"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions(text: str, floats: list[str], exact: Callable[..., Any]) -> None:
    found = exact(text, **_constants(text))
    assert found.floats == floats
    distances = found.integer.tie_distances
    assert len(distances) == (0 if "r = " in text else 1)
    assert all(far >= NEAREST for far in distances.values())
    assert found.kernels["QLinearConv"] == 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_the_real_functions(name: str, build: Callable[..., Any], run: Callable[..., Any]) -> None:
    """The twin's gradient against central differences of the float graph, of one pixel in each image."""
    text = FUNCTIONS[name][0]
    rng = np.random.default_rng(4)
    weight = (2 * rng.normal(size=(4, 1, 1, 1))).astype(np.float32)
    model = build(
        f"b = Conv(image, w, bias) {text} logits = Flatten(y)",
        inputs={"image": "float[N,1,2,2]"},
        outputs={"logits": "float[N,L]"},
        constants={"w": weight, "bias": rng.normal(size=4).astype(np.float32), **_constants(text)},
    )
    images = rng.integers(8, 248, (64, 1, 2, 2)).astype(np.uint8)
    twin = Twin(quantize(lower_onnx(model), images, scheme=Scheme(observer="minmax")).model)
    x = torch.from_numpy(images).float().div(255).requires_grad_()
    (found,) = torch.autograd.grad(twin(x).sum(), x)
    step = 4 / 255
    floats = x.detach().numpy()
    beside = [floats + sign * step * (np.indices((2, 2)).sum(0) == 0).astype(np.float32) for sign in (1, -1)]
    up, down = (run(model, {"image": image})[0].sum(1) for image in beside)
    wanted = (up - down) / (2 * step)
    assert np.abs(found[:, 0, 0, 0].numpy() - wanted).mean() < 0.12 * np.abs(wanted).mean() + 0.02
