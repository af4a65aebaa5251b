"""The benchmark of start times measures every command as often as it is told."""

from __future__ import annotations

from hardtemper.toolchain.studies.startup_time import COMMANDS, measure


def test_every_command_is_measured() -> None:
    result = measure(2)
    assert [row["command"] for row in result["rows"]] == list(COMMANDS)
    assert all(row["n"] == 2 and 0 < row["min_s"] <= row["median_s"] for row in result["rows"])
    assert result["environment"]
