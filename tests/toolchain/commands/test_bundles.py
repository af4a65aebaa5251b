"""`verify`, `inspect` and `bench` on a bundle that is whole, and on bundles that are not."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardtemper.runtime.errors import GateError
from hardtemper.runtime.manifest import Manifest
from hardtemper.toolchain.__main__ import main
from hardtemper.toolchain.verify import verify_bundle

COMMANDS = ["verify", "inspect", "bench"]
CORPUS = Path(__file__).parents[2] / "data" / "bundles"


@pytest.fixture
def bundle(tiny: Any, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(tiny.path, tmp_path / "copy"))


@pytest.fixture
def error(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must fail; gives its one line of error."""

    def run(*arguments: object, code: int = 2) -> str:
        assert main([str(argument) for argument in arguments]) == code
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        lines = [line for line in captured.err.splitlines() if line.startswith("error: ")]
        assert lines == captured.err.splitlines()[-1:]
        return lines[0]

    return run


def replace(bundle: Path, name: str, content: bytes) -> None:
    """Another file, with its hash in the manifest."""
    (bundle / name).write_bytes(content)
    manifest = json.loads((bundle / "manifest.json").read_text())
    for entry in manifest["files"]:
        if entry["path"] == name:
            entry |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def append(path: Path, content: bytes) -> None:
    path.write_bytes(path.read_bytes() + content)


def edit(bundle: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def npz(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def proof(bundle: Path) -> tuple[Any, Any]:
    with np.load(bundle / "proof.npz") as stored:
        return stored["images"], stored["logits"]


def gates(command: str) -> int:
    """The exit code where a file differs: what `verify` is asked is bad input to the others."""
    return 1 if command == "verify" else 2


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["model.onnx", "dense.onnx", "proof.npz"])
def test_one_flipped_bit(error: Callable[..., str], bundle: Path, command: str, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    assert f"{bundle / name}: SHA-256 differs; expected: " in error(command, bundle, code=gates(command))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: edit(b, lambda m: m.update(format_version=2)), "format_version; expected: 1; got: 2; fix: upgrade"),
        (lambda b: edit(b, lambda m: m.pop("layers")), "layers"),
        (lambda b: (b / "manifest.json").write_text("{"), "manifest.json: invalid JSON"),
        (lambda b: (b / "manifest.json").unlink(), "copy: not a bundle"),
        (shutil.rmtree, "copy: no such bundle"),
    ],
)
def test_what_is_no_bundle(
    error: Callable[..., str], bundle: Path, command: str, damage: Callable[[Path], Any], message: str
) -> None:
    damage(bundle)
    line = error(command, bundle)
    assert message in line
    assert str(bundle) in line


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: (b / "dense.onnx").unlink(), "dense.onnx: a file of the bundle is missing"),
        (lambda b: (b / "model.onnx").write_bytes(b""), "model.onnx: size differs"),
        (lambda b: append(b / "model.onnx", b"x"), "model.onnx: size differs"),
        (lambda b: (b / "notes.txt").write_text("x"), "notes.txt: not listed in manifest.json"),
    ],
)
def test_a_bundle_of_other_files(
    error: Callable[..., str], bundle: Path, command: str, damage: Callable[[Path], Any], message: str
) -> None:
    damage(bundle)
    line = error(command, bundle, code=gates(command))
    assert message in line
    assert str(bundle) in line


def test_a_whole_bundle_is_verified(capsys: pytest.CaptureFixture[str], tiny: Any) -> None:
    assert main(["verify", str(tiny.path), "--images", "20", "--test-images", "5"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for shown in (
        "files whose SHA-256 fits │ 3 of 3",
        "MACs in integer kernels │ 100.0% of",
        "stored logits that differ (64 images) │ 0",
        "logits twin / engine that differ (94 images) │ 0",  # 64 + 20 + 5 + 5 adversarial ones
        "activations that differ │ 0 of",
    ):
        assert shown in out


def test_changed_proof_logits_fail_the_gate(error: Callable[..., str], bundle: Path) -> None:
    images, logits = proof(bundle)
    logits[3, 1] = np.nextafter(logits[3, 1], np.float32(np.inf))
    replace(bundle, "proof.npz", npz(images=images, logits=logits))
    line = error("verify", bundle, "--images", 0, code=1)
    assert line.startswith(f"error: {bundle}: twin and engine; expected: no differing integer and no differing logit")
    assert "got: 1 stored logits, 0 other logits and 0 integers differ" in line
    edit(bundle, lambda manifest: manifest["quantization"].update(scales="free"))
    assert main(["verify", str(bundle), "--images", "0"]) == 0  # free scales promise nothing


def test_another_graph_fails_the_gate(error: Callable[..., str], bundle: Path) -> None:
    """The float network in the integer one's place: its hash fits, its kernels do not."""
    replace(bundle, "model.onnx", (bundle / "dense.onnx").read_bytes())
    line = error("verify", bundle, "--images", 0, code=1)
    assert "MACs in integer kernels; expected: at least 100.0%; got: 0.0%" in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 no zip", "proof.npz; expected: arrays images and logits"),
        (b"", "proof.npz; expected: arrays images and logits"),
        (npz(images=np.zeros((1, 1, 16, 16), np.uint8)), "proof.npz; expected: arrays images and logits"),
        (
            npz(images=np.zeros((1, 1, 16, 16), np.uint8), logits=np.zeros((1, 3))),
            "logits; expected: (1, 4)",
        ),
        (npz(images=np.zeros((1, 1, 8, 8), np.uint8), logits=np.zeros((1, 4))), "[N, 1, 16, 16]"),
    ],
)
def test_a_proof_that_cannot_be_read(error: Callable[..., str], bundle: Path, content: bytes, message: str) -> None:
    replace(bundle, "proof.npz", content)
    assert message in error("verify", bundle)


def test_a_bundle_without_a_proof(error: Callable[..., str], bundle: Path) -> None:
    (bundle / "proof.npz").unlink()
    edit(bundle, lambda m: m.update(files=[entry for entry in m["files"] if entry["path"] != "proof.npz"]))
    assert "no file 'proof.npz'; expected: one of" in error("verify", bundle)


def test_test_images_that_are_gone_or_others(error: Callable[..., str], bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    edit(bundle, lambda m: m["provenance"]["recipe"]["data"].update(name=str(other)))
    assert "other.npz does not exist" in error("verify", bundle, "--test-images", 1)
    images = np.zeros((4, 8, 8), np.uint8)
    labels = np.arange(4)
    other.write_bytes(npz(train_images=images, train_labels=labels, test_images=images, test_labels=labels))
    assert "the images do not fit" in error("verify", bundle, "--test-images", 1)
    edit(bundle, lambda m: m["provenance"].update(recipe={}))
    assert "a recipe that names data and adversary" in error("verify", bundle, "--test-images", 1)


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


def test_inspect_shows_the_manifest(capsys: pytest.CaptureFixture[str], tiny: Any) -> None:
    assert main(["inspect", str(tiny.path)]) == 0
    out = capsys.readouterr().out
    for shown in ("features.0", "4 -> 2", "QLinearConv", "held-out accuracy", "dense.onnx", "KiB", "power-of-two"):
        assert shown in out
    assert main(["inspect", str(tiny.path), "--json"]) == 0
    assert Manifest.from_json(capsys.readouterr().out) == tiny.build.bundle.manifest


def test_what_looks_like_markup_is_shown_as_it_is(capsys: pytest.CaptureFixture[str], bundle: Path) -> None:
    classes = ["[red]", "[/red]", ":smile:", "[x]"]
    edit(bundle, lambda m: (m["output"].update(classes=classes), m["layers"][0].update(reason="keep=[/a]")))
    assert main(["inspect", str(bundle)]) == 0
    out = capsys.readouterr().out
    assert "[red], [/red], :smile:, [x]" in out
    assert "keep=[/a]" in out


@pytest.mark.parametrize("path", sorted(path.parent for path in CORPUS.glob("*/*/manifest.json")), ids=str)
def test_inspect_reads_every_released_format(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    assert main(["inspect", str(path)]) == 0
    assert capsys.readouterr().out


def test_bench_takes_the_bundle_on_its_own_data(capsys: pytest.CaptureFixture[str], tiny: Any, tmp_path: Path) -> None:
    flags = ["--warmup", "0", "--repeats", "2", "--min-seconds", "0", "--batch", "8", "--no-robust"]
    assert main(["bench", str(tiny.path), *flags, "--json", str(tmp_path / "bench.json")]) == 0
    assert "dense" in capsys.readouterr().out
    report = json.loads((tmp_path / "bench.json").read_text())
    assert [subject["name"] for subject in report["subjects"]] == ["dense", "shipped"]
