"""A file that is replaced while a bundle is read: what runs are the bytes that were hashed, or there is an error."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import select
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardtemper.runtime.bundle import listed_files, reader
from hardtemper.runtime.bundle.reader import read_bundle
from hardtemper.runtime.engine import load, open_onnx
from hardtemper.runtime.errors import HardtemperError, InputError, IntegrityError, ModelError
from hardtemper.runtime.files import onnx_file, read_once
from hardtemper.runtime.files.onnx_file import read_onnx

MakeBundle = Callable[..., Path]
FILES = ("manifest.json", "graph.onnx", "dense/model.onnx")
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 1, 8, 8), np.uint8)


def put(path: Path, content: bytes) -> None:
    """In one rename, so that nobody reads half of it."""
    beside = path.parent.parent / f"swap {threading.get_ident()}"  # an attacker writes at the same time
    beside.write_bytes(content)
    beside.replace(path)


def evil(classifier: Any) -> bytes:
    return type(classifier)(weights=-classifier.weights).onnx()


@pytest.fixture
def swap(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, bytes], None]:
    """Puts another file in a file's place, each time that this file was opened and closed again."""

    def arm(target: Path, content: bytes) -> None:
        opened = read_once.open_regular

        @contextmanager
        def swapping(path: str | Path) -> Iterator[Any]:
            with opened(path) as file:
                yield file
            if Path(path) == target:
                put(target, content)

        for module in (read_once, listed_files):
            monkeypatch.setattr(module, "open_regular", swapping)

    return arm


def test_a_graph_that_is_swapped_after_it_was_read_does_not_run(
    make_bundle: MakeBundle, classifier: Any, swap: Callable[..., None]
) -> None:
    folder = make_bundle()
    swap(folder / "graph.onnx", evil(classifier))
    for check in (True, False):
        put(folder / "graph.onnx", classifier.onnx())
        np.testing.assert_array_equal(load(folder, check=check)(IMAGES), classifier.logits(IMAGES))
        assert (folder / "graph.onnx").read_bytes() == evil(classifier)
    with pytest.raises(IntegrityError, match=r"graph\.onnx: SHA-256 differs"):
        load(folder, check=False)


def test_a_bare_graph_that_is_swapped_after_it_was_read_does_not_run(
    tmp_path: Path, classifier: Any, swap: Callable[..., None]
) -> None:
    path = tmp_path / "m" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(classifier.onnx())
    swap(path, evil(classifier))
    read = read_onnx(path)
    assert path.read_bytes() == evil(classifier)
    assert read.digest == hashlib.sha256(hashlib.sha256(classifier.onnx()).hexdigest().encode()).hexdigest()
    np.testing.assert_array_equal(open_onnx(read)(IMAGES), classifier.logits(IMAGES))


@pytest.mark.parametrize("relative", FILES[1:])
def test_every_reading_of_a_read_bundle_is_checked(
    make_bundle: MakeBundle, classifier: Any, swap: Callable[..., None], relative: str
) -> None:
    folder = make_bundle()
    swap(folder / relative, evil(classifier))
    bundle = read_bundle(folder)
    with pytest.raises(IntegrityError, match=rf"{relative}: (SHA-256|size) differs"):
        bundle.read(relative)


def test_a_manifest_that_is_swapped_after_it_was_read_is_not_believed(
    make_bundle: MakeBundle, classifier: Any, swap: Callable[..., None]
) -> None:
    """Neither its file list, which would let another graph pass, nor its labels."""
    folder = make_bundle()
    other = json.loads((folder / "manifest.json").read_bytes())
    graph = evil(classifier)
    other["files"][0] = {"path": "graph.onnx", "sha256": hashlib.sha256(graph).hexdigest(), "bytes": len(graph)}
    other["output"]["classes"] = [f"evil {index}" for index in range(10)]
    digest = read_bundle(folder).digest
    swap(folder / "manifest.json", json.dumps(other).encode())
    engine = load(folder)
    assert engine.labels[0] == "class 0"
    put(folder / "graph.onnx", graph)
    assert load(folder).labels[0] == "evil 0", "a whole bundle, but another one"
    with pytest.raises(IntegrityError, match=rf"another bundle; expected: digest {digest}; got: \w+; fix: fetch"):
        load(folder, digest=digest)


def test_each_file_is_opened_once(make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, seen, really = make_bundle(), list[str](), os.open

    def noted(path: Any, *arguments: Any) -> int:
        seen.append(str(path))
        return really(path, *arguments)

    monkeypatch.setattr(os, "open", noted)
    load(folder)
    assert sorted(Path(path).relative_to(folder).as_posix() for path in seen) == sorted(FILES)


@pytest.mark.parametrize("holds", [load, read_bundle])
def test_a_digest_is_held(make_bundle: MakeBundle, holds: Callable[..., Any]) -> None:
    folder = make_bundle()
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    for given in (digest, digest.upper(), None):
        holds(folder, digest=given)
    for wrong in ("", "0" * 63, "0" * 65, "g" * 64, f"sha256:{digest}", 7, digest.encode()):
        with pytest.raises(InputError, match="digest; expected: 64 hexadecimal digits, as toolchain build prints"):
            holds(folder, digest=wrong)
    (folder / "manifest.json").write_bytes((folder / "manifest.json").read_bytes() + b"\n")
    with pytest.raises(IntegrityError, match=f"another bundle; expected: digest {digest}; got: "):
        holds(folder, digest=digest)


def test_the_digest_of_a_read_bundle_is_held_too(make_bundle: MakeBundle) -> None:
    bundle = read_bundle(make_bundle())
    assert load(bundle, digest=bundle.digest).bundle == bundle
    with pytest.raises(IntegrityError, match="another bundle"):
        load(bundle, digest="0" * 64)


def test_a_manifest_of_another_digest_is_not_even_parsed(make_bundle: MakeBundle) -> None:
    folder = make_bundle()
    (folder / "manifest.json").write_bytes(b"no JSON")
    with pytest.raises(IntegrityError, match="another bundle"):
        read_bundle(folder, digest="0" * 64)


_CLOSED = 0x10  # IN_CLOSE_NOWRITE


@pytest.mark.skipif(sys.platform != "linux", reason="needs inotify")
def test_a_real_swap_between_hash_and_run(make_bundle: MakeBundle, classifier: Any) -> None:
    """Whoever closes the graph after reading it finds another one there; nothing of the package is patched."""
    folder = make_bundle()
    libc = ctypes.CDLL(None, use_errno=True)
    watch, stop = libc.inotify_init(), threading.Event()
    assert libc.inotify_add_watch(watch, os.fsencode(folder), _CLOSED) >= 0
    armed, swaps = threading.Event(), 0

    def attack() -> None:
        nonlocal swaps
        while not stop.is_set():
            if not select.select([watch], [], [], 0.05)[0]:
                continue
            names, start = os.read(watch, 65536), 0
            while start < len(names):
                _, _, _, length = struct.unpack_from("iIII", names, start)
                name = names[start + 16 : start + 16 + length].rstrip(b"\0")
                start += 16 + length
                if name == b"graph.onnx" and armed.is_set():
                    armed.clear()
                    put(folder / "graph.onnx", evil(classifier))
                    swaps += 1

    attacker = threading.Thread(target=attack)
    attacker.start()
    outcomes = []
    try:
        for _ in range(500):
            put(folder / "graph.onnx", classifier.onnx())
            armed.set()
            try:
                same = np.array_equal(load(folder, threads=1)(IMAGES), classifier.logits(IMAGES))
                outcomes.append("right" if same else "foreign")
            except HardtemperError:
                outcomes.append("refused")
            if len(outcomes) >= 20 and swaps:  # a busy machine may let the attacker come late
                break
    finally:
        stop.set()
        attacker.join()
        os.close(watch)
    assert swaps
    assert outcomes.count("foreign") == 0


def test_damage_of_another_file_is_told_before_what_is_wrong_with_the_graph(
    make_bundle: MakeBundle, classifier: Any
) -> None:
    """They are found side by side; whoever sees a damaged download must not look for a fault in the graph."""
    folder = make_bundle(graph=b"no ONNX")
    with pytest.raises(ModelError, match=r"graph\.onnx"):
        load(folder)
    put(folder / "dense/model.onnx", evil(classifier))
    with pytest.raises(IntegrityError, match=r"dense/model\.onnx: "):
        load(folder)
    (folder / "graph.onnx").unlink()
    for check in (True, False):
        with pytest.raises(IntegrityError):
            load(folder, check=check)


def test_nothing_else_reads() -> None:
    """What the swaps above do not patch would go unseen."""
    assert reader.read_regular is onnx_file.read_regular is read_once.read_regular
    assert listed_files.open_regular is read_once.open_regular
