"""A figure of lines, one panel for each thing that is measured: over levels, or over model sizes in logarithms.

A line is a `line` of the study's cells and one of the networks that are measured of each: the float one, the masked
one, the engine. A network without a level, the dense one, is a dashed line through the panel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .study_file import Study

__all__ = ["draw_lines"]

_LABELS = {"test": "accuracy (%)", "file": "file (MiB)"}


def draw_lines(figure: Any, study: Study, rows: Sequence[Mapping[str, Any]]) -> None:
    """Fill a matplotlib figure.

    Args:
        figure: empty.
        study: with `panels`.
        rows: see `compare`.
    """
    panels = figure.subplots(1, len(study.panels), squeeze=False)[0]
    levels = list(dict.fromkeys(str(row["level"]) for row in rows))
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        is_compared = row["subject"] == study.compared(row["compression"])
        name = row["line"] if is_compared else f"{row['line']}: {row['subject']}"
        lines.setdefault(name, []).append(row)
    for axes, panel in zip(panels, study.panels, strict=True):
        for name, line in lines.items():
            x = [levels.index(str(row["level"])) if study.x == "level" else row["size_share"] for row in line]
            y = [row[f"{panel}_mean"] for row in line]
            if study.x == "size" and line[0]["level"] is None:
                axes.axhline(y[0], linestyle="--", color="black", label=name)
            else:
                bars = [row.get(f"{panel}_spread") or 0.0 for row in line]
                axes.errorbar(x, y, yerr=bars, fmt="o-", markersize=4, capsize=3, label=name)
        if study.x == "level":
            axes.set_xticks(range(len(levels)), levels)
        else:
            axes.set_xscale("log")
        axes.set_xlabel(study.x_axis)
        axes.set_ylabel(_LABELS.get(panel, f"accuracy under {study.attack if panel == 'robustness' else panel} (%)"))
        axes.set_ylim(bottom=0, top=None if panel == "file" else 100)
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize="x-small")
    figure.suptitle(study.title, fontsize="medium")
    figure.tight_layout()
