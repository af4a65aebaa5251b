"""`toolchain search`: the Pareto front of a recipe under a measured budget."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...runtime.errors import MissingExtraError
from .setting import read_setting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

__all__ = ["search"]

_EXTRA = ("optuna", "matplotlib")


@click.command(epilog="Example: toolchain search fashion-mnist --budget latency_ms=0.2 --epochs 1 --out out/search")
@click.argument("recipe")
@click.option(
    "--budget",
    required=True,
    metavar="KEY=VALUE",
    help="latency_ms (of the INT8 engine for one image, one thread, measured here), size_kib (of the stored graph) or "
    "macs (for one image).",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The search's folder, shared by its processes.  [default: out/NAME.search]",
)
@click.option(
    "--trials", type=click.IntRange(min=1), default=64, show_default=True, help="Trials in all, earlier ones included."
)
@click.option("--epochs", type=int, help="Epochs of a trial's fine-tuning.  [default: recipe]")
@click.option("--images", type=int, help="Training images of a trial's fine-tuning.  [default: all]")
@click.option(
    "--storage",
    metavar="URL",
    help="Where the trials are: a database's URL, or journal:FILE.  [default: an SQLite file in --out]",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any recipe key: --set search.epochs=1")
def search(
    recipe: str,
    *,
    budget: str,
    out: Path | None,
    trials: int,
    epochs: int | None,
    images: int | None,
    storage: str | None,
    settings: tuple[str, ...],
) -> None:
    """Search the compression of each layer under a budget, for held-out robust accuracy.

    RECIPE is a shipped recipe or a TOML file; its section [search] says what may change. The same command, given again,
    goes on where it stopped; given several times at once, the processes share the trials. In the folder are then the
    Pareto front (front.json, front.md, front.svg) and the recipe of each point, for toolchain build --recipe.
    """
    from ..search.budget import Budget

    limit = Budget.parse(budget)
    for package in _EXTRA:
        if find_spec(package) is None:
            raise MissingExtraError(package, extra="search", feature="toolchain search")
    from ..recipe.read import load_recipe, with_overrides
    from ..search.front_files import front_rows, sensitivity_rows, write_front
    from ..search.run_search import search as run
    from .console import console, progress_bars

    overrides = dict(read_setting(text) for text in settings)
    overrides |= {
        f"search.{key}": value for key, value in (("epochs", epochs), ("images", images)) if value is not None
    }
    resolved = with_overrides(load_recipe(recipe), overrides)
    folder = out or Path("out") / f"{resolved.name}.search"
    with progress_bars() as progress:
        result = run(resolved, limit, out=folder, trials=trials, storage=storage, progress=progress)
    write_front(result, folder)
    console.print(_table("Layer sensitivity (held-out images, no fine-tuning)", sensitivity_rows(result)))
    console.print(_table(f"Pareto front under {limit} ({len(result.outcomes)} trials)", front_rows(result)))
    console.print(f"written to {folder}", soft_wrap=True)


def _table(title: str, rows: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table

    table = Table(title=title)
    for number, name in enumerate(rows[0]):
        table.add_column(name, justify="right" if number else "left")
    for row in rows[1:]:
        table.add_row(*row)
    return table
