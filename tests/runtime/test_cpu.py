from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest

from hardtemper.runtime import cpu

AVX512 = "avx2 avx512f avx512bw avx512dq avx512vl"

CASES = [
    # machine, system, /proc/cpuinfo (None: no such file), expected
    ("x86_64", "Linux", f"flags : {AVX512} avx512_vnni", "x86-64-vnni"),
    ("x86_64", "Linux", "flags : avx2 avx_vnni", "x86-64-vnni"),
    ("x86_64", "Linux", f"flags : {AVX512}", "x86-64-avx512"),
    ("x86_64", "Linux", "flags : avx2 avx512f", "x86-64-avx2"),
    ("x86_64", "Linux", "flags : avx2", "x86-64-avx2"),
    ("x86_64", "Linux", "flags : sse2 avx", "x86-64"),
    ("x86_64", "Linux", "", "x86-64"),
    ("x86_64", "Darwin", None, "x86-64"),
    ("AMD64", "Windows", None, "x86-64"),
    ("aarch64", "Linux", "Features : fp asimd asimddp", "aarch64-dotprod"),
    ("aarch64", "Linux", "Features : fp asimd", "aarch64"),
    ("arm64", "Darwin", None, "aarch64-dotprod"),
    ("ARM64", "Windows", None, "aarch64"),
    ("riscv64", "Linux", "isa : rv64imafdc", "riscv64"),
]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def pretend(machine: str, system: str, cpuinfo: str | None) -> None:
        monkeypatch.setattr(platform, "machine", lambda: machine)
        monkeypatch.setattr(platform, "system", lambda: system)
        monkeypatch.setattr(platform, "processor", lambda: "")
        path = tmp_path / "cpuinfo"
        if cpuinfo is not None:
            path.write_text(cpuinfo, encoding="utf-8")
        monkeypatch.setattr(cpu, "_CPUINFO", path)

    return pretend


@pytest.mark.parametrize(("name", "system", "cpuinfo", "expected"), CASES)
def test_instruction_set(machine, name: str, system: str, cpuinfo: str | None, expected: str) -> None:
    machine(name, system, cpuinfo)
    assert cpu.instruction_set() == expected


def test_only_the_first_processor_is_read(machine) -> None:
    machine("x86_64", "Linux", "processor : 0\nflags : avx2\n\nprocessor : 1\nflags : avx2 avx_vnni\n")
    assert cpu.instruction_set() == "x86-64-avx2"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("model name\t: AMD EPYC 9654: big\n", "AMD EPYC 9654: big"),
        ("CPU implementer : 0x41\nCPU part : 0xd0c\n", "ARM implementer 0x41 part 0xd0c"),
        ("", "riscv64"),
        (None, "riscv64"),
    ],
)
def test_cpu_name(machine, cpuinfo: str | None, expected: str) -> None:
    machine("riscv64", "Linux", cpuinfo)
    assert cpu.cpu_name() == expected


def test_this_machine_has_names() -> None:
    assert cpu.instruction_set()
    assert cpu.cpu_name()


@pytest.mark.parametrize("activation_bits", range(1, 9))
@pytest.mark.parametrize("weight_bits", range(1, 9))
def test_saturation_rule_against_int16_arithmetic(activation_bits: int, weight_bits: int) -> None:
    activation, weight = 2**activation_bits - 1, -(2 ** (weight_bits - 1))
    pair = np.int32(activation * weight + activation * weight)
    saturates = int(np.clip(pair, -(2**15), 2**15 - 1)) != int(pair)
    bits = {"activation_bits": activation_bits, "weight_bits": weight_bits}
    assert cpu.sums_can_saturate("x86-64-avx2", **bits) == saturates
    assert not cpu.sums_can_saturate("x86-64-vnni", **bits)
    assert not cpu.sums_can_saturate("aarch64", **bits)
