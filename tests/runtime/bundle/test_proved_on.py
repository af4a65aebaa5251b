from __future__ import annotations

import json
from typing import Any

import pytest

from hardtemper.runtime.bundle.manifest import Manifest
from hardtemper.runtime.bundle.proved_on import ProvedOn, proved_on
from hardtemper.runtime.errors import BundleFormatError

PLACE = {"engine": "openvino", "version": "2026.4.1", "instruction_set": "x86-64-vnni", "cpu": "any"}


@pytest.fixture
def manifest(manifest_value: dict[str, Any]) -> Any:
    """Makes a manifest of some proofs."""

    def make(proofs: Any, **versions: str) -> Manifest:
        files = [{"path": path, "sha256": "0" * 64, "bytes": 1} for path in ("graph.onnx", "dense/model.onnx")]
        manifest_value["provenance"] |= {"versions": versions, "instruction_set": "aarch64", "cpu": "a phone"}
        return Manifest.from_json(json.dumps(manifest_value | {"files": files, "proofs": proofs}))

    return make


def test_what_is_listed(manifest: Any) -> None:
    (place,) = proved_on(manifest({"engines": [PLACE]}))
    assert place.to_json() == PLACE
    assert place.architecture == "x86"
    assert str(place) == "openvino 2026.4.1 on x86-64-vnni (any)"
    assert proved_on(manifest({"engines": []})) == ()


def test_a_manifest_without_the_list_was_proved_where_it_was_made(manifest: Any) -> None:
    expected = ProvedOn(engine="onnxruntime", version="1.32.0", instruction_set="aarch64", cpu="a phone")
    assert proved_on(manifest({}, onnxruntime="1.32.0")) == (expected,)
    assert proved_on(manifest({}))[0].version == "of an unstated version"


@pytest.mark.parametrize(
    ("engines", "where"),
    [
        ({}, "proofs.engines"),
        ([1], r"proofs.engines\[0\]"),
        ([PLACE, {**PLACE, "version": 1}], r"proofs.engines\[1\].version"),
        ([{**PLACE, "cpu": "\x1b[2J"}], r"proofs.engines\[0\].cpu"),
        ([{"engine": "openvino"}], r"proofs.engines\[0\].version"),
    ],
)
def test_no_such_list(manifest: Any, engines: Any, where: str) -> None:
    with pytest.raises(BundleFormatError, match=f"^{where};"):
        proved_on(manifest({"engines": engines}))
