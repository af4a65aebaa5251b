"""Files that an interruption or a flipped bit cannot make believe: replaced whole, and opened with their own hash.

Rule: SHA-256 of the content, then the content, written by `atomic.replace_file`.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from .atomic import replace_file

__all__ = ["read_sealed", "write_sealed"]

_DIGEST = hashlib.sha256().digest_size


def write_sealed(path: Path, content: bytes) -> None:
    """Replace the file at `path`; its folder exists.

    Raises:
        OSError: it cannot be written; what was there still is.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # two processes may write one file
    replace_file(path, hashlib.sha256(content).digest() + content, temporary=temporary)


def read_sealed(path: Path) -> bytes | None:
    """The content; None where there is no file or it is damaged."""
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    digest, content = stored[:_DIGEST], stored[_DIGEST:]
    return content if hashlib.sha256(content).digest() == digest else None
