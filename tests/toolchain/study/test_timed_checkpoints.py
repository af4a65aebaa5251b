from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hardtemper.toolchain.study.timed_checkpoints import TimedCheckpoints


def test_time_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 107.0, 500.0, 503.0])
    monkeypatch.setattr("hardtemper.toolchain.study.timed_checkpoints.time.process_time", lambda: next(clock))
    first = TimedCheckpoints(tmp_path / "a", "mark")
    assert first.load("fine-tune twin") is None
    first.save("fine-tune twin", {"weight": torch.ones(2)})
    assert first.cpu_seconds == {"fine-tune twin": 7.0}
    second = TimedCheckpoints(tmp_path / "a", "mark")
    found = second.load("fine-tune twin")
    assert found is not None
    assert found["weight"].tolist() == [1.0, 1.0]
    assert second.total == 7.0
    second.save("fine-tune twin", {"weight": torch.zeros(2)})
    assert second.total == 10.0
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["fine-tune-twin.pt"]


def test_another_mark_finds_nothing(tmp_path: Path) -> None:
    first = TimedCheckpoints(tmp_path, "mark")
    first.load("train")
    first.save("train", {"epoch": 1})
    other = TimedCheckpoints(tmp_path, "another")
    assert other.load("train") is None
    assert other.total == 0.0
