"""A measured number and where it was measured; nothing is reported without both.

Wilson 1927 (J. Am. Stat. Assoc. 22:209-212), the interval of a share p = k / n at confidence 1 - alpha:

    centre +- half    centre = (p + z^2 / 2n) / (1 + z^2 / n)
                      half   = z sqrt(p (1 - p) / n + z^2 / 4n^2) / (1 + z^2 / n),    z = Phi^-1(1 - alpha / 2)

It is right for small n and for shares near 0 and 1, where p +- 1.96 sigma leaves [0, 1].
"""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
import onnxruntime as ort

from ..runtime.backends.installed import installed_version
from ..runtime.cpu import cpu_name, instruction_set
from ..runtime.errors import InputError
from ..runtime.version import __version__
from .data.physical_memory import physical_bytes
from .measure_table import measure_of

__all__ = ["Environment", "Measurement", "Setting", "Skip", "measured", "share", "wilson"]

Setting = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One number.

    Attributes:
        name: what was measured; `measure_table.py` lists every name.
        value: finite.
        unit: as in `measure_table.py`.
        n: how many runs, images or files the number was taken from.
        spread: (low, high) around the value, as `measure_table.py` says; None where the number has none, such as the
            size of a file.
        settings: what the number depends on: batch, threads, attack, seed and so on.

    Raises:
        InputError: the value is not finite.
    """

    name: str
    value: float
    unit: str
    n: int
    spread: tuple[float, float] | None = None
    settings: Mapping[str, Setting] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise InputError(f"measurement {self.name!r}", expected="a finite number", got=str(self.value))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; `from_dict` gives it back. A bundle's manifest takes it as it is."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "n": self.n,
            "spread": None if self.spread is None else list(self.spread),
            "settings": dict(self.settings),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Measurement:
        """Read what `to_dict` wrote."""
        spread = value["spread"]
        return cls(**{**value, "spread": None if spread is None else (spread[0], spread[1])})


@dataclass(frozen=True, kw_only=True, slots=True)
class Skip:
    """Something that was not measured, and the reason."""

    what: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """The machine and the software that numbers were measured on.

    Attributes:
        cpu: the processor's name.
        instruction_set: see `runtime/cpu.py`.
        cores: logical processors that this process may use.
        memory_mib: physical memory in MiB; None where the system does not say.
        os: name and release of the operating system.
        versions: of python, hardtemper, numpy, onnxruntime, the backends that took part, and torch where it is loaded.
    """

    cpu: str
    instruction_set: str
    cores: int
    memory_mib: int | None
    os: str
    versions: Mapping[str, str]

    @classmethod
    def here(cls, *backends: str) -> Environment:
        """This machine, this process; `backends` took part in what was measured."""
        # Asked of the loaded module: looking torch up on disk would name a version that took no part.
        loaded = {"torch": str(sys.modules["torch"].__version__)} if "torch" in sys.modules else {}
        versions = {
            "python": platform.python_version(),
            "hardtemper": __version__,
            "numpy": np.__version__,
            "onnxruntime": str(ort.__version__),
            **{name: str(installed_version(name)) for name in backends},
        }
        return cls(
            cpu=cpu_name(),
            instruction_set=instruction_set(),
            cores=_cores(),
            memory_mib=_memory_mib(),
            os=f"{platform.system()} {platform.release()}",
            versions=versions | loaded,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; `Environment(**value)` gives it back."""
        return asdict(self)


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a share, (low, high), 0 <= low <= successes / n <= high <= 1.

    Args:
        successes: 0 to n.
        n: trials, 1 or more.
        confidence: in (0, 1).

    Raises:
        InputError: an argument is out of range.
    """
    if not (0 <= successes <= n and n >= 1 and 0 < confidence < 1):
        raise InputError(
            "wilson",
            expected="0 <= successes <= n, n >= 1, 0 < confidence < 1",
            got=f"successes {successes}, n {n}, confidence {confidence}",
        )
    p, z = successes / n, NormalDist().inv_cdf(0.5 + confidence / 2)
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At the ends the equation gives 0 and 1 exactly; floating point does not.
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)


def measured(
    name: str,
    value: float,
    *,
    n: int,
    spread: tuple[float, float] | None = None,
    settings: Mapping[str, Setting] | None = None,
) -> Measurement:
    """A measurement in the unit that `measure_table.py` gives its name.

    Raises:
        InputError: no measure has that name, or the value is not finite.
    """
    unit = measure_of(name).unit
    return Measurement(name=name, value=value, unit=unit, n=n, spread=spread, settings=settings or {})


def share(name: str, successes: int, n: int, **settings: Setting) -> Measurement:
    """`successes` of `n` in per cent, with its 95 % Wilson interval."""
    low, high = wilson(successes, n)
    return measured(name, 100 * successes / n, n=n, spread=(100 * low, 100 * high), settings=settings)


def _cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_mib() -> int | None:
    memory = physical_bytes()
    return None if memory is None else memory // 2**20
