"""What the tests of the commands share."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Fails = Callable[..., str]
Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def fails(error: Callable[..., str]) -> Fails:
    """Runs a command that must fail; gives its one line of error, without "error: "."""

    def run(*arguments: object, code: int = 2) -> str:
        line = error(*arguments, code=code).removeprefix("error: ")
        assert "'" in line or ":" in line
        return line

    return run


@pytest.fixture
def bundle(tiny: Any, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(tiny.path, tmp_path / "copy"))


@pytest.fixture
def edit(bundle: Path) -> Callable[[Change], None]:
    """Changes the manifest of `bundle`."""

    def rewrite(change: Change) -> None:
        manifest = json.loads((bundle / "manifest.json").read_text())
        change(manifest)
        (bundle / "manifest.json").write_text(json.dumps(manifest))

    return rewrite


@pytest.fixture
def replace(bundle: Path, edit: Callable[[Change], None]) -> Callable[[str, bytes], None]:
    """Writes another file in the place of one of `bundle`, with its hash in the manifest."""

    def write(name: str, content: bytes) -> None:
        (bundle / name).write_bytes(content)

        def tell(manifest: dict[str, Any]) -> None:
            for entry in manifest["files"]:
                if entry["path"] == name:
                    entry |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}

        edit(tell)

    return write
