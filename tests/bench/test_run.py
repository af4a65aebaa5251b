from __future__ import annotations

import gzip
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from hardtemper.bench import resume as pieces
from hardtemper.bench import run
from hardtemper.bench.attacks.catalogue import AttackPlan
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.apgd import apgd
from hardtemper.bench.attacks.white_box.pgd import pgd
from hardtemper.bench.data.dataset import Dataset, Splits, divide
from hardtemper.bench.performance.memory import Memory
from hardtemper.bench.report.report import BenchReport, SubjectReport
from hardtemper.bench.robustness.archive import read_archive
from hardtemper.bench.robustness.corruptions import CorruptionResult, evaluate_corruptions
from hardtemper.bench.robustness.curves import measure_curves
from hardtemper.bench.robustness.replay_verdict import replay
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.engine import open_onnx
from hardtemper.runtime.errors import BundleError, DataError, InputError, IntegrityError, ModelError, RecipeError
from hardtemper.runtime.files.sealed import write_sealed

FAST: dict[str, Any] = {"batches": (1, 3), "warmup": 0, "repeats": 3, "min_seconds": 0.0, "preset": "quick"}
ONE: dict[str, Any] = {"batches": (1,)}
THREAT = ThreatModel("linf", 10 / 255)


def settings(**changes: Any) -> BenchSettings:
    return BenchSettings(**{**FAST, "threat": THREAT, **changes})


def model_file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    return path


def robust_of(subject: SubjectReport, attack: str) -> float:
    found = subject.find("robust-accuracy", attack=attack)
    assert found is not None
    return found.value


def mismatch(subject: SubjectReport, on: str) -> float:
    found = subject.find("twin-mismatch", on=on)
    assert found is not None
    return found.value


def test_a_bundle_beside_its_dense_network(make_bundle: Callable[..., Path], data: Dataset, three_classes: Any) -> None:
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
    assert robust_of(shipped, "union") >= 100 * truth.mean()
    assert robust_of(shipped, "union") < clean.value
    always_two = 100 * (data.test.labels == 2).mean()
    assert robust_of(dense, "union") == pytest.approx(always_two)
    assert robust_of(dense, "pgd-20") == pytest.approx(always_two)
    for on in ("clean", "candidates"):
        assert mismatch(shipped, on) == 0
    moved = shipped.find("verdict-moved")
    assert moved is not None
    assert (moved.value, moved.n) == (0, 40)
    checks = {m.settings["alarm"]: m.settings["raised"] for m in shipped.measurements if m.name == "alarm"}
    assert len(checks) == 7
    found = shipped.find("robust-accuracy", attack="union")
    assert found is not None
    assert found.settings["alarms"] == (", ".join(name for name, raised in checks.items() if raised) or "none")
    for subject in report.subjects:
        names = [measurement.name for measurement in subject.measurements]
        assert names.count("latency") == names.count("throughput") == names.count("speedup") == 2
        assert names.count("robust-accuracy") == 4
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


def test_sizes_are_those_of_the_file(tmp_path: Path, data: Dataset, three_classes: Any) -> None:
    path = model_file(tmp_path, three_classes.onnx())
    (subject,) = run_bench(path, data, settings(robust=False)).subjects
    size, packed = subject.find("size"), subject.find("size-gzip")
    assert size is not None
    assert packed is not None
    assert size.value == path.stat().st_size
    assert packed.value == pytest.approx(len(gzip.compress(path.read_bytes(), 9)), abs=20)
    assert [(skip.what, skip.reason) for skip in subject.skipped] == [("robust accuracy", "not asked for")]
    assert subject.find("robust-accuracy") is None
    assert subject.find("speedup") is None, "there is nothing beside it"


def test_weights_in_another_file_count(tmp_path: Path, data: Dataset, three_classes: Any) -> None:
    path = tmp_path / "model.onnx"
    model = onnx.load_from_string(three_classes.onnx())
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=100)
    (subject,) = run_bench(path, data, settings(robust=False)).subjects
    size = subject.find("size")
    assert size is not None
    assert (size.value, size.n) == (path.stat().st_size + (tmp_path / "weights.bin").stat().st_size, 2)


def cnn(path: Path, images: Any) -> None:
    """A random float CNN on [N, 1, 6, 6] whose mean logits over `images` are equal, so that each class occurs."""
    rng = np.random.default_rng(5)

    def tensor(name: str, *shape: int) -> Any:
        return numpy_helper.from_array(rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w1", "b1"], ["a"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Conv", ["b", "w2", "b2"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["d"]),
            helper.make_node("Flatten", ["d"], ["e"]),
            helper.make_node("Gemm", ["e", "w3", "b3"], ["logits"], transB=1),
        ],
        "cnn",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 6, 6])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [
            tensor("w1", 8, 1, 3, 3),
            tensor("b1", 8),
            tensor("w2", 16, 8, 3, 3),
            tensor("b2", 16),
            tensor("w3", 3, 144),
            numpy_helper.from_array(np.zeros(3, np.float32), "b3"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    model.graph.initializer[-1].CopyFrom(numpy_helper.from_array(-open_onnx(path)(images).mean(0), "b3"))
    onnx.save(model, path)


def quantize_static(source: Path, target: Path, images: Any) -> None:
    """What ONNX Runtime's own quantizer makes of a float model: Q/DQ with free scales."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.batches = iter([{"image": images.astype(np.float32) / 255}])

        def get_next(self) -> Any:
            return next(self.batches, None)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantization.quantize_static(
            source,
            target,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
        )


def test_a_graph_that_another_toolkit_quantized_is_attacked_white_box(tmp_path: Path) -> None:
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
    white_box = robust_of(subject, "apgd-ce")
    assert white_box < 60
    assert white_box < robust_of(subject, "square"), "gradients beat queries"
    assert robust_of(subject, "union") <= white_box
    for on in ("clean", "candidates"):
        found = subject.find("twin-mismatch", on=on)
        assert found is not None, "stated, whether or not there is one"
        assert 0 <= found.value <= found.n
        assert found.n == (200 if on == "clean" else 3 * 100)


@pytest.mark.parametrize("quantized", [False, True])
def test_mismatches_are_counted_against_the_file_itself(tmp_path: Path, data: Dataset, quantized: bool) -> None:
    path = tmp_path / "float.onnx"
    cnn(path, data.test.images)
    if quantized:
        path = tmp_path / "int8.onnx"
        quantize_static(tmp_path / "float.onnx", path, data.test.images)
    with torch.no_grad():
        twin = Twin(onnx.load(path))(torch.from_numpy(data.test.images).float() / 255).numpy()
    engine = open_onnx(path)(data.test.images)
    (subject,) = run_bench(path, data, settings(robust=False)).subjects
    assert mismatch(subject, "clean") == (twin != engine).any(1).sum()


def test_a_twin_that_is_not_the_engine_is_reported(
    tmp_path: Path, data: Dataset, three_classes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hardtemper.bench import subjects

    other = onnx.load_from_string(three_classes.onnx(shift=0.125))
    monkeypatch.setattr(subjects, "Twin", lambda _, made=subjects.Twin: made(other))
    path = model_file(tmp_path, three_classes.onnx())
    (subject,) = run_bench(path, data, settings()).subjects
    assert mismatch(subject, "clean") == 40
    found = subject.find("twin-mismatch", on="candidates")
    assert found is not None
    assert found.value == found.n > 0
    assert found.settings["largest_difference"] == pytest.approx(0.125)


def test_without_a_twin_the_engine_is_attacked_by_queries(tmp_path: Path, data: Dataset, three_classes: Any) -> None:
    model = onnx.load_from_string(three_classes.onnx())
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.append(helper.make_node("Atan", ["scores"], ["logits"]))
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    (subject,) = run_bench(path, data, settings()).subjects
    assert [skip.what for skip in subject.skipped] == ["pgd-20, apgd-ce"], "one line"
    assert all(re.match("no twin: .*Atan", skip.reason) for skip in subject.skipped)
    attacks = [m.settings["attack"] for m in subject.measurements if m.name == "robust-accuracy"]
    assert attacks == ["square", "union"]
    assert [m.settings["alarm"] for m in subject.measurements if m.name == "alarm"] == ["random"]
    assert subject.find("twin-mismatch") is None
    assert subject.find("parameters") is None
    (subject,) = run_bench(path, data, settings(preset="paper")).subjects
    assert [skip.what for skip in subject.skipped] == ["pgd-20", "robust accuracy"]
    assert subject.robustness is None


def test_every_operator_that_the_twin_lacks_is_named(tmp_path: Path, data: Dataset, three_classes: Any) -> None:
    model = onnx.load_from_string(three_classes.onnx())
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.append(helper.make_node("Atan", ["scores"], ["angles"], name="first"))
    model.graph.node.append(helper.make_node("Sinh", ["angles"], ["logits"], name="second"))
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    (subject,) = run_bench(path, data, settings(**ONE)).subjects
    (skip,) = subject.skipped
    assert re.match(r"no twin: .*got: Atan \(first\), Sinh \(second\)", skip.reason)


def fails(_: Any) -> Any:
    raise RuntimeError("size mismatch\nmore")


@pytest.mark.parametrize(
    ("twin", "reason"),
    [
        (fails, "RuntimeError: size mismatch"),
        (lambda x: torch.zeros(1, 3), "its logits are cut off from the image, so there is no gradient to follow"),
        (lambda x: x.flatten(1), "it gives [1, 36] where the engine gives [1, 3]"),
    ],
)
def test_a_twin_that_cannot_be_attacked_is_no_twin(
    *, tmp_path: Path, data: Dataset, three_classes: Any, monkeypatch: pytest.MonkeyPatch, twin: Any, reason: str
) -> None:
    from hardtemper.bench import subjects

    monkeypatch.setattr(subjects, "Twin", lambda _: twin)
    (subject,) = run_bench(model_file(tmp_path, three_classes.onnx()), data, settings()).subjects
    assert subject.skipped[0].reason == f"no twin: {reason}"


def failing_child(path: Path, **_: Any) -> Memory:
    raise ModelError(f"{path}: killed")


def silent_system(_: Path, *, batch: int, threads: int | None) -> Memory:
    return Memory(batch=batch, threads=threads, baseline_mib=None, loaded_mib=None, peak_mib=None)


@pytest.mark.parametrize(
    ("measure", "reason"), [(failing_child, "model.onnx: killed"), (silent_system, "this system does not tell")]
)
def test_memory_that_cannot_be_measured_is_skipped(
    *, tmp_path: Path, data: Dataset, three_classes: Any, monkeypatch: pytest.MonkeyPatch, measure: Any, reason: str
) -> None:
    from hardtemper.bench import run

    monkeypatch.setattr(run, "measure_memory", measure)
    path = model_file(tmp_path, three_classes.onnx())
    (subject,) = run_bench(path, data, settings(robust=False)).subjects
    assert [skip.what for skip in subject.skipped[:2]] == ["peak memory, batch 1", "peak memory, batch 3"]
    assert all(skip.reason.endswith(reason) for skip in subject.skipped[:2])
    assert subject.find("peak-memory") is None


def test_json_round_trip(make_bundle: Callable[..., Path], data: Dataset, three_classes: Any) -> None:
    report = run_bench(make_bundle(dense=three_classes.onnx(dtype="float32")), data, settings(threads=None))
    again = BenchReport.from_json(report.to_json())
    assert again == report
    assert again.to_json() == report.to_json()
    assert [len(subject.graph_sha256) for subject in again.subjects] == [64, 64]
    assert again.settings["threat"] == "linf:10/255"
    assert again.subject("shipped").robustness is None


@pytest.mark.parametrize("source", ["", "[]", "{}", '{"format_version": 2}', '{"format_version": 1}'])
def test_what_is_no_report_is_refused(source: str) -> None:
    with pytest.raises(InputError, match="not a bench report"):
        BenchReport.from_json(source)


def test_image_counts(tmp_path: Path, data: Dataset, three_classes: Any) -> None:
    path = model_file(tmp_path, three_classes.onnx())
    (subject,) = run_bench(path, data, settings(images=7, clean_images=11, sequential=True)).subjects
    clean, union = subject.find("clean-accuracy"), subject.find("robust-accuracy", attack="union")
    assert clean is not None
    assert union is not None
    assert (clean.n, union.n) == (11, 7)
    assert subject.find("robust-accuracy", attack="square", remaining_only=True) is not None
    (subject,) = run_bench(path, data, settings(images=10**6, clean_images=None)).subjects
    assert {m.n for m in subject.measurements if m.name.endswith("accuracy")} == {40}


@pytest.mark.parametrize(("channels", "expected"), [(1, "linf:0.1"), (3, "linf:8/255")])
def test_the_papers_radius_is_the_default(channels: int, expected: str) -> None:
    from hardtemper.bench.settings import default_threat

    assert str(default_threat((channels, 32, 32))) == expected


def test_what_a_reader_must_know_is_noted(tmp_path: Path, data: Dataset, three_classes: Any) -> None:
    path = model_file(tmp_path, three_classes.onnx(batch=2, softmax=True))
    (subject,) = run_bench(path, data, settings(robust=False)).subjects
    batches, softmax = subject.notes
    assert "batches of 2 only" in batches
    assert "Softmax" in softmax


def test_another_processors_warning_becomes_a_note(
    make_bundle: Callable[..., Path], data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hardtemper.runtime import engine

    monkeypatch.setattr(engine, "_warn_of_other_kernels", lambda _: warnings.warn("other kernels", stacklevel=2))
    (subject,) = run_bench(make_bundle(), data, settings(robust=False)).subjects
    assert subject.notes == ("other kernels",)


def other_data(*, shape: tuple[int, ...] = (1, 6, 6), classes: tuple[str, ...] = ("0", "1", "2")) -> Dataset:
    images = np.zeros((4, *shape), np.uint8)
    labels = np.zeros(4, np.int64)
    splits = Splits(
        name="other",
        classes=classes,
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=labels,
        source="drawn",
    )
    return divide(splits, heldout=0, calibration=0, seed=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shape": (3, 6, 6)}, r"other: the images do not fit.*expected: \[N, 1, 6, 6\].*got: \[N, 3, 6, 6\].*fix: "),
        ({"shape": (1, 8, 8)}, r"got: \[N, 1, 8, 8\]"),
        ({"classes": ("0", "1")}, r"the classes do not fit.*expected: 3 classes.*got: 2.*fix: "),
        ({"classes": ("2", "1", "0")}, r"in another order.*expected: 0, 1, 2.*got: 2, 1, 0"),
    ],
)
def test_data_that_does_not_fit_is_refused(
    make_bundle: Callable[..., Path], wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        run_bench(make_bundle(), other_data(**wrong), settings())


@pytest.mark.parametrize("dense", [False, True])
def test_a_bare_files_labels_are_no_names(
    tmp_path: Path, make_bundle: Callable[..., Path], three_classes: Any, dense: bool
) -> None:
    """Eleven folders "0" to "10" are classes in the order of their names; nobody numbered the file's logits so."""
    names = tuple(sorted(map(str, range(11))))
    content = replace(three_classes, weights=np.random.default_rng(0).integers(-9, 9, (11, 36))).onnx()
    path = make_bundle(graph=content, classes=names, dense=content) if dense else model_file(tmp_path, content)
    report = run_bench(path, other_data(classes=names), settings(robust=False, **ONE))
    assert len(report.subjects) == (2 if dense else 1)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"preset": "transfer"}, RecipeError, "transfer: there is no other network to make candidates on; name one"),
        ({"preset": "multi-targeted", "threat": ThreatModel("linf", 0.1, 1)}, RecipeError, "no attack of 'multi-tar"),
        ({"threat": ThreatModel("linf", 0.1, 3)}, RecipeError, "is no class of other; expected: a class from 0 to 2"),
        ({"threat": ThreatModel("linf", 0.1, 0)}, DataError, "other: no test image to attack in linf:0.1->0"),
    ],
)
def test_what_cannot_be_attacked_at_all_is_refused_before_anything_is_measured(
    *, tmp_path: Path, three_classes: Any, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    told: list[str] = []
    path = model_file(tmp_path, three_classes.onnx())
    with pytest.raises(error, match=message):
        run_bench(path, other_data(), settings(**changes), progress=lambda task, *_: told.append(task))
    assert told == []


def test_an_engine_with_nothing_to_transfer_from_is_skipped_beside_one_that_has(
    make_bundle: Callable[..., Path], data: Dataset, three_classes: Any
) -> None:
    path = make_bundle(dense=three_classes.onnx(dtype="float32"))
    dense, shipped = run_bench(path, data, settings(preset="transfer", **ONE)).subjects
    reason = "there is no other network to make candidates on; name one with --transfer"
    assert [(skip.what, skip.reason) for skip in dense.skipped] == [
        ("transfer", reason),
        ("robust accuracy", f"no attack of 'transfer' is left (transfer: {reason})"),
    ]
    assert robust_of(shipped, "transfer-parent") == robust_of(shipped, "union")


def test_networks_to_transfer_from_have_names_of_their_own(
    make_bundle: Callable[..., Path], data: Dataset, three_classes: Any, tmp_path: Path
) -> None:
    paths = []
    for index, name in enumerate(["a/net-2", "b/net", "c/net", "d/engine", "e/twin", "f/parent"]):
        paths.append(tmp_path / f"{name}.onnx")
        paths[-1].parent.mkdir()
        paths[-1].write_bytes(three_classes.onnx(shift=(index + 1) / 8))
    path = make_bundle(dense=three_classes.onnx(dtype="float32"))
    asked = settings(preset="transfer", transfer=tuple(map(str, paths)), dense=False, **ONE)
    (shipped,) = run_bench(path, data, asked).subjects
    names = ["parent", "net-2", "net", "net-3", "engine-2", "twin-2", "parent-2"]
    found = [m.settings.get("target") for m in shipped.measurements if m.name == "robust-accuracy"]
    assert found[: len(names)] == names


@pytest.mark.parametrize("task", ["latency, batch 1", "model: clean accuracy", "model: square", "model: alarms"])
def test_a_graph_that_is_replaced_meanwhile_is_refused(
    tmp_path: Path, data: Dataset, three_classes: Any, task: str
) -> None:
    path = model_file(tmp_path, three_classes.onnx())

    def build_again(told: str, done: int, total: int, _: str) -> None:
        if told == task and done == total:
            path.write_bytes(three_classes.onnx(shift=0.5))

    with pytest.raises(IntegrityError, match=r"the file changed while it was measured; .*run bench again"):
        run_bench(path, data, settings(**ONE), work=tmp_path / "work", progress=build_again)
    assert not list(tmp_path.glob("work/*.npz"))


@pytest.mark.parametrize(
    ("name", "error"), [("none.onnx", ModelError), ("none", BundleError), ("text.txt", BundleError)]
)
def test_targets_that_cannot_be_opened(tmp_path: Path, data: Dataset, name: str, error: type[Exception]) -> None:
    (tmp_path / "text.txt").write_text("no bundle")
    with pytest.raises(error, match=name):
        run_bench(tmp_path / name, data, settings())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batches": ()}, "batches"),
        ({"batches": (1, 1)}, "batches"),
        ({"batches": (0,)}, r"batches\[0\]"),
        ({"threads": 0}, "threads"),
        ({"images": 0}, "images"),
        ({"clean_images": -1}, "clean_images"),
        ({"repeats": 0}, "repeats"),
        ({"warmup": -1}, "warmup"),
        ({"min_seconds": -0.1}, "min_seconds"),
        ({"min_seconds": float("nan")}, "min_seconds"),
        ({"min_seconds": float("inf")}, "min_seconds"),
        ({"seed": 2**63}, "seed"),
        ({"seed": -1}, "seed"),
        ({"preset": "qick"}, "did you mean 'quick'"),
        ({"threat": ThreatModel("linf", 0.5 / 255)}, "no other 8-bit image"),
    ],
)
def test_settings_are_checked_before_any_work(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings(**wrong)


def test_progress_names_engine_and_task(make_bundle: Callable[..., Path], data: Dataset, three_classes: Any) -> None:
    told: list[tuple[str, int, int, str]] = []
    run_bench(
        make_bundle(dense=three_classes.onnx(dtype="float32")),
        data,
        settings(),
        progress=lambda *news: told.append(news),
    )
    finished = [task for task, done, total, _ in told if done == total]
    each = ["memory", "clean accuracy", "pgd-20", "apgd-ce", "square", "alarms"]
    expected = [f"{subject}: {task}" for subject in ("dense", "shipped") for task in each]
    assert finished == ["latency, batch 1", "latency, batch 3", *expected]


def test_the_dense_network_can_be_left_out(make_bundle: Callable[..., Path], data: Dataset, three_classes: Any) -> None:
    path = make_bundle(dense=three_classes.onnx(dtype="float32"))
    names = [subject.name for subject in run_bench(path, data, settings(robust=False, dense=False)).subjects]
    assert names == ["shipped"]


def test_the_verdict_is_stored_and_no_piece_of_it_is_left(
    make_bundle: Callable[..., Path], data: Dataset, three_classes: Any, tmp_path: Path
) -> None:
    path = make_bundle(dense=three_classes.onnx(dtype="float32"))
    kept = pieces.Pieces(tmp_path / "work" / pieces.PIECES)
    report = run_bench(path, data, settings(images=30, **ONE), work=tmp_path / "work", pieces=kept)
    assert list(kept.folder.iterdir()), "until the report is stored"
    kept.remove()
    names = sorted(file.name for file in (tmp_path / "work").iterdir())
    about = "quick-linf-10_255-n30-seed0-[0-9a-f]{8}[.]npz"
    assert all(map(re.fullmatch, [f"dense-{about}", f"shipped-{about}"], names)), names
    assert len(names) == 2
    shipped = report.subject("shipped")
    assert shipped.notes == (f"adversarial images, for `toolchain replay`: {tmp_path / 'work' / names[1]}",)
    archive = read_archive(tmp_path / "work" / names[1])
    again = replay(archive, three_classes, name="the same")
    result = shipped.robustness
    assert result is not None
    assert (again.n, again.clean, again.robust) == (30, result.clean, result.robust.sum())
    assert [(a.name, a.broken, a.stored) for a in again.attacks] == [
        (o.plan.name, o.broken, o.broken) for o in result.attacks
    ]
    assert np.array_equal(data.test.images[archive.indices], archive.images)
    assert np.array_equal(data.test.labels[archive.indices], archive.labels)


def test_candidates_transfer_from_the_parent_and_from_other_files(
    make_bundle: Callable[..., Path], data: Dataset, three_classes: Any, tmp_path: Path
) -> None:
    """The parent is the same function here, so what breaks it breaks the engine."""
    path = make_bundle(dense=three_classes.onnx(dtype="float32"))
    other = model_file(tmp_path, three_classes.onnx(shift=0.125))
    report = run_bench(path, data, settings(preset="pgd-20,transfer", transfer=(str(other),), **ONE))
    dense, shipped = report.subjects
    assert robust_of(shipped, "transfer-parent") == robust_of(shipped, "transfer-model") == robust_of(shipped, "pgd-20")
    assert shipped.find("robust-accuracy", attack="transfer-parent", target="parent") is not None
    found = shipped.find("broken-by-transfer-only")
    assert found is not None
    assert found.value == 0
    assert [m.settings["attack"] for m in dense.measurements if m.name == "robust-accuracy"] == [
        "pgd-20",
        "transfer-model",
        "union",
    ]
    quick = settings(preset="apgd-t,transfer", sequential=True, dense=False, **ONE)
    (shipped,) = run_bench(path, data, quick).subjects
    assert shipped.find("robust-accuracy", attack="transfer-parent", remaining_only=True) is not None
    assert [skip.what for skip in shipped.skipped] == ["apgd-t"], "three classes"


def test_a_model_that_nothing_transfers_from_is_refused(tmp_path: Path, data: Dataset, three_classes: Any) -> None:
    path = model_file(tmp_path, three_classes.onnx())
    model = onnx.load_from_string(three_classes.onnx())
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.append(helper.make_node("Atan", ["scores"], ["logits"]))
    onnx.save(model, tmp_path / "atan.onnx")
    with pytest.raises(ModelError, match=r"atan.onnx: nothing transfers from it; got: no twin: .*Atan"):
        run_bench(path, data, settings(transfer=(str(tmp_path / "atan.onnx"),)))
    (subject,) = run_bench(path, data, settings(preset="paper", transfer=(str(path),), **ONE)).subjects
    (skip,) = subject.skipped
    assert (skip.what, skip.reason) == ("transfer-model", "it is the attacked network itself")


def test_a_targeted_threat_leaves_images_of_the_target_out(tmp_path: Path, data: Dataset, three_classes: Any) -> None:
    path = model_file(tmp_path, three_classes.onnx())
    aimed = ThreatModel("linf", 10 / 255, 1)
    (subject,) = run_bench(path, data, settings(threat=aimed, **ONE)).subjects
    union = subject.find("robust-accuracy", attack="union")
    assert union is not None
    assert (union.n, union.settings["threat"]) == ((data.test.labels != 1).sum(), "linf:10/255->1")


def test_curves(tmp_path: Path, data: Dataset, three_classes: Any) -> None:
    path = model_file(tmp_path, three_classes.onnx())
    (subject,) = run_bench(path, data, settings(preset="paper", curves=True, images=20, **ONE)).subjects
    by_epsilon = [m for m in subject.measurements if m.name == "robust-accuracy-by-epsilon"]
    assert [round(255 * float(m.settings["epsilon"] or 0), 1) for m in by_epsilon] == [0, 2.5, 5, 7.5, 10, 15, 20, 128]
    values = [m.value for m in by_epsilon]
    assert values == sorted(values, reverse=True)
    part = data.test.subset(20, seed=0)
    assert values[0] == 100 * (three_classes(part.images).argmax(1) == part.labels).mean()
    assert values[-1] == 0
    by_steps = [m.value for m in subject.measurements if m.name == "robust-accuracy-by-steps"]
    assert len(by_steps) == 7
    assert by_steps[-1] <= by_steps[0]
    truth = three_classes.withstands(part.images, part.labels, 10).mean()
    assert by_steps[-1] == pytest.approx(100 * truth)
    assert values[4] == pytest.approx(100 * truth)
    beyond = subject.find("robust-accuracy-by-distance", epsilon=10 / 255)
    assert beyond is not None
    assert beyond.value == pytest.approx(100 * truth)
    score, found = subject.find("clever"), subject.find("minimal-perturbation-p50")
    assert score is not None
    assert found is not None
    assert score.value > 0
    assert 0 < found.value < 128
    indices, levels = zip(*subject.perturbations, strict=True)
    assert list(indices) == part.indices.tolist()
    assert np.quantile(levels, 0.5, method="inverted_cdf") == pytest.approx(found.value)
    assert beyond.value == pytest.approx(100 * (np.array(levels) > 10).mean())
    wrong = three_classes(part.images).argmax(1) != part.labels
    assert [level == 0 for level in levels] == wrong.tolist()


def test_curves_are_of_the_engine_and_what_they_ask_is_kept(data: Dataset, three_classes: Any) -> None:
    """An engine that is right whatever comes withstands what breaks its twin."""
    part = data.test.subset(5, seed=0)
    answers = np.eye(3, dtype=np.float32)[part.labels]
    twin = Twin(onnx.load_from_string(three_classes.onnx()))
    kept: list[AttackPlan] = []

    def keep(plan: AttackPlan, rows: Any, candidates: Any, logits: Any) -> None:
        assert rows.tolist() == list(range(5))
        assert candidates.shape == part.images.shape
        assert logits is answers
        kept.append(plan)

    points = measure_curves(lambda _: answers, twin, part.images, part.labels, threat=THREAT, seed=0, keep=keep)
    assert {point.value for point in points} == {100}
    assert [point.settings["attack"] for point in points[1:]] == ["apgd-ce"] * 7 + ["pgd"] * 7
    assert [dict(plan.settings) for plan in kept[:7]] == [{"steps": 50}] * 7
    sizes = [2.5, 1.25, 0.5, 0.25, 0.125, 0.1, 0.1]
    assert [dict(plan.settings) for plan in kept[7:]] == [
        {
            "steps": steps,
            "step_size": pytest.approx(size * THREAT.epsilon),
            "random_start": False,
            "early_stop": True,
        }
        for steps, size in zip((1, 2, 5, 10, 20, 50, 100), sizes, strict=True)
    ]
    assert {plan.search.args[1] for plan in kept[:7]} == {apgd}  # type: ignore[attr-defined]
    assert {plan.search.args[1] for plan in kept[7:]} == {pgd}  # type: ignore[attr-defined]


def test_corruptions_have_rows_of_their_own(
    tmp_path: Path, data: Dataset, three_classes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate(engine: Any, images: Any, labels: Any, *, seed: int, **_: Any) -> CorruptionResult:
        assert engine(images).shape == (20, 3)
        return CorruptionResult(n=20, clean=18, right={("fog", 1): 10, ("snow", 2): 5}, seed=seed)

    monkeypatch.setattr(run, "evaluate_corruptions", evaluate)
    path = model_file(tmp_path, three_classes.onnx())
    (subject,) = run_bench(path, data, settings(robust=False, corruptions=True, images=20, **ONE)).subjects
    fog, mean = subject.find("corruption-accuracy", corruption="fog"), subject.find("mean-corruption-error")
    assert fog is not None
    assert mean is not None
    assert (fog.value, fog.n, mean.value) == (50, 20, 62.5)


def test_a_second_engine_that_fails_leaves_the_pieces_of_the_first(
    make_bundle: Callable[..., Path], data: Dataset, three_classes: Any, tmp_path: Path
) -> None:
    path = make_bundle(dense=three_classes.onnx(dtype="float32"))

    def stop(task: str, *_: Any) -> None:
        if task == "shipped: memory":
            raise KeyboardInterrupt

    work = tmp_path / "work"
    kept = pieces.Pieces(work / pieces.PIECES)
    with pytest.raises(KeyboardInterrupt):
        run_bench(path, data, settings(preset="paper", **ONE), work=work, pieces=kept, progress=stop)
    assert len(list(kept.folder.iterdir())) == 3, "one attack, two alarms"
    run_bench(path, data, settings(preset="paper", **ONE), work=work, pieces=kept)
    assert sorted(file.suffix for file in work.glob("*.npz")) == [".npz", ".npz"]


@pytest.mark.parametrize("task", ["corruptions", "alarms", "curves", "fab-t", "clever"])
def test_what_is_measured_besides_goes_on_too(
    task: str, tmp_path: Path, data: Dataset, three_classes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "evaluate_corruptions", partial(evaluate_corruptions, names=("contrast", "brightness")))
    written: list[Path] = []

    def counted(path: Path, content: bytes) -> None:
        written.append(path)
        write_sealed(path, content)

    monkeypatch.setattr("hardtemper.runtime.files.store.write_sealed", counted)
    path = model_file(tmp_path, three_classes.onnx())
    asked = settings(preset="paper", curves=True, corruptions=True, images=20, **ONE)

    def stop(told: str, done: int, total: int, _: str) -> None:
        if told == f"model: {task}" and done == total:
            raise KeyboardInterrupt

    def bench(folder: Path, **how: Any) -> BenchReport:
        return run_bench(path, data, asked, work=folder, pieces=pieces.Pieces(folder / "p"), **how)

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


def test_a_work_folder_that_cannot_be_made_is_found_first(tmp_path: Path, data: Dataset, three_classes: Any) -> None:
    path = model_file(tmp_path, three_classes.onnx())
    told: list[str] = []
    with pytest.raises(InputError, match="choose another --work"):
        run_bench(path, data, settings(), work=path / "work", progress=lambda task, *_: told.append(task))
    assert told == []
