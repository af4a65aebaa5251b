"""The list [[compress]]: steps by name, addressed by `--set`, and everything else refused in one line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardtemper.runtime.errors import RecipeError
from hardtemper.toolchain.recipe.compression_base import CompressionStep
from hardtemper.toolchain.recipe.compression_methods import STEPS, step_key
from hardtemper.toolchain.recipe.factorization import Factorization
from hardtemper.toolchain.recipe.filter_pruning import FilterPruning
from hardtemper.toolchain.recipe.read import with_overrides
from hardtemper.toolchain.recipe.weight_pruning import WeightPruning

KNOWN = ", ".join(STEPS)
HALF = {"method": "filters", "sparsity": 0.5}


def test_the_table_names_each_method_as_its_settings_do() -> None:
    assert list(STEPS)[:2] == ["filters", "weights"]
    assert STEPS["filters"] is FilterPruning
    assert all(settings().method == name for name, settings in STEPS.items())


@pytest.mark.parametrize(
    ("compress", "overrides", "expected"),
    [
        (None, {}, (FilterPruning(sparsity=0.8),)),
        ([], {}, ()),
        ([HALF], {}, (FilterPruning(sparsity=0.5),)),
        ([HALF, {"method": "filters"}], {}, (FilterPruning(sparsity=0.5), FilterPruning())),
        ([HALF], {"compress": []}, ()),
        ([HALF], {"compress.filters.scope": "global"}, (FilterPruning(sparsity=0.5, scope="global"),)),
        (None, {"compress.filters.sparsity": 0.25}, (FilterPruning(sparsity=0.25),)),
        ([], {"compress.filters.sparsity": 0.25}, (FilterPruning(sparsity=0.25),)),
        ([HALF], {"compress.factorize.conv": "spatial"}, (FilterPruning(sparsity=0.5), Factorization(conv="spatial"))),
        ([HALF, HALF], {"compress.filters.sparsity": 0.25}, (FilterPruning(sparsity=0.25),) * 2),
    ],
)
def test_steps(compress: Any, overrides: dict[str, Any], expected: tuple[CompressionStep, ...]) -> None:
    settings = {} if compress is None else {"compress": compress}
    recipe = with_overrides(settings, overrides)
    assert recipe.compress == expected
    assert with_overrides(recipe.model_dump(mode="json"), {}) == recipe


@pytest.mark.parametrize(
    ("compress", "message"),
    [
        ({"sparsity": 0.5}, "recipe key 'compress'; expected: a list of steps: [[compress]] with method = \"filters\""),
        ([{"sparsity": 0.5}], f"a step of [[compress]] names no method; expected: one of {KNOWN}"),
        ([{"method": "svg"}], f"unknown compression method; expected: one of {KNOWN}; got: 'svg'"),
        (
            [{"method": ["filters"]}],
            f"unknown compression method; expected: one of {KNOWN}; got: ['filters']",
        ),
        ([{**HALF, "rate": 1}], "unknown recipe key 'compress.filters.rate'; expected: compress.filters.sparsity, "),
        ([{**HALF, "sparsity": 2}], "recipe key 'compress.filters.sparsity'; expected: less than 1"),
        ([HALF, {**HALF, "sparsity": 2}], "recipe key 'compress.filters.sparsity' in step 2 of [[compress]]; expected"),
        (["filters"], "recipe key 'compress'; expected: a list of steps"),
        ("filters", "recipe key 'compress'; expected: a list of steps"),
    ],
)
def test_what_is_no_list_of_steps(compress: Any, message: str) -> None:
    for overrides in ({}, {"seed": 1}):
        with pytest.raises(RecipeError) as caught:
            with_overrides({"compress": compress}, overrides)
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)
    with pytest.raises(RecipeError) as caught:
        with_overrides({}, {"compress": compress})
    assert str(caught.value).startswith(message)


def test_a_key_of_a_method_that_is_no_step_adds_the_step() -> None:
    recipe = with_overrides({"compress": [HALF]}, {"compress.weights.sparsity": 0.25})
    assert recipe.compress == (FilterPruning(sparsity=0.5), WeightPruning(sparsity=0.25))


def test_a_table_is_refused_before_anything_is_set_in_it() -> None:
    with pytest.raises(RecipeError, match=r"got: a table, \[compress\]"):
        with_overrides({"compress": {"sparsity": 0.5}}, {"compress.filters.sparsity": 0.25})


def test_an_unknown_method_of_a_dotted_key() -> None:
    with pytest.raises(RecipeError, match=f"unknown compression method; expected: one of {KNOWN}; got: 'svg'"):
        with_overrides({}, {"compress.svg.sparsity": 0.5})


def test_a_key_below_a_number() -> None:
    with pytest.raises(RecipeError, match=r"unknown recipe key 'compress\.filters\.sparsity\.x'"):
        with_overrides({"compress": [HALF]}, {"compress.filters.sparsity.x": 0.5})


@pytest.mark.parametrize("steps", [None, [], [HALF], [HALF, HALF]])
def test_the_step_that_has_a_sparsity(steps: Any) -> None:
    assert step_key(steps, "sparsity") == "compress.filters.sparsity"


def test_a_setting_that_no_method_has() -> None:
    with pytest.raises(RecipeError, match="no compression method has a loudness"):
        step_key(None, "loudness")


def test_a_setting_that_several_steps_have(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(FilterPruning):
        pass

    monkeypatch.setattr("hardtemper.toolchain.recipe.compression_methods.STEPS", {**STEPS, "other": Other})
    assert step_key([{"method": "other"}], "sparsity") == "compress.other.sparsity"
    with pytest.raises(RecipeError, match=r"--set compress\.filters\.sparsity or compress\.other\.sparsity"):
        step_key([{"method": "other"}, HALF], "sparsity")


@given(st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_anything_else_is_refused_in_one_line(value: Any) -> None:
    if value == []:
        return
    with pytest.raises(RecipeError) as caught:
        with_overrides({"compress": value}, {})
    assert "\n" not in str(caught.value)
