"""A matplotlib figure as SVG and PNG. What is drawn alike gives the same bytes of SVG."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...runtime.errors import MissingExtraError
from ...runtime.files.atomic import write_whole

__all__ = ["write_figure"]


def write_figure(
    folder: Path, name: str, fill: Callable[[Any], None], *, inches: tuple[float, float], salt: str
) -> dict[str, Path]:
    """Write `name.svg` and `name.png`.

    Args:
        fill: draws on the matplotlib figure that it is given.
        inches: width and height.
        salt: of the names within the SVG.

    Returns:
        The files, by form.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OSError: one cannot be written.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", extra="study", feature="the figure of a study") from error
    # names in the SVG would be random, and it would have the date
    with mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        figure = Figure(figsize=inches)
        fill(figure)
        paths = {}
        for form, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
            content = io.BytesIO()
            figure.savefig(content, format=form, metadata=metadata, dpi=150)
            paths[form] = folder / f"{name}.{form}"
            write_whole(paths[form], content.getvalue())
    return paths
