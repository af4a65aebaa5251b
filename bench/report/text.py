"""A bench report for people: one column an engine, the dense float network beside what ships; and the report's file."""

from __future__ import annotations

import errno
import itertools
import os
import tempfile
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ...runtime.errors import InputError
from ...runtime.files.atomic import write_whole
from ..measurement import Measurement
from .report import BenchReport, SubjectReport

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

__all__ = ["check_writable", "report_lines", "report_table", "row_of", "write_report"]


def report_table(report: BenchReport) -> Table:
    """Every measurement as a row; needs rich."""
    from rich.table import Table
    from rich.text import Text

    columns = [dict(row_of(measurement) for measurement in subject.measurements) for subject in report.subjects]
    labels = sorted(dict.fromkeys(label for rows in columns for label in rows), key=_section)
    table = Table(title=Text(report.target), caption=Text(_caption(report)), caption_justify="left")
    table.add_column("")
    for subject in report.subjects:
        table.add_column(Text(subject.name), justify="right")
    for _, section in itertools.groupby(labels, key=_section):
        for label in section:
            table.add_row(Text(label), *(Text(rows.get(label, "-")) for rows in columns))
        table.add_section()
    return table


def report_lines(report: BenchReport) -> list[str]:
    """Alarms, what was skipped and why, and what a reader of the table must know; one line each."""
    return [line for subject in report.subjects for line in _remarks(subject)]


def check_writable(path: Path) -> None:
    """Make the parents of a report's file and see that it can be written; what is there stays as it is.

    Raises:
        InputError: it cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if not path.exists() or path.is_file():  # it comes in one rename from beside its place
            tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.").close()
    except OSError as error:
        raise InputError(f"{path}: cannot write the report", got=error.strerror or str(error)) from None


def write_report(report: BenchReport, path: Path) -> None:
    """Store the JSON form at `path`, whole or not at all; its parents are made too.

    Raises:
        InputError: it cannot be written.
    """
    try:
        write_whole(path, report.to_json().encode())
    except OSError as error:
        raise InputError(f"{path}: cannot write the report", got=error.strerror or str(error)) from None


def _remarks(subject: SubjectReport) -> list[str]:
    alarms = [m for m in subject.measurements if m.name == "alarm" and m.settings["raised"]]
    lines = [
        f"ALARM, {m.settings['alarm']}: {m.value:.1f} % of {m.n}, where {m.settings['threshold']:g} % is the limit: "
        f"{m.settings['says']}"
        for m in alarms
    ]
    lines += [f"{skip.what} skipped: {skip.reason}" for skip in subject.skipped]
    return [f"{subject.name}: {line}" for line in (*lines, *subject.notes)]


def _caption(report: BenchReport) -> str:
    settings, machine = report.settings, report.environment
    threads = "every core" if settings["threads"] is None else f"{settings['threads']}"
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    memory = "" if machine.memory_mib is None else f", {machine.memory_mib / 1024:.1f} GiB"
    turns = "; engines took turns in one run" if len(report.subjects) > 1 else ""
    attack = f"attacks {settings['preset']} in {settings['threat']}, " if settings["robust"] else ""
    return (
        f"{report.dataset} test images; {attack}seed {settings['seed']}; [95 % Wilson interval]\n"
        f"latency and memory with threads: {threads}{turns}\n"
        f"{machine.cpu} ({machine.instruction_set}), {machine.cores} cores{memory}, {machine.os}\n"
        f"{versions}; {report.created}, {report.seconds:.0f} s"
    )


def _section(label: str) -> int:
    """Rows that belong together stand together; the sort is stable."""
    return next(section for word, section in _SECTIONS.items() if label.startswith(word))


def row_of(measurement: Measurement) -> tuple[str, str]:
    """A measurement's label and text, in a table's row."""
    return _ROWS[measurement.name](measurement)


def _size(m: Measurement) -> tuple[str, str]:
    return m.name.replace("-", ", "), f"{m.value / 1024:,.1f} KiB"


def _latency(m: Measurement) -> tuple[str, str]:
    p90, p99 = m.settings["p90_ms"], m.settings["p99_ms"]
    return f"latency, batch {m.settings['batch']} (n {m.n})", f"{m.value:.3f} ms (p90 {p90:.3f}, p99 {p99:.3f})"


def _speedup(m: Measurement) -> tuple[str, str]:
    return f"speedup, batch {m.settings['batch']}", f"{m.value:.2f} x (paired {m.settings['paired']:.2f})"


def _memory(m: Measurement) -> tuple[str, str]:
    baseline = m.settings["baseline_mib"]
    alone = "" if baseline is None else f" (runtime alone {baseline:.1f})"
    return f"memory, peak, batch {m.settings['batch']}", f"{m.value:.1f} MiB{alone}"


def _attack(m: Measurement) -> tuple[str, str]:
    left = ", remaining only" if m.settings.get("remaining_only") else ""
    alarms = m.settings.get("alarms", "none")
    doubt = "" if alarms == "none" else f" ALARM: {alarms}"
    return f"robust, {m.settings['attack']}{left} (n {m.n})", _share(m) + doubt


def _alarm(m: Measurement) -> tuple[str, str]:
    state = "RAISED" if m.settings["raised"] else "quiet"
    # n stands with the figure: engines are checked on different numbers of images, and share a row
    return f"alarm, {m.settings['alarm']}", f"{state}, {m.value:.1f} % of {m.n} (limit {m.settings['threshold']:g} %)"


def _distance(m: Measurement) -> tuple[str, str]:
    name, _, quartile = m.name.rpartition("-")
    return f"distance, {name.replace('-', ' ')} found, {quartile} (n {m.n})", f"{m.value:.1f} levels"


def _clever(m: Measurement) -> tuple[str, str]:
    low, high = m.spread or (m.value, m.value)
    return f"distance, CLEVER score, median (n {m.n})", f"{m.value:.1f} levels (p25 {low:.1f}, p75 {high:.1f})"


def _by_distance(m: Measurement) -> tuple[str, str]:
    return f"distance, beyond {m.settings['norm']}:{m.settings['epsilon']:.4g} (n {m.n})", _share(m)


def _corruption(m: Measurement) -> tuple[str, str]:
    return f"corrupted, {m.settings['corruption']} {m.settings['severity']} (n {m.n})", _share(m)


def _only(m: Measurement) -> tuple[str, str]:
    return f"robust, {m.name.replace('-', ' ')} (n {m.n})", _share(m)


def _mismatch(m: Measurement) -> tuple[str, str]:
    label = f"twin's logits differ, {m.settings['on']}"
    if not m.value:
        return label, f"0 of {m.n} images"
    largest = m.settings["largest_difference"]
    by = "" if largest is None else f", by {largest:.0e}"
    return label, f"{m.value:.0f} of {m.n} images (class: {m.settings['classes']}{by})"


def _share(m: Measurement) -> str:
    low, high = m.spread or (m.value, m.value)
    return f"{m.value:.1f} % [{low:.1f}, {high:.1f}]"


_ROWS: Mapping[str, Callable[[Measurement], tuple[str, str]]] = {
    "size": _size,
    "size-gzip": _size,
    "parameters": lambda m: ("parameters", f"{m.value:,.0f}"),
    "latency": _latency,
    "throughput": lambda m: (f"throughput, batch {m.settings['batch']}", f"{m.value:,.0f} images/s"),
    "speedup": _speedup,
    "peak-memory": _memory,
    "clean-accuracy": lambda m: (f"accuracy, clean (n {m.n})", _share(m)),
    "robust-accuracy": _attack,
    "broken-by-queries-only": _only,
    "broken-by-transfer-only": _only,
    "alarm": _alarm,
    "twin-mismatch": _mismatch,
    "verdict-moved": lambda m: ("twin's verdict differs", f"{m.value:.0f} of {m.n} images"),
    "robust-accuracy-by-epsilon": lambda m: (f"curve, {m.settings['threat']} (n {m.n})", _share(m)),
    "minimal-perturbation-p25": _distance,
    "minimal-perturbation-p50": _distance,
    "minimal-perturbation-p75": _distance,
    "robust-accuracy-by-distance": _by_distance,
    "clever": _clever,
    "corruption-accuracy": _corruption,
    "mean-corruption-accuracy": lambda m: (f"corrupted, mean accuracy (n {m.n})", f"{m.value:.1f} %"),
    "mean-corruption-error": lambda m: (f"corrupted, mean error (n {m.n})", f"{m.value:.1f} %"),
    "robust-accuracy-by-steps": lambda m: (f"curve, pgd, {m.settings['steps']} steps (n {m.n})", _share(m)),
}

_SECTIONS: Mapping[str, int] = {
    "size": 0,
    "parameters": 0,
    "latency": 1,
    "throughput": 1,
    "speedup": 1,
    "memory": 2,
    "accuracy": 3,
    "robust": 3,
    "alarm": 4,
    "twin": 5,
    "curve": 6,
    "distance": 7,
    "corrupted": 8,
}
