"""Tables for people: what a build made, and what a bundle of any writer says."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from hardtemper.runtime.errors import BundleFormatError
from hardtemper.toolchain.cli.tables import build_report, bundle_report


def shown(tables: list[Table]) -> str:
    console = Console(width=160, record=True, file=None, quiet=False)
    with console.capture() as caught:
        for table in tables:
            console.print(table)
    return " ".join(caught.get().split())


def test_a_build(tiny: Any) -> None:
    text = shown(build_report(tiny.build))
    for row in ("features.0", "4 -> 2", "whole network", "dense, standard", "hardened", "integer twin", "model.onnx"):
        assert row in text
    assert "teacher, dense" not in text
    stages = dataclasses.replace(tiny.build.stages, teacher=tiny.build.stages.dense)
    assert "teacher, dense" in shown(build_report(dataclasses.replace(tiny.build, stages=stages)))


def test_what_another_writer_leaves_out_is_left_out(tiny: Any) -> None:
    manifest = dataclasses.replace(tiny.build.bundle.manifest, proofs={}, layers=())
    text = shown(bundle_report(manifest))
    assert "MACs in integer kernels" not in text
    assert "dense.onnx" in text


def test_where_the_weights_and_images_came_from(tiny: Any) -> None:
    manifest = tiny.build.bundle.manifest
    training = {**manifest.proofs["training"], "data_notes": ["files left out: 3 hidden", "x\x1b[2J"]}
    text = shown(bundle_report(dataclasses.replace(manifest, proofs={**manifest.proofs, "training": training})))
    assert "network │ cnn8 of width 4, hidden 16" in text
    assert "files left out: 3 hidden" in text
    assert "x\\x1b[2J" in text


@pytest.mark.parametrize(
    "proofs",
    [
        {"kernels": {"integer_share": "all"}},
        {"parity": {"activations": [1]}},
        {"lowering": {"skipped": [1]}},
        {"lowering": {"dropped": 1}},
        {"lowering": {"float": [1]}},
        {"training": {"data_notes": 3}},
    ],
)
def test_a_value_of_another_type_is_named(tiny: Any, proofs: dict[str, Any]) -> None:
    manifest = dataclasses.replace(tiny.build.bundle.manifest, proofs=proofs)
    with pytest.raises(BundleFormatError, match=r"manifest\.json: proofs\."):
        bundle_report(manifest)


def test_nodes_that_no_rewrite_could_change(tiny: Any) -> None:
    build, manifest = tiny.build, tiny.build.bundle.manifest
    assert "Left as they are" not in shown(build_report(build)) + shown(bundle_report(manifest))
    skipped = {"operator": "Clip", "result": "relu6", "step": "FoldClip", "reason": "Add reads it"}
    proofs = {**manifest.proofs, "lowering": {"skipped": [skipped]}}
    changed = dataclasses.replace(manifest, proofs=proofs)
    made = dataclasses.replace(build, bundle=dataclasses.replace(build.bundle, manifest=changed))
    for text in (shown(build_report(made)), shown(bundle_report(changed))):
        assert "Left as they are" in text
        assert all(word in text for word in skipped.values())


def test_what_stays_float(tiny: Any) -> None:
    manifest = tiny.build.bundle.manifest
    assert "Float between integers" not in shown(bundle_report(manifest))
    found = {"operator": "Mish", "result": "m", "reason": "no integer kernel on ONNX Runtime"}
    proofs = {"lowering": {"float": [found, found | {"result": "n"}]}}
    text = shown(bundle_report(dataclasses.replace(manifest, proofs=proofs)))
    assert "Mish │ 2 │ no integer kernel on ONNX Runtime" in text


def test_what_was_dropped_behind_the_logits(tiny: Any) -> None:
    manifest = tiny.build.bundle.manifest
    assert manifest.proofs["lowering"]["dropped"] == []
    assert "behind the logits" not in shown(bundle_report(manifest))
    changed = dataclasses.replace(manifest, proofs={"lowering": {"dropped": ["softmax", "log"]}})
    assert "dropped behind the logits │ softmax, log" in shown(bundle_report(changed))
