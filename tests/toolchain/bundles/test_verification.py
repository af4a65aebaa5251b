"""The gates of a verification, and what it opens."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardtemper.bench.data.load import load_dataset
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.bundle.manifest import Manifest
from hardtemper.runtime.bundle.proof import MOST_PROOF_IMAGES
from hardtemper.runtime.bundle.reader import read_bundle
from hardtemper.runtime.errors import BundleError, DataError, GateError, InputError
from hardtemper.toolchain.bundles.verification import verify_bundle


def test_the_gates_of_a_verification(tiny: Any) -> None:
    result = verify_bundle(tiny.path, images=0, seed=0)
    result.gate()
    parity = result.parity
    for field in ("engine_logits", "unoptimized_logits", "exposed_logits"):
        with pytest.raises(GateError, match="twin and engine"):
            dataclasses.replace(result, parity=dataclasses.replace(parity, **{field: 1})).gate()
    wrong = (dataclasses.replace(parity.activations[0], mismatches=2), *parity.activations[1:])
    with pytest.raises(GateError, match="0 stored logits, 0 other logits and 2 integers differ"):
        dataclasses.replace(result, parity=dataclasses.replace(parity, activations=wrong)).gate()
    dataclasses.replace(result, proof_logits=9, exact=False).gate()
    with pytest.raises(GateError, match=f"{tiny.path}: twin and engine.*9 stored logits, 0 other logits"):
        dataclasses.replace(result, proof_logits=9).gate()


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("images", [0, 2])
def test_an_empty_proof_is_no_pass(tiny: Any, tmp_path: Path, images: int, exact: bool) -> None:
    """Whoever empties it writes the manifest anew too, so that every hash fits."""
    folder = tmp_path / "emptied"
    shutil.copytree(tiny.path, folder)
    with np.load(folder / "proof.npz") as stored:
        empty = {name: stored[name][:0] for name in ("images", "logits")}
    np.savez(folder / "proof.npz", **empty)
    manifest = json.loads((folder / "manifest.json").read_text())
    content = (folder / "proof.npz").read_bytes()
    entry = next(entry for entry in manifest["files"] if entry["path"] == "proof.npz")
    entry |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    result = dataclasses.replace(verify_bundle(folder, images=images, seed=0), exact=exact)
    with pytest.raises(GateError, match="the proof is empty; expected: one image or more with the twin's") as caught:
        result.gate()
    assert caught.value.exit_code == 1


def test_more_random_images_than_fit_into_memory(tiny: Any) -> None:
    with pytest.raises(InputError, match=r"random images take more memory .*; fix: give fewer \(--images\)"):
        verify_bundle(tiny.path, images=10**15, seed=0)


def test_what_the_loader_says_of_the_test_images(tiny: Any, npz: Path) -> None:
    result = verify_bundle(tiny.path, images=0, seed=0, test_images=1, data=str(npz))
    assert result.notes == load_dataset(str(npz), heldout=0, calibration=0).notes


@pytest.mark.parametrize(("here", "bits", "helps"), [("x86-64-avx2", 8, True), ("x86-64-vnni", 8, False)])
def test_fewer_bits_are_told_only_where_they_help(
    here: str, bits: int, helps: bool, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = verify_bundle(tiny.path, images=0, seed=0)
    assert result.weight_bits == bits
    monkeypatch.setattr("hardtemper.export.proofs.parity.instruction_set", lambda: here)
    with pytest.raises(GateError) as caught:
        dataclasses.replace(result, proof_logits=9).gate()
    assert caught.value.fix == ("build with quantize.weight_bits = 7" if helps else "")


def test_test_images_with_the_classes_in_another_order(tiny: Any, npz: Path, tmp_path: Path) -> None:
    with np.load(npz) as content:
        arrays = dict(content)
    arrays["classes"] = np.array(read_bundle(tiny.path).manifest.output.classes[::-1])
    np.savez(tmp_path / "turned.npz", **arrays)
    with pytest.raises(DataError, match=r"another order.*fix: bring the data set's classes into the network's order"):
        verify_bundle(tiny.path, images=0, seed=0, test_images=1, data=str(tmp_path / "turned.npz"))


def test_layers_that_ran_in_float_are_named(tiny: Any) -> None:
    result = verify_bundle(tiny.path, images=0, seed=0)
    largest = max(result.kernels.kernels, key=lambda kernel: kernel.macs)
    floating = dataclasses.replace(largest, integer=False, reason="no integer kernel")
    rows = tuple(floating if kernel is largest else kernel for kernel in result.kernels.kernels)
    kernels = dataclasses.replace(result.kernels, kernels=rows)
    with pytest.raises(GateError) as caught:
        dataclasses.replace(result, kernels=kernels, integer_share=1.0).gate()
    assert str(tiny.path) in caught.value.what
    assert f"{largest.operator} {largest.name} (no integer kernel)" in caught.value.got


def test_a_bundle_is_read_and_a_twin_is_made_once(tiny: Any, monkeypatch: pytest.MonkeyPatch, npz: Path) -> None:
    counts = {"manifest": 0, "twin": 0}
    read, make = Manifest.from_json, Twin.__init__

    def reading(*arguments: Any, **options: Any) -> Any:
        counts["manifest"] += 1
        return read(*arguments, **options)

    def making(self: Twin, *arguments: Any, **options: Any) -> None:
        counts["twin"] += 1
        make(self, *arguments, **options)

    monkeypatch.setattr(Manifest, "from_json", reading)
    monkeypatch.setattr(Twin, "__init__", making)
    verify_bundle(tiny.path, images=2, seed=0, test_images=2, data=str(npz))
    assert counts == {"manifest": 1, "twin": 1}


@pytest.mark.parametrize(
    ("images", "logits", "message"),
    [
        ((MOST_PROOF_IMAGES + 1, 1, 16, 16), (MOST_PROOF_IMAGES + 1, 4), "at most 256; got: 257 and 257"),
        ((3, 1, 16, 16), (2, 4), "as many images as logits.*got: 3 and 2"),
        ((), (2, 4), r"uint8 \[\] and float32 \[2, 4\]"),
    ],
)
def test_a_proof_of_other_sizes(
    tiny: Any, tmp_path: Path, images: tuple[int, ...], logits: tuple[int, ...], message: str
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny.path, bundle)
    np.savez_compressed(bundle / "proof.npz", images=np.zeros(images, np.uint8), logits=np.zeros(logits, np.float32))
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    (entry,) = [entry for entry in manifest["files"] if entry["path"] == "proof.npz"]
    content = (bundle / "proof.npz").read_bytes()
    entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(BundleError, match=message):
        verify_bundle(bundle, images=2, seed=0)
