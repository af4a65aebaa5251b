"""The page of promises: each has tests, and pytest finds all of them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def rows(doc: Callable[[str], Any]) -> list[list[str]]:
    found: list[list[str]] = doc("docs/promises.md").table("| promise | held by |")
    return found


def test_every_promise_names_tests(rows: list[list[str]]) -> None:
    assert len(rows) > 20
    for promise, held in rows:
        if not promise.startswith("**"):
            assert re.fullmatch(r"`tests/[\w/]+\.py::test_\w+`(, `tests/[\w/]+\.py::test_\w+`)*", held), promise


def test_the_tests_are_collected(rows: list[list[str]]) -> None:
    named = sorted({name for _, held in rows for name in re.findall(r"`([^`]+)`", held)})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", *named]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    collected = {line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line}
    assert collected == set(named)
