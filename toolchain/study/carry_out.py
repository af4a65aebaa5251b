"""A study from its name to its tables and picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from ...bench.attacks.presets import choose_attacks
from ...bench.attacks.threat.threat_model import ThreatModel
from ...bench.measurement import Environment
from ...runtime.errors import BundleError, MissingExtraError, RecipeError
from ...runtime.progress import ProgressCallback, silent
from .cell_recipe import Scaled
from .comparison import compare
from .draw import draw
from .draw_pictures import draw_pictures
from .measure_cell import Measure
from .measure_costs import measure_costs
from .read_study import load_study
from .run_study import run_study, select
from .study_file import StudyCell
from .write_tables import markdown, write_tables

__all__ = ["StudyResult", "study"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyResult:
    """What came out.

    Attributes:
        rows: one for each network, see `compare`.
        text: the table in Markdown.
        files: what was written, by form: "md", "csv", "json", "svg", "png"; a picture's by name, such as
            "features.svg".
        notes: what was left out, and why.
    """

    rows: tuple[Mapping[str, Any], ...]
    text: str
    files: Mapping[str, Path]
    notes: tuple[str, ...]


def study(
    name: str,
    *,
    out: Path,
    scale: float = 1.0,
    seeds: Sequence[int] = (),
    only: Sequence[str] = (),
    images: int | None = None,
    attack: str | None = None,
    attack_images: int = 500,
    changes: Mapping[str, Any] | None = None,
    progress: ProgressCallback = silent,
) -> StudyResult:
    """Carry out a study, and write its tables and picture.

    Args:
        name: of a shipped study.
        out: the folder of all stages, which other studies may share; results go into one of the study's name there.
        scale: 1 is the paper's full setting.
        seeds: instead of the study's.
        only: patterns of cells, such as "clean-pruned-*"; all without one.
        images: test images for the paper's attack, instead of the study's.
        attack: further attacks or presets, whose union is shown beside.
        attack_images: test images for these.
        changes: keys of a recipe, dotted, that are set last. With another `data.name` no paper's value is shown.
        progress: told of every stage.

    Raises:
        InputError: an unknown study, cell or attack, settings that do not fit, or `out` cannot be written.
    """
    chosen = load_study(name)
    scaled = Scaled(study=chosen, scale=scale, changes=changes or {})
    cells = select(chosen.cells, only)
    paper_images = images or scaled.test_images
    measures = [Measure(attack=chosen.attack, images=paper_images)]
    measures += [Measure(images=paper_images, **dict(further)) for further in chosen.further]
    if attack is not None and attack not in [measure.name for measure in measures]:
        measures.append(Measure(attack=attack, images=attack_images))
    if min(measure.images for measure in measures) < 1:
        raise RecipeError("images to attack", expected="1 or more", got=str(attack_images))
    recipe = scaled.recipe(cells[0], 0)
    for measure in measures:
        choose_attacks(measure.attack, ThreatModel.parse(recipe.adversary.threat))
    asked = tuple(dict.fromkeys(seeds)) or chosen.seeds
    runs = run_study(scaled, cells=cells, seeds=asked, measures=measures, out=out, progress=progress)
    with_paper = recipe.data.name == chosen.recipe["data"]["name"]
    folder = out / (name if scale == 1 else f"{name}-scale-{scale:g}")
    with _writing(folder, out):
        costs = measure_costs(scaled, runs) if chosen.costs else {}
        pictures, shown = draw_pictures(scaled, runs, images=paper_images, out=out, folder=folder)
    rows = compare(chosen, runs, measures, with_paper=with_paper, costs=costs)
    told = _told(scaled, cells, asked, measures, images=runs[0].made["images"], with_paper=with_paper)
    left_out = {name for run in runs for row in run.measured.values() for name in row["skipped"]}
    if left_out:
        told.append(f"Left out of the attacks: {', '.join(sorted(left_out))}.")
    told += shown
    about = {
        "scale": scale,
        "seeds": list(asked),
        "settings": {"train_images": runs[0].made["images"], **_settings(scaled, cells), **scaled.changes},
        "attacks": [{"attack": measure.name, "images": measure.images} for measure in measures],
        "said": told,
        "environment": Environment.here().to_dict(),
        "runs": [
            {"cell": run.cell.key, "seed": run.seed, **run.made}
            | {"measured": [{"subject": key[0], "attack": key[1], **row} for key, row in run.measured.items()]}
            for run in runs
        ],
    }
    notes: list[str] = []
    with _writing(folder, out):
        files = write_tables(folder, chosen, rows, measures, about) | pictures
        try:
            files |= draw(folder, chosen, rows)
        except MissingExtraError as error:
            notes.append(f"no picture: {error}")
    text = markdown(chosen, rows, measures, told)
    return StudyResult(rows=tuple(rows), text=text, files=files, notes=tuple(notes))


@contextmanager
def _writing(folder: Path, out: Path) -> Iterator[None]:
    """Each of several processes writes what all found, one after the other."""
    try:
        with FileLock(out / "locks" / f"{folder.name}.lock"):
            yield
    except OSError as error:
        raise BundleError(f"{folder}: results cannot be written", got=error.strerror or str(error)) from error


def _settings(scaled: Scaled, cells: Sequence[StudyCell]) -> dict[str, Any]:
    """Keys of the recipe that the scale and the network decide; behind the network's name where there are several."""
    found: dict[str, Any] = {}
    for network in dict.fromkeys(cell.network for cell in cells):
        before = "" if network is None else f"{scaled.study.networks[network].label} "
        found |= {f"{before}{key}": value for key, value in scaled.sized(network).items()}
    return found


def _told(
    scaled: Scaled,
    cells: Sequence[StudyCell],
    seeds: Sequence[int],
    measures: Sequence[Measure],
    *,
    images: int,
    with_paper: bool,
) -> list[str]:
    """What a reader of the table must know of this run."""
    shrunk = _settings(scaled, cells) if scaled.scale < 1 else {}
    settings = ", ".join(f"{key} {value}" for key, value in {**shrunk, **scaled.changes}.items())
    attacks = ", ".join(f"{measure.name} on {measure.images} test images at most" for measure in measures)
    told = [
        f"Scale {scaled.scale:g}, seeds {', '.join(map(str, seeds))}: {images} training images"
        + (f", {settings}" if settings else "")
        + f"; {attacks}; clean accuracy on all test images."
    ]
    if not with_paper:
        told.append("The paper's values are left out: these are other data.")
    return told
