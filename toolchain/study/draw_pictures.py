"""A study's pictures of its finished networks: values found once and kept, then files of each.

Values lie in `pictures/` of the folder of all stages, under a digest of the settings and of the networks that they come
from, so that the same picture is not found again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...bench.attacks.threat.threat_model import ThreatModel
from ...runtime.errors import MissingExtraError
from ...runtime.files.atomic import write_whole
from .cell_recipe import Scaled
from .figure_files import write_figure
from .finished_rows import finished_row
from .pictures.study_picture import Finished, FinishedNetwork, Picture
from .study_data import StudyData
from .study_stages import CellRun

__all__ = ["draw_pictures"]

_LENGTH = 12
"""Hexadecimal digits, as in the names of stages."""


def draw_pictures(
    scaled: Scaled, runs: Sequence[CellRun], *, images: int, out: Path, folder: Path
) -> tuple[dict[str, Path], list[str]]:
    """Write `NAME.json`, `NAME.svg` and `NAME.png` for each picture.

    Args:
        runs: every cell and seed that was asked for; a picture shows the first seed.
        images: test images to attack, at most.
        out: the folder of all stages.
        folder: of this study's results.

    Returns:
        The files, by name; and lines for below the table: what the pictures show, and what is left out and why.

    Raises:
        OSError: one cannot be written.
    """
    files: dict[str, Path] = {}
    told = []
    for name, picture in scaled.study.pictures.items():
        missing = set(picture.cells) - {run.cell.key for run in runs}
        if missing:
            told.append(f"No picture {name}: without {', '.join(sorted(missing))}.")
            continue
        shown = [run for run in runs if run.cell.key in picture.cells]
        digest, finished = _digest(picture, shown, images), _finished(scaled, shown, images)
        try:
            values = finished_row(out / "pictures" / f"{name}-{digest}.json", partial(picture.find, finished))
            files[f"{name}.json"] = folder / f"{name}.json"
            write_whole(files[f"{name}.json"], (json.dumps(values, indent=1) + "\n").encode())
            told += picture.tell(values)
            fill = partial(_fill, picture, values)
            written = write_figure(folder, name, fill, inches=picture.inches, salt=scaled.study.name)
            files |= {f"{name}.{form}": path for form, path in written.items()}
        except MissingExtraError as error:
            told.append(f"No picture {name}: {error}.")
    return files, told


def _fill(picture: Picture, values: dict[str, Any], figure: Any) -> None:
    figure.suptitle(picture.title, fontsize="medium")
    picture.draw(figure, values)


def _finished(scaled: Scaled, runs: Sequence[CellRun], images: int) -> Finished:
    data = StudyData(scaled.train_images)
    recipes = {run.seed: scaled.recipe(run.cell, run.seed) for run in runs}
    networks = tuple(
        FinishedNetwork(
            key=run.cell.key,
            label=scaled.study.label(run.cell),
            seed=run.seed,
            graphs=run.graphs,
            threat=ThreatModel.parse(recipes[run.seed].adversary.threat),
        )
        for run in runs
    )
    return Finished(networks=networks, data=lambda seed: data.of(recipes[seed]), images=images)


def _digest(picture: Picture, runs: Sequence[CellRun], images: int) -> str:
    led_to = [picture.model_dump(mode="json"), images]
    led_to += [[run.cell.key, run.seed, sorted(path.name for path in run.graphs.values())] for run in runs]
    return hashlib.sha256(json.dumps(led_to, sort_keys=True).encode()).hexdigest()[:_LENGTH]
