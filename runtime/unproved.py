"""Whether a bundle was proved on this engine and this processor, and why its logits may be others where it was not.

Rule: a bundle lists where it was proved (`bundle/proved_on.py`). Another engine may round otherwise, so may one on
another architecture, and sums of uint8 x int8 products saturate where an instruction set has no VNNI (`cpu.py`). A
float graph promises nothing, so nothing is said of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .bundle.manifest import Manifest
from .bundle.proved_on import proved_on
from .cpu import instruction_set, sums_can_saturate

__all__ = ["UnprovedWarning", "unproved"]


class UnprovedWarning(UserWarning):
    """This engine on this processor may compute other logits than those that the bundle was proved to give."""


def unproved(manifest: Manifest, engine: str) -> str:
    """Why the bundle's proofs do not hold for an engine here, in one line; "" where they do.

    Args:
        manifest: the bundle's.
        engine: the backend's name, one that runs on the processor.

    Raises:
        BundleFormatError: the manifest's list of engines cannot be used.
    """
    scheme, here = manifest.quantization, instruction_set()
    if not scheme:
        return ""
    every = proved_on(manifest)
    listed = [entry for entry in every if entry.engine == engine]
    if any(entry.instruction_set == here for entry in listed):
        return ""
    flag = "" if engine == "onnxruntime" else f" --backend {engine}"
    fix = f"run `toolchain verify{flag}` on this machine"
    if not listed:
        names = ", ".join(dict.fromkeys(entry.engine for entry in every)) or "no engine"
        return f"the bundle was proved on {names}, not on {engine}, whose kernels may round differently; {fix}"
    known = ", ".join(dict.fromkeys(entry.instruction_set for entry in listed))
    where = f"this processor is {here}, the bundle was proved on {known}"
    if all(entry.architecture != here.partition("-")[0] for entry in listed):
        # MLAS on NEON rounds the ties of a quantized sum away from zero, on x86 to even
        return f"{where}: kernels of another architecture may round ties differently; {fix}"
    if scheme.get("activation_type", "uint8") == "uint8" and sums_can_saturate(
        here, activation_bits=_bits(scheme, "activation_bits"), weight_bits=_bits(scheme, "weight_bits")
    ):
        return f"{where}: without VNNI, sums of uint8 x int8 products can saturate and change logits; {fix}"
    return ""


def _bits(scheme: Mapping[str, Any], key: str) -> int:
    # A scheme that does not say is taken for the one that saturates first.
    bits = scheme.get(key)
    return bits if isinstance(bits, int) and 1 <= bits <= 8 else 8
