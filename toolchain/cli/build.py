"""`toolchain build`: a recipe, flags on top of it, a bundle."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...runtime.errors import RecipeError
from .console import console, progress_bars

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from ..recipe.recipe import Recipe

__all__ = ["build"]

_FLAGS = {
    "data": "data.name",
    "data_root": "data.root",
    "download": "data.download",
    "model": "model.name",
    "width": "model.width",
    "checkpoint": "model.checkpoint",
    "epochs": "finetune.epochs",
    "objective": "adversary.objective",
    "threat": "adversary.threat",
    "target": "quantize.target",
    "scales": "quantize.scales",
    "seed": "seed",
    "robust": "robust",
}


@click.command(epilog="Example: toolchain build --recipe fashion-mnist --robust --sparsity 0.5 --out out/half")
@click.option("--recipe", default="fashion-mnist", show_default=True, help="Shipped recipe or TOML file.")
@click.option("--robust/--standard", default=None, help="Fine-tune against the adversary, or not.  [default: recipe]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The bundle's folder.  [default: out/NAME, the recipe's or MODEL-DATA]",
)
@click.option("--data", help="Data set name, image folder, .npz or package.module:factory.  [default: recipe]")
@click.option("--data-root", help="Folder to look in first for a data set given by name.")
@click.option("--download", is_flag=True, default=None, help="Download a named data set where no folder holds it.")
@click.option(
    "--model",
    help="cnn8, torchvision name, .pt2 or package.module:factory; another one than the recipe's drops the settings of "
    "that.  [default: recipe]",
)
@click.option("--width", type=int, help="Channels of cnn8's first block.  [default: recipe]")
@click.option("--checkpoint", help="Trained weights (.safetensors or torch file); skips standard training.")
@click.option("--sparsity", type=float, help="Share of filters to remove, 0 <= s < 1.  [default: recipe]")
@click.option("--epochs", type=int, help="Epochs of fine-tuning after compression.  [default: recipe]")
@click.option(
    "--objective",
    type=click.Choice(["adversarial", "trades", "mart", "mmr", "ard", "rslad", "adaad"]),
    help="What fine-tuning against the adversary minimizes; ard, rslad and adaad learn from a robust teacher, see "
    "adversary.teacher.  [default: recipe]",
)
@click.option("--threat", help="norm:epsilon in units of pixel / 255, such as linf:8/255.  [default: recipe]")
@click.option(
    "--target", type=click.Choice(["cpu", "tensorrt"]), help="What the integers are made for.  [default: recipe]"
)
@click.option("--scales", type=click.Choice(["power-of-two", "free"]), help="Kind of scale.  [default: recipe]")
@click.option("--seed", type=int, help="Seed of every random number.  [default: recipe]")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any recipe key: --set train.epochs=3")
@click.option("--overwrite", is_flag=True, help="Replace the bundle at --out.")
@click.option("--keep-work", is_flag=True, help="Keep the checkpoints, so that a changed recipe can start from them.")
def build(
    recipe: str, out: Path | None, settings: tuple[str, ...], overwrite: bool, keep_work: bool, **flags: Any
) -> None:
    """Train, compress, fine-tune, quantize, prove, and write a bundle.

    An interrupted build goes on where it stopped when the same command is given again.
    """
    from ..pipeline.pipeline import build as run
    from ..recipe.compression import step_key
    from ..recipe.read import load_recipe, with_overrides
    from .tables import build_report

    given = load_recipe(recipe)
    sparsity = flags.pop("sparsity")
    overrides = {_FLAGS[flag]: value for flag, value in flags.items() if value is not None}
    if sparsity is not None:
        overrides[step_key(given.get("compress"), "sparsity")] = sparsity
    overrides |= dict(_setting(text) for text in settings)
    resolved = with_overrides(given, overrides)
    former = with_overrides(given, {})
    if "name" not in overrides and (resolved.model.name, resolved.data.name) != (former.model.name, former.data.name):
        resolved = with_overrides(given, {**overrides, "name": _name_of(resolved, out)})
    target = out or Path("out") / resolved.name
    with progress_bars() as progress:
        result = run(resolved, out=target, overwrite=overwrite, keep_work=keep_work, progress=progress)
    for table in build_report(result):
        console.print(table)


def _name_of(recipe: Recipe, out: Path | None) -> str:
    """What to call what a recipe makes of another model or other data than its own: as its folder, or as they are."""
    words = [out.name] if out is not None else [Path(name).name for name in (recipe.model.name, recipe.data.name)]
    words = [re.sub(r"\.(npz|pt2)$", "", word) for word in words]
    return re.sub(r"[^\w.+-]+", "-", "-".join(words)).lstrip("-.+") or "classifier"


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        from ..recipe.read import recipe_names

        raise RecipeError("--set", expected="KEY=VALUE", got=text, fix=f"recipes: {', '.join(recipe_names())}")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value  # a bare word is a string
