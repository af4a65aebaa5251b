from __future__ import annotations

import pytest

from hardtemper.bench.robustness.doubt import standing, withheld


@pytest.mark.parametrize(
    ("alarms", "target", "words"),
    [
        ((), "twin", ""),
        (("wrong twin",), "twin", "upper bound only: twin differs"),
        (("wrong twin",), "engine", ""),
        (("wrong twin",), "", ""),
        (("no white-box attack",), "engine", "black-box only"),
        (("no white-box attack", "random"), "", "black-box only"),
        (("wrong twin", "no white-box attack"), "engine", "black-box only"),
        (("random",), "", ""),
    ],
)
def test_what_a_figure_is(alarms: tuple[str, ...], target: str, words: str) -> None:
    assert standing(alarms, target) == words


@pytest.mark.parametrize(
    ("alarms", "robust", "held"), [((), 3, False), (("wrong twin",), 3, True), (("wrong twin",), 0, False)]
)
def test_a_bound_of_zero_is_the_figure(alarms: tuple[str, ...], robust: int, held: bool) -> None:
    assert withheld(alarms, robust) is held
