"""Bundles beyond the limits: refused in one line, before memory is asked for or a terabyte is read."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hardtemper.runtime.bundle import bundle_limits as limits
from hardtemper.runtime.bundle.manifest import Manifest
from hardtemper.runtime.bundle.reader import read_bundle
from hardtemper.runtime.errors import BundleError, BundleFormatError
from hardtemper.runtime.files.json_fields import MOST_CHARACTERS
from hardtemper.runtime.graph_check.limits import MOST_CLASSES

MakeBundle = Callable[..., Path]
DIGEST = "0" * 64


def entry(path: str, size: int) -> dict[str, Any]:
    return {"path": path, "sha256": DIGEST, "bytes": size}


@pytest.fixture
def value(manifest_value: dict[str, Any]) -> dict[str, Any]:
    return manifest_value | {"files": [entry("graph.onnx", 1), entry("dense/model.onnx", 1)]}


def test_at_the_limits(value: dict[str, Any]) -> None:
    value["output"]["classes"][0] = "x" * limits.MOST_LABEL_CHARACTERS
    value["name"] = "x" * MOST_CHARACTERS
    value["files"] = [entry("graph.onnx", 2**31 - 1), entry("dense/model.onnx", 2**31 - 1), entry("proof.npz", 2)]
    assert Manifest.from_json(json.dumps(value)).name == value["name"]


@pytest.mark.parametrize(
    ("path", "new", "message"),
    [
        (["output", "classes", 1], "x" * 1001, r"output\.classes\[1\]; expected: at most 1000 characters; got: 1001"),
        (["output", "classes"], ["x"] * (MOST_CLASSES + 1), r"output\.classes; expected: 1 to 1000000 labels"),
        (["name"], "x" * 4097, "name; expected: at most 4096 characters; got: 4097"),
        (["files", 0, "bytes"], 2**31, r"files\[0\]\.bytes; expected: at most 2147483647; got: 2147483648"),
        (["files", 0, "bytes"], 2**40, r"files\[0\]\.bytes"),
        (["files"], [entry(f"{n}", 2**31 - 1) for n in range(3)], "files; expected: at most 4294967296 bytes together"),
        (["files"], [entry(f"{n}", 0) for n in range(10_001)], "files; expected: at most 10000; got: 10001"),
        (["provenance", "seed"], "DIGITS", "integers of at most 64 bits; got: 5000 digits"),
        (["proofs", "parity"], "NESTED", "invalid JSON; expected: at most 64 levels; got: more"),
    ],
    ids=str,
)
def test_beyond_the_limits(value: dict[str, Any], path: list[Any], new: Any, message: str) -> None:
    *above, last = path
    place: Any = value
    for key in above:
        place = place[key]
    place[last] = new
    source = json.dumps(value).replace('"DIGITS"', "9" * 5000).replace('"NESTED"', "[" * 100_000)
    with pytest.raises(BundleFormatError, match=message) as caught:
        Manifest.from_json(source)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("size", [limits.MOST_MANIFEST_BYTES + 1, 2**40])
def test_a_manifest_that_is_too_large(make_bundle: MakeBundle, size: int) -> None:
    folder = make_bundle()
    with (folder / "manifest.json").open("r+b") as file:
        try:
            file.truncate(size)
        except OSError:
            pytest.skip("the file system has no sparse files of that size")
    tracemalloc.start()
    try:
        with pytest.raises(BundleError, match=f"cannot be read; got: {size} bytes are more than the"):
            read_bundle(folder)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_listed_file_of_a_terabyte_is_not_read(make_bundle: MakeBundle) -> None:
    folder = make_bundle()
    with (folder / "graph.onnx").open("r+b") as file:
        try:
            file.truncate(2**40)
        except OSError:
            pytest.skip("the file system has no sparse files of that size")
    with pytest.raises(BundleError, match="size differs"):
        read_bundle(folder)
