"""A bench report for people: one column an engine, the dense float network beside what ships; and the report's file."""

from __future__ import annotations

import errno
import itertools
import os
import tempfile
from typing import TYPE_CHECKING

from ...runtime.errors import InputError
from ...runtime.files.atomic import write_whole
from ..measure_table import SECTIONS, measure_of
from ..measurement import Measurement
from ..robustness.alarm_table import ALARMS
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
    every = [measurement for subject in report.subjects for measurement in subject.measurements]
    sections = {row_of(m)[0]: SECTIONS.index(measure_of(m.name).section) for m in every}
    labels = sorted(sections, key=sections.__getitem__)  # the sort is stable
    table = Table(title=Text(report.target), caption=Text(_caption(report)), caption_justify="left")
    table.add_column("")
    for subject in report.subjects:
        table.add_column(Text(f"{subject.network}\n{subject.backend}"), justify="right")
    for _, section in itertools.groupby(labels, key=sections.__getitem__):
        for label in section:
            table.add_row(Text(label), *(Text(rows.get(label, "-")) for rows in columns))
        table.add_section()
    return table


def report_lines(report: BenchReport) -> list[str]:
    """What the data set's loader did, alarms, what was skipped and why, what a reader of the table must know, and a
    bundle's digest; one line each."""
    data = [f"{report.dataset}: {note}" for note in report.notes]
    digest = [f"digest: {report.bundle_sha256}"] if report.bundle_sha256 else []
    return [*data, *(line for subject in report.subjects for line in _remarks(subject)), *digest]


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
        f"{m.settings['says']}. What to do: {ALARMS[str(m.settings['alarm'])].advice}"
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


def row_of(measurement: Measurement) -> tuple[str, str]:
    """A measurement's label and text, in a table's row.

    Raises:
        InputError: no measure has that name.
        LookupError: a setting that the row shows is missing.
    """
    measure = measure_of(measurement.name)
    low, high = measurement.spread or (measurement.value, measurement.value)
    numbers = {"value": measurement.value, "low": low, "high": high}
    shown = {key: format(number / measure.divisor, measure.format) for key, number in numbers.items()}
    words = {**measurement.settings, **_phrases(measurement), "n": measurement.n}
    return measure.label.format(**words), measure.text.format(**words, **shown)


def _phrases(m: Measurement) -> dict[str, str]:
    """Words of a row that depend on a setting; empty where the setting is missing or says nothing."""
    settings = m.settings
    alarms, baseline = settings.get("alarms", "none"), settings.get("baseline_mib")
    largest = settings.get("largest_difference")
    by = "" if largest is None else f", by {largest:.0e}"
    return {
        "scope": ", remaining only" if settings.get("remaining_only") else "",
        "worth": f", {settings['standing']}" if settings.get("standing") else "",
        "unanswered": f", no answer for {settings['without_answer']}" if settings.get("without_answer") else "",
        "doubt": "" if alarms == "none" else f" ALARM: {alarms}",
        "state": "RAISED" if settings.get("raised") else "quiet",
        "runtime_alone": "" if baseline is None else f" (runtime alone {baseline:.1f})",
        "difference": f" (class: {settings['classes']}{by})" if m.value and "classes" in settings else "",
    }
