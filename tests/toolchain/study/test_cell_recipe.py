from __future__ import annotations

from typing import Any

import pytest

from hardtemper.runtime.errors import RecipeError
from hardtemper.toolchain.study.cell_recipe import Scaled
from hardtemper.toolchain.study.read_study import load_study, parse_study
from hardtemper.toolchain.study.study_file import Study


def of(study: Study, key: str) -> Any:
    return next(cell for cell in study.cells if cell.key == key)


def test_scale_shrinks_the_levers_and_nothing_else(tiny_study: Study) -> None:
    full, quarter = (Scaled(study=tiny_study, scale=scale) for scale in (1.0, 0.25))
    assert (full.sized(None), full.train_images) == ({"adversary.steps": 4, "model.width": 8}, 200)
    assert quarter.sized(None) == {"adversary.steps": 2, "model.width": 6}  # 4 * 0.25^0.5, 8 * 0.25^0.25 = 5.66
    assert (quarter.train_images, quarter.test_images) == (100, 32)
    cell = of(tiny_study, "clean-quantized-adversary")
    changed = {key for key, value in full.recipe(cell, 0) if value != getattr(quarter.recipe(cell, 0), key)}
    assert changed == {"adversary", "model"}


@pytest.mark.parametrize("scale", [0.0, -1.0, 1.5, float("nan")])
def test_a_scale_out_of_range(tiny_study: Study, scale: float) -> None:
    with pytest.raises(RecipeError, match="above 0, at most 1"):
        Scaled(study=tiny_study, scale=scale)


@pytest.mark.parametrize(
    ("key", "robust", "epochs"),
    [
        ("clean-pruned-none", False, (0, 0)),
        ("clean-pruned-clean", False, (1, 0)),
        ("clean-quantized-adversary", True, (0, 1)),
        ("adversary-none-none", True, (0, 0)),
    ],
)
def test_what_is_trained_against_what(tiny_study: Study, key: str, robust: bool, epochs: tuple[int, int]) -> None:
    recipe = Scaled(study=tiny_study).recipe(of(tiny_study, key), 7)
    assert (recipe.seed, recipe.robust) == (7, robust)
    assert (recipe.finetune.epochs, recipe.finetune_twin.epochs) == epochs
    assert (recipe.opponent_of(recipe.train) is not None) == key.startswith("adversary")
    trained = [stage for stage in (recipe.finetune, recipe.finetune_twin) if stage.epochs]
    assert all((recipe.opponent_of(stage) is not None) == key.endswith("adversary") for stage in trained)


def test_changes_come_last_but_for_what_makes_the_cell(tiny_study: Study) -> None:
    scaled = Scaled(study=tiny_study, scale=0.25, changes={"model.width": 5, "finetune.epochs": 9})
    recipe = scaled.recipe(of(tiny_study, "clean-pruned-clean"), 0)
    assert (recipe.model.width, recipe.finetune.epochs) == (5, 9)
    assert scaled.recipe(of(tiny_study, "clean-pruned-none"), 0).finetune.epochs == 0


def test_a_compression_is_the_same_for_every_fine_tuning() -> None:
    study = load_study("table3")
    cells = [of(study, f"clean-pruned-{name}") for name in ("none", "clean", "adversary")]
    found = {Scaled(study=study).compression_recipe(cell, 0).model_dump_json(exclude={"name"}) for cell in cells}
    assert len(found) == 1


def test_a_lever_of_another_network_is_left_out(tiny_settings: dict[str, Any]) -> None:
    tiny_settings["recipe"]["model"] = {"name": "resnet18"}
    assert Scaled(study=parse_study("tiny", tiny_settings), scale=0.25).sized(None) == {"adversary.steps": 2}


def test_each_network_has_its_own_size(tiny_settings: dict[str, Any]) -> None:
    tiny_settings["networks"] = {
        "small": {"label": "Small", "recipe": {"model.width": 4}},
        "vit": {
            "label": "ViT",
            "recipe": {"model.name": "vit", "model.hidden": None, "model.depth": 8},
            "scale": {"model.depth": {"power": 0.5, "least": 2}},
        },
    }
    tiny_settings["cells"] = [
        {"network": name, "training": "clean", "compression": "none", "finetuning": "none"} for name in ("small", "vit")
    ]
    study = parse_study("tiny", tiny_settings)
    scaled = Scaled(study=study, scale=0.25)
    small, vit = (scaled.recipe(cell, 0).model for cell in study.cells)
    assert (small.name, small.width, small.depth) == ("cnn8", 4, None)  # 4 * 0.25^0.25 = 2.8, but 4 at least
    assert (vit.name, vit.width, vit.hidden, vit.depth) == ("vit", 6, None, 4)
    assert [cell.key for cell in study.cells] == ["small-clean-none-none", "vit-clean-none-none"]
