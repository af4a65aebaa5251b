"""`toolchain unpack`: the graph that runs, as other tools read it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hardtemper.export.graph_packing import pack_graph
from hardtemper.toolchain.__main__ import main


@pytest.fixture
def packed(bundle: Path, edit: Callable[..., None]) -> Path:
    """A bundle that is the same but for its graph, which is packed."""
    content = pack_graph((bundle / "model.onnx").read_bytes())
    (bundle / "model.onnx").unlink()
    (bundle / "model.onnx.packed").write_bytes(content)

    def tell(manifest: dict[str, Any]) -> None:
        manifest["graph"] = "model.onnx.packed"
        for entry in manifest["files"]:
            if entry["path"] == "model.onnx":
                digest = hashlib.sha256(content).hexdigest()
                entry |= {"path": "model.onnx.packed", "sha256": digest, "bytes": len(content)}

    edit(tell)
    return bundle


def test_a_packed_graph_becomes_the_onnx_file(
    capsys: pytest.CaptureFixture[str], packed: Path, tiny: Any, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "plain.onnx"
    assert main(["unpack", str(packed), "-o", str(out)]) == 0
    assert out.read_bytes() == (tiny.path / "model.onnx").read_bytes()
    stored = (packed / "model.onnx.packed").stat().st_size
    said = f"{out}: {out.stat().st_size:,} bytes, of {stored:,} in model.onnx.packed\n"
    assert capsys.readouterr().out == said


def test_a_plain_graph_is_copied(tiny: Any, tmp_path: Path) -> None:
    out = tmp_path / "plain.onnx"
    assert main(["unpack", str(tiny.path), "--out", str(out)]) == 0
    assert out.read_bytes() == (tiny.path / "model.onnx").read_bytes()


def test_a_file_is_replaced_on_request_only(fails: Callable[..., str], tiny: Any, tmp_path: Path) -> None:
    out = tmp_path / "plain.onnx"
    out.write_bytes(b"mine")
    line = fails("unpack", tiny.path, "--out", out)
    assert line == f"{out}: exists already; fix: choose another --out, or give --overwrite"
    assert out.read_bytes() == b"mine"
    assert main(["unpack", str(tiny.path), "--out", str(out), "--overwrite"]) == 0
    assert out.read_bytes() != b"mine"
    assert "cannot be written" in fails("unpack", tiny.path, "--out", out / "below" / "a.onnx")


def test_another_bundle_and_a_damaged_graph(fails: Callable[..., str], packed: Path, edit: Callable[..., None]) -> None:
    assert "another bundle" in fails("unpack", packed, "--digest", "0" * 64)
    graph = packed / "model.onnx.packed"
    content = bytearray(graph.read_bytes())
    content[60] ^= 1
    graph.write_bytes(content)
    assert "model.onnx.packed: SHA-256 differs" in fails("unpack", packed)
    digest = hashlib.sha256(content).hexdigest()

    def tell(manifest: dict[str, Any]) -> None:
        for entry in manifest["files"]:
            if entry["path"] == "model.onnx.packed":
                entry["sha256"] = digest

    edit(tell)
    assert json.loads((packed / "manifest.json").read_text())["graph"] == "model.onnx.packed"
    for command in ("unpack", "verify"):
        assert "model.onnx.packed: cannot be unpacked" in fails(command, packed)


def test_verify_finds_the_same_function(packed: Path) -> None:
    assert main(["verify", str(packed), "--images", "16"]) == 0
