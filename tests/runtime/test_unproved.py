"""Where a bundle's proofs hold: which engine, which processor."""

from __future__ import annotations

from typing import Any

import pytest

from hardtemper.runtime import unproved as module
from hardtemper.runtime.bundle.manifest import Manifest
from hardtemper.runtime.unproved import unproved

U8S8 = {"activation_type": "uint8", "activation_bits": 8, "weight_type": "int8", "weight_bits": 8}
OTHER, SATURATES, ENGINE = "another architecture", "without VNNI", "not on openvino"


def place(instruction_set: str, engine: str = "onnxruntime") -> dict[str, str]:
    return {"engine": engine, "version": "1", "instruction_set": instruction_set, "cpu": "any"}


@pytest.mark.parametrize(
    "case",
    [
        # proved on, asked on, scheme, what is said
        ("x86-64-vnni", "x86-64-avx2", U8S8, SATURATES),
        ("x86-64-vnni", "x86-64-avx512", U8S8, SATURATES),
        ("x86-64-vnni", "x86-64", U8S8, SATURATES),
        ("x86-64-vnni", "x86-64-avx2", {"target": "cpu"}, SATURATES),
        ("aarch64", "x86-64-avx2", U8S8, OTHER),
        ("x86-64-avx2", "x86-64-avx2", U8S8, ""),
        ("x86-64-avx2", "x86-64-vnni", U8S8, ""),
        ("x86-64-vnni", "aarch64-dotprod", U8S8, OTHER),
        ("x86-64-vnni", "x86-64-avx2", {}, ""),
        ("x86-64-vnni", "x86-64-avx2", U8S8 | {"weight_bits": 7}, ""),
        ("x86-64-vnni", "x86-64-avx2", U8S8 | {"activation_bits": 7}, ""),
        ("x86-64-vnni", "x86-64-avx2", U8S8 | {"activation_type": "int8"}, ""),
        ("x86-64-vnni", "aarch64-dotprod", U8S8 | {"activation_type": "int8"}, OTHER),
        ("aarch64-dotprod", "x86-64-vnni", U8S8 | {"activation_type": "int8"}, OTHER),
        ("x86-64-vnni", "aarch64-dotprod", {}, ""),
    ],
)
def test_another_processor(manifest: Any, monkeypatch: pytest.MonkeyPatch, case: Any) -> None:
    proved, here, scheme, said = case
    monkeypatch.setattr(module, "instruction_set", lambda: here)
    for proofs in ({"engines": [place(proved), place("x86-64-vnni", "openvino")]}, {}):
        message = unproved(manifest(proofs=proofs, quantization=scheme, instruction_set=proved), "onnxruntime")
        assert (message == "") == (said == "")
        if said:
            assert said in message
            assert f"this processor is {here}, the bundle was proved on {proved}" in message
            assert message.endswith("run `toolchain verify` on this machine")


@pytest.mark.parametrize("here", ["x86-64-vnni", "aarch64"])
def test_another_engine(manifest: Any, monkeypatch: pytest.MonkeyPatch, here: str) -> None:
    monkeypatch.setattr(module, "instruction_set", lambda: here)
    message = unproved(manifest(proofs={"engines": [place("x86-64-vnni"), place("aarch64")]}), "openvino")
    assert message == (
        "the bundle was proved on onnxruntime, not on openvino, whose kernels may round differently; "
        "run `toolchain verify --backend openvino` on this machine"
    )
    assert "proved on no engine, not on onnxruntime" in unproved(manifest(proofs={"engines": []}), "onnxruntime")
    both = manifest(proofs={"engines": [place("x86-64-vnni"), place(here, "openvino")]})
    assert unproved(both, "openvino") == ""
    assert unproved(manifest(proofs={"engines": []}, quantization={}), "openvino") == ""


@pytest.fixture
def manifest(manifest_value: dict[str, Any]) -> Any:
    """Makes a manifest of some proofs, a scheme and the provenance's instruction set."""

    def make(*, proofs: Any, quantization: Any = None, instruction_set: str = "x86-64-vnni") -> Manifest:
        import json

        value = manifest_value | {"proofs": proofs, "quantization": U8S8 if quantization is None else quantization}
        value["provenance"] = value["provenance"] | {"instruction_set": instruction_set}
        files = [{"path": path, "sha256": "0" * 64, "bytes": 1} for path in ("graph.onnx", "dense/model.onnx")]
        return Manifest.from_json(json.dumps(value | {"files": files}))

    return make
