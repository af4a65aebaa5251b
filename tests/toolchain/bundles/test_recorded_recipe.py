"""A bundle's recipe is anybody's: fields are checked, and what it names is not opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hardtemper.bench.data.named import NAMES
from hardtemper.runtime.bundle.reader import Bundle, read_bundle
from hardtemper.runtime.errors import BundleFormatError, DataError
from hardtemper.runtime.files.json_fields import boolean, integer, number, text
from hardtemper.toolchain.bundles.recorded_recipe import load_recorded_data, recorded

RELEASED = Path(__file__).parents[2] / "data" / "bundles" / "v1" / "linear"
OWN = ["mine:data", "package.module:factory", "data.npz", "/etc", "./fashion-mnist", "../mnist", "~", "fashon-mnist"]


@pytest.fixture
def bundle() -> Callable[[dict[str, Any]], Bundle]:
    """A bundle with another recipe."""
    released = read_bundle(RELEASED)

    def make(recipe: dict[str, Any]) -> Bundle:
        provenance = replace(released.manifest.provenance, recipe=recipe)
        return replace(released, manifest=replace(released.manifest, provenance=provenance))

    return make


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `load_dataset` is asked for."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "hardtemper.toolchain.bundles.recorded_recipe.load_dataset",
        lambda name, **settings: asked.append({"name": name, **settings}),
    )
    return asked


def test_a_field_that_is_there_or_not(bundle: Callable[..., Bundle]) -> None:
    made = bundle({"robust": True, "quantize": {"integer_share": 1}, "data": None, "adversary": {"threat": None}})
    assert recorded(made, "robust", boolean) is True
    assert recorded(made, "quantize.integer_share", number) == 1.0
    for key in ("data", "data.name", "adversary.threat", "adversary.steps", "seed"):
        assert recorded(made, key, text) is None


@pytest.mark.parametrize(
    ("recipe", "key", "check", "where", "got"),
    [
        ({"data": []}, "data.name", text, "data", "a list"),
        ({"quantize": []}, "quantize.integer_share", number, "quantize", "a list"),
        ({"quantize": "x"}, "quantize.integer_share", number, "quantize", "text"),
        ({"quantize": {"integer_share": "abc"}}, "quantize.integer_share", number, "quantize.integer_share", "text"),
        ({"data": {"name": 3}}, "data.name", text, "data.name", "an integer"),
        ({"data": {"name": ""}}, "data.name", text, "data.name", "empty text"),
        ({"data": {"name": "\x1b[2J"}}, "data.name", text, "data.name", "'\\x1b[2J'"),
        ({"data": {"image_size": 8.0}}, "data.image_size", integer, "data.image_size", "a number"),
        ({"robust": 1}, "robust", boolean, "robust", "an integer"),
    ],
)
def test_a_field_of_another_type(
    *, bundle: Callable[..., Bundle], recipe: dict[str, Any], key: str, check: Any, where: str, got: str
) -> None:
    with pytest.raises(BundleFormatError) as caught:
        recorded(bundle(recipe), key, check)
    assert caught.value.what == f"{RELEASED}/manifest.json: provenance.recipe.{where}"
    assert caught.value.got == got


@pytest.mark.parametrize("name", NAMES)
def test_a_data_set_known_by_name(bundle: Callable[..., Bundle], opened: list[dict[str, Any]], name: str) -> None:
    side = bundle({}).manifest.input.shape[1]
    made = bundle({"data": {"name": name, "root": None, "image_size": side, "download": True}})
    load_recorded_data(made, name=None, root=None)
    load_recorded_data(made, name=None, root=Path("mine"), image_size=9, download=True)
    like = made.manifest.output.classes
    plain = {"name": name, "heldout": 0, "calibration": 0, "class_order": None, "like": like}
    assert opened == [
        {**plain, "root": None, "image_size": side, "download": False},
        {**plain, "root": Path("mine"), "image_size": 9, "download": True},
    ]


@pytest.mark.parametrize("name", OWN)
def test_any_other_data_set_is_the_users_to_give(
    bundle: Callable[..., Bundle], opened: list[dict[str, Any]], name: str
) -> None:
    made = bundle({"data": {"name": name, "root": None}})
    for root in (None, Path("mine")):
        with pytest.raises(
            DataError, match="a bundle's recipe may open only these; fix: give --data yourself"
        ) as caught:
            load_recorded_data(made, name=None, root=root, default="mnist")
        assert caught.value.what == f"{RELEASED} was built on the data set {name!r}"
    assert opened == []
    load_recorded_data(made, name=name, root=Path("mine"))  # the user's word
    assert [(asked["name"], asked["root"]) for asked in opened] == [(name, Path("mine"))]


def test_a_root_is_the_users_to_give(bundle: Callable[..., Bundle], opened: list[dict[str, Any]]) -> None:
    made = bundle({"data": {"name": "mnist", "root": "/etc"}})
    with pytest.raises(DataError, match=r"data set 'mnist' in '/etc'; .*; fix: give --data-root yourself"):
        load_recorded_data(made, name=None, root=None)
    load_recorded_data(made, name=None, root=Path("mine"))
    load_recorded_data(made, name="mnist", root=None)
    assert [(asked["name"], asked["root"]) for asked in opened] == [("mnist", Path("mine")), ("mnist", None)]


def test_a_recipe_that_names_none(bundle: Callable[..., Bundle], opened: list[dict[str, Any]]) -> None:
    for made in (bundle({}), None):
        load_recorded_data(made, name=None, root=None, default="mnist")
        with pytest.raises(DataError, match="the recipe names none; fix: give --data yourself"):
            load_recorded_data(made, name=None, root=None)
    assert [asked["name"] for asked in opened] == ["mnist", "mnist"]


def test_an_image_size_that_is_not_the_graphs(bundle: Callable[..., Bundle], opened: list[dict[str, Any]]) -> None:
    made = bundle({"data": {"name": "mnist", "image_size": 1_000_000}})
    with pytest.raises(BundleFormatError, match=r"recipe\.data\.image_size; expected: the side of the images"):
        load_recorded_data(made, name="mnist", root=None)
    assert opened == []
