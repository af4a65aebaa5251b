"""The recipe that a bundle records, and the data set that it names.

Rule: anybody may have written a bundle, so a field of its recipe is checked when it is read, and what the recipe
names is not opened: a path may lead anywhere, and `package.module:factory` is imported, if need be from the folder that
the bundle came in. Only the data sets that are known by name, in their usual places, are taken from a recipe; any other
is the user's to give.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from ...bench.data.dataset import Dataset
from ...bench.data.load import load_dataset
from ...bench.data.named import NAMES
from ...runtime.bundle.manifest import MANIFEST_NAME
from ...runtime.bundle.reader import Bundle
from ...runtime.errors import BundleFormatError, DataError
from ...runtime.files.json_fields import integer, kind, text, under

__all__ = ["load_recorded_data", "recorded"]

_T = TypeVar("_T")


def recorded(bundle: Bundle, key: str, check: Callable[[object, str], _T]) -> _T | None:
    """A field of a bundle's recipe; None where the recipe lacks it, its section, or says null.

    Args:
        bundle: its manifest holds the recipe.
        key: such as "quantize.integer_share".
        check: takes the value and the field's path, as `number` and `text` of `runtime/files/json_fields.py` do.

    Raises:
        BundleFormatError: the field or its section is of another type; names the file and the field.
    """
    value: object = bundle.manifest.provenance.recipe
    where = "provenance.recipe"
    with under(f"{bundle.path}{os.sep}{MANIFEST_NAME}: "):
        for part in key.split("."):
            if not isinstance(value, Mapping):
                raise BundleFormatError(where, expected="an object", got=kind(value))
            value, where = value.get(part), f"{where}.{part}"
            if value is None:
                return None
        return check(value, where)


def load_recorded_data(
    bundle: Bundle | None,
    *,
    name: str | None,
    root: Path | None,
    default: str | None = None,
    image_size: int | None = None,
    download: bool = False,
    class_order: str | None = None,
) -> Dataset:
    """The data set that the user gives, or else the one that a bundle was built on; for its test part alone.

    Args:
        bundle: None for an ONNX file.
        name, root, image_size, download, class_order: what the user gives, see `load_dataset`. An image size that is
            not given is the recipe's, and the order of a folder's classes is the bundle's.
        default: the name where neither the user nor the recipe gives one; None where one of them must.

    Raises:
        BundleFormatError: a field of the recipe's section `data` is of another type or does not fit the graph.
        DataError: no name, the recipe's is of a data set that only the user may give, or the data set cannot be read.
        MissingExtraError: a package is missing that this data set needs.
    """
    if bundle is not None:
        name = name or _name(bundle, rooted=root is not None)
        image_size = image_size or _image_size(bundle)
    chosen = name or default
    if chosen is None:
        raise DataError("no data set to take test images from: the recipe names none", fix="give --data yourself")
    # the training split stays whole: a small data set need not fill the default parts
    return load_dataset(
        chosen,
        root=root,
        heldout=0,
        calibration=0,
        image_size=image_size,
        download=download,
        class_order=class_order,
        like=() if bundle is None else bundle.manifest.output.classes,
    )


def _name(bundle: Bundle, *, rooted: bool) -> str | None:
    """The recipe's data set, if it may be opened; `rooted` where the user says which folder to look in."""
    name, root = recorded(bundle, "data.name", text), recorded(bundle, "data.root", text)
    if name is None or (name in NAMES and (root is None or rooted)):
        return name
    raise DataError(
        f"{bundle.path} was built on the data set {name!r}" + ("" if root is None else f" in {root!r}"),
        expected=f"a data set known by name ({', '.join(NAMES)}), in its usual places: a bundle's recipe may open only "
        "these",
        fix="give --data-root yourself" if name in NAMES else "give --data yourself",
    )


def _image_size(bundle: Bundle) -> int | None:
    """The side that the recipe resizes images to."""
    size, (_, *sides) = recorded(bundle, "data.image_size", partial(integer, least=1)), bundle.manifest.input.shape
    if size is not None and sides != [size, size]:
        what = f"{bundle.path}{os.sep}{MANIFEST_NAME}: provenance.recipe.data.image_size"
        raise BundleFormatError(what, expected=f"the side of the images, {sides[0]} x {sides[1]}", got=str(size))
    return size
