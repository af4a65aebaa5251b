"""Whether images and classes are those of a network.

Rule: the same image shape, as many classes, and the same order where the network's labels were chosen by somebody. The
labels of a bare ONNX file are numbers that nobody chose.
"""

from __future__ import annotations

from pathlib import Path

from ..runtime.backends.image_classifier import channels_last
from ..runtime.engine import Engine
from ..runtime.errors import DataError
from .data.dataset import Dataset

__all__ = ["check_data", "check_image_shape"]

_FIX = "name the data that the network was trained on (--data)"


def check_data(engine: Engine, dataset: Dataset, target: Path) -> None:
    """Refuse a data set that does not fit.

    Args:
        engine: the network; its labels were chosen by somebody where it has a bundle.
        dataset: what it shall see.
        target: what the network is called in the message.

    Raises:
        DataError: shape, number or order of the classes differ.
        ModelError: the network takes these images with the channels last.
    """
    check_image_shape(engine, dataset.input_shape, dataset.name, target, fix=_FIX)
    if len(dataset.classes) != len(engine.labels):
        raise DataError(
            f"{dataset.name}: the classes do not fit {target}",
            expected=f"{len(engine.labels)} classes, as the network's logits",
            got=str(len(dataset.classes)),
            fix=_FIX,
        )
    chosen = engine.bundle is not None
    if chosen and engine.labels != dataset.classes and sorted(engine.labels) == sorted(dataset.classes):
        raise DataError(
            f"{dataset.name}: the classes are those of {target} in another order",
            expected=", ".join(engine.labels),
            got=", ".join(dataset.classes),
            fix="bring the data set's classes into the network's order",
        )


def check_image_shape(engine: Engine, shape: tuple[int, ...], name: str, target: Path, *, fix: str) -> None:
    """Refuse images of another shape; `check_data` for images that come without classes.

    Args:
        engine: the network.
        shape: of one image.
        name: what the images are called in the message.
        target: what the network is called in it.
        fix: what to do about it.

    Raises:
        DataError: the network takes images of another shape.
        ModelError: it takes these images with the channels last.
    """
    if shape != engine.input_shape and (*shape[1:], *shape[:1]) == engine.input_shape:
        raise channels_last(str(target), ("N", *engine.input_shape))
    if shape != engine.input_shape:
        raise DataError(
            f"{name}: the images do not fit {target}",
            expected=f"[N, {', '.join(map(str, engine.input_shape))}]",
            got=f"[N, {', '.join(map(str, shape))}]",
            fix=fix,
        )
