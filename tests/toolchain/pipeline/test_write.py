"""What a bundle says of its build, and the images that prove it elsewhere."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import hardtemper
from hardtemper.bench.data.load import load_dataset
from hardtemper.bench.data.npz_file import load_npz
from hardtemper.runtime.bundle.reader import read_bundle
from hardtemper.runtime.cpu import cpu_name, instruction_set
from hardtemper.toolchain.pipeline.write import write_results
from hardtemper.toolchain.recipe.read import with_overrides

pytestmark = pytest.mark.usefixtures("lower_once")


def test_what_the_bundle_says(tiny: Any, settings: dict[str, Any]) -> None:
    manifest = read_bundle(tiny.path).manifest
    recipe = with_overrides(settings, {})
    assert manifest == tiny.build.bundle.manifest
    assert (manifest.name, manifest.graph, manifest.dense) == ("tiny", "model.onnx", "dense.onnx")
    assert manifest.input.shape == (1, 16, 16)
    assert manifest.output.classes == ("0", "1", "2", "3")
    assert with_overrides(dict(manifest.provenance.recipe), {}) == recipe
    assert manifest.provenance.seed == 0
    assert manifest.provenance.versions["hardtemper"] == hardtemper.__version__
    assert manifest.provenance.versions["torch"] == torch.__version__
    assert manifest.quantization["scales"] == "power-of-two"
    assert {entry.path for entry in manifest.files} == {"model.onnx", "dense.onnx", "proof.npz"}
    layers = {layer["name"]: layer for layer in manifest.layers}
    assert (layers["features.0"]["channels_before"], layers["features.0"]["channels_after"]) == (4, 2)
    assert (layers["features.17"]["channels_before"], layers["features.17"]["channels_after"]) == (16, 8)
    assert layers["classifier.3"]["reason"]
    assert manifest.proofs["kernels"]["integer_share"] == 1.0
    assert manifest.proofs["parity"]["exact"] is True
    assert manifest.proofs["parity"]["images"] == 128  # 64 held out, each with its adversarial version
    training = manifest.proofs["training"]
    assert [len(training[stage]["epochs"]) for stage in ("dense", "hardened", "twin")] == [2, 2, 1]
    assert all(epoch["robust"] is None for epoch in training["dense"]["epochs"])
    assert all(0 <= epoch["robust"] <= epoch["clean"] for epoch in training["hardened"]["epochs"])
    measured = {row["name"]: row for row in manifest.measurements}
    assert measured["held-out accuracy"]["value"] > 0.7
    assert measured["held-out accuracy under PGD-10"]["n"] == 64
    (step,) = manifest.proofs["compression"]["steps"]
    assert (step["method"], step["settings"]["sparsity"]) == ("filters", 0.5)
    assert step["checks"]["max_abs_difference"] < 1e-4


def test_a_graph_is_stored_packed_on_request(tiny: Any, settings: dict[str, Any], tmp_path: Path) -> None:
    recipe = with_overrides(settings, {"bundle.pack": "always"})
    data = load_dataset(settings["data"]["name"], heldout=64, calibration=32, seed=0)
    packed = write_results(recipe, data, tiny.build.stages, out=tmp_path / "packed", overwrite=False)
    plain, whole = read_bundle(tiny.path), (tiny.path / "model.onnx").read_bytes()
    assert (packed.manifest.graph, plain.manifest.graph) == ("model.onnx.packed", "model.onnx")
    assert packed.graph().content == whole
    assert packed.graph().digest == plain.graph().digest
    stored = (packed.path / "model.onnx.packed").stat().st_size
    digest = hashlib.sha256(whole).hexdigest()
    found = {"bytes": stored, "onnx_bytes": len(whole), "onnx_sha256": digest}
    assert packed.manifest.proofs["storage"] == found
    assert plain.manifest.proofs["storage"] == found | {"bytes": len(whole)}
    assert stored < len(whole)
    with np.load(tiny.path / "proof.npz") as proof:
        assert np.array_equal(hardtemper.load(packed.path)(proof["images"]), proof["logits"])


def test_the_engine_that_it_was_proved_on(tiny: Any) -> None:
    here = {"version": onnxruntime.__version__, "instruction_set": instruction_set(), "cpu": cpu_name()}
    assert read_bundle(tiny.path).manifest.proofs["engines"] == [{"engine": "onnxruntime", **here}]


def test_the_stored_proof(tiny: Any, settings: dict[str, Any]) -> None:
    with np.load(tiny.path / "proof.npz") as proof:
        images, logits = proof["images"], proof["logits"]
    assert (images.shape, images.dtype, logits.dtype) == ((64, 1, 16, 16), np.uint8, np.float32)
    assert np.array_equal(hardtemper.load(tiny.path)(images), logits)
    moved = np.abs(images[1::2].astype(int) - images[::2])
    assert 0 < moved.max() <= 25  # linf:0.1
    train = load_npz(Path(settings["data"]["name"])).train_images
    assert all((train == image).all(axis=(1, 2, 3)).any() for image in images[::2])
