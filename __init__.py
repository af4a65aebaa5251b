"""hardtemper: compress, harden, temper, prove, ship.

`load(path)` opens a bundle and gives an `Engine`; nothing but numpy and onnxruntime is imported for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .runtime.engine import Engine, load

__all__ = ["Engine", "__version__", "load"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in ("Engine", "load"):
        from .runtime import engine

        return getattr(engine, name)
    raise AttributeError(f"module 'hardtemper' has no attribute {name!r}")
