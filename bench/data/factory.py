"""`package.module:factory`: a data set, or a model, from the user's own code.

The module is imported as Python finds it, with the working folder last on the path for the time of the call, so that a
file in the project beside the recipe is found and hides nothing. `.py` is taken for a file's ending, never a module's
name: `mine:net` is the factory `net` in mine.py.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from ...runtime.errors import DataError, HardtemperError, InputError, MissingExtraError
from .arrays import KEYS, splits_from_arrays
from .dataset import Splits
from .vision import torchvision

__all__ = ["as_reference", "call_factory", "is_reference", "load_factory"]

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_reference(text: str) -> bool:
    """Whether `text` has the form `package.module:factory`."""
    return _REFERENCE.fullmatch(text) is not None


def as_reference(text: str) -> str:
    """The fix where a file stands for its module in `text`, as in `./mine.py:net`; "" where that is not the mistake."""
    file, _, factory = text.rpartition(":")
    path = Path(file.removesuffix(".py"))
    here = not path.is_absolute() and ".." not in path.parts
    reference = f"{'.'.join(path.parts) if here else path.name}:{factory}"
    if not is_reference(reference):
        return ""
    return f"write {reference!r}" + ("" if here else f" and run in {path.parent}")


def load_factory(reference: str) -> Splits:
    """Call `package.module:factory` without arguments and take the four arrays of `arrays.py` from what it returns.

    The factory returns a mapping with those keys or an object with those attributes (`classes` optional).

    Raises:
        DataError: the module or factory is missing or fails, or what it returns breaks the rules of `arrays.py`.
    """
    result = call_factory(reference, DataError)
    if isinstance(result, Mapping):
        arrays = {str(key): value for key, value in result.items()}
        beside = [key for key in arrays if key not in (*KEYS, "classes")]
    else:
        beside = []
        arrays = {key: getattr(result, key) for key in (*KEYS, "classes") if hasattr(result, key)}
    if not arrays:
        raise DataError(
            f"{reference} did not return a data set",
            expected=f"a mapping or an object with {', '.join(KEYS)}",
            got=type(result).__name__,
        )
    return splits_from_arrays(arrays, name=reference.partition(":")[2], source=reference, beside=beside)


def call_factory(reference: str, error: type[InputError]) -> object:
    """Import `package.module`, call its `factory` without arguments, and give back what that returns.

    Args:
        reference: `package.module:factory`; the factory may be an attribute of an attribute.
        error: which error to raise where the import or the call fails. This package's own errors pass as they are.
    """
    name, _, attribute = reference.partition(":")
    if name.endswith(".py"):
        raise error(f"{name} is a file", expected="package.module:factory", got=reference, fix=as_reference(reference))
    with contextlib.suppress(MissingExtraError):
        torchvision()  # so that the user's module may import it where its operators do not load
    with _working_folder_on_path():
        try:
            target: object = importlib.import_module(name)
        except HardtemperError:
            raise
        except ModuleNotFoundError as cause:
            if cause.name is None or not f"{name}.".startswith(f"{cause.name}."):
                raise error(f"{name} needs a module that is not installed", got=str(cause)) from cause
            raise error(
                f"no module named {cause.name!r}",
                expected=f"the module of {reference!r} to be importable",
                fix=f"install its package, or run in the folder that holds {name.partition('.')[0]}",
            ) from cause
        except (Exception, SystemExit) as cause:  # whatever the user's module does at import
            raise error(f"importing {name} failed", got=_said(cause)) from cause
        for part in attribute.split("."):
            if not hasattr(target, part):
                raise error(f"{name} has no {attribute!r}", expected=f"a factory that {reference!r} names")
            target = getattr(target, part)
        if not callable(target):
            raise error(f"{reference} cannot be called", expected="a factory", got=type(target).__name__)
        try:
            return target()
        except HardtemperError:
            raise
        except (Exception, SystemExit) as cause:  # whatever the user's factory does
            raise error(f"{reference} failed", got=_said(cause)) from cause


def _said(cause: BaseException) -> str:
    text = " ".join(str(cause).split())
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__


@contextlib.contextmanager
def _working_folder_on_path() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the factory may have removed it
            sys.path.reverse()
            sys.path.remove(here)
            sys.path.reverse()
