"""What a checkpoint file holds, without running anything of it.

Files: `.safetensors`, or what `torch.save` wrote, read with `weights_only=True`: only tensors and plain containers are
made. Training scripts store more beside the weights (a NumPy scalar, an argparse.Namespace, a path, a config object).
For each class that torch does not let through, an empty stand-in of the same name is made: whatever the file calls by
that name, nothing is imported and nothing runs. So the weights beside it can be read, and an error can say what is in
the way.
"""

from __future__ import annotations

import os
import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from ...runtime.errors import MissingExtraError, ModelError

__all__ = ["StandIn", "read_file", "shown"]

_MOST_NAMES = 200
"""More classes than any training script stores."""
_REFUSED = re.compile(r"GLOBAL (\S+) was not an allowed global")
_PROTOCOL = re.compile(r"Detected pickle protocol (\d+)")
_ALONE = "save the weights alone: torch.save(model.state_dict(), path)"
_SHOWN = 3


class StandIn:
    """An object whose class is not known here; `called` is what the file calls that class."""

    called = ""

    def __init__(self, *_: object, **__: object) -> None:
        """Whatever the class would have been made of is dropped."""

    def __setstate__(self, _: object) -> None:
        """Whatever the object would have held is dropped."""


class _StandInDict(StandIn):
    # the unpickler lets items be set in a dict alone, so what is made is one
    def __new__(cls, *_: object, **__: object) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


class _StandInList(StandIn):
    def __new__(cls, *_: object, **__: object) -> list[Any]:  # type: ignore[misc]
        return []


_CONTAINERS = {"collections.defaultdict": _StandInDict, "collections.deque": _StandInList}


def read_file(path: Path) -> Any:
    """The content of a checkpoint file, on the CPU.

    Raises:
        ModelError: missing, damaged, or holding what cannot be read without running it.
        MissingExtraError: safetensors is needed and not installed.
    """
    if not os.path.isfile(path):  # noqa: PTH113 - unlike Path.is_file it says no to a name that no system can hold
        raise ModelError(f"the checkpoint {path} does not exist", expected="a .safetensors file or a torch file")
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)


def shown(items: Iterable[str]) -> str:
    """The first of several names."""
    names = list(items)
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _read_safetensors(path: Path) -> Any:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise MissingExtraError("safetensors", extra="build", feature="reading .safetensors") from None
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _read_torch(path: Path) -> Any:
    names = _unknown_names(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # objects of most classes take a state, those of a subclass of dict take items: one or the other
        content, failure = _attempt(path, names, StandIn)
        if failure is not None and names:
            content, failure = _attempt(path, names, _StandInDict)
    if failure is None:
        return content
    protocol = next((match[1] for warning in caught if (match := _PROTOCOL.search(str(warning.message)))), None)
    if protocol is not None:
        raise ModelError(
            f"the checkpoint {path} is of pickle protocol {protocol}",
            expected="protocol 2, torch's own, which can be read without running anything",
            fix="save it again without pickle_protocol=",
        ) from failure
    if "TorchScript" in str(failure):
        raise ModelError(f"the checkpoint {path} is a TorchScript program", expected="weights", fix=_ALONE) from failure
    if isinstance(failure, ModelError):
        raise failure
    if names:
        raise ModelError(
            f"the checkpoint {path} is damaged or holds Python objects that cannot be passed over, and those are never "
            "unpickled",
            expected="tensors, numbers, text and containers of them",
            got=shown(sorted(names)),
            fix=_ALONE,
        ) from failure
    raise _damaged(path, failure) from failure


def _attempt(path: Path, names: set[str], kind: type[StandIn]) -> tuple[Any, Exception | None]:
    """The content, or why there is none."""
    try:
        return _load(path, names, kind), None
    except Exception as error:  # torch.load raises RuntimeError, EOFError, OSError, KeyError, ValueError, ...
        return None, error


def _unknown_names(path: Path) -> set[str]:
    """Classes in a file of today's format that torch does not let through; of older formats `_load` finds them."""
    try:
        return set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # not of that format, or damaged: reading it says so
        return set()


def _load(path: Path, names: set[str], kind: type[StandIn]) -> Any:
    """The content; adds to `names` what else had to be stood in for."""
    while True:
        if len(names) > _MOST_NAMES:
            raise ModelError(
                f"the checkpoint {path} holds objects of too many classes",
                expected=f"{_MOST_NAMES} at most",
                got=shown(sorted(names)),
                fix=_ALONE,
            )
        stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
            (type(name, (_CONTAINERS.get(name, kind),), {"called": name}), name) for name in names
        ]
        try:
            with torch.serialization.safe_globals(stand_ins):
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            refused = _REFUSED.search(str(error))
            new = set() if refused is None else {refused[1], f"builtins.{refused[1]}"} - names
            if not new:
                raise
            names |= new


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"the checkpoint {path} cannot be read",
        expected="a whole .safetensors file, or a file that torch.save wrote",
        got=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
        fix="copy or save the file again",
    )
