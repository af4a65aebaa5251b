from __future__ import annotations

import pytest

from hardtemper.bench.robustness.alarm import Alarm
from hardtemper.bench.robustness.alarm_table import ALARMS


@pytest.mark.parametrize(
    ("count", "n", "threshold", "raised"),
    [
        (1, 1, 0.05, False),
        (1, 2, 0.05, False),
        (2, 10, 0.05, True),
        (2, 30, 0.05, False),  # 7 %, from 2 % on
        (1, 10, 0.0, True),
        (0, 10, 0.0, False),
    ],
)
def test_chance_raises_no_alarm(count: int, n: int, threshold: float, raised: bool) -> None:
    assert Alarm(name="more steps", count=count, n=n, threshold=threshold).raised == raised


@pytest.mark.parametrize("name", ALARMS)
def test_the_threshold_is_that_of_the_kind(name: str) -> None:
    alarm = Alarm.of(name, 3, 8)
    assert (alarm.threshold, alarm.says) == (ALARMS[name].threshold, ALARMS[name].meaning)
    found = alarm.measurement(seed=1)
    assert (found.name, found.value, found.n, found.settings["alarm"]) == ("alarm", 37.5, 8, name)
