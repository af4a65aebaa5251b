"""The table of measures: every maker's names are in it, and every row of it is made somewhere."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import hardtemper
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.data.dataset import Dataset
from hardtemper.bench.measure_table import MEASURES, SECTIONS, measure_of
from hardtemper.bench.measurement import Measurement, measured, share
from hardtemper.bench.performance.gpu_latency import STEPS, DeviceLatency
from hardtemper.bench.performance.gpu_state import DeviceMemory
from hardtemper.bench.performance.latency import summarize
from hardtemper.bench.report.text import row_of
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings
from hardtemper.runtime.errors import InputError

MAKERS = ("measured", "share")


@pytest.fixture(scope="module")
def everything(
    make_bundle: Callable[..., Path], data: Dataset, three_classes: Any, tmp_path_factory: pytest.TempPathFactory
) -> list[Measurement]:
    """What a run measures that leaves nothing out, what only a wrong twin leaves, and what only a GPU has."""
    package = ModuleType("imagecorruptions")
    package.corrupt = lambda image, **_: image  # type: ignore[attr-defined]
    other = tmp_path_factory.mktemp("other") / "other.onnx"
    other.write_bytes(three_classes.onnx(shift=0.125))
    settings = BenchSettings(
        batches=(1,),
        warmup=0,
        repeats=1,
        min_seconds=0.0,
        preset="quick,transfer",
        threat=ThreatModel("linf", 10 / 255),
        transfer=(str(other),),
        images=10,
        curves=True,
        corruptions=True,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "imagecorruptions", package)
        report = run_bench(make_bundle(dense=three_classes.onnx(dtype="float32")), data, settings)
    seconds = np.array([0.1, 0.2])
    on_device = DeviceLatency(name="a", batch=1, steps={step: summarize("a", seconds, seconds, 1) for step in STEPS})
    memory = DeviceMemory(batch=1, added_mib=1.0, process_mib=None, framework_mib=1.0)
    verdict = report.subject("shipped").robustness
    assert verdict is not None
    doubted = replace(verdict, robust=np.ones(10, bool)).measurements(["wrong twin"])
    return [
        *(measurement for subject in report.subjects for measurement in subject.measurements),
        *doubted,
        *on_device.measurements(),
        memory.measurement(),
    ]


def test_a_run_makes_every_row_of_the_table_and_nothing_else(everything: list[Measurement]) -> None:
    assert {measurement.name for measurement in everything} == set(MEASURES)


def test_units_and_spreads_are_those_of_the_table(everything: list[Measurement]) -> None:
    for measurement in everything:
        measure = measure_of(measurement.name)
        assert measurement.unit == measure.unit, measurement.name
        if measure.spread is not None:
            assert measurement.spread is not None, measurement.name


def test_every_row_can_be_written(everything: list[Measurement]) -> None:
    for measurement in everything:
        label, text = row_of(measurement)
        assert label
        assert text
        assert "{" not in label + text


def test_names_in_the_code_are_in_the_table() -> None:
    package = Path(hardtemper.__file__).parent
    named = set()
    for folder in ("bench", "toolchain"):
        for path in (package / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MAKERS:
                    named |= {arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    assert named <= set(MEASURES)
    assert len(named) > 10


def test_an_unknown_name_is_refused() -> None:
    for make in (lambda: measured("speed", 1.0, n=1), lambda: share("speed", 1, 2), lambda: measure_of("speed")):
        with pytest.raises(InputError, match=r"unknown measurement 'speed'; expected: one of size, size-gzip"):
            make()


def test_sections_are_in_the_order_of_a_report() -> None:
    places = [SECTIONS.index(measure.section) for measure in MEASURES.values()]
    assert places == sorted(places)
    assert {measure.section for measure in MEASURES.values()} == set(SECTIONS)
