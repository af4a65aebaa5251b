from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hardtemper.bench.attacks.threat.threat_model import ThreatModel, move_size
from hardtemper.runtime.errors import RecipeError

THREATS = st.from_type(ThreatModel)  # as registered in conftest.py


@pytest.mark.parametrize(
    ("text", "norm", "epsilon"),
    [
        ("linf:0.1", "linf", 0.1),
        ("linf:8/255", "linf", 8 / 255),
        (" linf : 8 / 255 ", "linf", 8 / 255),
        ("linf:0", "linf", 0.0),
        ("l2:1.5", "l2", 1.5),
        ("l2:1e-3", "l2", 1e-3),
        ("l2:128/255", "l2", 128 / 255),
        ("l1:12", "l1", 12.0),
    ],
)
def test_parse(text: str, norm: str, epsilon: float) -> None:
    threat = ThreatModel.parse(text)
    assert (threat.norm, threat.epsilon, threat.target) == (norm, epsilon, None)
    targeted = ThreatModel.parse(f"{text} -> 3")
    assert (targeted.norm, targeted.epsilon, targeted.target) == (norm, epsilon, 3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "linf",
        "linf:",
        "0.1",
        "l3:0.1",
        "linf:x",
        "linf:1/0",
        "linf:nan",
        "linf:inf",
        "l2:-1",
        "linf:1.5",
        "linf:0.1->",
        "linf:0.1->x",
        "linf:0.1->-1",
        "linf:0.1->1.5",
        "linf:0.1->1->2",
        "l2:1e2000000",
        "l2:1e-2000000",
        "l2:1E+2000000",
        "l2:0." + 1000 * "0" + "1",
        "l2:1->" + 5000 * "1",
    ],
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(RecipeError, match="expected: "):
        ThreatModel.parse(text)


def test_levels_instead_of_fractions_are_explained() -> None:
    with pytest.raises(RecipeError, match=r"got: 8\.0; fix: .* 8/255"):
        ThreatModel.parse("linf:8")


@given(THREATS)
def test_str_is_the_inverse_of_parse(threat: ThreatModel) -> None:
    assert ThreatModel.parse(str(threat)) == threat


def test_str_names_levels() -> None:
    assert str(ThreatModel("linf", 8 / 255)) == "linf:8/255"
    assert str(ThreatModel("linf", 254 / 255)) == "linf:254/255"
    assert str(ThreatModel("linf", 1)) == str(ThreatModel.parse("linf:255/255")) == "linf:1.0"
    assert str(ThreatModel.parse("linf:0/255")) == "linf:0.0"
    assert str(ThreatModel("linf", 0.1)) == "linf:0.1"
    assert str(ThreatModel("l2", 1.5)) == "l2:1.5"
    assert str(ThreatModel("linf", 8 / 255, target=3)) == "linf:8/255->3"
    for radius in (np.float64(0.1), np.float32(0.25), 2):
        assert ThreatModel.parse(str(ThreatModel("l2", radius))) == ThreatModel("l2", radius)


def test_a_target_below_zero_is_refused() -> None:
    with pytest.raises(RecipeError, match="expected: a class >= 0; got: -1"):
        ThreatModel("linf", 0.1, target=-1)


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_who_is_fooled_and_who_is_attacked(kind: Any) -> None:
    predictions, y = kind([0, 1, 2, 3, 2]), kind([0, 0, 0, 3, 2])
    anyhow, towards = ThreatModel("linf", 0.1), ThreatModel("linf", 0.1, target=2)
    assert anyhow.fooled(predictions, y).tolist() == [False, True, True, False, False]
    assert towards.fooled(predictions, y).tolist() == [False, False, True, False, False]
    assert anyhow.attacked(predictions, y).tolist() == [True, False, False, True, True]
    assert towards.attacked(predictions, y).tolist() == [True, False, False, True, False]


@pytest.mark.parametrize(
    ("text", "radius"),
    [("linf:0.1", 25), ("linf:8/255", 8), ("linf:1", 255), ("l2:1.5", 146306), ("l2:0", 0), ("l1:12", 3060)],
)
def test_pixel_radius(text: str, radius: int) -> None:
    assert ThreatModel.parse(text).pixel_radius == radius


@pytest.mark.parametrize("level", range(256))
def test_whole_levels_are_allowed_whole(level: int) -> None:
    assert ThreatModel("linf", level / 255).pixel_radius == level


@given(THREATS)
def test_on_pixels_holds_the_same_images(threat: ThreatModel) -> None:
    assert threat.on_pixels().pixel_radius == threat.pixel_radius
    assert threat.on_pixels().epsilon <= threat.epsilon
    assert threat.on_pixels().target == threat.target


def test_contains() -> None:
    x = np.array([[10], [10], [10]], np.uint8)
    moved = np.array([[35], [36], [0]], np.uint8)
    assert ThreatModel("linf", 0.1).contains(moved, x).tolist() == [True, False, True]
    assert ThreatModel("l2", 0.1).contains(moved, x).tolist() == [True, False, True]
    assert ThreatModel("l1", 0.1).contains(moved.reshape(1, 3), x.reshape(1, 3)).tolist() == [False]
    assert ThreatModel("l1", 61 / 255).contains(moved.reshape(1, 3), x.reshape(1, 3)).tolist() == [True]  # 25 + 26 + 10
    assert ThreatModel("l1", 60 / 255).contains(moved.reshape(1, 3), x.reshape(1, 3)).tolist() == [False]


def test_contains_works_in_pieces() -> None:
    x = np.zeros((40, 3, 128, 128), np.uint8)  # 21 images at once
    moved = x.copy()
    moved[[0, 20, 21, 39], 1, 5, 7] = 2
    inside = ThreatModel("linf", 1 / 255).contains(moved, x)
    assert np.flatnonzero(~inside).tolist() == [0, 20, 21, 39]
    assert ThreatModel("linf", 1 / 255).contains(moved[:0], x[:0]).shape == (0,)


@pytest.mark.parametrize(("norm", "sizes"), [("linf", [3, 0]), ("l2", [14, 0]), ("l1", [6, 0])])
def test_move_size(norm: Any, sizes: list[int]) -> None:
    assert move_size(np.array([[[1, -2], [3, 0]], [[0, 0], [0, 0]]]), norm).tolist() == sizes
    assert move_size(np.zeros((0, 2, 2), np.int64), norm).tolist() == []


def test_needs_numpy_alone() -> None:
    code = "import sys; sys.modules['torch'] = None; "
    code += "from hardtemper.bench.attacks.threat.threat_model import ThreatModel; "
    code += "heavy = {'onnx', 'scipy', 'torchvision'} & sys.modules.keys(); "
    code += "print(ThreatModel.parse('linf:8/255->3'), *heavy)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "linf:8/255->3\n"), done.stderr
