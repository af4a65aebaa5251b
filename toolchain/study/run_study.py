"""Carries out a study: what is not done yet is done here, what others do is waited for, and all of it is read."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path

from ...runtime.errors import BundleError, RecipeError
from ...runtime.progress import ProgressCallback, silent
from .cell_recipe import Scaled
from .measure_cell import Measure
from .study_file import StudyCell
from .study_stages import CellRun, StudyStages
from .work_queue import work_off

__all__ = ["run_study", "select"]


def select(cells: Sequence[StudyCell], patterns: Sequence[str]) -> tuple[StudyCell, ...]:
    """The cells whose keys fit a pattern, such as "clean-pruned-*"; all of them without one.

    Raises:
        RecipeError: a pattern fits none.
    """
    keys = [cell.key for cell in cells]
    for pattern in patterns:
        if not fnmatch.filter(keys, pattern):
            raise RecipeError(f"no cell {pattern!r} in this study", expected=", ".join(keys))
    return tuple(cell for cell in cells if not patterns or any(fnmatch.fnmatch(cell.key, one) for one in patterns))


def run_study(
    scaled: Scaled,
    *,
    cells: Sequence[StudyCell],
    seeds: Sequence[int],
    measures: Sequence[Measure],
    out: Path,
    progress: ProgressCallback = silent,
    poll_seconds: float = 2.0,
) -> list[CellRun]:
    """Do what is not done yet, wait for what others do, and read all of it.

    Args:
        scaled: the study, its scale, and changed keys.
        cells: some or all of its cells.
        seeds: one or more.
        measures: attacks, names all different.
        out: the folder; an interrupted study goes on from there.
        progress: told of training, under the names of stages and cells.
        poll_seconds: how often to look for what others finish.

    Raises:
        InputError: settings or data do not fit, or `out` cannot be written.
    """
    work = StudyStages(scaled, measures, out, progress)
    for seed in seeds:
        for cell in cells:
            work.add(cell, seed)
    try:
        work_off(work.items(), out / "locks", poll_seconds=poll_seconds)
    except OSError as error:
        fix = "choose another --out"
        raise BundleError(f"{out}: a study cannot be written", got=error.strerror or str(error), fix=fix) from error
    return [work.read(cell, seed) for cell in cells for seed in seeds]
