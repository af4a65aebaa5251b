"""hardtemper: compress, fine-tune against attacks, quantize, prove and bench image classifiers.

`load(path)` opens a bundle and gives an `Engine`; nothing but numpy and onnxruntime is imported for it. `build`,
`bench` and `verify` are the commands of the same names (`toolchain/api.py`); calling them needs the extra `build`.

`hardtemper.bench` is the function and the folder of that name. Type checkers see the function: import what is in the
folder by `from hardtemper.bench.settings import BenchSettings`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .runtime.version import __version__

if TYPE_CHECKING:
    from inspect import Signature

    from .runtime.engine import Engine, load
    from .toolchain.api import bench, build, verify

__all__ = ["Engine", "__version__", "bench", "build", "load", "verify"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in ("Engine", "load"):
        return getattr(import_module(f"{__name__}.runtime.engine"), name)
    if name in ("build", "verify"):
        return getattr(import_module(f"{__name__}.toolchain.api"), name)
    if name == "bench":
        return import_module(f"{__name__}.bench")
    raise AttributeError(f"module 'hardtemper' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _CallableModule(ModuleType):
    """`hardtemper.bench` is a folder of the package and a function of its interface: a module that can be called."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from .toolchain.api import bench

        return bench(*arguments, **options)

    @property
    def __signature__(self) -> Signature:
        from inspect import signature

        from .toolchain.api import bench

        return signature(bench)


class _Package(ModuleType):
    """This package. The import system sets `bench` whenever the folder, or anything in it, is imported first."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "bench" and type(value) is ModuleType:
            value.__class__ = _CallableModule
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
