"""One table in three forms: Markdown for readers, CSV for spreadsheets, JSON with where and how it was measured."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...runtime.files.atomic import write_whole
from .comparison import columns
from .measure_cell import Measure
from .measure_costs import COSTS
from .study_file import Study

__all__ = ["markdown", "write_tables"]

_FAR = 2.0
"""In the paper's deviations: a cell beyond is marked."""


def write_tables(
    folder: Path,
    study: Study,
    rows: Sequence[Mapping[str, Any]],
    measures: Sequence[Measure],
    about: Mapping[str, Any],
) -> dict[str, Path]:
    """Write `table.md`, `table.csv` and `table.json`.

    Args:
        rows: see `compare`.
        measures: what was measured.
        about: for JSON: command, environment, scale and so on; its lines `said` go below the Markdown table.

    Returns:
        The files, by form.

    Raises:
        OSError: one cannot be written.
    """
    whole = {"study": study.name, "source": study.source, "departures": list(study.departures), **about, "rows": rows}
    contents = {
        "md": markdown(study, rows, measures, about.get("said", ())),
        "csv": _csv(rows, columns(measures)),
        "json": json.dumps(whole, indent=1) + "\n",
    }
    paths = {form: folder / f"table.{form}" for form in contents}
    for form, content in contents.items():
        write_whole(paths[form], content.encode())
    return paths


def markdown(
    study: Study, rows: Sequence[Mapping[str, Any]], measures: Sequence[Measure], said: Sequence[str] = ()
) -> str:
    """The table as a page."""
    others = [measure.name for measure in measures[1:]]
    theirs = ["paper", "difference"] if study.paper_data is None else [f"paper ({study.paper_data})"]
    heads = ["model", "compression", "measured", "test", *theirs, measures[0].name, *theirs, *others]
    if study.sizes:
        heads += ["size, MiB", *theirs[:1], "size, % of dense", "file, MiB"]
    heads += ["stored, KiB", "latency, ms", "latency ratio"] if study.costs else []
    heads += ["CPU s of fine-tuning", "times cheaper than f_rb"]
    heads = ["network", *heads] if study.networks else heads
    lines = [f"# {study.title}", f"{study.source}.", "", _line(heads), _line(["---"] * len(heads))]
    for row in rows:
        cells = [row["network"]] if study.networks else []
        cells += [f"`{row['model']}`", row["compression"], row["subject"]]
        for metric in ("test", "robustness"):
            ours = _with_spread(row[f"{metric}_mean"], row[f"{metric}_spread"])
            cells += [ours, _with_spread(row[f"{metric}_paper"], row[f"{metric}_paper_deviation"])]
            cells += [_far(row, metric)] if study.paper_data is None else []
        cells += [_with_spread(row[f"{other}_mean"], row[f"{other}_spread"]) for other in others]
        if study.sizes:
            sizes = (row["size_mean"], row["size_paper"], 100 * row["size_share"], row["file_mean"])
            cells += ["" if size is None else f"{size:.4g}" for size in sizes]
        cells += ["" if row[cost] is None else f"{row[cost]:.3g}" for cost in COSTS] if study.costs else []
        cells += [_number(row["finetune_cpu_seconds"]), _number(row["times_cheaper"])]
        lines.append(_line(cells))
    note = "Per cent; means and standard deviations over seeds. " + (
        "Differences are ours - the paper's, in points, and in the paper's standard deviations behind them; "
        f"**bold** beyond {_FAR:g} of them."
        if study.paper_data is None
        else f"The paper's values are of {study.paper_data}: what they have to do with ours is their order."
    )
    if study.sizes:
        note += " Size: bits of the nonzero weights, as the papers count it; file: the ONNX graph as it is, not packed."
    if study.costs:
        note += " Stored: the engine's file, packed where the recipe says so; latency: one image, one thread, in turns."
    return "\n".join([*lines, "", *(f"* {line}" for line in (note, *said, *study.departures))]) + "\n"


def _csv(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _with_spread(mean: float | None, spread: float | None) -> str:
    return _number(mean) + ("" if spread is None else f" ± {spread:.2f}")


def _far(row: Mapping[str, Any], metric: str) -> str:
    difference, deviations = row[f"{metric}_difference"], row[f"{metric}_in_deviations"]
    if difference is None:
        return ""
    text = f"{difference:+.2f}" + ("" if deviations is None else f" ({deviations:+.2f})")
    return f"**{text}**" if deviations is not None and abs(deviations) > _FAR else text
