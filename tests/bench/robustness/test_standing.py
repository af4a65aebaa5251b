"""What a robust accuracy is worth, from the file to the table, the JSON form, the verdict and the exit code."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from hardtemper.bench import twin_trial
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.data.dataset import Dataset
from hardtemper.bench.measurement import Skip
from hardtemper.bench.report.report import BenchReport
from hardtemper.bench.report.text import report_lines, report_table
from hardtemper.bench.robustness.alarm import Alarm
from hardtemper.bench.robustness.archive import read_archive
from hardtemper.bench.robustness.case import Case
from hardtemper.bench.robustness.standing import check_twin
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings
from hardtemper.runtime.errors import GateError

Make = Callable[..., BenchSettings]
Write = Callable[[bytes], Path]


def rows(report: BenchReport) -> dict[str, str]:
    """The table's only column by its label."""
    label, cells = report_table(report).columns
    return dict(zip(map(str, label.cells), map(str, cells.cells), strict=True))


@pytest.fixture
def other_twin(monkeypatch: pytest.MonkeyPatch, three_classes: Any) -> None:
    """Twins are made of another network, whatever is opened."""
    weights = np.random.default_rng(9).integers(-15, 16, three_classes.weights.shape)
    other = onnx.load_from_string(type(three_classes)(weights=weights).onnx())
    monkeypatch.setattr(twin_trial, "Twin", lambda _, made=twin_trial.Twin: made(other))


@pytest.mark.usefixtures("other_twin")
def test_a_twin_of_another_network_withholds_the_figure(
    data: Dataset, three_classes: Any, tmp_path: Path, settings: Make, model_file: Write
) -> None:
    small = settings(preset="pgd-20,square", threat=ThreatModel("linf", 1 / 255), batches=(1,), curves=True)
    report = run_bench(model_file(three_classes.onnx()), data, small, work=tmp_path / "work")
    (subject,) = report.subjects
    assert "wrong twin" in subject.alarms
    assert subject.find("robust-accuracy", attack="union") is None, "nobody takes the bound for the figure"
    union = subject.find("robust-accuracy-withheld", attack="union")
    assert union is not None
    assert subject.robustness is not None
    assert union.value == 100 * subject.robustness.robust.mean() > 0
    shown = rows(report)
    assert shown["robust, pgd-20 (n 40)"].endswith(", upper bound only: twin differs")
    assert "upper bound" not in shown["robust, square (n 40)"]
    assert re.fullmatch(r"withheld, at most [\d.]+ % ALARM: .*wrong twin.*", shown["robust, union (n 40)"])
    assert Skip(what="curves", reason="the twin differs from the engine on clean images") in subject.skipped
    (line,) = (line for line in report_lines(report) if "ALARM, wrong twin" in line)
    assert "white-box attacks were made on another network" in line
    assert any("trial images" in note for note in subject.notes)
    assert "model: robust accuracy withheld" in report.doubts
    with pytest.raises(GateError, match="figures that are not to be trusted"):
        report.gate()
    assert BenchReport.from_json(report.to_json()).doubts == report.doubts
    (path,) = (tmp_path / "work").glob("*.npz")
    assert "wrong twin" in read_archive(path).alarms


@pytest.mark.usefixtures("other_twin")
def test_candidates_of_a_wrong_twin_that_break_the_engine_count(
    data: Dataset, three_classes: Any, settings: Make, model_file: Write, value: Callable[..., float]
) -> None:
    large = settings(preset="pgd-20,square", threat=ThreatModel("linf", 120 / 255), batches=(1,))
    report = run_bench(model_file(three_classes.onnx()), data, large)
    (subject,) = report.subjects
    assert value(subject, "robust-accuracy", attack="pgd-20") < value(subject, "clean-accuracy")
    assert value(subject, "robust-accuracy", attack="union") == 0, "an upper bound of 0 is the figure"
    assert "wrong twin" in subject.alarms


@pytest.mark.parametrize("twin", [True, False])
def test_queries_alone_are_told_in_the_row(
    *, twin: bool, data: Dataset, three_classes: Any, tmp_path: Path, settings: Make
) -> None:
    """Where the user asks for no more, and where there is no twin."""
    model = onnx.load_from_string(three_classes.onnx())
    if not twin:
        model.graph.node[-1].output[0] = "scores"
        model.graph.node.append(helper.make_node("Atan", ["scores"], ["logits"]))
    onnx.save(model, tmp_path / "model.onnx")
    report = run_bench(tmp_path / "model.onnx", data, settings(preset="square", batches=(1,)), work=tmp_path)
    (subject,) = report.subjects
    assert "no white-box attack" in subject.alarms
    shown = rows(report)
    assert shown["robust, square (n 40)"].endswith("], black-box only")
    assert "], black-box only ALARM: no white-box attack" in shown["robust, union (n 40)"]
    assert shown["alarm, no white-box attack"].startswith("RAISED")
    union = subject.find("robust-accuracy", attack="union")
    assert union is not None
    assert union.settings["standing"] == "black-box only"
    (path,) = tmp_path.glob("*.npz")
    assert "no white-box attack" in read_archive(path).alarms


def test_a_sound_run_passes_the_gate(
    data: Dataset, three_classes: Any, settings: Make, model_file: Write, value: Callable[..., float]
) -> None:
    report = run_bench(model_file(three_classes.onnx()), data, settings(preset="apgd-ce", batches=(1,)))
    assert report.doubts == ()
    report.gate()
    assert value(report.subject("model"), "alarm", alarm="wrong twin") == 0


def test_a_figure_that_is_missing_fails_the_gate(
    data: Dataset, three_classes: Any, settings: Make, tmp_path: Path
) -> None:
    model = onnx.load_from_string(three_classes.onnx())
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.append(helper.make_node("Atan", ["scores"], ["logits"]))
    onnx.save(model, tmp_path / "model.onnx")
    report = run_bench(tmp_path / "model.onnx", data, settings(preset="paper", batches=(1,)))
    assert report.doubts == ("model: no robust accuracy",)
    report = run_bench(tmp_path / "model.onnx", data, settings(robust=False, batches=(1,)))
    assert report.doubts == ()


@pytest.mark.parametrize("form", ["free scales", "the defaults"])
def test_what_another_toolkit_quantized_is_attacked_as_it_is(
    *,
    form: str,
    data: Dataset,
    tmp_path: Path,
    settings: Make,
    cnn: Callable[[Path, Any], None],
    quantize_static: Callable[..., None],
) -> None:
    """A quantizer's step here and there is no other network."""
    cnn(tmp_path / "float.onnx", data.test.images)
    path = tmp_path / "int8.onnx"
    quantize_static(tmp_path / "float.onnx", path, data.test.images, per_channel=form == "free scales")
    (subject,) = run_bench(path, data, settings(preset="pgd-20", batches=(1,))).subjects
    assert "wrong twin" not in subject.alarms


def noisy_case(data: Dataset, three_classes: Any, twin_noise: float, engine_noise: float, shift: float) -> Case:
    rng = np.random.default_rng(0)
    weights = torch.from_numpy(three_classes.weights.astype(np.float32)).T * 255 / 4096

    def noise(scale: float, n: int) -> np.ndarray[Any, Any]:
        return rng.normal(0, scale, (n, 3)).astype(np.float32)

    def twin(x: torch.Tensor) -> torch.Tensor:
        moved = torch.tensor([shift, 0.0, 0.0]) + torch.from_numpy(noise(twin_noise, len(x)))
        return x.flatten(1) @ weights + moved

    return Case(
        engine=lambda pixels: three_classes(pixels) + noise(engine_noise, len(pixels)),
        twin=twin,
        images=data.test.images,
        labels=data.test.labels,
        threat=ThreatModel("linf", 0.1),
        batch_size=7,
    )


@pytest.mark.parametrize(
    ("twin_noise", "engine_noise", "shift", "raised"),
    [
        (0.0, 0.0, 0.0, False),
        (1e-5, 0.0, 0.0, False),
        (0.0, 0.0, 5.0, True),
        (2.0, 0.0, 0.0, True),
        (2.0, 2.0, 0.0, None),
        (0.0, 2.0, 0.0, None),
        (0.1, 0.1, 9.0, True),
    ],
)
def test_noise_is_no_other_network(
    *, data: Dataset, three_classes: Any, twin_noise: float, engine_noise: float, shift: float, raised: bool | None
) -> None:
    """None: the check says nothing, since the engine is as far from itself."""
    found = check_twin(noisy_case(data, three_classes, twin_noise, engine_noise, shift))
    if raised is None:
        assert isinstance(found, Skip)
        assert "random" in found.reason
    else:
        assert isinstance(found, Alarm)
        assert (found.n, found.raised) == (40, raised)
