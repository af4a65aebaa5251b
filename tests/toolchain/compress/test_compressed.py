"""The account of a compression adds up and fits a manifest."""

from __future__ import annotations

import dataclasses
import json

import pytest
from torch import nn

from hardtemper.toolchain.compress.compressed import Compressed, LayerReport, StepReport


def row(name: str, *, parameters: tuple[int, int], macs: tuple[int, int], reason: str = "") -> LayerReport:
    return LayerReport(
        name=name,
        kind="conv",
        channels_before=4,
        channels_after=2,
        parameters_before=parameters[0],
        parameters_after=parameters[1],
        macs_before=macs[0],
        macs_after=macs[1],
        reason=reason,
        removed=() if reason else (0, 3),
    )


def compressed() -> Compressed:
    layers = (
        row("a", parameters=(10, 4), macs=(100, 40)),
        row("b", parameters=(7, 7), macs=(9, 8), reason="logits layer"),
    )
    steps = (StepReport(method="filters", settings={"sparsity": 0.5}, checks={"max_abs_difference": 0.0}),)
    return Compressed(module=nn.Identity(), layers=layers, steps=steps)


def test_totals_are_the_sums_of_the_rows() -> None:
    result = compressed()
    assert (result.parameters_before, result.parameters_after) == (17, 11)
    assert (result.macs_before, result.macs_after) == (109, 48)


def test_rows_survive_json_without_the_indices() -> None:
    rows = json.loads(json.dumps(compressed().layers_json()))
    assert [r["name"] for r in rows] == ["a", "b"]
    assert rows[1]["reason"] == "logits layer"
    assert set(rows[0]) == {f.name for f in dataclasses.fields(LayerReport)} - {"removed"}


def test_steps_survive_json() -> None:
    (step,) = json.loads(json.dumps(compressed().steps_json()))
    assert step == {"method": "filters", "settings": {"sparsity": 0.5}, "checks": {"max_abs_difference": 0.0}}


def test_results_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        compressed().steps = ()  # type: ignore[misc]
