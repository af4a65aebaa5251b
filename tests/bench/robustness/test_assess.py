"""Everything about one engine: what is left where there is no twin."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from hardtemper.bench.data.dataset import Dataset
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings


def test_without_a_twin_the_engine_is_attacked_by_queries(
    tmp_path: Path, data: Dataset, three_classes: Any, settings: Callable[..., BenchSettings]
) -> None:
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
    checked = [m.settings["alarm"] for m in subject.measurements if m.name == "alarm"]
    assert checked == ["data mismatch", "no answer", "no white-box attack", "random"]
    assert subject.alarms == ("no white-box attack",)
    assert subject.find("twin-mismatch") is None
    assert subject.find("parameters") is None
    (subject,) = run_bench(path, data, settings(preset="paper")).subjects
    assert [skip.what for skip in subject.skipped] == ["pgd-20", "robust accuracy"]
    assert subject.robustness is None


def test_candidates_transfer_from_the_parent_and_from_other_files(
    *,
    make_bundle: Callable[..., Path],
    data: Dataset,
    three_classes: Any,
    settings: Callable[..., BenchSettings],
    model_file: Callable[[bytes], Path],
    value: Callable[..., float],
) -> None:
    """The parent is the same function here, so what breaks it breaks the engine."""
    path = make_bundle(dense=three_classes.onnx(dtype="float32"))
    other = model_file(three_classes.onnx(shift=0.125))
    report = run_bench(path, data, settings(preset="pgd-20,transfer", transfer=(str(other),), batches=(1,)))
    dense, shipped = report.subjects
    assert (
        value(shipped, "robust-accuracy", attack="transfer-parent")
        == value(shipped, "robust-accuracy", attack="transfer-model")
        == value(shipped, "robust-accuracy", attack="pgd-20")
    )
    assert shipped.find("robust-accuracy", attack="transfer-parent", target="parent") is not None
    found = shipped.find("broken-by-transfer-only")
    assert found is not None
    assert found.value == 0
    assert [m.settings["attack"] for m in dense.measurements if m.name == "robust-accuracy"] == [
        "pgd-20",
        "transfer-model",
        "union",
    ]
    quick = settings(preset="apgd-t,transfer", sequential=True, dense=False, batches=(1,))
    (shipped,) = run_bench(path, data, quick).subjects
    assert shipped.find("robust-accuracy", attack="transfer-parent", remaining_only=True) is not None
    assert [skip.what for skip in shipped.skipped] == ["apgd-t"], "three classes"
