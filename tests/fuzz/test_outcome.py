"""What counts as a bad end: each is planted once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import outcome
import pytest
from case import Case

from hardtemper.runtime.errors import InputError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is printed is caught at the descriptor")


@pytest.fixture
def end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Callable[[], int]], Any]:
    """How a command ends that does something else instead."""
    monkeypatch.chdir(tmp_path)

    def run(instead: Callable[[], int]) -> Any:
        monkeypatch.setattr(outcome, "main", lambda _: instead())
        return outcome.run_case(Case(kind="x", files={}, calls=(("toolchain", "inspect"),)), tmp_path)

    return run


def say(text: str, code: int) -> Callable[[], int]:
    def command() -> int:
        os.write(2, text.encode())
        return code

    return command


def fail(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


def test_good_ends(end: Any) -> None:
    assert end(say("bundle: fine\n", 0)).kind == "ok"
    assert end(say("parity: done\nerror: no such bundle\n", 2)).kind == "refused"


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), SystemExit("code ran"), InputError("escaped")])
def test_an_exception_is_a_traceback(end: Any, error: BaseException) -> None:
    found = end(fail(error))
    assert found.kind == "traceback"
    assert type(error).__name__ in found.detail


@pytest.mark.parametrize(
    ("text", "code", "detail"),
    [
        ("error: a\nerror: b\n", 2, "2 error lines"),
        ("nothing to see\n", 2, "0 error lines"),
        ("error: first\nthen something else\n", 2, "1 error lines"),
        (f"error: {'x' * 400}\n", 2, "407 characters"),
        ("\x1b[2Jfine\n", 0, r"prints '\x1b'"),
        ("\x1b[1;31m2026 [E:onnxruntime:, session] no\n", 0, r"prints '\x1b'"),
        ("2026 [W:onnxruntime:, session] no\n", 0, "onnxruntime"),
        ("/a/b.py:3: RuntimeWarning: invalid value\n", 0, "RuntimeWarning"),
        ("Traceback (most recent call last):\nerror: x\n", 2, "Traceback"),
    ],
)
def test_what_is_printed_counts(end: Any, text: str, code: int, detail: str) -> None:
    found = end(say(text, code))
    assert found.kind == "output"
    assert detail in found.detail
