from __future__ import annotations

import pytest

from hardtemper.runtime.graph_check.given import Given, UntoldError, axis_of, need
from hardtemper.runtime.graph_check.onnx_records import Attribute


def constant(place: int) -> tuple[int, ...]:
    if place != 1:
        raise UntoldError
    return (7, 8)


GIVEN = Given(((2, 3), (2,), None), constant, {b"axis": Attribute(-1, (4, 5), None, None, ())}, 1)


def test_what_is_given() -> None:
    assert GIVEN.shape(0) == (2, 3)
    assert [GIVEN.has(place) for place in range(4)] == [True, True, False, False]
    assert (GIVEN.number(b"axis", 9), GIVEN.number(b"other", 9)) == (-1, 9)
    assert GIVEN.numbers(b"axis", 0) == (4, 5)
    assert GIVEN.numbers(b"other", 1) == (7, 8)
    assert GIVEN.numbers(b"other", 2) is None
    assert [axis_of(axis, 3) for axis in (-3, -1, 0, 2)] == [0, 2, 0, 2]


@pytest.mark.parametrize(
    "ask",
    [
        lambda: GIVEN.shape(2),
        lambda: GIVEN.shape(3),
        lambda: GIVEN.numbers(b"other", 0),
        lambda: axis_of(3, 3),
        lambda: axis_of(-4, 3),
        lambda: need(False),
    ],
)
def test_what_is_not(ask: object) -> None:
    with pytest.raises(UntoldError):
        ask()  # type: ignore[operator]
