"""`toolchain inspect`: what is in a bundle, shown as it is and never acted on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hardtemper.runtime.bundle.manifest import Manifest
from hardtemper.toolchain.__main__ import main

CORPUS = Path(__file__).parents[2] / "data" / "bundles"


def test_what_acts_on_a_terminal_is_shown_escaped(
    capsys: pytest.CaptureFixture[str], bundle: Path, edit: Callable[..., None]
) -> None:
    escape = "\x1b]0;owned\x07"

    def change(manifest: dict[str, Any]) -> None:
        manifest["layers"][0].update(name=f"{escape}a", kind=f"{escape}b", reason=f"{escape}c")
        manifest["quantization"]["scales"] = f"{escape}d"
        manifest["proofs"]["kernels"]["backend"] = f"{escape}e"
        kernel = {"name": f"{escape}f", "operator": f"{escape}g", "macs": 1, "integer": False, "reason": f"{escape}h"}
        manifest["proofs"]["kernels"]["kernels"] = [kernel]
        measured = {"name": "held-out accuracy", "value": 0.5, "unit": "share", "n": f"{escape}i"}
        settings = {"attack": f"{escape}j"}
        names = {"operator": f"{escape}k", "result": f"{escape}l", "step": f"{escape}m", "reason": f"{escape}n"}
        manifest["proofs"]["lowering"] = {"skipped": [names]}
        benched = {"name": "robust-accuracy", "value": 1, "unit": "%", "n": 1, "spread": None, "settings": settings}
        manifest["measurements"] = [measured, benched | {"bench": {}}]

    edit(change)
    assert main(["inspect", str(bundle)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert [letter for letter in "abcdefghijklmn" if rf"\x1b]0;owned\x07{letter}" not in out] == []


def test_inspect_shows_the_manifest(capsys: pytest.CaptureFixture[str], tiny: Any) -> None:
    assert main(["inspect", str(tiny.path)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == f"digest: {tiny.build.bundle.digest}"
    for shown in ("features.0", "4 -> 2", "QLinearConv", "held-out accuracy", "dense.onnx", "KiB", "power-of-two"):
        assert shown in out
    assert main(["inspect", str(tiny.path), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value.pop("digest") == tiny.build.bundle.digest
    assert Manifest.from_json(json.dumps(value)) == tiny.build.bundle.manifest


def test_what_looks_like_markup_is_shown_as_it_is(
    capsys: pytest.CaptureFixture[str], bundle: Path, edit: Callable[..., None]
) -> None:
    classes = ["[red]", "[/red]", ":smile:", "[x]"]
    edit(lambda m: (m["output"].update(classes=classes), m["layers"][0].update(reason="keep=[/a]")))
    assert main(["inspect", str(bundle)]) == 0
    out = capsys.readouterr().out
    assert "[red], [/red], :smile:, [x]" in out
    assert "keep=[/a]" in out


@pytest.mark.parametrize("path", sorted(path.parent for path in CORPUS.glob("*/*/manifest.json")), ids=str)
def test_inspect_reads_every_released_format(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    assert main(["inspect", str(path)]) == 0
    assert capsys.readouterr().out
