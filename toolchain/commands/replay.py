"""`toolchain replay`: a stored verdict's adversarial images on any engine."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..console import console, errors, progress_bars

if TYPE_CHECKING:
    from rich.table import Table

    from ...bench.replay import Replay
    from ...runtime.engine import Engine

__all__ = ["replay"]


@click.command(epilog="Example: toolchain replay out/net.bench/shipped-standard-linf-0.1-n1000-seed0.npz out/net")
@click.argument("verdict", type=click.Path(path_type=Path))
@click.argument("engines", metavar="ENGINE...", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Store the counts there as JSON."
)
def replay(verdict: Path, engines: tuple[Path, ...], json_path: Path | None) -> None:
    """Replay a VERDICT (a file that bench stored) on bundles (folders) and ONNX classifiers.

    Hashes are checked, and that every image lies inside the threat model's ball. Counts images: those that the engine
    gets right as they are, those of each attack's adversarial images that still break it, and what is left robust (%).
    Needs neither torch nor the data set.
    """
    from ...bench.archive import read_archive
    from ...bench.replay import replay as run

    archive = read_archive(verdict)
    opened = [(path, _open(path, verdict, archive.images.shape[1:])) for path in engines]
    with progress_bars() as progress:
        found = [run(archive, engine, name=str(path), progress=progress) for path, engine in opened]
    for result in found:
        console.print(_table(result, archive.threat))
    if json_path is not None:
        counts = [result.to_dict() for result in found]
        _write({"format_version": 1, "verdict": str(verdict), "threat": archive.threat, "engines": counts}, json_path)


def _open(path: Path, verdict: Path, shape: tuple[int, ...]) -> Engine:
    """The engine; what it warns of is printed."""
    from ...runtime.engine import load, open_onnx
    from ...runtime.errors import DataError

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        engine = open_onnx(path) if path.suffix == ".onnx" and not path.is_dir() else load(path)
    if engine.input_shape != shape:
        expected, got = (f"[N, {', '.join(map(str, sizes))}]" for sizes in (engine.input_shape, shape))
        raise DataError(f"{verdict}: the images do not fit {path}", expected=expected, got=got)
    for warning in caught:
        errors.print(f"{path}: {warning.message}", markup=False, soft_wrap=True)
    return engine


def _table(result: Replay, threat: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    clean, robust = (f"{count} ({100 * count / result.n:.1f} %)" for count in (result.clean, result.robust))
    table = Table(
        title=Text(result.engine),
        caption=Text(f"{threat}; of {result.n} images {clean} are right as they are, {robust} withstand all"),
        caption_justify="left",
    )
    table.add_column("adversarial images of")
    for column in ("that broke their engine", "break this one", "that broke its twin only", "break this one"):
        table.add_column(column, justify="right")
    for attack in result.attacks:
        counts = (attack.stored, attack.broken, attack.twin_only, attack.twin_only_broken)
        table.add_row(Text(attack.name), *(str(count) for count in counts))
    return table


def _write(content: dict[str, Any], path: Path) -> None:
    from ...runtime.errors import InputError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written", got=error.strerror or str(error)) from None
