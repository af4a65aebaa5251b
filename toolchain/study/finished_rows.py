"""Rows of a long table: each is kept in a file of its own as soon as it is finished, so that a command goes on.

A row holds the commit that it was made at. One that failed is told, not kept: it is tried again.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...bench.measurement import Environment
from ...runtime.files.atomic import write_whole

__all__ = ["finished_row", "write_table"]


def finished_row(path: Path, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """The row that is kept, or a new one.

    Args:
        path: where it is kept, as JSON; its folder is made.
        make: a new row; one with a key `failed` is not kept.
    """
    if path.exists():
        row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return row
    row = {"commit": _commit(), **make()}
    if "failed" not in row:
        write_whole(path, json.dumps(row, indent=1).encode())
    return row


def write_table(path: Path, command: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store the rows, with what gave them and this machine's hardware and versions."""
    table = {"command": command, "environment": Environment.here().to_dict(), "rows": list(rows)}
    path.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def _commit() -> str:
    """Of the checkout that this file is in; "" where it is in none."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
