from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from hardtemper.runtime.errors import InputError
from hardtemper.toolchain.cli import console as module
from hardtemper.toolchain.cli.console import progress_bars


def test_two_lines_a_task_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as progress:
        for done in range(5):
            progress("train", done, 4, f"loss {done}")
            progress("memory [kB]", done, 8, "")
        progress("short", 1, 1, "")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "train: started (4 to do)",
        "memory [kB]: started (8 to do)",
        "train: done, loss 4",
        "short: done",
    ]


def test_a_task_may_run_again(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as progress:
        for done in (1, 2, 1, 2):
            progress("calibrate", done, 2, "")
    assert capsys.readouterr().err.splitlines() == ["calibrate: started (2 to do)", "calibrate: done"] * 2


def test_long_lines_are_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as progress:
        progress("x" * 300, 1, 1, "")
    assert capsys.readouterr().err.splitlines() == ["x" * 300 + ": done"]


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = io.StringIO()
    monkeypatch.setattr(module, "errors", Console(file=drawn, force_terminal=True, width=120))
    with progress_bars() as progress:
        progress("train [a]", 1, 4, "loss [1]")
        progress("train [a]", 4, 4, "loss [0]")
    text = drawn.getvalue()
    assert "train [a]" in text
    assert "4/4" in text
    assert "loss [0]" in text


class Failing(io.StringIO):
    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), BrokenPipeError(32, "Broken pipe")])
def test_a_log_that_cannot_be_written_ends_no_work(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    monkeypatch.setattr(sys, "stderr", Failing(error))
    with progress_bars() as progress:
        progress("train", 0, 4, "")
        progress("train", 4, 4, "")
    module.errors.print("a remark")


def test_results_that_cannot_be_written_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Failing(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="standard output cannot be written; got: No space left on device"):
        module.console.print("a table")
    monkeypatch.setattr(sys, "stdout", Failing(BrokenPipeError(32, "Broken pipe")))
    with pytest.raises(BrokenPipeError):
        module.console.print("a table")
