"""The widths of a bundle's layers, as a table for people: like layers together. Another table has the kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from ...runtime.files.json_fields import integer, items, json_object

__all__ = ["widths_table"]

_FULL = 8


def widths_table(quantization: Mapping[str, Any]) -> list[Table]:
    """Bits of weights and activations, and the integers that hold them; no table where all have 8.

    Raises:
        BundleFormatError: `layers` is no list of objects that name their bits.
    """
    counts = Counter(
        tuple(integer(row.get(key), f"{where}.{key}") for key in ("weight_bits", "activation_bits"))
        for row, where in _layers(quantization)
    )
    table = Table(title="Bits")
    for column in ("weights", "activations", "layers", "codes"):
        table.add_column(column, justify="left" if column == "codes" else "right")
    for (weights, activations), layers in sorted(counts.items(), reverse=True):
        narrow = weights < _FULL or activations < _FULL
        how = "a narrower range of int8 and uint8, at their speed" if narrow else "int8 and uint8"
        table.add_row(str(weights), str(activations), str(layers), how)
    return [table] if set(counts) - {(_FULL, _FULL)} else []


def _layers(quantization: Mapping[str, Any]) -> list[tuple[dict[str, Any], str]]:
    where = "quantization.layers"
    rows = items(quantization.get("layers", []), where)
    return [(json_object(row, f"{where}[{index}]"), f"{where}[{index}]") for index, row in enumerate(rows)]
