"""What is opened, its twin, and what a reader must know of it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import helper

from hardtemper.bench import subjects
from hardtemper.bench.data.dataset import Dataset
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings
from hardtemper.bench.subjects import open_others, open_subjects, read_target
from hardtemper.runtime.bundle import listed_files
from hardtemper.runtime.bundle.manifest import Manifest
from hardtemper.runtime.bundle.reader import read_bundle
from hardtemper.runtime.engine import open_onnx
from hardtemper.runtime.errors import BundleError, InputError, IntegrityError, ModelError
from hardtemper.runtime.files import read_once


def test_every_operator_that_the_twin_lacks_is_named(
    tmp_path: Path, data: Dataset, three_classes: Any, settings: Callable[..., BenchSettings]
) -> None:
    model = onnx.load_from_string(three_classes.onnx())
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.append(helper.make_node("Atan", ["scores"], ["angles"], name="first"))
    model.graph.node.append(helper.make_node("Sinh", ["angles"], ["logits"], name="second"))
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    (subject,) = run_bench(path, data, settings(batches=(1,))).subjects
    (skip,) = subject.skipped
    assert re.match(r"no twin: .*got: Atan \(first\), Sinh \(second\)", skip.reason)


def test_what_a_reader_must_know_is_noted(
    data: Dataset, three_classes: Any, settings: Callable[..., BenchSettings], model_file: Callable[[bytes], Path]
) -> None:
    path = model_file(three_classes.onnx(batch=2, softmax=True))
    (subject,) = run_bench(path, data, settings(robust=False)).subjects
    batches, softmax = subject.notes
    assert "batches of 2 only" in batches
    assert "Softmax" in softmax


def test_another_processors_warning_becomes_a_note(
    make_bundle: Callable[..., Path],
    data: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    settings: Callable[..., BenchSettings],
) -> None:
    from hardtemper.runtime import engine

    monkeypatch.setattr(engine, "unproved", lambda *_: "other kernels")
    (subject,) = run_bench(make_bundle(), data, settings(robust=False)).subjects
    assert subject.notes == ("other kernels",)


def test_networks_to_transfer_from_have_names_of_their_own(
    make_bundle: Callable[..., Path],
    data: Dataset,
    three_classes: Any,
    tmp_path: Path,
    settings: Callable[..., BenchSettings],
) -> None:
    paths = []
    for index, name in enumerate(["a/net-2", "b/net", "c/net", "d/engine", "e/twin", "f/parent"]):
        paths.append(tmp_path / f"{name}.onnx")
        paths[-1].parent.mkdir()
        paths[-1].write_bytes(three_classes.onnx(shift=(index + 1) / 8))
    path = make_bundle(dense=three_classes.onnx(dtype="float32"))
    asked = settings(preset="transfer", transfer=tuple(map(str, paths)), dense=False, batches=(1,))
    (shipped,) = run_bench(path, data, asked).subjects
    names = ["parent", "net-2", "net", "net-3", "engine-2", "twin-2", "parent-2"]
    found = [m.settings.get("target") for m in shipped.measurements if m.name == "robust-accuracy"]
    assert found[: len(names)] == names


@pytest.mark.parametrize(
    ("name", "error"), [("none.onnx", ModelError), ("none", BundleError), ("text.txt", BundleError)]
)
def test_targets_that_cannot_be_opened(
    tmp_path: Path, data: Dataset, name: str, error: type[Exception], settings: Callable[..., BenchSettings]
) -> None:
    (tmp_path / "text.txt").write_text("no bundle")
    with pytest.raises(error, match=name):
        run_bench(tmp_path / name, data, settings())


def test_a_model_that_nothing_transfers_from_is_refused(
    tmp_path: Path,
    data: Dataset,
    three_classes: Any,
    settings: Callable[..., BenchSettings],
    model_file: Callable[[bytes], Path],
) -> None:
    path = model_file(three_classes.onnx())
    model = onnx.load_from_string(three_classes.onnx())
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.append(helper.make_node("Atan", ["scores"], ["logits"]))
    onnx.save(model, tmp_path / "atan.onnx")
    with pytest.raises(
        ModelError, match=r"atan.onnx: no candidates can be made on it: it has no twin; got: no twin: .*Atan"
    ):
        run_bench(path, data, settings(transfer=(str(tmp_path / "atan.onnx"),)))
    (subject,) = run_bench(path, data, settings(preset="paper", transfer=(str(path),), batches=(1,))).subjects
    (skip,) = subject.skipped
    assert (skip.what, skip.reason) == ("transfer-model", "it is the attacked network itself")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Sessions of ONNX Runtime by graph and threads, readings of files, and parsed manifests."""
    found: Counter[str] = Counter()
    session, parse, opened = ort.InferenceSession, Manifest.from_json, read_once.open_regular

    class Counted(session):  # type: ignore[misc, valid-type]
        def __init__(self, content: bytes, options: Any, **how: Any) -> None:
            found[f"open {sha256(content)}, threads {options.intra_op_num_threads}"] += 1
            super().__init__(content, options, **how)

    def counting(path: str | Path) -> Any:
        found[f"read {Path(path).name}"] += 1
        return opened(path)

    def parsed(source: str) -> Manifest:
        found["manifest"] += 1
        return parse(source)

    monkeypatch.setattr(ort, "InferenceSession", Counted)
    for module in (read_once, listed_files):
        monkeypatch.setattr(module, "open_regular", counting)
    monkeypatch.setattr(Manifest, "from_json", parsed)
    return found


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


@pytest.mark.parametrize(("threads", "sessions"), [(1, (0, 1)), (None, (0,))])
def test_a_run_opens_each_subject_once_per_thread_count(
    *,
    make_bundle: Callable[..., Path],
    data: Dataset,
    three_classes: Any,
    tmp_path: Path,
    counted: Counter[str],
    threads: int | None,
    sessions: tuple[int, ...],
    settings: Callable[..., BenchSettings],
) -> None:
    path = make_bundle(dense=three_classes.onnx(dtype="float32"))
    run_bench(path, data, settings(threads=threads, preset="quick,transfer"), work=tmp_path / "work")
    graphs = (three_classes.onnx(dtype="float32"), three_classes.onnx())
    assert counted == {
        "manifest": 1,
        "read manifest.json": 1,
        **{f"open {sha256(graph)}, threads {count}": 1 for graph in graphs for count in sessions},
        "read dense.onnx": 2,  # as the bundle is read, and once to be opened
        "read model.onnx": 2 + len(sessions),  # as the bundle is read, for the twin, and by `load`, checked each time
    }


def test_a_bare_file_is_read_once(
    *,
    tmp_path: Path,
    data: Dataset,
    three_classes: Any,
    counted: Counter[str],
    settings: Callable[..., BenchSettings],
    model_file: Callable[[bytes], Path],
) -> None:
    path = model_file(three_classes.onnx())
    run_bench(path, data, settings(threads=2), work=tmp_path / "work")
    opened = f"open {sha256(three_classes.onnx())}, threads"
    assert counted == {f"{opened} 0": 1, f"{opened} 2": 1, "read model.onnx": 1}


def test_a_bundle_that_was_read_is_not_read_again(
    make_bundle: Callable[..., Path], data: Dataset, counted: Counter[str], settings: Callable[..., BenchSettings]
) -> None:
    bundle = read_bundle(make_bundle())
    counted.clear()
    report = run_bench(bundle, data, settings(robust=False))
    assert (report.target, report.bundle_sha256) == (str(bundle.path), bundle.digest)
    assert (counted["manifest"], counted["read manifest.json"]) == (0, 0)


def test_a_bare_graph_that_is_replaced_changes_nothing_that_was_read(
    three_classes: Any, model_file: Callable[[bytes], Path], data: Dataset, settings: Callable[..., BenchSettings]
) -> None:
    path = model_file(three_classes.onnx())
    read = read_target(path)
    before = open_subjects(read)[0]
    path.write_bytes(three_classes.onnx(shift=1e6))
    (subject,) = open_subjects(read)
    assert (
        subject.digest
        == before.digest
        == hashlib.sha256(hashlib.sha256(three_classes.onnx()).hexdigest().encode()).hexdigest()
    )
    assert np.array_equal(subject.engine(data.test.images), three_classes(data.test.images))
    assert subject.twin is not None
    pixels = torch.from_numpy(data.test.images).float() / 255
    assert np.array_equal(subject.twin(pixels).detach().numpy(), three_classes(data.test.images))
    (row,) = run_bench(read, data, settings(robust=False, batches=(1,))).subjects
    assert row.graph_sha256 == before.digest
    (skip,) = [skip for skip in row.skipped if skip.what == "peak memory, batch 1"]
    assert "another file" in skip.reason, "the process that measures memory reads the file again"


@pytest.mark.parametrize("relative", ["model.onnx", "dense.onnx"])
def test_a_bundles_graph_that_is_replaced_is_refused(
    make_bundle: Callable[..., Path], three_classes: Any, relative: str
) -> None:
    bundle = read_bundle(make_bundle(dense=three_classes.onnx(dtype="float32")))
    (bundle.path / relative).write_bytes(
        three_classes.onnx(shift=1e6, dtype="uint8" if relative[0] == "m" else "float32")
    )
    with pytest.raises(IntegrityError, match=rf"{relative}: SHA-256 differs"):
        open_subjects(bundle)
    if relative == "dense.onnx":
        with pytest.raises(IntegrityError, match=r"dense\.onnx: SHA-256 differs"):
            open_others(bundle, parent=True, paths=())


def test_a_digest_is_a_bundles(make_bundle: Callable[..., Path], model_file: Callable[[bytes], Path]) -> None:
    bundle = read_bundle(make_bundle())
    assert read_target(bundle.path, digest=bundle.digest) == bundle
    with pytest.raises(IntegrityError, match="another bundle"):
        read_target(bundle.path, digest="0" * 64)
    with pytest.raises(InputError, match=r"model\.onnx: digest; expected: a bundle; got: an ONNX file; fix: leave"):
        read_target(model_file(b"any"), digest=bundle.digest)


def test_a_network_to_transfer_from_is_read_once_too(
    make_bundle: Callable[..., Path],
    three_classes: Any,
    data: Dataset,
    model_file: Callable[[bytes], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = model_file(three_classes.onnx())

    def swapping(graph: Any, **how: Any) -> Any:
        path.write_bytes(three_classes.onnx(shift=1e6))
        return open_onnx(graph, **how)

    monkeypatch.setattr(subjects, "open_onnx", swapping)
    (other,) = open_others(read_bundle(make_bundle()), parent=False, paths=[path])
    assert path.read_bytes() != three_classes.onnx()
    assert other.graph.content == three_classes.onnx()
    assert np.array_equal(other.engine(data.test.images), three_classes(data.test.images))
    assert other.twin is not None
    twin = other.twin(torch.from_numpy(data.test.images).float() / 255)
    assert np.array_equal(twin.detach().numpy(), three_classes(data.test.images))
