from __future__ import annotations

import pytest

from hardtemper.export.integer_types import INT8, UINT8
from hardtemper.export.quantization.scheme import Scheme
from hardtemper.export.quantization.targets import TARGETS, target_of
from hardtemper.runtime.errors import InputError


def test_the_rows() -> None:
    assert [(t.name, t.activations, t.exact_here, t.compiles) for t in TARGETS.values()] == [
        ("cpu", UINT8, True, False),
        ("tensorrt", INT8, False, True),
    ]
    for name, target in TARGETS.items():
        assert target.name == name
        assert "\n" not in target.description


@pytest.mark.parametrize("name", TARGETS)
def test_a_manifest_names_its_target(name: str) -> None:
    target = target_of(Scheme(target=name).to_json())
    assert target is TARGETS[name] is Scheme(target=name).made_for


@pytest.mark.parametrize("quantization", [{}, {"target": "abacus"}, {"target": ["cpu"]}, {"target": None}])
def test_a_manifest_may_say_anything(quantization: dict[str, object]) -> None:
    assert target_of(quantization) is None


def test_an_unknown_target_is_one_line() -> None:
    with pytest.raises(InputError) as caught:
        Scheme(target="abacus")
    assert str(caught.value) == "quantize.target; expected: cpu or tensorrt; got: 'abacus'"
