"""Entries go in and come back; whatever else lies in the cache is refused by name."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hardtemper.runtime.backends.tensorrt.cache import (
    CachedEngine,
    Tensor,
    cache_folder,
    check_folder,
    engine_key,
    find_engine,
    read_engine,
    write_engine,
)
from hardtemper.runtime.errors import BundleError, BundleFormatError, IntegrityError
from hardtemper.runtime.files.onnx_file import OnnxFile

ENGINE = b"an engine"
GRAPH = b"a graph"
HERE = {"tensorrt": "10.16.1.11", "compute_capability": "9.0"}


def entry(**changes: Any) -> CachedEngine:
    facts: dict[str, Any] = {
        "graph_sha256": hashlib.sha256(GRAPH).hexdigest(),
        "engine_sha256": hashlib.sha256(ENGINE).hexdigest(),
        "tensorrt": "10.16.1.11",
        "compute_capability": "9.0",
        "gpu": "NVIDIA H200",
        "driver": "12.8",
        "flags": {"fp16": False, "version_compatible": False, "hardware_compatible": False, "placement": "planes"},
        "profiles": ((1, 64, 256),),
        "input": Tensor(name="image", dtype="uint8", shape=(3, 32, 32)),
        "output": Tensor(name="logits", dtype="float32", shape=(10,)),
    }
    return CachedEngine(**facts | changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "cache"
    path.mkdir(mode=0o700)
    return path


def test_round_trip(folder: Path) -> None:
    path = write_engine(folder, entry(), ENGINE)
    assert path == folder / f"{entry().key}.engine"
    assert read_engine(path) == (entry(), ENGINE)
    assert sorted(p.name for p in folder.iterdir()) == [f"{entry().key}.engine", f"{entry().key}.json"]
    if os.name != "nt":
        assert {p.stat().st_mode & 0o777 for p in folder.iterdir()} == {0o600}


def test_the_format(folder: Path) -> None:
    said = json.loads(write_engine(folder, entry(), ENGINE).with_suffix(".json").read_text())
    assert said.keys() == {
        "format_version", "graph_sha256", "engine_sha256", "tensorrt", "compute_capability", "gpu", "driver", "flags",
        "profiles", "input", "output",
    }  # fmt: skip
    assert said["format_version"] == 1
    assert said["profiles"] == [[1, 64, 256]]
    assert said["input"] == {"name": "image", "dtype": "uint8", "shape": [3, 32, 32], "scale": 1.0}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"tensorrt": "11.4.0.106"}, False),
        ({"compute_capability": "8.6"}, False),
        ({"driver": "13.0"}, False),
        ({"graph_sha256": "0" * 64}, False),
        ({"profiles": ((1, 1, 1),)}, False),
        ({"flags": {"fp16": True}}, False),
        ({"flags": dict(entry().flags) | {"placement": "other"}}, True),  # what came of it was not asked for
        ({"gpu": "NVIDIA H100"}, True),
        ({"engine_sha256": "1" * 64}, True),
    ],
)
def test_what_an_engine_goes_by(change: dict[str, Any], same: bool) -> None:
    assert (entry(**change).key == entry().key) == same
    facts = {name: getattr(entry(), name) for name in ("graph_sha256", "tensorrt", "compute_capability", "driver")}
    assert engine_key(**facts, flags=entry().flags, profiles=[[1, 64, 256]]) == entry().key


@pytest.mark.parametrize(
    ("flags", "here", "expected"),
    [
        ({}, {}, ""),
        ({}, {"compute_capability": "8.6"}, "built for compute capability 9.0, found 8.6"),
        ({"hardware_compatible": True}, {"compute_capability": "8.6"}, ""),
        ({"hardware_compatible": True}, {"compute_capability": "12.0"}, ""),
        ({"hardware_compatible": True}, {"compute_capability": "7.5"}, "built for compute capability 9.0, found 7.5"),
        ({}, {"tensorrt": "10.16.2"}, "built with TensorRT 10.16.1.11, found 10.16.2"),
        ({"version_compatible": True}, {"tensorrt": "10.16.2"}, ""),
        ({"version_compatible": True}, {"tensorrt": "10.2.0"}, "built with TensorRT 10.16.1.11, found 10.2.0"),
        ({"version_compatible": True}, {"tensorrt": "11.4.0.106"}, "built with TensorRT 10.16.1.11, found 11.4.0.106"),
    ],
)
def test_where_an_engine_runs(flags: dict[str, bool], here: dict[str, str], expected: str) -> None:
    assert entry(flags=flags).mismatch(**HERE | here) == expected


def test_the_engine_of_a_graph_is_found(folder: Path, tmp_path: Path) -> None:
    graph = OnnxFile(path=tmp_path / "model.onnx", content=GRAPH)
    with pytest.raises(BundleError, match=r"none in the cache.*toolchain compile"):
        find_engine(folder, graph, **HERE)
    with pytest.raises(BundleError, match="none in the cache"):
        find_engine(folder / "nowhere", graph, **HERE)
    write_engine(folder, entry(compute_capability="8.6"), ENGINE)
    write_engine(folder, entry(graph_sha256="0" * 64), ENGINE)
    with pytest.raises(BundleError, match=r"compute capability 9.0.*built for compute capability 8.6, found 9.0"):
        find_engine(folder, graph, **HERE)
    write_engine(folder, entry(), ENGINE)
    assert find_engine(folder, graph, **HERE) == (entry(), ENGINE)


def test_a_damaged_entry_is_passed_by(folder: Path, tmp_path: Path) -> None:
    graph = OnnxFile(path=tmp_path / "model.onnx", content=GRAPH)
    write_engine(folder, entry(), ENGINE).write_bytes(ENGINE + b"!")
    with pytest.raises(BundleError, match=r"no TensorRT engine") as caught:
        find_engine(folder, graph, **HERE)
    assert "changed" in caught.value.got
    other = replace(entry(), driver="13.0")
    write_engine(folder, other, ENGINE)
    assert find_engine(folder, graph, **HERE)[0] == other


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda p: p.write_bytes(b"other"), IntegrityError, "changed.*compile it again"),
        (lambda p: p.unlink(), BundleError, "cannot be read"),
        (lambda p: p.with_suffix(".json").unlink(), BundleError, "cannot be read"),
        (lambda p: p.with_suffix(".json").write_text("{"), BundleFormatError, "invalid JSON"),
        (lambda p: p.with_suffix(".json").write_bytes(b"\xff"), BundleFormatError, "UTF-8"),
        (lambda p: said(p, format_version=2), BundleFormatError, "format_version.*expected: 1"),
        (lambda p: said(p, format_version=True), BundleFormatError, "format_version"),
        (lambda p: said(p, more=1), BundleFormatError, "more.*unknown key"),
        (lambda p: said(p, gpu=""), BundleFormatError, "gpu.*empty text"),
        (lambda p: said(p, engine_sha256="A" * 64), BundleFormatError, "engine_sha256.*hexadecimal"),
        (lambda p: said(p, profiles=[[2, 1, 3]]), BundleFormatError, r"profiles\[0\]"),
        (lambda p: said(p, profiles=[["1", 2, 3]]), BundleFormatError, r"profiles\[0\]"),
        (lambda p: said(p, input=3), BundleFormatError, "input.*an object"),
        (lambda p: said(p, output={}), BundleFormatError, r"output\."),
        (
            lambda p: said(p, input={"name": "i", "dtype": "int4", "shape": [1], "scale": 1.0}),
            BundleFormatError,
            "dtype",
        ),
        (
            lambda p: said(p, input={"name": "i", "dtype": "uint8", "shape": [0], "scale": 1.0}),
            BundleFormatError,
            "shape",
        ),
        (
            lambda p: said(p, input={"name": "i", "dtype": "uint8", "shape": [1], "scale": 0}),
            BundleFormatError,
            "scale",
        ),
    ],
)
def test_damage(damage: Callable[[Path], Any], error: type[Exception], message: str, folder: Path) -> None:
    path = write_engine(folder, entry(), ENGINE)
    damage(path)
    with pytest.raises(error, match=message):
        read_engine(path)


def said(path: Path, **changes: Any) -> None:
    where = path.with_suffix(".json")
    where.write_text(json.dumps(json.loads(where.read_text()) | changes))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_folder_that_others_can_write_to(mode: int, folder: Path) -> None:
    path = write_engine(folder, entry(), ENGINE)
    folder.chmod(mode)
    for ask in (
        lambda: read_engine(path),
        lambda: check_folder(folder),
        lambda: find_engine(folder, OnnxFile(path=path, content=b""), **HERE),
    ):
        with pytest.raises(IntegrityError, match=rf"not trusted.*mode {mode:o}.*--trust-engine"):
            ask()
    assert read_engine(path, trust=True) == (entry(), ENGINE)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX owners")
def test_somebody_elses_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_engine(folder, entry(), ENGINE)
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    with pytest.raises(IntegrityError, match=f"owner {mine}"):
        read_engine(path)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "hardtemper" / "engines"
    for empty in ("", "relative"):  # as the XDG specification says: absolute, or not there
        monkeypatch.setenv("XDG_CACHE_HOME", empty)
        assert cache_folder() == Path.home() / ".cache" / "hardtemper" / "engines"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot write the engine"):
        write_engine(tmp_path / "file" / "cache", entry(), ENGINE)
