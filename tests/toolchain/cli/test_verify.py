"""`toolchain verify`: a whole bundle passes, and whatever differs fails a gate with exit code 1."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardtemper.runtime.bundle.reader import read_bundle
from hardtemper.toolchain.__main__ import main


def packed(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def proof(bundle: Path) -> tuple[Any, Any]:
    with np.load(bundle / "proof.npz") as stored:
        return stored["images"], stored["logits"]


def test_a_whole_bundle_is_verified(capsys: pytest.CaptureFixture[str], tiny: Any, npz: Path) -> None:
    assert main(["verify", str(tiny.path), "--images", "20", "--test-images", "5", "--data", str(npz)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for shown in (
        "files whose SHA-256 fits │ 3 of 3",
        "MACs in integer kernels │ 100.0% of",
        "stored logits that differ (64 images) │ 0",
        "logits twin / engine that differ (94 images) │ 0",  # 64 + 20 + 5 + 5 adversarial ones
        "activations that differ │ 0 of",
    ):
        assert shown in out


def test_another_backend_is_verified_alike(
    capsys: pytest.CaptureFixture[str], error: Callable[..., str], bundle: Path, replace: Callable[[str, bytes], None]
) -> None:
    command = ["verify", str(bundle), "--backend", "openvino", "--images", "20"]
    assert main(command) == 0
    said = capsys.readouterr()
    out = " ".join(said.out.split())
    for shown in (
        "engine │ openvino 20",
        "MACs in integer kernels │ 100.0% of",
        "stored logits that differ (64 images) │ 0",
        "logits twin / engine that differ (84 images) │ 0",
    ):
        assert shown in out
    assert "activations" not in out  # an engine that exposes them is another one
    assert "proved on onnxruntime" in said.err
    images, logits = proof(bundle)
    logits[3, :2] += 1
    replace("proof.npz", packed(images=images, logits=logits))
    assert "got: 2 stored logits, 0 other logits and 0 integers differ" in error(*command, code=1)
    assert main(command) == 1
    assert "stored logits that differ (64 images) │ 2, in 1 images" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_where_nothing_was_proved(
    capsys: pytest.CaptureFixture[str], bundle: Path, edit: Callable[..., None], backend: str
) -> None:
    edit(lambda manifest: [place.update(instruction_set="another-one") for place in manifest["proofs"]["engines"]])
    assert main(["verify", str(bundle), "--backend", backend, "--images", "0"]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "proved on" in line]
    assert line.startswith("proved on onnxruntime ")
    assert " on another-one (" in line
    assert f"; checked here on {backend} " in line


def test_changed_proof_logits_fail_the_gate(
    error: Callable[..., str], bundle: Path, edit: Callable[..., None], replace: Callable[[str, bytes], None]
) -> None:
    images, logits = proof(bundle)
    logits[3, 1] = np.nextafter(logits[3, 1], np.float32(np.inf))
    replace("proof.npz", packed(images=images, logits=logits))
    line = error("verify", bundle, "--images", 0, code=1)
    what = f"error: {bundle}: twin and engine on this machine"
    assert line.startswith(f"{what}; expected: no differing integer and no differing logit")
    assert "got: 1 stored logits, 0 other logits and 0 integers differ" in line
    edit(lambda manifest: manifest["quantization"].update(scales="free"))
    assert main(["verify", str(bundle), "--images", "0"]) == 0  # free scales promise nothing


def test_another_graph_fails_the_gate(
    error: Callable[..., str], bundle: Path, replace: Callable[[str, bytes], None]
) -> None:
    """The float network in the integer one's place: its hash fits, its kernels do not."""
    replace("model.onnx", (bundle / "dense.onnx").read_bytes())
    line = error("verify", bundle, "--images", 0, code=1)
    assert "MACs in integer kernels; expected: at least 100.0%; got: 0.0%" in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 no zip", "proof.npz; expected: arrays images and logits"),
        (b"", "proof.npz; expected: arrays images and logits"),
        (packed(images=np.zeros((1, 1, 16, 16), np.uint8)), "proof.npz; expected: arrays images and logits"),
        (
            packed(images=np.zeros((1, 1, 16, 16), np.uint8), logits=np.zeros((1, 3))),
            "logits; expected: (1, 4)",
        ),
        (packed(images=np.zeros((1, 1, 8, 8), np.uint8), logits=np.zeros((1, 4))), "[N, 1, 16, 16]"),
    ],
)
def test_a_proof_that_cannot_be_read(
    error: Callable[..., str], bundle: Path, content: bytes, message: str, replace: Callable[[str, bytes], None]
) -> None:
    replace("proof.npz", content)
    assert message in error("verify", bundle)


def test_a_bundle_without_a_proof(error: Callable[..., str], bundle: Path, edit: Callable[..., None]) -> None:
    (bundle / "proof.npz").unlink()
    edit(lambda m: m.update(files=[entry for entry in m["files"] if entry["path"] != "proof.npz"]))
    assert "no file 'proof.npz'; expected: one of" in error("verify", bundle)


def test_test_images_that_are_gone_or_others(
    error: Callable[..., str], bundle: Path, tmp_path: Path, edit: Callable[..., None]
) -> None:
    other = tmp_path / "other.npz"
    flags = ["--images", 0, "--test-images", 1, "--data", other]
    assert "other.npz does not exist" in error("verify", bundle, *flags)
    for side, classes, message in ((8, 4, "the images do not fit"), (16, 5, "the classes do not fit")):
        images, labels = np.zeros((classes, side, side), np.uint8), np.arange(classes)
        other.write_bytes(packed(train_images=images, train_labels=labels, test_images=images, test_labels=labels))
        assert message in error("verify", bundle, *flags)
    edit(lambda m: m["provenance"]["recipe"].pop("data"))
    assert "the recipe names none; fix: give --data yourself" in error("verify", bundle, *flags[:-2])
    edit(lambda m: m["provenance"].update(recipe={}))
    assert "a recipe that names an adversary" in error("verify", bundle, *flags)


def test_data_for_no_test_images(capsys: pytest.CaptureFixture[str], tiny: Any) -> None:
    for flag in ("--data", "--data-root"):
        assert main(["verify", str(tiny.path), flag, "mnist"]) == 2
        assert "give --test-images too" in capsys.readouterr().err


def test_the_digest_of_a_bundle_is_held(
    error: Callable[..., str], capsys: pytest.CaptureFixture[str], bundle: Path, edit: Callable[..., None]
) -> None:
    digest = hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()
    assert main(["verify", str(bundle), "--images", "0", "--digest", digest]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"digest: {digest}"
    line = error("verify", bundle, "--digest", "abc")
    assert f"{bundle}: digest; expected: 64 hexadecimal digits, as toolchain build prints them; got: 'abc'" in line
    edit(lambda manifest: manifest["output"].update(classes=["d", "c", "b", "a"]))
    now = hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()
    line = error("verify", bundle, "--digest", digest, code=1)
    assert f"{bundle}: another bundle; expected: digest {digest}; got: {now}; fix: fetch the bundle again" in line


@pytest.mark.parametrize("relative", ["proof.npz", "model.onnx"])
def test_a_file_that_is_swapped_after_it_was_hashed_is_not_used(
    error: Callable[..., str], bundle: Path, monkeypatch: pytest.MonkeyPatch, relative: str
) -> None:
    from hardtemper.toolchain.bundles import verification

    other = {"proof.npz": packed(images=proof(bundle)[0], logits=proof(bundle)[1] + 1)}
    other["model.onnx"] = (bundle / "dense.onnx").read_bytes()

    def swapping(path: Path, **how: Any) -> Any:
        found = read_bundle(path, **how)
        (path / relative).write_bytes(other[relative])
        return found

    monkeypatch.setattr(verification, "read_bundle", swapping)
    assert f"{relative}: size differs" in error("verify", bundle, "--images", 0, code=1)
