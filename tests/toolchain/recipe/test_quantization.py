"""The section `quantize`: its words are those of export, and it gives the scheme that `quantize` takes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from hardtemper.export.quantization.scheme import Scheme
from hardtemper.export.quantization.targets import TARGETS
from hardtemper.runtime.errors import RecipeError
from hardtemper.toolchain.recipe.quantization import Quantization
from hardtemper.toolchain.recipe.read import with_overrides


def test_a_recipe_may_name_every_target_and_no_other() -> None:
    """The table of export decides."""
    assert [Quantization(target=name).target for name in TARGETS] == list(TARGETS)
    assert Quantization().target == next(iter(TARGETS))
    with pytest.raises(ValidationError, match="Input should be 'cpu' or 'tensorrt'"):
        Quantization(target="gpu")


def test_a_new_target_is_one_row() -> None:
    code = "import dataclasses; from hardtemper.export.quantization import targets; "
    code += "new = dataclasses.replace(targets.TARGETS['cpu'], name='new'); "
    code += "targets.TARGETS = {**targets.TARGETS, 'new': new}; "
    code += "from hardtemper.toolchain.recipe.read import with_overrides; "
    code += "print(with_overrides({}, {'quantize.target': 'new'}).quantize.target)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "new\n"), done.stderr


def test_the_default_scheme() -> None:
    assert Quantization().scheme == Scheme()


def test_every_setting_reaches_the_scheme() -> None:
    settings: dict[str, Any] = {
        "target": "tensorrt",
        "scales": "free",
        "sums": "plain",
        "observer": "percentile",
        "percentile": 99.0,
        "weight_bits": 7,
        "activation_bits": 8,
        "end_bits": 6,
        "layer_weight_bits": {"features.3": 4},
        "layer_activation_bits": {"features.*": 8},
    }
    section, expected = Quantization(**settings, integer_share=0.5), Scheme(**settings)
    assert section.scheme == expected


@pytest.mark.parametrize("bits", [{"quantize.weight_bits": 1}, {"quantize.layer_weight_bits": {"a": 1}}])
def test_signs_hold_no_zeros(bits: dict[str, Any]) -> None:
    pruned = {"compress": [{"method": "weights"}]}
    with pytest.raises(RecipeError, match=r"weights of one bit are -1 and \+1.*expected: quantize\.weight_bits of 2"):
        with_overrides(pruned, bits)
    assert with_overrides({"compress": [{"method": "filters"}]}, bits).quantize.has_signs
    assert not with_overrides(pruned, {"quantize.weight_bits": 2}).quantize.has_signs


@pytest.mark.parametrize(
    ("given", "packs"),
    [
        ({}, False),
        ({"quantize.weight_bits": 5}, False),
        ({"quantize.activation_bits": 2}, False),
        ({"quantize.weight_bits": 4}, True),
        ({"quantize.layer_weight_bits": {"a": 2}}, True),
        ({"quantize.weight_bits": 4, "bundle.pack": "never"}, False),
    ],
)
def test_few_bits_are_stored_packed(given: dict[str, Any], packs: bool) -> None:
    assert with_overrides({}, given).packs is packs
