"""The file of an option `--json`: there whole or not at all, or one line that says why not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...runtime.errors import InputError
from ...runtime.files.atomic import write_whole

__all__ = ["write_json"]


def write_json(path: Path, content: Mapping[str, Any], *, sort_keys: bool = False) -> None:
    """Write `content` at `path`, two spaces of indent.

    Raises:
        InputError: it cannot be written.
    """
    try:
        write_whole(path, (json.dumps(content, indent=2, sort_keys=sort_keys) + "\n").encode())
    except OSError as error:
        raise InputError(f"{path}: cannot be written", got=error.strerror or str(error)) from None
