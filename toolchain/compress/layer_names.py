"""Which layers a setting is about: names and patterns, the same in every method.

A name goes before a pattern ("features.*"), a later pattern before an earlier one.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Mapping

from ...runtime.errors import CompressionError

__all__ = ["asked_by_layer", "layers_named"]


def layers_named(patterns: Iterable[str], names: Iterable[str], setting: str) -> dict[str, list[str]]:
    """The layers that each pattern is about.

    Args:
        patterns: names, or patterns of `fnmatch`.
        names: of the convolutions and linear layers.
        setting: the key that the patterns come from, for the error.

    Raises:
        CompressionError: a pattern that is about no layer.
    """
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


def asked_by_layer(per_layer: Mapping[str, float], names: Iterable[str]) -> dict[str, float]:
    """The value that `per_layer` asks for each layer that it is about.

    Args:
        per_layer: values by name or pattern.
        names: of the convolutions and linear layers.

    Raises:
        CompressionError: a pattern that is about no layer.
    """
    resolved = layers_named(per_layer, names, "per_layer")
    ordered = sorted(per_layer, key=lambda pattern: resolved[pattern] == [pattern])
    return {name: per_layer[pattern] for pattern in ordered for name in resolved[pattern]}
