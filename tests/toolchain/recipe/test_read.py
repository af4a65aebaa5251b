"""Recipes from a name or a file, single keys replaced, and every slip answered by name."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from hardtemper.runtime.errors import RecipeError
from hardtemper.toolchain.recipe.filter_pruning import FilterPruning
from hardtemper.toolchain.recipe.read import load_recipe, recipe_names, with_overrides
from hardtemper.toolchain.recipe.recipe import Recipe

SECTIONS = ["data", "model", "train", "compress", "adversary", "teacher", "finetune", "quantize", "finetune_twin"]
SECTIONS += ["bundle", "search"]


def test_what_ships() -> None:
    assert recipe_names() == ["deep-compression", "demo", "fashion-mnist", "fashion-mnist-long"]


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_valid_and_survives_a_manifest(name: str) -> None:
    recipe = with_overrides(load_recipe(name), {})
    assert recipe.robust
    assert recipe.finetune.epochs >= 1
    assert with_overrides(json.loads(json.dumps(recipe.model_dump(mode="json"))), {}) == recipe


@pytest.mark.parametrize(
    ("overrides", "size"),
    [
        ({}, 0.035),
        ({"adversary.attack": "pgd", "adversary.threat": "linf:0.1", "adversary.steps": 20}, 0.035),
        ({"adversary.objective": "trades"}, 0.035),
        ({"adversary.attack": "fgsm"}, None),
        ({"adversary.threat": "linf:8/255"}, None),
        ({"adversary.steps": 4}, None),
        ({"adversary.attack": "fgsm", "adversary.step_size": 0.125}, 0.125),
        ({"adversary.step_size": 0.01, "adversary.threat": "linf:8/255"}, 0.01),
    ],
)
def test_the_step_belongs_to_the_adversary_that_the_recipe_names(overrides: dict[str, Any], size: float | None) -> None:
    assert with_overrides({"adversary": {"step_size": 0.035}}, overrides).adversary.step_size == size
    assert with_overrides({}, overrides).adversary.step_size == overrides.get("adversary.step_size")


def test_another_objective_drops_what_it_has_no_use_for() -> None:
    given = {"objective": "ard", "weight": 0.5, "temperature": 4.0, "teacher": "robust.onnx"}

    def changed(objective: str) -> tuple[float | None, float, Path | None]:
        adversary = with_overrides({"adversary": given}, {"adversary.objective": objective}).adversary
        return adversary.weight, adversary.temperature, adversary.teacher

    assert changed("ard") == (0.5, 4.0, Path("robust.onnx"))
    assert changed("rslad") == (None, 1.0, Path("robust.onnx"))
    assert changed("adversarial") == (None, 1.0, None)


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("seed", 7, lambda r: r.seed == 7),
        ("robust", True, lambda r: r.robust is True),
        ("finetune.epochs", 5, lambda r: r.finetune.epochs == 5),
        ("data.root", "/data", lambda r: r.data.root == Path("/data")),
        ("data.root", Path("/data"), lambda r: r.data.root == Path("/data")),
        ("train.learning_rate", 1, lambda r: r.train.learning_rate == 1.0),
        ("compress.filters.keep", ["features.0"], lambda r: r.compress[0].keep == ("features.0",)),
        ("compress.filters.per_layer", {"features.0": 0.5}, lambda r: r.compress[0].per_layer == {"features.0": 0.5}),
        ("compress.filters.per_layer.features.0", 0.5, lambda r: r.compress[0].per_layer == {"features.0": 0.5}),
        ("compress.filters.per_layer.classifier", 0.5, lambda r: r.compress[0].per_layer == {"classifier": 0.5}),
        ("model.normalize", [[0.5], [0.25]], lambda r: r.model.normalize == ((0.5,), (0.25,))),
        ("finetune.gradient_clip", None, lambda r: r.finetune.gradient_clip is None),
    ],
)
def test_overrides_by_dotted_key(key: str, value: Any, read: Any) -> None:
    settings: dict[str, Any] = {"seed": 1, "finetune": {"epochs": 2, "momentum": 0.5}}
    before = copy.deepcopy(settings)
    recipe = with_overrides(settings, {key: value})
    assert read(recipe)
    assert recipe.finetune.momentum == 0.5
    assert settings == before


def test_overriding_leaves_nested_settings_alone() -> None:
    settings = {"compress": [{"method": "filters", "per_layer": {"a": 0.5}}]}
    (step,) = with_overrides(settings, {"compress.filters.per_layer.b": 0.25}).compress
    assert step == FilterPruning(per_layer={"a": 0.5, "b": 0.25})
    assert settings == {"compress": [{"method": "filters", "per_layer": {"a": 0.5}}]}


def test_another_model_drops_what_was_about_the_recipes() -> None:
    settings = {"model": {"width": 32, "hidden": 64}}
    assert with_overrides(settings, {"model.name": "cnn8"}).model.width == 32
    other = with_overrides(settings, {"model.hidden": 5, "model.name": "resnet18", "model.stem": "cifar"}).model
    assert (other.name, other.width, other.hidden, other.stem) == ("resnet18", None, 5, "cifar")
    again = with_overrides({"model": {"name": "resnet18", "stem": "cifar"}}, {"model.name": "resnet18"}).model
    assert again.stem == "cifar"


def test_another_data_set_drops_what_only_a_known_one_has() -> None:
    settings = {"data": {"name": "mnist", "root": "r", "download": True, "heldout": 5}}
    other = with_overrides(settings, {"data.name": "./pets"}).data
    assert (other.root, other.download, other.heldout) == (None, False, 5)
    known = with_overrides(settings, {"data.name": "svhn"}).data
    assert (known.root, known.download) == (Path("r"), True)


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("finetune.epoch", "finetune.epochs"),
        ("train.learningrate", "train.learning_rate"),
        ("adversary.epsilon", ""),
        ("compress.filters.sparcity", "compress.filters.sparsity"),
        ("compress.sparsity", "compress.weights.sparsity"),
        ("compress.filters", "compress.filters.keep"),
        ("quantize.scale", "quantize.scales"),
        ("finetune_twin.flop", "finetune_twin.flip"),
        ("robst", "robust"),
        ("finetun.epochs", "finetune"),
        ("modle", "model"),
        ("qwertz.x", ""),
        ("robust.strongly", "robust"),
        ("", ""),
        ("data.", "data"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(key: str, near: str) -> None:
    with pytest.raises(RecipeError) as caught:
        with_overrides({"robust": True}, {key: 1})
    message = str(caught.value)
    assert message.startswith("unknown recipe key ")
    assert key.split(".", maxsplit=1)[0] in message
    if near:
        assert f"fix: did you mean {near!r}?" in message
    assert "\n" not in message


@pytest.mark.parametrize("section", [section for section in SECTIONS if section != "compress"])
def test_an_unknown_key_lists_its_section(section: str) -> None:
    with pytest.raises(RecipeError) as caught:
        with_overrides({section: {"qwertz": 1}}, {})
    model = type(getattr(Recipe(), section))
    assert caught.value.what == f"unknown recipe key '{section}.qwertz'"
    assert caught.value.expected == ", ".join(f"{section}.{name}" for name in model.model_fields)


def test_an_unknown_section_lists_the_sections() -> None:
    with pytest.raises(RecipeError) as caught:
        with_overrides({"training": {"epochs": 1}}, {})
    assert caught.value.expected.split(", ") == ["name", "seed", "robust", "device", *SECTIONS]
    assert caught.value.fix == "did you mean 'train'?"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("train.epochs", "many", "a valid integer (passes over the training images)"),
        ("train.epochs", True, "a valid integer"),
        ("train.epochs", 1.5, "a valid integer"),
        ("train", 3, "an object"),
        ("train.flip", "yes", "a valid boolean"),
        ("robust", 1, "a valid boolean"),
        ("name", 7, "a valid string"),
        ("compress.filters.keep", "features.0", "a valid array"),
        ("compress.filters.per_layer", {"features.0": "half"}, "a valid number"),
        ("data.root", 3, "a valid string"),
        ("model.normalize", "imagnet", "none, imagenet or [means, deviations] of pixels / 255"),
        ("finetune.schedule", "papr", "'paper', 'constant', 'cosine' or 'one-cycle'"),
        ("finetune_twin.precision", "bfloat16", "'float32'"),
        ("adversary.objective", "trade", "'adversarial', 'trades', 'mart', 'mmr', 'ard', 'rslad' or 'adaad'"),
        ("finetune.average", "mean", "'none', 'ema' or 'swa'"),
        ("compress.filters.scope", "network", "'layer' or 'global'"),
        ("quantize.observer", "max", "'minmax', 'histogram', 'percentile' or 'mse'"),
        ("adversary.threat", 0.1, "a valid string"),
    ],
)
def test_a_value_of_the_wrong_type(key: str, value: Any, expected: str) -> None:
    _refused(key, value, expected)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("seed", -1, "greater than or equal to 0"),
        ("seed", 2**63, "less than"),
        ("train.epochs", -1, "greater than or equal to 0"),
        ("train.batch_size", 0, "greater than or equal to 1"),
        ("train.learning_rate", 0, "greater than 0"),
        ("train.learning_rate", float("nan"), "a finite number"),
        ("train.learning_rate", float("inf"), "a finite number"),
        ("train.momentum", 1, "less than 1"),
        ("train.warmup", 1, "less than 1"),
        ("compress.filters.sparsity", 1, "less than 1 (share removed from each layer, or of all)"),
        ("compress.filters.sparsity", -0.1, "greater than or equal to 0"),
        ("compress.filters.per_layer", {"features.0": 1.5}, "less than 1"),
        ("compress.filters.per_layer.features.0", 1.5, "less than 1"),
        ("data.calibration", 0, "greater than or equal to 1"),
        ("data.image_size", 7, "greater than or equal to 8"),
        ("data.image_size", 4097, "less than or equal to 4096"),
        (
            "quantize.weight_bits",
            9,
            "less than or equal to 8 (of the layers' weights; 7 for processors without VNNI; no engine",
        ),
        ("quantize.activation_bits", 0, "greater than or equal to 1"),
        ("quantize.layer_weight_bits.features.0", 16, "less than or equal to 8"),
        ("quantize.integer_share", 1.1, "less than or equal to 1"),
        ("quantize.percentile", 50, "greater than 50"),
        ("adversary.steps", 0, "greater than or equal to 1"),
        ("adversary.replays", 0, "greater than or equal to 1"),
        ("adversary.temperature", 0, "greater than or equal to 0.01"),
        ("adversary.temperature", 1e10, "less than or equal to 1000"),
        ("adversary.step_size", 1e300, "less than or equal to 1000000"),
        ("train.learning_rate", 1e39, "less than or equal to 1000000"),
        ("train.weight_decay", 1e300, "less than or equal to 1000000"),
        ("adversary.weight_perturbation", 1e300, "less than or equal to 1"),
        ("finetune.cutmix", 1.5, "less than or equal to 1"),
        ("finetune.swa_start", 1, "less than 1"),
        ("finetune.ema_decay", 1, "less than 1"),
        ("teacher.epochs", 0, "greater than or equal to 1"),
        ("name", "../elsewhere", "pattern"),
        ("name", "", "pattern"),
    ],
)
def test_a_value_out_of_range(key: str, value: Any, expected: str) -> None:
    _refused(key, value, expected)


def _refused(key: str, value: Any, expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        with_overrides({}, {key: value})
    assert caught.value.what.startswith(f"recipe key '{key}")
    assert expected in caught.value.expected
    assert caught.value.got == repr(value if not isinstance(value, dict) else next(iter(value.values())))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\n[[compress]]\nmethod = "filters"\nsparsity = 0.5\n[compress.per_layer]\n"features.0" = 0.25\n'
    )
    recipe = with_overrides(load_recipe(str(path)), {})
    assert recipe.name == "mine"
    assert recipe.compress == (FilterPruning(sparsity=0.5, per_layer={"features.0": 0.25}),)


@pytest.mark.parametrize("text", ["epochs = ", "[train\n", "a = 1\na = 2\n", "\x00", "train: 1"])
def test_what_is_no_toml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"broken\.toml is no TOML; got: ") as caught:
        load_recipe(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("fashon-mnist", "did you mean 'fashion-mnist'?"),
        ("dem", "did you mean 'demo'?"),
        ("qqq", "give a recipe's name or a .toml file"),
        ("q" * 5000, "give a recipe's name or a .toml file"),
    ],
)
def test_an_unknown_recipe_is_named_with_the_nearest(name: str, fix: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(name)
    assert caught.value.what == f"unknown recipe {name!r}"
    assert all(known in caught.value.expected for known in recipe_names())
    assert caught.value.fix == fix


@pytest.mark.parametrize("kind", ["missing", "folder", "too long"])
def test_a_file_that_is_not_there(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("x" * 300 if kind == "too long" else "") / "recipe.toml"
    if kind == "folder":
        path.mkdir()
    with pytest.raises(RecipeError, match=r"recipe\.toml does not exist"):
        load_recipe(str(path))


def circular() -> dict[str, Any]:
    whole: dict[str, Any] = {}
    whole["train"] = {"again": whole}
    return whole


@pytest.mark.parametrize(
    ("settings", "overrides", "message"),
    [
        ({}, {"name": "\ud800"}, "a recipe; expected: Unicode text"),
        ({}, {"model.checkpoint": "\udcff"}, "a recipe; expected: Unicode text"),
        ({"compress": None}, {}, "recipe key 'compress'; expected: a list of steps"),
        ({"compress": None}, {"compress.filters.sparsity": 0.2}, "recipe key 'compress'; expected: a list of steps"),
        ({(1, 2): 3}, {}, r"a recipe; expected: keys that are text; got: \(1, 2\)"),
        ({0: 3}, {}, "a recipe; expected: keys that are text; got: 0"),
        ({"model": {None: 3}}, {}, "a recipe; expected: keys that are text; got: None"),
        (circular(), {}, "a recipe; expected: settings nested 20 deep at most"),
    ],
)
def test_mappings_that_are_no_recipe(settings: Any, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        with_overrides(settings, overrides)


def test_any_mapping_and_any_sequence_of_steps_will_do() -> None:
    given = {"train": MappingProxyType({"epochs": 3}), "compress": ({"method": "filters", "sparsity": 0.25},)}
    recipe = with_overrides(MappingProxyType(given), {"compress.filters.round_to": 4})
    assert recipe.train.epochs == 3
    (step,) = recipe.compress
    assert step == FilterPruning(sparsity=0.25, round_to=4)
    assert given["compress"] == ({"method": "filters", "sparsity": 0.25},)
