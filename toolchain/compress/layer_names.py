"""Which layers a recipe means: by name, or by a pattern such as "features.*"."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Mapping

from ...runtime.errors import CompressionError

__all__ = ["by_layer", "named"]


def by_layer(per_layer: Mapping[str, float], names: Iterable[str]) -> dict[str, float]:
    """A value by layer: a name goes before a pattern, a later pattern before an earlier one.

    Raises:
        CompressionError: one that names no layer.
    """
    resolved = _resolve(per_layer, names, "per_layer")
    ordered = sorted(per_layer, key=lambda pattern: resolved[pattern] == [pattern])
    return {name: per_layer[pattern] for pattern in ordered for name in resolved[pattern]}


def named(patterns: Iterable[str], names: Iterable[str], setting: str) -> set[str]:
    """The layers that any of the names or patterns means.

    Args:
        patterns: of the setting.
        names: the network's convolutions and linear layers.
        setting: its key, for the error.

    Raises:
        CompressionError: one that names no layer.
    """
    return {name for found in _resolve(patterns, names, setting).values() for name in found}


def _resolve(patterns: Iterable[str], names: Iterable[str], setting: str) -> dict[str, list[str]]:
    """The layers that each name or pattern means; a CompressionError where one means none."""
    known = list(names)
    found = {}
    for pattern in patterns:
        found[pattern] = [pattern] if pattern in known else fnmatch.filter(known, pattern)
        if not found[pattern]:
            nearest = difflib.get_close_matches(pattern, known, n=3, cutoff=0.0)
            raise CompressionError(
                f"{setting} names no convolution or linear layer",
                expected=f"a layer such as {', '.join(map(repr, nearest))}, or a pattern such as 'features.*'",
                got=repr(pattern),
                fix=f"did you mean {nearest[0]!r}?" if nearest else "",
            )
    return found
