"""Imported first, it makes `import hardtemper` work where the package is not installed: the root is the package."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path

__all__: list[str] = []

if importlib.util.find_spec("hardtemper") is None:
    _folder = Path(tempfile.mkdtemp(prefix="hardtemper-"))
    (_folder / "hardtemper").symlink_to(Path(__file__).resolve().parents[2], target_is_directory=True)
    sys.path.insert(0, str(_folder))
