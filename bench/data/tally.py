"""What a loader left out or read in another way than plainly, counted by reason: one line for people."""

from __future__ import annotations

from collections import Counter

from ...runtime.printable import printable

__all__ = ["Tally"]

_SHOWN = 8
"""Reasons in a line; a folder may hold files of a thousand kinds."""


class Tally:
    """Counts by reason; a reason reads after a number, as in "3 hidden"."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, reason: str, count: int = 1) -> None:
        """Count `count` more for `reason`."""
        self._counts[reason] += count

    @property
    def total(self) -> int:
        """Of all reasons together."""
        return sum(self._counts.values())

    def __str__(self) -> str:
        """The reasons with their counts, most frequent first, as in "3 hidden, 1 ending in .txt"; "" for none."""
        reasons = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        parts = [f"{count} {printable(reason)}" for reason, count in reasons[:_SHOWN]]
        rest = sum(count for _, count in reasons[_SHOWN:])
        return ", ".join([*parts, f"{rest} others"] if rest else parts)
