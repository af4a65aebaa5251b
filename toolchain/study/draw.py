"""The picture of a study, as SVG and PNG: over the compressions' levels, or cell beside cell.

Points are means and bars standard deviations over seeds; hollow points are the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .draw_lines import draw_lines
from .figure_files import write_figure
from .study_file import Study

__all__ = ["draw"]

_COLOURS = {"test": "tab:blue", "robustness": "tab:red"}
_LINES = {"clean": "--", "adversary": "-"}
_NAMES = {"clean": "f_st", "adversary": "f_rb"}


def draw(folder: Path, study: Study, rows: Sequence[Mapping[str, Any]]) -> dict[str, Path]:
    """Write `figure.svg` and `figure.png`.

    Args:
        rows: see `compare`.

    Returns:
        The files, by form.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OSError: one cannot be written.
    """
    if study.panels:
        wide = (5.0 * len(study.panels), 4.5)
        return write_figure(folder, "figure", lambda f: draw_lines(f, study, rows), inches=wide, salt=study.name)
    shown = [row for row in rows if row["subject"] == study.compared(row["compression"])]

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        (_beside if study.x_axis is None else _over_levels)(axes, study, shown)
        axes.set_title(study.title, fontsize="medium", wrap=True)
        axes.set_ylabel("accuracy (%)")
        axes.set_ylim(0, 100)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
        figure.tight_layout()

    width = max(6.0, 0.6 * len(shown)) if study.x_axis is None else 6.0
    return write_figure(folder, "figure", fill, inches=(width, 4.5), salt=study.name)


def _beside(axes: Any, study: Study, rows: Sequence[Mapping[str, Any]]) -> None:
    places = range(len(rows))
    for metric, colour in _COLOURS.items():
        means, bars = [row[f"{metric}_mean"] for row in rows], [row[f"{metric}_spread"] or 0.0 for row in rows]
        axes.errorbar(places, means, yerr=bars, fmt="o", color=colour, capsize=3, label=metric)
        papers = [(x, row) for x, row in zip(places, rows, strict=True) if row[f"{metric}_paper"] is not None]
        if papers:
            axes.errorbar(
                [x + 0.2 for x, _ in papers],
                [row[f"{metric}_paper"] for _, row in papers],
                yerr=[row[f"{metric}_paper_deviation"] or 0.0 for _, row in papers],
                fmt="o",
                color=colour,
                markerfacecolor="none",
                capsize=3,
                label=f"{metric}, paper",
            )
    names = [" ".join(filter(None, (row["network"], row["model"]))) for row in rows]
    axes.set_xticks(places, names, rotation=45, ha="right", fontsize="small")


def _over_levels(axes: Any, study: Study, rows: Sequence[Mapping[str, Any]]) -> None:
    levels = list(dict.fromkeys(str(row["level"]) for row in rows))
    for training in dict.fromkeys(row["training"] for row in rows):
        line = [row for row in rows if row["training"] == training]
        places = [levels.index(str(row["level"])) for row in line]
        for metric, colour in _COLOURS.items():
            axes.errorbar(
                places,
                [row[f"{metric}_mean"] for row in line],
                yerr=[row[f"{metric}_spread"] or 0.0 for row in line],
                fmt=f"o{_LINES[training]}",
                color=colour,
                capsize=3,
                label=f"{_NAMES[training]}: {metric}",
            )
    axes.set_xticks(range(len(levels)), levels)
    axes.set_xlabel(study.x_axis)
