from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardtemper.runtime.bundle.reader import read_bundle
from hardtemper.runtime.errors import BundleError, BundleFormatError, IntegrityError

FILES = ["graph.onnx", "dense/model.onnx"]
MakeBundle = Callable[..., Path]


def test_reads_a_bundle(make_bundle: MakeBundle) -> None:
    folder = make_bundle()
    bundle = read_bundle(str(folder))
    assert bundle.path == folder
    for relative in FILES:
        assert bundle.read(relative) == (folder / relative).read_bytes()
    assert bundle.graph().content == bundle.read("graph.onnx")
    assert bundle.digest == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()


@pytest.mark.parametrize("relative", ["manifest.json", "../linear.bundle/graph.onnx", "dense", ""])
def test_only_listed_files_are_read(make_bundle: MakeBundle, relative: str) -> None:
    bundle = read_bundle(make_bundle())
    with pytest.raises(BundleError, match=r"one of graph\.onnx, dense/model\.onnx"):
        bundle.read(relative)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_flipped_bit_is_found(make_bundle: MakeBundle, data: st.DataObject) -> None:
    folder = make_bundle()
    relative = data.draw(st.sampled_from(FILES))
    content = bytearray((folder / relative).read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    (folder / relative).write_bytes(content)
    with pytest.raises(IntegrityError) as caught:
        read_bundle(folder)
    assert caught.value.what == f"{folder / relative}: SHA-256 differs"
    read_bundle(folder, check=False)


@pytest.mark.parametrize("relative", FILES)
def test_damaged_files(make_bundle: MakeBundle, relative: str) -> None:
    folder = make_bundle()
    path = folder / relative
    content = path.read_bytes()
    for damaged, what in [(content[:-1], "size differs"), (content + b"\0", "size differs"), (b"", "size differs")]:
        path.write_bytes(damaged)
        with pytest.raises(IntegrityError, match=what):
            read_bundle(folder)
    path.unlink()
    for check in (True, False):
        with pytest.raises(IntegrityError, match="missing"):
            read_bundle(folder, check=check)
    path.mkdir()
    with pytest.raises(IntegrityError, match="no regular file"):
        read_bundle(folder)
    path.rmdir()
    path.write_bytes(content)
    read_bundle(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders on this system")
def test_a_pipe_does_not_block(make_bundle: MakeBundle) -> None:
    folder = make_bundle()
    (folder / "graph.onnx").unlink()
    os.mkfifo(folder / "graph.onnx")
    with pytest.raises(IntegrityError, match="no regular file"):
        read_bundle(folder)


@pytest.mark.parametrize("relative", [*FILES, "manifest.json", "dense"])
def test_links_that_lead_out(make_bundle: MakeBundle, tmp_path: Path, relative: str) -> None:
    folder = make_bundle()
    outside = tmp_path / "outside"
    (folder / relative).rename(outside)
    (folder / relative).symlink_to(outside)
    for check in (True, False):
        with pytest.raises(IntegrityError, match="leads out of the bundle"):
            read_bundle(folder, check=check)


def test_a_link_to_itself(make_bundle: MakeBundle) -> None:
    folder = make_bundle()
    (folder / "graph.onnx").unlink()
    (folder / "graph.onnx").symlink_to("graph.onnx")
    with pytest.raises(IntegrityError):
        read_bundle(folder)


def test_a_link_to_the_bundle_is_fine(make_bundle: MakeBundle, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(make_bundle())
    assert read_bundle(link).path == link


@pytest.mark.parametrize("relative", ["extra.bin", ".hidden", "dense/extra.bin", "deep/er/extra.bin"])
def test_files_that_are_not_listed(make_bundle: MakeBundle, relative: str) -> None:
    folder = make_bundle()
    (folder / relative).parent.mkdir(parents=True, exist_ok=True)
    (folder / relative).write_bytes(b"")
    with pytest.raises(IntegrityError, match="not listed") as caught:
        read_bundle(folder)
    assert str(folder / relative) in caught.value.what


def test_a_linked_folder_that_is_not_listed(make_bundle: MakeBundle) -> None:
    folder = make_bundle()
    (folder / "again").symlink_to("dense")
    with pytest.raises(IntegrityError, match="again: not listed"):
        read_bundle(folder)


def test_what_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for path, got, fix in [
        (tmp_path / "missing", "nothing", ""),
        (tmp_path / ("x" * 5000), "nothing", ""),
        (tmp_path / "nul\0", "nothing", ""),
        (tmp_path / "model.onnx", "a file", "open_onnx"),
        (tmp_path / "model.onnx" / "below", "nothing", ""),
        (tmp_path / "empty", "no such file", ""),
    ]:
        with pytest.raises(BundleError) as caught:
            read_bundle(path)
        assert caught.value.got == got
        assert fix in caught.value.fix


def test_a_former_bundle_that_was_moved_aside_is_named(make_bundle: MakeBundle) -> None:
    folder = make_bundle()
    aside = folder.with_name(f".{folder.name}.0123.old")
    folder.rename(aside)
    with pytest.raises(BundleError) as caught:
        read_bundle(folder)
    assert str(aside) in caught.value.fix


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"{}", b'{"format_version": 7}'])
def test_a_manifest_that_cannot_be_used(make_bundle: MakeBundle, content: bytes) -> None:
    folder = make_bundle()
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleFormatError) as caught:
        read_bundle(folder)
    assert caught.value.what.startswith(f"{folder / 'manifest.json'}: ")


def test_a_path_in_the_manifest_that_leads_out(make_bundle: MakeBundle) -> None:
    folder = make_bundle()
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"][1]["path"] = "../secret"
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(BundleFormatError, match=r"files\[1\]\.path"):
        read_bundle(folder)


def test_a_listed_name_that_no_system_can_hold(make_bundle: MakeBundle) -> None:
    folder = make_bundle()
    text = (folder / "manifest.json").read_text(encoding="utf-8")
    (folder / "manifest.json").write_text(text.replace("dense/model.onnx", "x" * 4000), encoding="utf-8")
    with pytest.raises(IntegrityError, match=r"cannot be read|missing"):
        read_bundle(folder)


@pytest.mark.parametrize("name", ["a" * 5000, "x/" * 3000], ids=["name", "path"])
def test_a_name_that_no_system_can_hold(name: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle"):
        read_bundle(tmp_path / name)
