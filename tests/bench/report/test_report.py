"""A report in JSON and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hardtemper.bench.data.dataset import Dataset
from hardtemper.bench.report.report import BenchReport
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings
from hardtemper.runtime.errors import InputError


def test_json_round_trip(
    make_bundle: Callable[..., Path], data: Dataset, three_classes: Any, settings: Callable[..., BenchSettings]
) -> None:
    noted = replace(data, notes=("files left out: 1 hidden",))
    report = run_bench(make_bundle(dense=three_classes.onnx(dtype="float32")), noted, settings(threads=None))
    assert report.notes == noted.notes
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
