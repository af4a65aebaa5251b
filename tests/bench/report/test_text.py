from __future__ import annotations

import io
import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.data.dataset import Dataset
from hardtemper.bench.measurement import Skip
from hardtemper.bench.report.report import BenchReport
from hardtemper.bench.report.text import check_writable, report_lines, report_table, write_report
from hardtemper.bench.robustness.agreement import Agreement
from hardtemper.bench.robustness.alarm import Alarm
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings
from hardtemper.runtime.errors import InputError

ALARMS = (
    "data mismatch",
    "no answer",
    "wrong twin",
    "no white-box attack",
    "random",
    "twin differs",
    "without gradients",
    "zero gradient",
    "flat loss",
    "large epsilon",
    "more steps",
)


@pytest.fixture(scope="module")
def report(make_bundle: Callable[..., Path], data: Dataset, three_classes: Any) -> BenchReport:
    settings = BenchSettings(
        batches=(1, 3),
        warmup=0,
        repeats=3,
        min_seconds=0,
        preset="quick",
        threat=ThreatModel("linf", 10 / 255),
    )
    return run_bench(make_bundle(dense=three_classes.onnx(dtype="float32")), data, settings)


def rendered(report: BenchReport) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(report_table(report))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_dense_stands_beside_what_ships(report: BenchReport) -> None:
    text = rendered(report)
    assert re.search(r"dense.*shipped", text)
    assert re.search(r"onnxruntime.*onnxruntime", text)
    rows = [line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│")]
    assert rows == [
        "size",
        "size, gzip",
        "parameters",
        "latency, batch 1 (n 3)",
        "throughput, batch 1",
        "speedup, batch 1",
        "latency, batch 3 (n 3)",
        "throughput, batch 3",
        "speedup, batch 3",
        "memory, peak, batch 1",
        "memory, peak, batch 3",
        "accuracy, clean (n 40)",
        "robust, pgd-20 (n 40)",
        "robust, apgd-ce (n 40)",
        "robust, square (n 40)",
        "robust, union (n 40)",
        "robust, broken by queries only (n 40)",
        *(f"alarm, {name}" for name in ALARMS),
        "twin's logits differ, clean",
        "twin's logits differ, candidates",
        "twin's verdict differs",
    ]


def test_cells_are_the_measurements(report: BenchReport) -> None:
    shipped = report.subject("shipped")
    union, size = shipped.find("robust-accuracy", attack="union"), shipped.find("size")
    assert union is not None
    assert union.spread is not None
    assert size is not None
    text = rendered(report)
    low, high = union.spread
    assert f"{union.value:.1f} % [{low:.1f}, {high:.1f}]" in text
    assert f"{size.value / 1024:,.1f} KiB" in text


@pytest.mark.parametrize(
    ("value", "classes", "largest", "cell"),
    [
        (0, 0, 0.0, "0 of 10 images"),
        (7, 0, 5.7e-6, "7 of 10 images (class: 0, by 6e-06)"),
        (9, 2, None, "9 of 10 images (class: 2)"),
    ],
)
def test_mismatches_say_how_much(
    report: BenchReport, value: int, classes: int, largest: float | None, cell: str
) -> None:
    agreement = Agreement(n=10, logits=value, classes=classes, largest=math.inf if largest is None else largest)
    (dense, shipped) = report.subjects
    text = rendered(replace(report, subjects=(replace(dense, measurements=(agreement.measurement("x"),)), shipped)))
    (row,) = (line for line in text.splitlines() if "differ, x" in line)
    assert row.split("│")[2].strip() == cell


def test_the_caption_says_where_and_how(report: BenchReport) -> None:
    text = rendered(report)
    here = report.environment
    for part in ("quick in linf:10/255", "seed 0", "threads: 1", here.cpu, here.instruction_set, report.created):
        assert part in text
    for name, version in here.versions.items():
        assert f"{name} {version}" in text


def test_an_engine_that_lacks_a_row_shows_a_dash(report: BenchReport) -> None:
    dense, shipped = report.subjects
    less = replace(dense, measurements=tuple(m for m in dense.measurements if m.name != "parameters"))
    text = rendered(replace(report, subjects=(less, shipped)))
    (row,) = (line for line in text.splitlines() if "parameters" in line)
    assert [cell.strip() for cell in row.split("│")[1:4]] == ["parameters", "-", "111"]


def test_names_with_brackets_are_no_markup(report: BenchReport) -> None:
    assert "out/[bold]x" in rendered(replace(report, target="out/[bold]x"))


def test_skips_and_notes_have_a_line_each(report: BenchReport) -> None:
    dense, shipped = report.subjects
    changed = replace(shipped, skipped=(Skip(what="square", reason="no time"),), notes=("read this",))
    lines = report_lines(replace(report, subjects=(dense, changed)))
    assert lines == ["shipped: square skipped: no time", "shipped: read this", f"digest: {report.bundle_sha256}"]


def test_an_onnx_file_has_no_digest_of_a_bundle(report: BenchReport) -> None:
    lines = report_lines(report)
    assert lines == [*report_lines(replace(report, bundle_sha256="")), f"digest: {report.bundle_sha256}"]


def test_notes_on_the_data_come_first(report: BenchReport) -> None:
    noted = replace(report, notes=("files left out: 1 hidden",))
    assert report_lines(noted) == [f"{report.dataset}: files left out: 1 hidden", *report_lines(report)]


def test_an_alarm_stands_beside_the_figure_and_has_a_line(report: BenchReport) -> None:
    dense, shipped = report.subjects
    alarm = Alarm(name="zero gradient", count=9, n=10, threshold=0.05)
    assert alarm.raised
    union = shipped.find("robust-accuracy", attack="union")
    assert union is not None
    doubted = replace(union, settings={**union.settings, "alarms": "zero gradient"})
    changed = replace(report, subjects=(dense, replace(shipped, measurements=(doubted, alarm.measurement()))))
    (row,) = (line for line in rendered(changed).splitlines() if "robust, union" in line)
    assert row.split("│")[3].strip().endswith("] ALARM: zero gradient")
    (row,) = (line for line in rendered(changed).splitlines() if "alarm, zero gradient" in line)
    assert row.split("│")[3].strip() == "RAISED, 90.0 % of 10 (limit 5 %)"
    (line,) = (line for line in report_lines(changed) if line.startswith("shipped: "))
    assert line.startswith("shipped: ALARM, zero gradient: 90.0 % of 10, where 5 % is the limit: the gradient is zero")
    assert "ALARM" not in rendered(report)


def test_written_as_json(report: BenchReport, tmp_path: Path) -> None:
    path = tmp_path / "new" / "bench.json"
    dense, shipped = report.subjects
    report = replace(report, subjects=(dense, replace(shipped, perturbations=((7, 2.5), (3, None)))))
    write_report(report, path)
    assert BenchReport.from_json(path.read_text(encoding="utf-8")) == report
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["format_version"] == 1
    assert [subject["perturbations"] for subject in written["subjects"]] == [[], [[7, 2.5], [3, None]]]
    for subject in written["subjects"]:
        del subject["perturbations"]  # as in reports that were written before
    assert BenchReport.from_json(json.dumps(written)).subjects == (dense, shipped)


def test_where_nothing_can_be_written(report: BenchReport, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for write in (partial(write_report, report), check_writable):
        with pytest.raises(InputError, match="cannot write the report"):
            write(tmp_path / "file" / "bench.json")
    with pytest.raises(InputError, match="cannot write the report"):
        check_writable(tmp_path / ("x" * 300))


def test_the_check_leaves_everything_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text("what was there")
    for path in (tmp_path / "bench.json", tmp_path / "new" / "bench.json", Path(os.devnull)):
        check_writable(path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["bench.json"]
    assert (tmp_path / "bench.json").read_text() == "what was there"


def test_a_report_that_fails_leaves_the_one_before(
    report: BenchReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "bench.json"
    write_report(report, path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        write_report(replace(report, dataset="another"), path)
    assert BenchReport.from_json(path.read_text(encoding="utf-8")) == report
    assert [file.name for file in tmp_path.iterdir()] == ["bench.json"]
