"""Which TensorRT is installed, and what it says.

Rule: the full package, else the lean runtime, else the dispatch runtime; all three have the classes that running an
engine takes, under the same names from 8.5 on (tensors by name, `execute_async_v3`). Importing one needs no GPU; making
a `Runtime` does, and the lean one crashes where there is no driver.
"""

from __future__ import annotations

import importlib
from collections import deque
from contextlib import suppress
from functools import cache
from typing import Any

from ...errors import MissingExtraError, ModelError

__all__ = ["errors", "import_tensorrt", "last_error", "logger", "version"]

_PACKAGES = ("tensorrt", "tensorrt_lean", "tensorrt_dispatch")
_errors: deque[str] = deque(maxlen=16)


def import_tensorrt() -> Any:
    """The module.

    Raises:
        MissingExtraError: none is installed.
        ModelError: one is installed and does not load, for want of a library say.
    """
    for package in _PACKAGES:
        with suppress(ModuleNotFoundError):
            return _load(package)
    raise MissingExtraError("tensorrt", extra="tensorrt", feature="an engine on the GPU")


def _load(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError:
        raise
    except (ImportError, OSError, RuntimeError) as error:
        got = (str(error).splitlines() or [type(error).__name__])[0]
        fix = "pip install 'hardtemper[tensorrt]'"
        raise ModelError(f"{package} is installed and does not load", got=got, fix=fix) from None


def version(tensorrt: Any) -> tuple[int, ...]:
    """Its version as numbers, (8, 5, 3, 1)."""
    return tuple(int(part) for part in str(tensorrt.__version__).split(".") if part.isdigit())


@cache
def logger(tensorrt: Any) -> Any:
    """An `ILogger` that keeps errors for `last_error` and drops the rest; TensorRT wants one for the whole process."""

    class Log(tensorrt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (tensorrt.ILogger.Severity.ERROR, tensorrt.ILogger.Severity.INTERNAL_ERROR):
                _errors.append(message)

    return Log()


def errors() -> list[str]:
    """The latest errors that TensorRT logged, in their order; asked once."""
    found = list(_errors)
    _errors.clear()
    return found


def last_error() -> str:
    """The first line of the latest error that TensorRT logged, "nothing said" where it logged none; asked once."""
    lines = (errors() or [""])[-1].strip().splitlines()
    return lines[0] if lines else "nothing said"
