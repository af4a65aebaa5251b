from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from hardtemper.runtime.errors import BundleFormatError
from hardtemper.toolchain.cli.widths_table import widths_table


def layer(weights: Any, activations: Any) -> dict[str, Any]:
    return {"name": "a", "weight_bits": weights, "activation_bits": activations}


def test_like_layers_are_counted_together() -> None:
    (table,) = widths_table({"layers": [layer(8, 8), layer(4, 4), layer(4, 4), layer(4, 8)]})
    console = Console(width=120)
    with console.capture() as caught:
        console.print(table)
    text = " ".join(caught.get().split())
    assert "8 │ 8 │ 1 │ 8-bit kernels │ │ 4 │ 8 │ 1 │ 8-bit kernels, exactly" in text
    assert "4 │ 4 │ 2 │" in text


def test_no_table_of_eight_bits_alone() -> None:
    assert widths_table({"layers": [layer(8, 8)]}) == []
    assert widths_table({}) == []


@pytest.mark.parametrize("layers", [3, [4], [layer("4", 4)], [{}]])
def test_what_another_writer_got_wrong(layers: Any) -> None:
    with pytest.raises(BundleFormatError, match=r"quantization\.layers"):
        widths_table({"layers": layers})
