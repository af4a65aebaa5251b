"""A graph of the operator under test between convolutions: quantized, and bit for bit the same in twin and engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from hardtemper.export.lower import lower_onnx
from hardtemper.export.proofs.executed_kernels import inspect_kernels
from hardtemper.export.proofs.parity import check_parity
from hardtemper.export.quantization.quantize import IntegerGraph, quantize

RNG = np.random.default_rng(0)
WEIGHTS = {
    "wa": RNG.normal(size=(4, 3, 3, 3)).astype(np.float32),
    "wb": RNG.normal(size=(4, 3, 1, 1)).astype(np.float32),
    "bias": RNG.normal(size=4).astype(np.float32),
}


class Exact(NamedTuple):
    """What became of a graph that is one function everywhere."""

    integer: IntegerGraph
    kernels: Counter[str]

    @property
    def floats(self) -> list[str]:
        return [found.operator for found in self.integer.float_operators]


@pytest.fixture
def exact(build: Callable[..., onnx.ModelProto], pixels: Callable[..., NDArray[np.uint8]]) -> Callable[..., Exact]:
    """(text, **constants): `text` makes y of two maps [N, 4, 6, 6], a and b, of which a has no numbers below zero.

    A Concat, which takes integers, reads y.
    """

    def check(text: str, **constants: Any) -> Exact:
        model = build(
            "u = Conv<pads=[1,1,1,1]>(image, wa, bias) a = Relu(u) b = Conv(image, wb, bias) "
            f"{text} z = Concat<axis=1>(y, y) logits = Flatten(z)",
            inputs={"image": "float[N,3,6,6]"},
            outputs={"logits": "float[N,L]"},
            constants=WEIGHTS | constants,
        )
        images = pixels(12, (3, 6, 6))
        integer = quantize(lower_onnx(model), images)
        parity = check_parity(integer.model, images)
        assert parity.exact, [(a.name, a.mismatches, a.largest) for a in parity.activations if a.mismatches]
        assert len(parity.activations) >= 2
        kernels = Counter(kernel.operator.split(".")[-1] for kernel in inspect_kernels(integer.model).kernels)
        return Exact(integer, kernels)

    return check
