"""How long work tells how far it is, without printing: a callback that the command line turns into bars."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["ProgressCallback", "silent"]

ProgressCallback = Callable[[str, int, int, str], None]
"""Called as (task, done, total, text): the task's name, steps done, steps in all, and a short status."""


def silent(task: str, done: int, total: int, text: str) -> None:
    """Report to nobody."""
