"""Text of untrusted origin for a terminal: what could act on it is escaped as in Python's repr, "\\x1b[2J".

Rule: printable is what `str.isprintable` says is: neither control nor format characters (escape sequences, marks that
reverse the direction of writing), no lone surrogates, no spaces but the ASCII one.
"""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    """`text` with every character that is not printable escaped, line breaks too."""
    return text if text.isprintable() else "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
