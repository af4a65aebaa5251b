from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hardtemper.export.bundle_writer import Contents, check_target, update_measurements, write_bundle
from hardtemper.runtime.bundle.manifest import Input, Output, Provenance
from hardtemper.runtime.bundle.reader import Bundle, read_bundle
from hardtemper.runtime.errors import BundleError, BundleFormatError

FILES: dict[str, Path | bytes] = {"graph.onnx": b"graph", "dense/model.onnx": b"dense", "engines/a/b.bin": b""}
FIELDS: dict[str, Any] = {
    "name": "linear",
    "input": Input(shape=(1, 8, 8), name="image"),
    "output": Output(classes=("a", "b"), name="logits"),
    "graph": "graph.onnx",
    "dense": "dense/model.onnx",
    "provenance": Provenance(
        created="2025-01-31T12:00:00Z",
        recipe={"seed": 7},
        seed=7,
        versions={"hardtemper": "0.1.0"},
        instruction_set="x86-64-vnni",
        cpu="any",
    ),
    "quantization": {"target": "cpu"},
    "layers": [{"name": "fc"}],
    "measurements": [{"name": "latency", "value": 1.5, "unit": "ms"}],
    "proofs": {"parity": {"mismatches": 0}},
}
FASTER = [{"name": "latency", "value": 0.5, "unit": "ms"}]


def write(
    path: str | Path, *, files: Mapping[str, Path | bytes] = FILES, overwrite: bool = False, **changes: Any
) -> Bundle:
    return write_bundle(path, Contents(**FIELDS | changes), files=files, overwrite=overwrite)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "linear.bundle"
    bundle = write(str(path))
    assert bundle == read_bundle(path)
    for relative, content in FILES.items():
        assert bundle.read(relative) == content
    assert [entry.path for entry in bundle.manifest.files] == sorted(FILES)
    assert bundle.manifest.layers == ({"name": "fc"},)
    assert names(path.parent) == ["linear.bundle"]


def test_files_are_copied(tmp_path: Path) -> None:
    content = os.urandom((1 << 20) + 1)
    source = tmp_path / "source.onnx"
    source.write_bytes(content)
    bundle = write(tmp_path / "out", files={"graph.onnx": source}, dense=None)
    assert bundle.read("graph.onnx") == content
    (entry,) = bundle.manifest.files
    assert (entry.bytes, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert source.read_bytes() == content


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
def test_others_can_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        bundle = update_measurements(write(tmp_path / "out"), FASTER)
    finally:
        os.umask(before)
    assert stat.S_IMODE(bundle.path.stat().st_mode) == 0o755
    assert stat.S_IMODE((bundle.path / "manifest.json").stat().st_mode) == 0o644
    assert stat.S_IMODE((bundle.path / "graph.onnx").stat().st_mode) == 0o644


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"graph": "other.onnx"}, BundleFormatError, "graph"),
        ({"files": FILES | {"../outside": b""}}, BundleFormatError, r"\.\./outside"),
        ({"files": FILES | {"manifest.json": b"{}"}}, BundleFormatError, "manifest.json"),
        ({"files": FILES | {"missing.bin": Path("no/such/file")}}, BundleError, "No such file"),
        ({"files": FILES | {"graph.onnx/below": b""}}, BundleError, "cannot write"),
        ({"files": FILES | {"x" * 300: b""}}, BundleError, "cannot write"),
        ({"measurements": [{"name": "latency"}]}, BundleFormatError, r"measurements\[0\]\.unit"),
        ({"proofs": {"x": float("nan")}}, BundleFormatError, r"proofs\.x"),
        ({"name": ""}, BundleFormatError, "name"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_refused_bundle_leaves_nothing(
    tmp_path: Path, changes: dict[str, Any], error: type[BundleError], message: str, overwrite: bool
) -> None:
    path = tmp_path / "out"
    former = write(path) if overwrite else None
    with pytest.raises(error, match=message):
        write(path, overwrite=overwrite, **changes)
    assert names(tmp_path) == (["out"] if overwrite else [])
    if former is not None:
        assert read_bundle(path) == former


def test_overwrite_replaces_all(tmp_path: Path) -> None:
    path = tmp_path / "out"
    former = write(path, files=FILES | {"extra.bin": b"x"})
    with pytest.raises(BundleError, match="exists already"):
        write(path, name="new")
    assert read_bundle(path) == former
    bundle = write(path, name="new", overwrite=True)
    assert read_bundle(path) == bundle
    assert bundle.manifest.name == "new"
    assert names(tmp_path) == ["out"]
    assert names(path) == ["dense", "engines", "graph.onnx", "manifest.json"]


def test_a_damaged_bundle_and_an_empty_folder_can_be_overwritten(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", overwrite=True)
    damaged = write(tmp_path / "damaged").path
    (damaged / "graph.onnx").unlink()
    assert read_bundle(write(damaged, overwrite=True).path)
    assert names(tmp_path) == ["damaged", "empty"]


def test_the_bundle_behind_a_link_is_the_one_that_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "real" / "out")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "out")
    write(tmp_path / "link", name="new", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert read_bundle(tmp_path / "real" / "out").manifest.name == "new"
    assert names(tmp_path / "real") == ["out"]


@pytest.mark.parametrize(
    "content", [b"{}", b"[]", b"not JSON", b'{"manifest_version": 3, "name": "an extension"}', None]
)
def test_a_folder_of_other_things_is_never_overwritten(tmp_path: Path, content: bytes | None) -> None:
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "thesis.txt").write_bytes(b"years of work")
    if content is not None:
        (folder / "manifest.json").write_bytes(content)
    before = names(folder)
    for path in (folder, folder / "thesis.txt"):
        with pytest.raises(BundleError, match="will not be overwritten"):
            write(path, overwrite=True)
    assert names(folder) == before
    assert names(tmp_path) == ["precious"]


def test_what_was_put_into_a_bundle_is_not_deleted_with_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "out").path
    (folder / "notes").mkdir()
    (folder / "notes" / "thesis.txt").write_bytes(b"years of work")
    with pytest.raises(BundleError, match=r"will not be overwritten; .*got: notes/thesis.txt; fix: move it out"):
        write(folder, name="new", overwrite=True)
    (folder / "notes" / "thesis.txt").unlink()
    assert write(folder, name="new", overwrite=True).manifest.name == "new"


@pytest.mark.skipif(os.name == "nt", reason="Windows has limits of its own")
@pytest.mark.parametrize("path", ["x" * 300, "x" * 241, f"new/{'x' * 241}", f"{'x' * 300}/out", "x/" * 3000 + "out"])
def test_a_name_that_is_too_long_is_found_first(tmp_path: Path, path: str) -> None:
    with pytest.raises(BundleError, match=r"the name is too long; expected: .* 15 characters to spare; fix: choose"):
        check_target(tmp_path / path, overwrite=False)
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has limits of its own")
def test_the_longest_name_can_be_written_and_measured(tmp_path: Path) -> None:
    bundle = write(tmp_path / "new" / ("x" * 240))
    assert update_measurements(bundle, FASTER) == read_bundle(bundle.path)


@pytest.mark.parametrize("failing", range(3))
def test_a_rename_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    path = tmp_path / "out"
    former = write(path)
    rename, calls = Path.rename, []

    def fail(self: Path, target: Path) -> Path:
        calls.append(target)
        # The way back (the third rename, after the second has failed) is let through or not.
        if len(calls) == failing + 1 or (failing == 2 and len(calls) == 2):
            raise OSError(5, "Input/output error", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(BundleError, match="Input/output error"):
        write(path, name="new", overwrite=True)
    monkeypatch.undo()
    if failing < 2:
        assert read_bundle(path) == former
        assert names(tmp_path) == ["out"]
    else:
        # Even the way back failed: the former bundle still exists, and the reader says where.
        with pytest.raises(BundleError) as caught:
            read_bundle(path)
        (aside,) = tmp_path.iterdir()
        assert str(aside) in caught.value.fix
        assert read_bundle(aside).manifest == former.manifest


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    former = write(tmp_path / "out")

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out", name="new", overwrite=True)
    with pytest.raises(KeyboardInterrupt):
        update_measurements(former, FASTER)
    assert names(tmp_path) == ["out"]
    assert read_bundle(tmp_path / "out") == former


def test_every_file_and_folder_is_synced_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Any] = []
    fsync, rename = os.fsync, Path.rename

    def note_sync(descriptor: int) -> None:
        events.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def note_rename(self: Path, target: Path) -> Path:
        events.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "rename", note_rename)
    path = write(tmp_path / "out").path
    before = set(events[: events.index("rename")])
    assert before == {item.stat().st_ino for item in [path, *path.rglob("*")]}
    assert events[events.index("rename") + 1 :] == [tmp_path.stat().st_ino]


# ------------------------------------------------------------------------------------------------------- measurements


def test_update_measurements_writes_only_the_manifest(tmp_path: Path) -> None:
    bundle = write(tmp_path / "out")
    before = {entry.path: (bundle.path / entry.path).stat().st_mtime_ns for entry in bundle.manifest.files}
    updated = update_measurements(bundle, FASTER)
    assert updated == read_bundle(tmp_path / "out")
    assert updated.manifest.measurements == tuple(FASTER)
    assert {entry.path: (updated.path / entry.path).stat().st_mtime_ns for entry in updated.manifest.files} == before
    assert names(tmp_path) == ["out"]


def test_update_measurements_refuses_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write(tmp_path / "out")
    with pytest.raises(BundleFormatError, match=r"measurements\[0\]\.name"):
        update_measurements(bundle, [{"value": 1, "unit": "ms"}])

    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(BundleError, match="No space left on device"):
            update_measurements(bundle, FASTER)
    assert read_bundle(tmp_path / "out") == bundle
    assert names(tmp_path) == ["out"]


def test_update_measurements_refuses_a_bundle_that_was_replaced(tmp_path: Path) -> None:
    bundle = write(tmp_path / "out")
    new = write(tmp_path / "out", files=FILES | {"graph.onnx": b"another"}, overwrite=True)
    with pytest.raises(BundleError, match="changed since it was read"):
        update_measurements(bundle, FASTER)
    assert read_bundle(tmp_path / "out") == new


# -------------------------------------------------------------------------------------------------------------- kills

CHILD = """
import os, signal, sys

kill_at, action, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
from hardtemper.export.bundle_writer import Contents, update_measurements, write_bundle
from hardtemper.runtime.bundle.reader import read_bundle

former = read_bundle(path)
fields = {key: getattr(former.manifest, key) for key in former.manifest.__slots__}
del fields["format_version"], fields["files"], fields["measurements"]
faster = [{"name": "latency", "value": 0.5, "unit": "ms"}]
events = 0

def count(event, args):
    # Everything that reaches the file system announces itself to the audit hook before it happens.
    global events
    if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"):
        events += 1
        if events == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
if action == "write":
    files = {"graph.onnx": b"new graph", "dense/model.onnx": b"new dense"}
    write_bundle(path, Contents(**fields, measurements=faster), files=files, overwrite=True)
else:
    update_measurements(former, faster)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("action", ["write", "update"])
def test_a_kill_at_any_point_leaves_the_old_bundle_or_the_new(tmp_path: Path, action: str) -> None:
    seen = []
    for kill_at in range(1, 100):
        folder = tmp_path / str(kill_at)
        path = folder / "out"
        former = write(path)
        done = subprocess.run([sys.executable, "-c", CHILD, str(kill_at), action, str(path)], check=False, timeout=60)
        if path.exists():
            bundle = read_bundle(path)
            seen.append("old" if bundle == former else "new")
        else:
            with pytest.raises(BundleError) as caught:
                read_bundle(path)
            aside = Path(next(item for item in folder.iterdir() if item.name.endswith(".old")))
            assert str(aside) in caught.value.fix
            assert read_bundle(aside).manifest == former.manifest
            aside.rename(path)
            seen.append("aside")
        # Whatever was left behind, the next build and the next measurement go through.
        again = write(path, name="again", overwrite=True)
        assert update_measurements(again, FASTER) == read_bundle(path)
        if done.returncode == 0:
            break
    assert done.returncode == 0
    assert len(seen) > (10 if action == "write" else 3)
    # In order: the old one, perhaps for one moment aside, then the new one.
    assert seen == sorted(seen, key=["old", "aside", "new"].index)
    assert seen.count("aside") == (action == "write")
    assert seen[-1] == "new"
    assert json.loads((path / "manifest.json").read_text(encoding="utf-8"))["name"] == "again"
