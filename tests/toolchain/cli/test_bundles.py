"""`verify`, `inspect` and `bench` on a bundle that is whole, and on bundles that are not."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hardtemper.toolchain.__main__ import main

COMMANDS = ["verify", "inspect", "bench"]
SHORT = ["--warmup", "0", "--repeats", "2", "--min-seconds", "0", "--batch", "8"]


@pytest.fixture
def own(npz: Path) -> dict[str, list[str]]:
    """What a command needs beside the bundle, which was built on a file: only the user may name that."""
    return {"bench": ["--data", str(npz)], "verify": [], "inspect": []}


def append(path: Path, content: bytes) -> None:
    path.write_bytes(path.read_bytes() + content)


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
        (
            lambda _, edit: edit(lambda m: m.update(format_version=2)),
            "format_version; expected: 1; got: 2; fix: upgrade",
        ),
        (lambda _, edit: edit(lambda m: m.pop("layers")), "layers"),
        (lambda b, _: (b / "manifest.json").write_text("{"), "manifest.json: invalid JSON"),
        (lambda b, _: (b / "manifest.json").unlink(), "copy: not a bundle"),
        (lambda b, _: shutil.rmtree(b), "copy: no such bundle"),
    ],
)
def test_what_is_no_bundle(
    *,
    error: Callable[..., str],
    bundle: Path,
    command: str,
    damage: Callable[..., Any],
    message: str,
    edit: Callable[..., None],
) -> None:
    damage(bundle, edit)
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


OPENING = {"bench": ["--no-robust"], "verify": ["--images", 0, "--test-images", 1]}


@pytest.mark.parametrize("command", OPENING)
def test_a_bundle_on_own_data_names_it(error: Callable[..., str], tiny: Any, npz: Path, command: str) -> None:
    line = error(command, tiny.path, *OPENING[command])
    assert line.startswith(f"error: {tiny.path} was built on the data set {str(npz)!r}; expected: a data set known by")
    assert line.endswith("fix: give --data yourself")


@pytest.mark.parametrize("command", OPENING)
def test_code_that_a_bundle_brings_is_not_run(
    error: Callable[..., str], bundle: Path, monkeypatch: pytest.MonkeyPatch, command: str, edit: Callable[..., None]
) -> None:
    code = "open('ran', 'w').close()\ndef run():\n    raise SystemExit('ran')\n"
    entry = {"path": "payload.py", "sha256": hashlib.sha256(code.encode()).hexdigest(), "bytes": len(code)}
    (bundle / "payload.py").write_text(code)
    edit(lambda m: m["files"].append(entry))
    edit(lambda m: m["provenance"]["recipe"]["data"].update(name="copy.payload:run"))
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
    edit: Callable[..., None],
) -> None:
    edit(change)
    flags = {"verify": ["--images", 0, "--test-images", 1, "--data", npz], "bench": SHORT, "inspect": []}[command]
    assert message in error(command, bundle, *flags)


@pytest.mark.parametrize("content", [b"hello world" * 10, b"", b"\x08"], ids=len)
def test_a_graph_that_is_no_onnx(
    error: Callable[..., str], bundle: Path, content: bytes, replace: Callable[[str, bytes], None]
) -> None:
    replace("model.onnx", content)
    assert f"{bundle / 'model.onnx'}: no ONNX file; expected: a ModelProto" in error("verify", bundle)


def test_a_graph_that_only_onnxruntime_reads(
    error: Callable[..., str], bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own format, which it knows by the first bytes."""

    def refuse(_: bytes) -> None:
        raise ValueError("wire type")

    monkeypatch.setattr("hardtemper.toolchain.bundles.verification.onnx.load_model_from_string", refuse)
    assert f"{bundle / 'model.onnx'}: no ONNX file; got: ValueError: wire type" in error("verify", bundle)


def test_a_label_that_acts_on_a_terminal(error: Callable[..., str], bundle: Path, edit: Callable[..., None]) -> None:
    edit(lambda m: m["output"]["classes"].__setitem__(0, "\x1b]0;owned\x07"))
    assert "output.classes[0]; expected: printable text; got: '\\x1b]0;owned\\x07'" in error("inspect", bundle)
    edit(lambda m: m.update({"\x1b[2J": 1}))
    assert "manifest.json: \\x1b[2J; expected: only the keys" in error("inspect", bundle)


def test_bench_takes_the_bundle_on_its_own_data(
    capsys: pytest.CaptureFixture[str], tiny: Any, npz: Path, tmp_path: Path
) -> None:
    flags = [*SHORT, "--no-robust", "--data", str(npz)]
    assert main(["bench", str(tiny.path), *flags, "--json", str(tmp_path / "bench.json")]) == 0
    assert "dense" in capsys.readouterr().out
    report = json.loads((tmp_path / "bench.json").read_text())
    assert [subject["name"] for subject in report["subjects"]] == ["dense", "shipped"]
