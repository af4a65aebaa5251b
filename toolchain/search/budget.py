"""What a search may spend: `latency_ms=0.2`, `size_kib=100` or `macs=5e6`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ...runtime.errors import InputError

__all__ = ["BUDGETS", "Budget"]

BUDGETS: Mapping[str, str] = MappingProxyType(
    {
        "latency_ms": "measured milliseconds of the INT8 engine for one image, one thread of this machine",
        "size_kib": "KiB of the stored integer graph",
        "macs": "multiply-accumulates for one image",
    }
)
"""What each key counts."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a point of the front may cost.

    Attributes:
        key: of `BUDGETS`.
        limit: above 0, in the key's unit.
    """

    key: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Budget:
        """From KEY=VALUE.

        Raises:
            InputError: an unknown key, or no number above 0.
        """
        key, equals, value = (part.strip() for part in text.partition("="))
        if key not in BUDGETS or not equals:
            near = difflib.get_close_matches(key, BUDGETS, n=1, cutoff=0.0)
            expected = " or ".join(f"{known}=VALUE" for known in BUDGETS)
            raise InputError(
                "--budget", expected=expected, got=text, fix=f"did you mean {near[0]}=VALUE?" if near else ""
            )
        try:
            limit = float(value)
        except ValueError:
            limit = math.nan
        if not (0 < limit < math.inf):
            raise InputError(f"--budget {key}", expected="a number above 0", got=value or "nothing")
        return cls(key, limit)

    def shown(self, quantity: float) -> str:
        """A quantity with the key's usual number of digits."""
        return f"{quantity:,.0f}" if self.key == "macs" else f"{quantity:.4g}"

    def __str__(self) -> str:
        return f"{self.key}={self.limit:g}"
