from __future__ import annotations

import pytest

from hardtemper.runtime.errors import InputError
from hardtemper.toolchain.search.budget import BUDGETS, Budget


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("latency_ms=0.2", Budget("latency_ms", 0.2)),
        (" size_kib = 100 ", Budget("size_kib", 100.0)),
        ("macs=5e6", Budget("macs", 5e6)),
    ],
)
def test_a_budget_is_a_key_and_a_number(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("latency=0.2", "did you mean latency_ms=VALUE?"),
        ("size_kb=3", "did you mean size_kib=VALUE?"),
        ("macs", "macs=VALUE"),
        ("macs=0", "--budget macs; expected: a number above 0; got: 0"),
        ("macs=-5", "a number above 0; got: -5"),
        ("size_kib=nan", "a number above 0"),
        ("size_kib=inf", "a number above 0"),
        ("latency_ms=fast", "a number above 0; got: fast"),
        ("latency_ms=", "got: nothing"),
    ],
)
def test_what_is_no_budget_is_one_clear_line(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        Budget.parse(text)
    assert words in str(caught.value)


def test_shown_with_its_usual_digits() -> None:
    assert [Budget(key, 1.0).shown(12345.678) for key in BUDGETS] == ["1.235e+04", "1.235e+04", "12,346"]
