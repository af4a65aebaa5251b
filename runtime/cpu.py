"""Which integer instructions this processor has, asked without third-party packages.

Rule: the widest of x86-64-vnni > x86-64-avx512 > x86-64-avx2 > x86-64, or aarch64-dotprod > aarch64, from the flags
that Linux lists in /proc/cpuinfo. "avx512" means F, BW, DQ and VL together: ONNX Runtime's kernels (MLAS,
`platform.cpp`) ask for the four. Where there is no /proc/cpuinfo the answer is the least that the architecture
promises; every Apple arm64 chip has the dot product (ARMv8.4 and later).

Why it matters: without VNNI, MLAS multiplies uint8 by int8 with `vpmaddubsw`, which adds two neighbouring products in
int16 and saturates. Two products stay below 2^15 only if 2 * (2^a - 1) * 2^(w-1) < 2^15 for `a` activation and `w`
weight bits.
"""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ["cpu_name", "instruction_set", "sums_can_saturate"]

_CPUINFO = Path("/proc/cpuinfo")
_AVX512_CORE = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})
_SATURATING = frozenset({"x86-64", "x86-64-avx2", "x86-64-avx512"})


def instruction_set() -> str:
    """This machine's integer instructions.

    Returns:
        "x86-64-vnni", "x86-64-avx512", "x86-64-avx2", "x86-64", "aarch64-dotprod" or "aarch64"; `platform.machine()`
        for any other architecture.
    """
    machine = platform.machine()
    fields = _first_processor()
    if machine.lower() in ("x86_64", "amd64"):
        flags = set(fields.get("flags", "").split())
        if flags & {"avx512_vnni", "avx_vnni"}:
            return "x86-64-vnni"
        if flags >= _AVX512_CORE:
            return "x86-64-avx512"
        return "x86-64-avx2" if "avx2" in flags else "x86-64"
    if machine.lower() in ("aarch64", "arm64"):
        features = set(fields.get("Features", "").split())
        return "aarch64-dotprod" if "asimddp" in features or platform.system() == "Darwin" else "aarch64"
    return machine


def cpu_name() -> str:
    """The processor's name as the system gives it ("AMD EPYC 9654"), or the architecture's where it gives none."""
    fields = _first_processor()
    arm = f"ARM implementer {fields['CPU implementer']} part {fields['CPU part']}" if "CPU part" in fields else ""
    return fields.get("model name", "") or arm or platform.processor() or platform.machine() or "unknown"


def sums_can_saturate(instructions: str, *, activation_bits: int, weight_bits: int) -> bool:
    """Whether uint8 x int8 kernels can saturate int16 on a processor with these instructions (see the module's rule).

    Args:
        instructions: a name that `instruction_set` returns.
        activation_bits: bits of the unsigned activations, 1 to 8.
        weight_bits: bits of the signed weights, 1 to 8.
    """
    largest_pair = 2 * (2**activation_bits - 1) * 2 ** (weight_bits - 1)
    return instructions in _SATURATING and largest_pair >= 2**15


def _first_processor() -> dict[str, str]:
    """The fields of the first processor in /proc/cpuinfo; empty on systems that have no such file."""
    fields: dict[str, str] = {}
    try:
        with _CPUINFO.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                # The kernel writes the file as it is read: stopping early matters on machines with hundreds of cores.
                if not line.strip():
                    break
                key, _, value = line.partition(":")
                fields[key.strip()] = value.strip()
    except OSError:
        return {}
    return fields
