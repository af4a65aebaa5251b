"""`toolchain build`: from a recipe, changed by flags, to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from ...export.quantization.targets import TARGETS
from ..recipe.adversary import ObjectiveName
from ..recipe.quantization import ScalesName
from .setting import read_setting

__all__ = ["build"]

_FLAGS = {
    "data": "data.name",
    "data_root": "data.root",
    "download": "data.download",
    "class_order": "data.class_order",
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
@click.option("--class-order", metavar="name|natural|FILE", help="Order of an image folder's classes.  [default: name]")
@click.option(
    "--model",
    help="cnn8, lenet, vgg16-small, vit, wide_resnet50, torchvision name, .pt2 or package.module:factory; a model "
    "other than the recipe's drops the recipe's other [model] keys.  [default: recipe]",
)
@click.option("--width", type=int, help="Channels of the first layer, or of each of vit's heads.  [default: recipe]")
@click.option("--checkpoint", help="Trained weights (.safetensors or torch file); skips standard training.")
@click.option("--sparsity", type=float, help="Share of filters to remove, 0 <= s < 1.  [default: recipe]")
@click.option("--epochs", type=int, help="Epochs of fine-tuning after compression.  [default: recipe]")
@click.option(
    "--objective",
    type=click.Choice(get_args(ObjectiveName)),
    help="What fine-tuning against the adversary minimizes; ard, rslad and adaad learn from a robust teacher, see "
    "adversary.teacher.  [default: recipe]",
)
@click.option("--threat", help="norm:epsilon in units of pixel / 255, such as linf:8/255.  [default: recipe]")
@click.option("--target", type=click.Choice(list(TARGETS)), help="What the integers are made for.  [default: recipe]")
@click.option("--scales", type=click.Choice(get_args(ScalesName)), help="Kind of scale.  [default: recipe]")
@click.option("--seed", type=int, help="Seed of every random number.  [default: recipe]")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any recipe key: --set train.epochs=3")
@click.option("--overwrite", is_flag=True, help="Replace the bundle at --out.")
@click.option("--keep-work", is_flag=True, help="Keep the checkpoints, so that a changed recipe can start from them.")
def build(
    recipe: str, out: Path | None, settings: tuple[str, ...], overwrite: bool, keep_work: bool, **flags: Any
) -> None:
    """Train, compress, fine-tune, quantize, prove, and write a bundle.

    An interrupted build goes on where it stopped when the same command is given again. The digest in the last line is
    over the whole bundle: verify and bench hold it with --digest, hardtemper.load with digest=.
    """
    from ..api import build as run
    from ..recipe.compression_methods import step_key
    from ..recipe.read import load_recipe
    from .console import console, progress_bars
    from .tables import build_report

    given = load_recipe(recipe)
    sparsity = flags.pop("sparsity")
    overrides = {_FLAGS[flag]: value for flag, value in flags.items() if value is not None}
    if sparsity is not None:
        overrides[step_key(given.get("compress"), "sparsity")] = sparsity
    overrides |= dict(map(read_setting, settings))
    with progress_bars() as progress:
        result = run(given, out=out, overwrite=overwrite, keep_work=keep_work, progress=progress, **overrides)
    for table in build_report(result):
        console.print(table)
    console.print(f"digest: {result.bundle.digest}", soft_wrap=True)
