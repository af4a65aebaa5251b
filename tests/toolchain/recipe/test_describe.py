"""The recipe's keys for people: every key of every section, with what the sections themselves say."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from hardtemper.toolchain.recipe.compression_methods import STEPS
from hardtemper.toolchain.recipe.describe import recipe_keys, recipe_keys_markdown, recipe_sections
from hardtemper.toolchain.recipe.read import with_overrides
from hardtemper.toolchain.recipe.recipe import Recipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KEYS = {key.key: key for key in recipe_keys()}


def test_every_key_is_there_once() -> None:
    expected = [name for name in Recipe.model_fields if name in ("name", "seed", "robust", "device")]
    for name in Recipe.model_fields:
        if name == "compress":
            for method, settings in STEPS.items():
                expected += [f"compress.{method}.{key}" for key in settings.model_fields if key != "method"]
        elif name not in expected:
            expected += [f"{name}.{key}" for key in type(getattr(Recipe(), name)).model_fields]
    assert [key.key for key in recipe_keys()] == expected


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_key_has_a_type_and_a_meaning_and_takes_its_default(key: str) -> None:
    row = KEYS[key]
    assert row.type
    assert row.description
    assert row.key.endswith(row.name)
    if row.default:
        value: Any = tomllib.loads(f"value = {row.default}")["value"]
        _, method, *_ = [*key.split("."), ""]
        steps = [{"method": method}] if method in STEPS else Recipe().compress
        compress = [step if isinstance(step, dict) else step.model_dump(mode="json") for step in steps]
        assert with_overrides({"compress": compress}, {key: value}) == with_overrides({"compress": compress}, {})


@pytest.mark.parametrize(
    ("key", "type_", "range_", "default"),
    [
        ("seed", "integer", ">= 0, < 2^63", "0"),
        ("train.flip", "true or false", "", "false"),
        ("train.warmup", "number", ">= 0, < 1", "0.2"),
        ("train.learning_rate", "number", "> 0, <= 1000000", "0.1"),
        ("finetune_twin.images", "integer", ">= 1", ""),
        ("data.root", "path", "", ""),
        ("model.normalize", '`"none"`, `"imagenet"` or list of lists of numbers', "", '"none"'),
        ("quantize.weight_bits", "integer", ">= 1, <= 8", "8"),
        ("quantize.layer_weight_bits", "table of integers", ">= 1, <= 8", "{}"),
        ("finetune_twin.precision", '`"float32"`', "", '"float32"'),
        ("compress.filters.sparsity", "number", ">= 0, < 1", "0.8"),
        ("compress.filters.per_layer", "table of numbers", ">= 0, < 1", "{}"),
        ("compress.filters.keep", "list of strings", "", "[]"),
    ],
)
def test_in_words(key: str, type_: str, range_: str, default: str) -> None:
    assert (KEYS[key].type, KEYS[key].range, KEYS[key].default) == (type_, range_, default)


def test_sections_are_headed_as_in_a_file() -> None:
    headers = [section.header for section in recipe_sections()]
    assert headers[:4] == ["", "[data]", "[model]", "[train]"]
    assert '[[compress]], method = "filters"' in headers
    assert all(section.description for section in recipe_sections()[1:])


def test_the_page_has_a_row_a_key_and_is_what_the_module_prints() -> None:
    page = recipe_keys_markdown()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert [line.split("`")[1] for line in rows] == list(KEYS)
    assert all(line.replace("\\|", "").count("|") == 6 for line in rows)
    command = [sys.executable, "-m", "hardtemper.toolchain.recipe.describe"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, page, "")
