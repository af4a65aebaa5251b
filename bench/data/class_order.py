"""The order of the class folders: label k is folder k.

* "name", the default: as strings, as torchvision's ImageFolder and Keras do. "10" comes before "2".
* "natural": runs of digits count as numbers and case does not count, as timm does (`natural_key` of its
  readers of folders). "2" comes before "10".
* a text file with the name of every class folder, one a line, label 0 first.

A network that was trained in one order and measured in another gets the labels wrong and no error, so where the orders
differ a note names both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ...runtime.errors import DataError
from ...runtime.printable import printable
from .paths import expand

__all__ = ["CLASS_ORDERS", "natural_order", "order_classes"]

CLASS_ORDERS = ("name", "natural")
"""The orders known by name; anything else is a file."""

_LARGEST_FILE = 2**20
"""In bytes; a million classes' names are shorter."""
_SHOWN = 12


def natural_order(classes: Sequence[str]) -> tuple[str, ...]:
    """`classes` with runs of digits as numbers, whatever the case; equals in the order of strings."""
    return tuple(sorted(classes, key=_natural_key))


def order_classes(found: Sequence[str], order: str, *, like: Sequence[str] = ()) -> tuple[tuple[str, ...], str]:
    """The class folders in order, and a note where another order would give other labels.

    Args:
        found: the folders' names, each once.
        order: "name", "natural", or a text file.
        like: the classes of a network, in its order. Where they are those of the folders, the network's order counts.

    Returns:
        The names, label k the k-th, and the note; "" where there is nothing to say.

    Raises:
        DataError: the file cannot be read, or does not name every folder once and nothing else.
    """
    by_name, natural = tuple(sorted(found)), natural_order(found)
    if like and sorted(like) == list(by_name):
        return tuple(like), ""
    if order == "name":
        chosen, called, other = by_name, "string order, torchvision's", f"natural order, timm's, is {_shown(natural)}"
    elif order == "natural":
        chosen, called, other = natural, "natural order, timm's", f"string order, torchvision's, is {_shown(by_name)}"
    else:
        chosen = _read(Path(order), by_name)
        called, other = f"the order of {printable(order)}", f"string order, torchvision's, is {_shown(by_name)}"
    differs = by_name != natural if order in CLASS_ORDERS else chosen != by_name
    if not differs:
        return chosen, ""
    return chosen, f"class folders in {called}: {_shown(chosen)}; {other}: --class-order says which the network has"


def _natural_key(name: str) -> tuple[object, ...]:
    # text and digits take turns, so the same kinds are compared; digits by length first, for int() has a limit
    parts = re.split(r"([0-9]+)", name.lower())
    numbers = [(len(digits), digits) for digits in (part.lstrip("0") for part in parts[1::2])]
    return (*(item for pair in zip(parts[0::2], [*numbers, (-1, "")], strict=True) for item in pair), name)


def _read(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    place = expand(path)
    try:
        with place.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte
        got = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"the order of the classes, {path}, cannot be read",
            expected=f"{', '.join(CLASS_ORDERS)}, or a text file with a class folder a line",
            got=got,
        ) from error
    if len(content) > _LARGEST_FILE:
        raise DataError(f"{path} is too large", expected=f"{_LARGEST_FILE} bytes at most", got="more")
    try:
        lines = tuple(line.strip() for line in content.decode("utf-8-sig").splitlines())
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text", expected="a class folder a line, in UTF-8", got=str(error)) from error
    listed = tuple(line for line in lines if line)
    missing, unknown = sorted(set(names) - set(listed)), sorted(set(listed) - set(names))
    if missing or unknown or len(listed) != len(names):
        twice = sorted({name for name in listed if listed.count(name) > 1}) if len(listed) < 10_000 else []
        problems = {"lacks": missing, "names no folder with": unknown, "names twice": twice}
        raise DataError(
            f"{path} does not name the class folders",
            expected=f"each of the {len(names)} folders once, one a line",
            got="; ".join(f"it {what} {_shown(which)}" for what, which in problems.items() if which),
        )
    return listed


def _shown(names: Sequence[str]) -> str:
    return ", ".join(map(printable, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")
