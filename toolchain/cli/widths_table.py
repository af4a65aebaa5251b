"""The widths of a bundle's layers, as a table for people: like layers together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from ...runtime.files.json_fields import integer, items, json_object

__all__ = ["widths_table"]

_FULL = 8


def widths_table(quantization: Mapping[str, Any]) -> list[Table]:
    """Bits of weights and activations, and how they run; no table where all have 8.

    Raises:
        BundleFormatError: `layers` is no list of objects that name their bits.
    """
    counts = Counter(
        tuple(integer(row.get(key), f"{where}.{key}") for key in ("weight_bits", "activation_bits"))
        for row, where in _layers(quantization)
    )
    table = Table(title="Bits")
    for column in ("weights", "activations", "layers", "how they run"):
        table.add_column(column, justify="left" if column.startswith("how") else "right")
    for (weights, activations), layers in sorted(counts.items(), reverse=True):
        how = "8-bit kernels" if weights == activations == _FULL else "8-bit kernels, exactly and as fast as 8 bits"
        table.add_row(str(weights), str(activations), str(layers), how)
    return [table] if set(counts) - {(_FULL, _FULL)} else []


def _layers(quantization: Mapping[str, Any]) -> list[tuple[dict[str, Any], str]]:
    where = "quantization.layers"
    rows = items(quantization.get("layers", []), where)
    return [(json_object(row, f"{where}[{index}]"), f"{where}[{index}]") for index, row in enumerate(rows)]
