"""Whether a data set fits a network: the same image shape, as many classes, and the same order where both name them."""

from __future__ import annotations

from pathlib import Path

from ..runtime.engine import Engine
from ..runtime.errors import DataError
from .data.dataset import Dataset

__all__ = ["check_data"]

_FIX = "name the data that the network was trained on (--data)"


def check_data(engine: Engine, dataset: Dataset, target: Path) -> None:
    """Refuse a data set that does not fit.

    Args:
        engine: the network.
        dataset: what it shall be measured on.
        target: what the network is called in the message.

    Raises:
        DataError: shape, number or order of the classes differ.
    """
    if dataset.input_shape != engine.input_shape:
        raise DataError(
            f"{dataset.name}: the images do not fit {target}",
            expected=f"[N, {', '.join(map(str, engine.input_shape))}]",
            got=f"[N, {', '.join(map(str, dataset.input_shape))}]",
            fix=_FIX,
        )
    if len(dataset.classes) != len(engine.labels):
        raise DataError(
            f"{dataset.name}: the classes do not fit {target}",
            expected=f"{len(engine.labels)} classes, as the network's logits",
            got=str(len(dataset.classes)),
            fix=_FIX,
        )
    # a bare file's labels are numbers that nobody chose
    named = engine.bundle is not None
    if named and engine.labels != dataset.classes and sorted(engine.labels) == sorted(dataset.classes):
        raise DataError(
            f"{dataset.name}: the classes are those of {target} in another order",
            expected=", ".join(engine.labels),
            got=", ".join(dataset.classes),
            fix="bring the data set's classes into the network's order",
        )
