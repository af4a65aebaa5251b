"""Whole runs: what is measured of which engine, in which order, and what stops a run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from hardtemper.bench import run
from hardtemper.bench.data.dataset import Dataset, Splits, divide
from hardtemper.bench.report.report import BenchReport
from hardtemper.bench.resume import RESUME_FOLDER, ResumeStore
from hardtemper.bench.robustness.archive import read_archive
from hardtemper.bench.robustness.case import Case
from hardtemper.bench.robustness.corruptions import CorruptionResult, evaluate_corruptions
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings
from hardtemper.runtime.backends.installed import installed_version
from hardtemper.runtime.backends.openvino import OpenVinoBackend
from hardtemper.runtime.engine import open_onnx
from hardtemper.runtime.errors import InputError
from hardtemper.runtime.files.sealed import write_sealed


def test_a_bundle_beside_its_dense_network(
    make_bundle: Callable[..., Path],
    data: Dataset,
    three_classes: Any,
    settings: Callable[..., BenchSettings],
    value: Callable[..., float],
) -> None:
    """The dense network here says class 2 to everything: robust wherever it is right, and nowhere else."""
    path = make_bundle(dense=three_classes.onnx(dtype="float32", shift=1e4))
    report = run_bench(path, data, settings())
    assert [subject.name for subject in report.subjects] == ["dense", "shipped"]
    dense, shipped = report.subjects
    truth = three_classes.withstands(data.test.images, data.test.labels, 10)
    clean = shipped.find("clean-accuracy")
    right = three_classes(data.test.images).argmax(1) == data.test.labels
    assert clean is not None
    assert (clean.value, clean.n) == (100 * right.mean(), 40)
    assert value(shipped, "robust-accuracy", attack="union") >= 100 * truth.mean()
    assert value(shipped, "robust-accuracy", attack="union") < clean.value
    always_two = 100 * (data.test.labels == 2).mean()
    assert value(dense, "robust-accuracy-withheld", attack="union") == pytest.approx(always_two)
    assert value(dense, "robust-accuracy", attack="pgd-20") == pytest.approx(always_two)
    for on in ("clean", "candidates"):
        assert value(shipped, "twin-mismatch", on=on) == 0
    moved = shipped.find("verdict-moved")
    assert moved is not None
    assert (moved.value, moved.n) == (0, 40)
    checks = {m.settings["alarm"]: m.settings["raised"] for m in shipped.measurements if m.name == "alarm"}
    assert len(checks) == 11
    found = shipped.find("robust-accuracy", attack="union")
    assert found is not None
    assert found.settings["alarms"] == (", ".join(name for name, raised in checks.items() if raised) or "none")
    for subject in report.subjects:
        names = [measurement.name for measurement in subject.measurements]
        assert names.count("latency") == names.count("throughput") == names.count("speedup") == 2
        assert names.count("robust-accuracy") + names.count("robust-accuracy-withheld") == 4
        parameters = subject.find("parameters")
        assert parameters is not None
        assert parameters.value == 36 * 3 + 3
    assert shipped.skipped == ()
    assert dense.robustness is not None
    left = dense.robustness.robust.sum()
    (skip,) = dense.skipped
    assert skip.what == "alarm more steps"
    assert skip.reason == f"{left} images withstood everything, and fewer than 10 say nothing"
    speedup = dense.find("speedup", batch=3, beside="dense")
    assert speedup is not None
    assert speedup.value == 1
    assert shipped.robustness.adversarial.shape == data.test.images.shape


def test_a_graph_that_another_toolkit_quantized_is_attacked_white_box(
    tmp_path: Path,
    settings: Callable[..., BenchSettings],
    value: Callable[..., float],
    cnn: Callable[[Path, Any], None],
    quantize_static: Callable[..., None],
) -> None:
    images = np.random.default_rng(6).integers(0, 256, (200, 1, 6, 6)).astype(np.uint8)
    cnn(tmp_path / "float.onnx", images)
    quantize_static(tmp_path / "float.onnx", tmp_path / "int8.onnx", images)
    kinds = {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert kinds >= {"QuantizeLinear", "DequantizeLinear"}
    labels = open_onnx(tmp_path / "int8.onnx").predict(images)
    splits = Splits(
        name="noise",
        classes=("0", "1", "2"),
        train_images=images[:3],
        train_labels=np.arange(3),
        test_images=images,
        test_labels=labels,
        source="drawn",
    )
    data = divide(splits, heldout=0, calibration=0, seed=0)
    (subject,) = run_bench(tmp_path / "int8.onnx", data, settings(batches=(1,), images=100)).subjects
    assert subject.skipped == ()
    clean = subject.find("clean-accuracy")
    assert clean is not None
    assert clean.value == 100
    white_box = value(subject, "robust-accuracy", attack="apgd-ce")
    assert white_box < 60
    assert white_box < value(subject, "robust-accuracy", attack="square"), "gradients beat queries"
    assert value(subject, "robust-accuracy", attack="union") <= white_box
    for on in ("clean", "candidates"):
        found = subject.find("twin-mismatch", on=on)
        assert found is not None, "stated, whether or not there is one"
        assert 0 <= found.value <= found.n
        assert found.n == (200 if on == "clean" else 3 * 100)


def test_image_counts(
    data: Dataset, three_classes: Any, settings: Callable[..., BenchSettings], model_file: Callable[[bytes], Path]
) -> None:
    path = model_file(three_classes.onnx())
    (subject,) = run_bench(path, data, settings(images=7, clean_images=11, sequential=True)).subjects
    clean, union = subject.find("clean-accuracy"), subject.find("robust-accuracy", attack="union")
    assert clean is not None
    assert union is not None
    assert (clean.n, union.n) == (11, 7)
    assert subject.find("robust-accuracy", attack="square", remaining_only=True) is not None
    (subject,) = run_bench(path, data, settings(images=10**6, clean_images=None)).subjects
    assert {m.n for m in subject.measurements if m.name.endswith("accuracy")} == {40}


@pytest.mark.parametrize("task", ["latency, batch 1", "model: clean accuracy", "model: square", "model: alarms"])
def test_a_graph_that_is_replaced_meanwhile_is_not_what_is_measured(
    *,
    tmp_path: Path,
    data: Dataset,
    three_classes: Any,
    task: str,
    settings: Callable[..., BenchSettings],
    model_file: Callable[[bytes], Path],
) -> None:
    path = model_file(three_classes.onnx())
    (before,) = run_bench(path, data, settings(batches=(1,))).subjects

    def build_again(told: str, done: int, total: int, _: str) -> None:
        if told == task and done == total:
            path.write_bytes(three_classes.onnx(shift=1e6))

    report = run_bench(path, data, settings(batches=(1,)), work=tmp_path / "work", progress=build_again)
    (subject,) = report.subjects
    assert path.read_bytes() != three_classes.onnx()
    assert subject.graph_sha256 == before.graph_sha256
    figures, undisturbed = (
        [(m.name, m.value, m.n) for m in found.measurements if m.unit == "%" or m.name.startswith("size")]
        for found in (subject, before)
    )
    assert figures == undisturbed
    (verdict,) = tmp_path.glob("work/*.npz")
    assert read_archive(verdict).header["graph_sha256"] == before.graph_sha256
    skipped = [skip.reason for skip in subject.skipped if skip.what == "peak memory, batch 1"]
    assert len(skipped) == (task == "latency, batch 1"), "memory comes next, from a process that reads the file again"
    assert all("another file" in reason for reason in skipped)


def test_progress_names_engine_and_task(
    make_bundle: Callable[..., Path], data: Dataset, three_classes: Any, settings: Callable[..., BenchSettings]
) -> None:
    told: list[tuple[str, int, int, str]] = []
    run_bench(
        make_bundle(dense=three_classes.onnx(dtype="float32")),
        data,
        settings(),
        progress=lambda *news: told.append(news),
    )
    finished = [task for task, done, total, _ in told if done == total]
    each = ["memory", "clean accuracy", "twin against engine", "pgd-20", "apgd-ce", "square", "alarms"]
    expected = [f"{subject}: {task}" for subject in ("dense", "shipped") for task in each]
    assert finished == ["latency, batch 1", "latency, batch 3", *expected]


def test_the_dense_network_can_be_left_out(
    make_bundle: Callable[..., Path], data: Dataset, three_classes: Any, settings: Callable[..., BenchSettings]
) -> None:
    path = make_bundle(dense=three_classes.onnx(dtype="float32"))
    names = [subject.name for subject in run_bench(path, data, settings(robust=False, dense=False)).subjects]
    assert names == ["shipped"]


def test_corruptions_have_rows_of_their_own(
    data: Dataset,
    three_classes: Any,
    monkeypatch: pytest.MonkeyPatch,
    settings: Callable[..., BenchSettings],
    model_file: Callable[[bytes], Path],
) -> None:
    def evaluate(case: Case) -> CorruptionResult:
        assert case.engine(case.images).shape == (20, 3)
        return CorruptionResult(n=20, clean=18, right={("fog", 1): 10, ("snow", 2): 5}, seed=case.seed)

    monkeypatch.setattr(run, "evaluate_corruptions", evaluate)
    path = model_file(three_classes.onnx())
    (subject,) = run_bench(path, data, settings(robust=False, corruptions=True, images=20, batches=(1,))).subjects
    fog, mean = subject.find("corruption-accuracy", corruption="fog"), subject.find("mean-corruption-error")
    assert fog is not None
    assert mean is not None
    assert (fog.value, fog.n, mean.value) == (50, 20, 62.5)


def test_a_second_engine_that_fails_leaves_what_the_first_found(
    make_bundle: Callable[..., Path],
    data: Dataset,
    three_classes: Any,
    tmp_path: Path,
    settings: Callable[..., BenchSettings],
) -> None:
    path = make_bundle(dense=three_classes.onnx(dtype="float32"))

    def stop(task: str, *_: Any) -> None:
        if task == "shipped: memory":
            raise KeyboardInterrupt

    work = tmp_path / "work"
    kept = ResumeStore(work / RESUME_FOLDER)
    with pytest.raises(KeyboardInterrupt):
        run_bench(path, data, settings(preset="paper", batches=(1,)), work=work, store=kept, progress=stop)
    assert len(list(kept.folder.iterdir())) == 3, "one attack, two alarms"
    run_bench(path, data, settings(preset="paper", batches=(1,)), work=work, store=kept)
    assert sorted(file.suffix for file in work.glob("*.npz")) == [".npz", ".npz"]


@pytest.mark.parametrize("task", ["corruptions", "alarms", "curves", "fab-t", "clever"])
def test_every_part_of_a_run_goes_on(
    *,
    task: str,
    tmp_path: Path,
    data: Dataset,
    three_classes: Any,
    monkeypatch: pytest.MonkeyPatch,
    settings: Callable[..., BenchSettings],
    model_file: Callable[[bytes], Path],
) -> None:
    monkeypatch.setattr(run, "evaluate_corruptions", partial(evaluate_corruptions, names=("contrast", "brightness")))
    written: list[Path] = []

    def counted(path: Path, content: bytes) -> None:
        written.append(path)
        write_sealed(path, content)

    monkeypatch.setattr("hardtemper.runtime.files.store.write_sealed", counted)
    path = model_file(three_classes.onnx())
    asked = settings(preset="paper", curves=True, corruptions=True, images=20, batches=(1,))

    def stop(told: str, done: int, total: int, _: str) -> None:
        if told == f"model: {task}" and done == total:
            raise KeyboardInterrupt

    def bench(folder: Path, **how: Any) -> BenchReport:
        return run_bench(path, data, asked, work=folder, store=ResumeStore(folder / "p"), **how)

    whole = bench(tmp_path / "whole")
    every = {file.name for file in written}
    assert len(written) == len(every) > 10 + 1 + 2 + 14 + 1, "corruptions, attack, alarms, curves, minimal, clever"
    written.clear()
    with pytest.raises(KeyboardInterrupt):
        bench(tmp_path / "work", progress=stop)
    assert 0 < len(written) <= len(every)
    report = bench(tmp_path / "work")
    assert len(written) == len(every), "nothing is computed twice"
    assert {file.name for file in written} == every
    assert accuracies(report) == accuracies(whole)


def accuracies(report: BenchReport) -> list[tuple[str, float, int]]:
    measured = [measurement for subject in report.subjects for measurement in subject.measurements]
    return [(m.name, m.value, m.n) for m in measured if m.unit in ("%", "levels", "images")]


def test_a_work_folder_that_cannot_be_made_is_found_first(
    data: Dataset, three_classes: Any, settings: Callable[..., BenchSettings], model_file: Callable[[bytes], Path]
) -> None:
    path = model_file(three_classes.onnx())
    told: list[str] = []
    with pytest.raises(InputError, match="choose another --work"):
        run_bench(path, data, settings(), work=path / "work", progress=lambda task, *_: told.append(task))
    assert told == []


def test_two_backends_in_one_run(
    *,
    make_bundle: Callable[..., Path],
    data: Dataset,
    three_classes: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: Callable[..., BenchSettings],
) -> None:
    """The second engine here gives class 2 to whatever is no test image: it alone falls for every candidate."""
    run_there, known = OpenVinoBackend.run, {image.tobytes() for image in data.test.images}

    def worse(self: OpenVinoBackend, images: Any) -> Any:
        logits = run_there(self, images)
        if self.input_dtype == "uint8":
            logits[[image.tobytes() not in known for image in images], 2] += 1e6
        return logits

    monkeypatch.setattr(OpenVinoBackend, "run", worse)
    searched: list[str] = []
    search = ResumeStore.search

    def counted(self: ResumeStore, plan: Any, *arguments: Any, **how: Any) -> Any:
        before = len(list(self.folder.glob("*.part")))
        found = search(self, plan, *arguments, **how)
        searched.extend([plan.name] * (len(list(self.folder.glob("*.part"))) - before))
        return found

    monkeypatch.setattr(ResumeStore, "search", counted)
    path = make_bundle(dense=three_classes.onnx(dtype="float32"))
    asked = settings(backends=("onnxruntime", "openvino"), preset="paper,square", batches=(1,), images=20)
    kept = ResumeStore(tmp_path / "parts")
    report = run_bench(path, data, asked, work=tmp_path / "work", store=kept)
    assert [(subject.name, subject.network, subject.backend) for subject in report.subjects] == [
        ("dense", "dense", "onnxruntime"),
        ("dense-openvino", "dense", "openvino"),
        ("shipped", "shipped", "onnxruntime"),
        ("shipped-openvino", "shipped", "openvino"),
    ]
    assert len({subject.graph_sha256 for subject in report.subjects}) == 2
    assert report.environment.versions["openvino"] == installed_version("openvino")
    assert report.settings["backends"] == ["onnxruntime", "openvino"]
    # a twin's candidates are searched once and asked of both engines; queries are asked of each
    assert (searched.count("pgd-20"), searched.count("square")) == (2, 4)
    dense, dense_there, here, there = report.subjects
    for subject in report.subjects:
        latency, speedup = subject.find("latency"), subject.find("speedup")
        assert latency is not None
        assert speedup is not None
        assert latency.settings["threads"] == 1
        assert subject.find("peak-memory") is not None or subject.skipped
    for name, attack in (("clean-accuracy", None), ("robust-accuracy", "pgd-20")):
        about = {} if attack is None else {"attack": attack}
        assert dense.find(name, **about) == dense_there.find(name, **about)
    counts = [subject.find("twin-mismatch", on="candidates") for subject in (here, there)]
    assert counts[0] is not None
    assert counts[1] is not None
    assert counts[0].value == 0 < counts[1].value
    verdicts = {a.header["subject"]: a for a in map(read_archive, (tmp_path / "work").glob("*.npz"))}
    assert {name: archive.backend for name, archive in verdicts.items()} == {
        subject.name: subject.backend for subject in report.subjects
    }
    assert verdicts["shipped"].header["robust"] > verdicts["shipped-openvino"].header["robust"]
