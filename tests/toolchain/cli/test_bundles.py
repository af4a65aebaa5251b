"""`verify`, `inspect` and `bench` on a bundle that is whole, and on bundles that are not."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardtemper.runtime.bundle.manifest import Manifest
from hardtemper.runtime.errors import GateError
from hardtemper.toolchain.__main__ import main
from hardtemper.toolchain.bundles.verification import verify_bundle

COMMANDS = ["verify", "inspect", "bench"]
SHORT = ["--warmup", "0", "--repeats", "2", "--min-seconds", "0", "--batch", "8"]
CORPUS = Path(__file__).parents[2] / "data" / "bundles"


@pytest.fixture
def bundle(tiny: Any, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(tiny.path, tmp_path / "copy"))


@pytest.fixture
def own(npz: Path) -> dict[str, list[str]]:
    """What a command needs beside the bundle, which was built on a file: only the user may name that."""
    return {"bench": ["--data", str(npz)], "verify": [], "inspect": []}


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


def packed(**arrays: Any) -> bytes:
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
def test_one_flipped_bit(
    error: Callable[..., str], bundle: Path, own: dict[str, list[str]], command: str, name: str
) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    line = error(command, bundle, *own[command], code=gates(command))
    assert f"{bundle / name}: SHA-256 differs; expected: " in line


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
    *,
    error: Callable[..., str],
    bundle: Path,
    own: dict[str, list[str]],
    command: str,
    damage: Callable[[Path], Any],
    message: str,
) -> None:
    damage(bundle)
    line = error(command, bundle, *own[command], code=gates(command))
    assert message in line
    assert str(bundle) in line


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


def test_changed_proof_logits_fail_the_gate(error: Callable[..., str], bundle: Path) -> None:
    images, logits = proof(bundle)
    logits[3, 1] = np.nextafter(logits[3, 1], np.float32(np.inf))
    replace(bundle, "proof.npz", packed(images=images, logits=logits))
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
        (packed(images=np.zeros((1, 1, 16, 16), np.uint8)), "proof.npz; expected: arrays images and logits"),
        (
            packed(images=np.zeros((1, 1, 16, 16), np.uint8), logits=np.zeros((1, 3))),
            "logits; expected: (1, 4)",
        ),
        (packed(images=np.zeros((1, 1, 8, 8), np.uint8), logits=np.zeros((1, 4))), "[N, 1, 16, 16]"),
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
    flags = ["--images", 0, "--test-images", 1, "--data", other]
    assert "other.npz does not exist" in error("verify", bundle, *flags)
    for side, classes, message in ((8, 4, "the images do not fit"), (16, 5, "the labels do not fit")):
        images, labels = np.zeros((classes, side, side), np.uint8), np.arange(classes)
        other.write_bytes(packed(train_images=images, train_labels=labels, test_images=images, test_labels=labels))
        assert message in error("verify", bundle, *flags)
    edit(bundle, lambda m: m["provenance"]["recipe"].pop("data"))
    assert "the recipe names none; fix: give --data yourself" in error("verify", bundle, *flags[:-2])
    edit(bundle, lambda m: m["provenance"].update(recipe={}))
    assert "a recipe that names an adversary" in error("verify", bundle, *flags)


def test_data_for_no_test_images(capsys: pytest.CaptureFixture[str], tiny: Any) -> None:
    for flag in ("--data", "--data-root"):
        assert main(["verify", str(tiny.path), flag, "mnist"]) == 2
        assert "give --test-images too" in capsys.readouterr().err


OPENING = {"bench": ["--no-robust"], "verify": ["--images", 0, "--test-images", 1]}


@pytest.mark.parametrize("command", OPENING)
def test_a_bundle_on_own_data_names_it(error: Callable[..., str], tiny: Any, npz: Path, command: str) -> None:
    line = error(command, tiny.path, *OPENING[command])
    assert line.startswith(f"error: {tiny.path} was built on the data set {str(npz)!r}; expected: a data set known by")
    assert line.endswith("fix: give --data yourself")


@pytest.mark.parametrize("command", OPENING)
def test_code_that_a_bundle_brings_is_not_run(
    error: Callable[..., str], bundle: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    code = "open('ran', 'w').close()\ndef run():\n    raise SystemExit('ran')\n"
    entry = {"path": "payload.py", "sha256": hashlib.sha256(code.encode()).hexdigest(), "bytes": len(code)}
    (bundle / "payload.py").write_text(code)
    edit(bundle, lambda m: m["files"].append(entry))
    edit(bundle, lambda m: m["provenance"]["recipe"]["data"].update(name="copy.payload:run"))
    monkeypatch.chdir(bundle.parent)  # on the path while a factory is imported
    assert "was built on the data set 'copy.payload:run'" in error(command, "copy", *OPENING[command])
    assert not (bundle.parent / "ran").exists()
    assert "copy.payload" not in sys.modules


def recipe(**sections: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda manifest: manifest["provenance"]["recipe"].update(sections)


@pytest.mark.parametrize(
    ("command", "change", "message"),
    [
        ("verify", recipe(quantize=[]), "provenance.recipe.quantize; expected: an object; got: a list"),
        ("verify", recipe(quantize={"integer_share": "abc"}), "recipe.quantize.integer_share; expected: a number"),
        ("verify", recipe(adversary=[]), "provenance.recipe.adversary; expected: an object; got: a list"),
        ("verify", recipe(adversary={"threat": 8}), "provenance.recipe.adversary.threat; expected: text"),
        ("verify", recipe(adversary={"threat": "linf"}), "cannot read the threat model"),
        ("bench", recipe(data=[]), "provenance.recipe.data; expected: an object; got: a list"),
        ("bench", recipe(data={"name": ["mnist"]}), "provenance.recipe.data.name; expected: text; got: a list"),
        ("bench", recipe(data={"name": "mnist", "root": 1}), "provenance.recipe.data.root; expected: text"),
        ("bench", recipe(robust="yes"), "provenance.recipe.robust; expected: a boolean; got: text"),
        ("bench", recipe(adversary="pgd"), "provenance.recipe.adversary; expected: an object; got: text"),
        ("inspect", lambda m: m.update(name="a\ud800b"), "manifest.json: name; expected: printable text"),
        ("inspect", lambda m: m["layers"][0].update(name="\ud800"), "layers[0].name; expected: Unicode text"),
        ("inspect", lambda m: m["layers"][1].update(parameters_before="many"), "layers[1].parameters_before; expected"),
        ("inspect", lambda m: m["layers"][1].update(channels_after=[1]), "layers[1].channels_after; expected: an int"),
        ("inspect", lambda m: m["proofs"].update(kernels=[]), "proofs.kernels; expected: an object; got: a list"),
        ("inspect", lambda m: m["proofs"]["kernels"].update(integer_share="all"), "proofs.kernels.integer_share; exp"),
        ("inspect", lambda m: m["proofs"]["kernels"].pop("macs"), "proofs.kernels.macs; expected: an integer; got: nu"),
        ("inspect", lambda m: m["proofs"]["kernels"].update(kernels=3), "proofs.kernels.kernels; expected: a list"),
        ("inspect", lambda m: m["proofs"]["kernels"]["kernels"].append({}), ".macs; expected: an integer; got: null"),
        ("inspect", lambda m: m["proofs"]["parity"].update(activations=[1]), "parity.activations[0]; expected: an obj"),
        ("inspect", lambda m: m["proofs"]["parity"].update(images=None), "proofs.parity.images; expected: an integer"),
        (
            "inspect",
            lambda m: m["measurements"].append({"name": "latency", "value": 1, "unit": "ms", "bench": {}}),
            "; expected: what toolchain bench --store writes",
        ),
    ],
)
def test_odd_manifests_of_a_valid_format(
    *,
    error: Callable[..., str],
    bundle: Path,
    npz: Path,
    command: str,
    change: Callable[[dict[str, Any]], Any],
    message: str,
) -> None:
    edit(bundle, change)
    flags = {"verify": ["--images", 0, "--test-images", 1, "--data", npz], "bench": SHORT, "inspect": []}[command]
    assert message in error(command, bundle, *flags)


@pytest.mark.parametrize("content", [b"hello world" * 10, b"", b"\x08"], ids=len)
def test_a_graph_that_is_no_onnx(error: Callable[..., str], bundle: Path, content: bytes) -> None:
    replace(bundle, "model.onnx", content)
    assert f"{bundle / 'model.onnx'}: ONNX Runtime cannot load the file" in error("verify", bundle)


def test_a_graph_that_only_onnxruntime_reads(
    error: Callable[..., str], bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own format, which it knows by the first bytes."""

    def refuse(_: str) -> None:
        raise ValueError("wire type")

    monkeypatch.setattr("hardtemper.toolchain.bundles.verification.onnx.load", refuse)
    assert f"{bundle / 'model.onnx'}: no ONNX file; got: ValueError: wire type" in error("verify", bundle)


def test_what_acts_on_a_terminal_is_shown_escaped(capsys: pytest.CaptureFixture[str], bundle: Path) -> None:
    escape = "\x1b]0;owned\x07"

    def change(manifest: dict[str, Any]) -> None:
        manifest["layers"][0].update(name=f"{escape}a", kind=f"{escape}b", reason=f"{escape}c")
        manifest["quantization"]["scales"] = f"{escape}d"
        manifest["proofs"]["kernels"]["backend"] = f"{escape}e"
        kernel = {"name": f"{escape}f", "operator": f"{escape}g", "macs": 1, "integer": False, "reason": f"{escape}h"}
        manifest["proofs"]["kernels"]["kernels"] = [kernel]
        measured = {"name": "held-out accuracy", "value": 0.5, "unit": "share", "n": f"{escape}i"}
        settings = {"attack": f"{escape}j"}
        benched = {"name": "robust-accuracy", "value": 1, "unit": "%", "n": 1, "spread": None, "settings": settings}
        manifest["measurements"] = [measured, benched | {"bench": {}}]

    edit(bundle, change)
    assert main(["inspect", str(bundle)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert [letter for letter in "abcdefghij" if rf"\x1b]0;owned\x07{letter}" not in out] == []


def test_a_label_that_acts_on_a_terminal(error: Callable[..., str], bundle: Path) -> None:
    edit(bundle, lambda m: m["output"]["classes"].__setitem__(0, "\x1b]0;owned\x07"))
    assert "output.classes[0]; expected: printable text; got: '\\x1b]0;owned\\x07'" in error("inspect", bundle)
    edit(bundle, lambda m: m.update({"\x1b[2J": 1}))
    assert "manifest.json: \\x1b[2J; expected: only the keys" in error("inspect", bundle)


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


def test_bench_takes_the_bundle_on_its_own_data(
    capsys: pytest.CaptureFixture[str], tiny: Any, npz: Path, tmp_path: Path
) -> None:
    flags = [*SHORT, "--no-robust", "--data", str(npz)]
    assert main(["bench", str(tiny.path), *flags, "--json", str(tmp_path / "bench.json")]) == 0
    assert "dense" in capsys.readouterr().out
    report = json.loads((tmp_path / "bench.json").read_text())
    assert [subject["name"] for subject in report["subjects"]] == ["dense", "shipped"]
