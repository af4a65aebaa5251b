"""Data sets known by name: where they are looked for, and how each is read.

Places, in this order: the folder given as `root`, the folder in `$HARDTEMPER_DATA`, Debian's folder (package
dataset-fashion-mnist), and ~/.cache/hardtemper. In each, `<name>/` and torchvision's own layout are tried. MNIST and
Fashion-MNIST use the same file names, so bare files of theirs count only in a folder that was given as `root`. A
download goes to the first of root, `$HARDTEMPER_DATA` and the cache.

SVHN is read by torchvision, which compares its files with the known MD5 sums first. CIFAR's batches are pickles, read
by `cifar.py` against the same sums.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.error import URLError

import numpy as np

from ...runtime.errors import DataError, MissingExtraError
from .arrays import splits_from_arrays
from .cifar import read_cifar
from .dataset import Splits
from .idx import read_idx
from .paths import expand
from .vision import torchvision

__all__ = ["NAMES", "load_named"]

_DIGITS = tuple("0123456789")
_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Named:
    """One data set.

    Attributes:
        kind: how it is read.
        torchvision: the class in torchvision.datasets.
        files: what a folder holds if the data set is there.
        layout: torchvision's own folder below the root given to it, "" for the root itself.
        classes: the names, where the files do not hold them.
        system: a folder where a Debian package installs it.
        package: that package.
    """

    kind: Literal["idx", "cifar", "svhn"]
    torchvision: str
    files: tuple[str, ...]
    layout: str
    classes: tuple[str, ...] = ()
    system: Path | None = None
    package: str = ""


_IDX_FILES = tuple(f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
_SETS = {
    "fashion-mnist": _Named(
        kind="idx",
        torchvision="FashionMNIST",
        files=_IDX_FILES,
        layout="FashionMNIST/raw",
        classes=_FASHION,
        system=Path("/usr/share/datasets/fashion-mnist"),
        package="dataset-fashion-mnist",
    ),
    "mnist": _Named(kind="idx", torchvision="MNIST", files=_IDX_FILES, layout="MNIST/raw", classes=_DIGITS),
    "cifar10": _Named(kind="cifar", torchvision="CIFAR10", files=("cifar-10-batches-py",), layout=""),
    "cifar100": _Named(kind="cifar", torchvision="CIFAR100", files=("cifar-100-python",), layout=""),
    "svhn": _Named(
        kind="svhn",
        torchvision="SVHN",
        files=("train_32x32.mat", "test_32x32.mat"),
        layout="",
        classes=_DIGITS,
    ),
}
NAMES = tuple(_SETS)
"""The known names."""


def load_named(name: str, *, root: Path | None = None, download: bool = False) -> Splits:
    """Find and read one of `NAMES`.

    Args:
        name: one of `NAMES`.
        root: the first folder to look in.
        download: let torchvision download the data set where no folder holds it.

    Raises:
        DataError: not found (says where it looked and how to get it), damaged, or the download failed.
        MissingExtraError: torchvision is needed and not installed.
    """
    known = _SETS[name]
    places = _places(name, known, root)
    folder = _find(known, places)
    if folder is None and download:
        target = _roots(root)[0]
        _download(name, known, target)
        places = _places(name, known, target)
        folder = _find(known, places)
    if folder is None:
        raise _not_found(name, known, places)
    if known.kind == "idx":
        return _read_idx_set(name, known, folder)
    factory = getattr(torchvision().datasets, known.torchvision)
    read = read_cifar if known.kind == "cifar" else _read_svhn
    try:
        arrays = read(factory, folder)
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), extra="build", feature=f"reading {name}") from None
    except (RuntimeError, OSError) as error:
        raise DataError(
            f"the files of {name!r} in {folder} are damaged or incomplete",
            expected="files with the MD5 sums that torchvision knows",
            got=str(error),
            fix=f"remove {', '.join(known.files)} there and download again (--download)",
        ) from error
    return splits_from_arrays(
        arrays | ({"classes": known.classes} if known.classes else {}), name=name, source=str(folder)
    )


def _roots(root: Path | None) -> list[Path]:
    from_environment = os.environ.get("HARDTEMPER_DATA")
    roots = [root, Path(from_environment) if from_environment else None, Path("~/.cache/hardtemper")]
    return [expand(place) for place in roots if place is not None]


def _places(name: str, known: _Named, root: Path | None) -> list[Path]:
    roots = _roots(root)
    places = [place for base in roots for place in (base / name, base / known.layout)]
    if root is not None and known.layout:
        places.insert(2, roots[0])
    if known.system is not None:
        places.insert(len(places) - 2, known.system)  # before the cache, which is the last root
    return places


def _find(known: _Named, places: Sequence[Path]) -> Path | None:
    return next((place for place in places if all(_file(place, name) for name in known.files)), None)


def _file(folder: Path, name: str) -> Path | None:
    paths = (folder / name, folder / f"{name}.gz")
    return next((path for path in paths if os.path.exists(path)), None)  # noqa: PTH110 - see load.py


def _not_found(name: str, known: _Named, places: Sequence[Path]) -> DataError:
    partly = [
        f"{place} holds only some of the files" for place in places if any(_file(place, file) for file in known.files)
    ]
    install = f"apt-get install {known.package}, or " if known.package else ""
    return DataError(
        f"the data set {name!r} was not found",
        expected=f"{', '.join(known.files)} in one of {', '.join(map(str, places))}",
        got="; ".join(partly),
        fix=f"{install}download it (--download), or name the folder that holds it",
    )


def _read_idx_set(name: str, known: _Named, folder: Path) -> Splits:
    keys = ("train_images", "train_labels", "test_images", "test_labels")
    paths = [path for file in known.files if (path := _file(folder, file)) is not None]
    arrays: dict[str, Any] = {key: read_idx(path) for key, path in zip(keys, paths, strict=True)}
    return splits_from_arrays({**arrays, "classes": known.classes}, name=name, source=str(folder))


def _read_svhn(factory: Any, folder: Path) -> dict[str, Any]:
    train, test = (factory(root=str(folder), split=split) for split in ("train", "test"))
    return {
        "train_images": train.data,
        "train_labels": np.asarray(train.labels),
        "test_images": test.data,
        "test_labels": np.asarray(test.labels),
    }


def _download(name: str, known: _Named, target: Path) -> None:
    factory = getattr(torchvision().datasets, known.torchvision)
    parts: tuple[dict[str, Any], ...] = ({"split": "train"}, {"split": "test"}) if known.kind == "svhn" else ({},)
    try:
        target.mkdir(parents=True, exist_ok=True)
        for part in parts:
            factory(root=str(target), download=True, **part)
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), extra="build", feature=f"reading {name}") from None
    except (RuntimeError, OSError, URLError) as error:
        raise DataError(
            f"downloading {name!r} to {target} failed",
            got=f"{type(error).__name__}: {str(error).strip()}",
            fix="check the network, or copy the files there by hand",
        ) from error
