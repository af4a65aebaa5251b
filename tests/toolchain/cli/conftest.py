"""What the tests of the commands share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hardtemper.toolchain.__main__ import main

Fails = Callable[..., str]


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Fails:
    """Runs a command that must fail; gives its one line of error, without "error: "."""

    def run(*arguments: object, code: int = 2) -> str:
        assert main([str(argument) for argument in arguments]) == code
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        (line,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
        assert captured.err.endswith(f"{line}\n")
        assert "'" in line or ":" in line.removeprefix("error: ")
        return line.removeprefix("error: ")

    return run


@pytest.fixture
def bundle(tiny: Any, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(tiny.path, tmp_path / "copy"))


@pytest.fixture
def error(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must fail; gives its one line of error."""

    def run(*arguments: object, code: int = 2) -> str:
        assert main([str(argument) for argument in arguments]) == code
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        lines = [line for line in captured.err.splitlines() if line.startswith("error: ")]
        assert lines == captured.err.splitlines()[-1:]
        return lines[0]

    return run
