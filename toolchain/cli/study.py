"""`toolchain study`: a paper's table or figure, its values beside ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ...runtime.errors import RecipeError
from .setting import read_setting

__all__ = ["study"]


@click.command(epilog="Example: toolchain study table3 --scale 0.01 --seeds 0,1,2 --out out/studies")
@click.argument("name")
@click.option(
    "--scale", type=float, default=1.0, show_default=True, help="Share of the paper's work of training, above 0."
)
@click.option("--data", help="Data set name, image folder, .npz or package.module:factory.  [default: the paper's]")
@click.option("--data-root", help="Folder to look in first for a data set given by name.")
@click.option("--seeds", metavar="N,N,...", help="Seeds.  [default: the study's]")
@click.option("--only", multiple=True, metavar="CELL", help="Some cells, such as 'clean-pruned-*'.  [default: all]")
@click.option("--images", type=click.IntRange(1), help="Test images for the paper's attack.  [default: by the scale]")
@click.option("--attack", help="Attacks or presets to show beside the paper's.  [default: none]")
@click.option(
    "--attack-images", type=click.IntRange(1), default=500, show_default=True, help="Test images for --attack."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any recipe key: --set model.width=32")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("out/studies"),
    show_default=True,
    help="The folder of all stages.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Store the table as JSON there too.")
def study(name: str, seeds: str | None, settings: tuple[str, ...], json_path: Path | None, **options: Any) -> None:
    """Carry out a paper's table or figure, and show its values beside ours.

    Accuracies are in per cent (%), differences in points and in the paper's standard deviations. An interrupted study
    goes on where it stopped when the same command is given again; the same command in several processes shares the
    work. Studies in one folder share what they have in common.
    """
    from ..study.carry_out import study as run
    from .console import console, progress_bars
    from .json_file import write_json

    changes = {"data.name": options.pop("data"), "data.root": options.pop("data_root")}
    found = {key: value for key, value in changes.items() if value is not None} | dict(map(read_setting, settings))
    with progress_bars() as progress:
        result = run(name, seeds=_seeds(seeds), changes=found, progress=progress, **options)
    console.print(result.text, soft_wrap=True)
    for note in result.notes:
        console.print(note, soft_wrap=True)
    console.print(f"written: {', '.join(map(str, result.files.values()))}", soft_wrap=True)
    if json_path is not None:
        write_json(json_path, json.loads(result.files["json"].read_text(encoding="utf-8")))


def _seeds(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise RecipeError("--seeds", expected="whole numbers separated by commas, such as 0,1,2", got=text) from None
