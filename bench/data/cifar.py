"""CIFAR-10 and CIFAR-100 as their authors' Python version stores them: pickled batches.

Rule: each file is read once. Only bytes that have the MD5 sum which torchvision's class knows are unpickled.

A batch is a dictionary: `data`, uint8 [n, 3072], a row being 1024 red, 1024 green and 1024 blue pixels of 32 x 32; and
`labels` (CIFAR-10) or `fine_labels` (CIFAR-100). (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html)
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.files.read_once import read_regular

__all__ = ["read_cifar"]

_SIDE = 32


def read_cifar(known: Any, folder: Path) -> dict[str, Any]:
    """All images, labels and names of classes.

    Args:
        known: torchvision's class, of which only the names and sums of the files are asked.
        folder: holds the folder of the batches.

    Raises:
        OSError: a file cannot be read, or has another sum.
    """
    batches = folder / known.base_folder
    train, test = (
        [_unpickled(batches / name, sum_) for name, sum_ in files] for files in (known.train_list, known.test_list)
    )
    names = _unpickled(batches / known.meta["filename"], known.meta["md5"])[known.meta["key"]]
    return {
        "train_images": _images(train),
        "train_labels": _labels(train),
        "test_images": _images(test),
        "test_labels": _labels(test),
        "classes": names,
    }


def _unpickled(path: Path, expected: str) -> Any:
    content = read_regular(path)
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != expected:
        raise OSError(f"{path} has the MD5 sum {found}, not {expected}")
    return pickle.loads(content, encoding="latin1")


def _images(batches: Sequence[Any]) -> Any:
    return np.vstack([batch["data"] for batch in batches]).reshape(-1, 3, _SIDE, _SIDE)


def _labels(batches: Sequence[Any]) -> Any:
    return np.concatenate([batch["labels" if "labels" in batch else "fine_labels"] for batch in batches])
