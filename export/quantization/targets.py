"""What the integers are made for, and what differs between the targets.

Rule: nothing asks for a target's name; what depends on the target asks one of its properties. A new target is one row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..integer_types import INT8, UINT8, IntegerType

__all__ = ["TARGETS", "Target", "target_of"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One target of quantization.

    Attributes:
        name: as recipes, manifests and the command line call it.
        description: one line for people.
        engine: what runs its graphs, as messages call it.
        signed: activations are int8 with zero point 0; otherwise uint8.
        exact_here: ONNX Runtime's kernels on this machine are the target's own, so the share of MACs that they compute
            in integers is checked here. Otherwise the target's compiler reports it.
        compiles: `toolchain compile` makes an engine for it.
        unrounded_terms: a convolution that only an Add reads is not requantized before the sum.
        bare_moves: what moves numbers stands on the integers themselves; otherwise between quantizers.
        gelu: its engines know the operator Gelu, of opset 20.
    """

    name: str
    description: str
    engine: str
    signed: bool
    exact_here: bool
    compiles: bool
    unrounded_terms: bool
    bare_moves: bool
    gelu: bool

    @property
    def activations(self) -> IntegerType:
        """The integers of its activations."""
        return INT8 if self.signed else UINT8


_ALL = (
    Target(
        name="cpu",
        description="uint8 activations for ONNX Runtime on the processor",
        engine="ONNX Runtime",
        signed=False,
        exact_here=True,
        compiles=False,
        unrounded_terms=False,
        bare_moves=True,
        gelu=True,
    ),
    Target(
        name="tensorrt",
        description="symmetric int8 activations for TensorRT on NVIDIA GPUs",
        engine="TensorRT",
        signed=True,
        exact_here=False,
        compiles=True,
        unrounded_terms=True,
        bare_moves=False,
        gelu=False,
    ),
)

TARGETS: Mapping[str, Target] = {target.name: target for target in _ALL}
"""By name; the first is the default."""


def target_of(quantization: Mapping[str, Any]) -> Target | None:
    """The target that a bundle's manifest names in `quantization`; None for a float graph or a name not known here."""
    name = quantization.get("target")
    return TARGETS.get(name) if isinstance(name, str) else None
