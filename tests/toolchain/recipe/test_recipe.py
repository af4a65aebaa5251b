"""Recipes: what ships is valid, the defaults are the paper's, and every slip is answered by name."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from hardtemper.runtime.errors import RecipeError
from hardtemper.toolchain.recipe.compression_methods import STEPS
from hardtemper.toolchain.recipe.filter_pruning import FilterPruning
from hardtemper.toolchain.recipe.read import with_overrides
from hardtemper.toolchain.recipe.recipe import Recipe

SECTIONS = ["data", "model", "train", "compress", "adversary", "teacher", "finetune", "quantize", "finetune_twin"]
SECTIONS += ["bundle", "search"]


def test_defaults_are_the_papers() -> None:
    """Section 4 and appendix A.1 of "Adversarial Fine-tuning of Compressed Neural Networks"."""
    recipe = with_overrides({}, {})
    assert recipe == Recipe()
    train, tune, adversary = recipe.train, recipe.finetune, recipe.adversary
    assert (train.epochs, train.learning_rate, train.schedule) == (20, 0.1, "paper")
    assert (train.momentum, train.weight_decay, train.label_smoothing) == (0.0, 0.0, 0.0)
    assert (tune.epochs, tune.learning_rate, tune.momentum, tune.weight_decay) == (3, 0.1, 0.0, 0.0)
    assert (adversary.threat, adversary.attack, adversary.steps, adversary.step_size) == ("linf:0.1", "pgd", 20, None)
    assert recipe.compress == (FilterPruning(sparsity=0.8),)
    assert recipe.quantize.scales == "power-of-two"
    assert recipe.quantize.integer_share == 1.0
    assert recipe.finetune_twin.epochs == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"adversary.threat": "linf:0.1->3"}, "training has no targeted adversary; expected: norm:epsilon"),
        (
            {
                "finetune_twin.threshold_learning_rate": 0.01,
                "finetune_twin.epochs": 1,
                "quantize.scales": "free",
            },
            "thresholds are learned as powers of two; expected: quantize.scales = 'power-of-two'",
        ),
        (
            {
                "finetune_twin.threshold_learning_rate": 0.01,
                "finetune_twin.epochs": 1,
                "compress": [{"method": "sharing"}],
            },
            "shared values are in units of each channel's scale",
        ),
        ({"adversary.replays": 4, "adversary.objective": "trades"}, "adversary.replays = 4 is free adversarial"),
        ({"adversary.replays": 4, "adversary.weight_perturbation": 0.005}, "adversary.replays = 4 is free adversarial"),
        ({"adversary.replays": 4, "adversary.grad_align": 0.2}, "adversary.replays = 4 is free adversarial"),
        ({"adversary.objective": "trades", "adversary.random_start": False}, "trades needs a random start"),
        ({"adversary.attack": "n-fgsm", "adversary.threat": "l2:0.5"}, "expected: linf:epsilon; got: l2:0.5"),
        ({"adversary.objective": "rslad", "adversary.weight": 6.0}, "adversary.weight of rslad is a share"),
        ({"adversary.weight": 6.0}, "objective adversarial does not use adversary.weight"),
        (
            {"adversary.objective": "trades", "adversary.temperature": 2.0},
            "does not use adversary.temperature",
        ),
        (
            {"adversary.objective": "mart", "adversary.teacher": "t.onnx"},
            "does not use adversary.teacher",
        ),
        ({"adversary.threat": "linf:0"}, "an adversary needs a radius above 0; expected: epsilon > 0"),
        ({"adversary.attack": "n-fgsm", "adversary.random_start": False}, "n-fgsm always starts at a random point"),
        ({"adversary.attack": "fgsm", "adversary.replays": 2}, "has its own one-step attack"),
        ({"adversary.objective": "rslad", "finetune.label_smoothing": 0.1, "robust": True}, "learns from the teacher"),
        (
            {"adversary.objective": "ard", "finetune_twin.label_smoothing": 0.1, "robust": True},
            "finetune_twin.label_smoothing: ard learns from the teacher",
        ),
        ({"robust": True, "finetune.epochs": 0}, "robust = true without an epoch against the adversary"),
        ({"train.patience": 2, "train.keep_best": False}, "patience = 2 needs keep_best"),
        ({"finetune.patience": 2, "data.heldout": 0}, "finetune.patience needs held-out images"),
        ({"train.cutmix": 0.001}, "cutmix is too small to draw from"),
        ({"adversary.objective": "mart", "finetune.cutmix": 1.0, "robust": True}, "finetune.cutmix mixes labels"),
        ({"adversary.objective": "mmr", "finetune_twin.cutmix": 0.5, "robust": True}, "finetune_twin.cutmix mixes"),
    ],
)
def test_what_does_not_go_together(given: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        with_overrides({}, given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_goes_together() -> None:
    """The neighbours of what does not."""
    for settings in (
        {"adversary.replays": 4},
        {"adversary.objective": "trades", "adversary.weight": 6.0},
        {"adversary.objective": "rslad", "adversary.weight": 1.0, "finetune.cutmix": 1.0, "robust": True},
        {"adversary.objective": "mart", "finetune.cutmix": 1.0},
    ):
        with_overrides({}, settings)


def test_recipes_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Recipe().seed = 1  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        Recipe().train.epochs = 1  # type: ignore[misc]


def test_every_key_says_what_it_means() -> None:
    sections = [type(getattr(Recipe(), section)) for section in SECTIONS if section != "compress"]
    models: list[type[BaseModel]] = [Recipe, *sections, *STEPS.values()]
    for model in models:
        assert model.__doc__
        for name, field in model.model_fields.items():
            assert field.description or (model is Recipe and name in SECTIONS), f"{model.__name__}.{name}"
