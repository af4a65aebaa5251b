"""Lines and panels of a figure, read from matplotlib's own objects."""

from __future__ import annotations

from typing import Any

import pytest

from hardtemper.toolchain.study.draw_lines import draw_lines
from hardtemper.toolchain.study.read_study import parse_study


def rows() -> list[dict[str, Any]]:
    def row(line: str, subject: str, level: float | None, share: float, test: float) -> dict[str, Any]:
        label = "none" if level is None else "half of the filters"
        values = {"test_mean": test, "test_spread": 1.0, "robustness_mean": test / 2, "file_mean": 3.0}
        return {"line": line, "subject": subject, "level": level, "size_share": share, "compression": label, **values}

    found = [row("a", "network", 0.5, 0.4, 80.0), row("a", "network", 0.9, 0.1, 70.0)]
    return [*found, row("a", "engine", 0.5, 0.1, 79.0), row("whole", "network", None, 1.0, 90.0)]


@pytest.mark.parametrize(("x", "places"), [("level", [0, 1]), ("size", [0.4, 0.1])])
def test_a_line_for_each_name_and_subject(tiny_settings: dict[str, Any], x: str, places: list[float]) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    settings = tiny_settings | {"x_axis": "rate", "x": x, "panels": ["test", "robustness", "file"]}
    draw_lines(figure, parse_study("tiny", settings), rows())
    assert [axes.get_ylabel() for axes in figure.axes] == ["accuracy (%)", "accuracy under pgd-20 (%)", "file (MiB)"]
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert sorted(names) == ["a", "a: engine", "whole"]
    first = figure.axes[1].containers[0].lines[0]
    assert (list(first.get_xdata()), list(first.get_ydata())) == (places, [40.0, 35.0])
    assert figure.axes[0].get_xscale() == ("linear" if x == "level" else "log")
