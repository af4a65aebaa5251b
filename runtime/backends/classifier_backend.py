"""What the backends on the processor have in common: an ONNX classifier with one input [N, C, H, W] and one output
[N, K], axes of size 1 behind it aside (`image_classifier.py`).

Rule: what a graph declares, or gave for another image, need not hold, so every result is looked at.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..files.onnx_file import OnnxFile
from ..graph_check.check_graph import check_graph
from ..shapes import Float32, Shaped
from .image_classifier import as_logits, counted_classes, declared_classes, only_input, only_output, read_image_input
from .trial import try_graph

__all__ = ["ClassifierBackend", "checked_content", "most_threads"]


class ClassifierBackend(ABC):
    """A `protocol.Backend` of one compiled ONNX file.

    Args:
        origin: what to call the file in an error.
        inputs, outputs: of the compiled graph, each with a name, a type as ONNX Runtime calls it and a shape.

    Raises:
        ModelError: no image classifier with fixed channels, height and width.
    """

    name: ClassVar[str]

    def __init__(self, origin: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        image = only_input(inputs, origin=origin)
        self._input_dtype, self._batch, self._shape = read_image_input(image, origin=origin)
        output = only_output(outputs, origin=origin)
        self._origin = origin
        self._input_name, self._output_name = str(image.name), str(output.name)
        self._logits = f"{origin}: output {output.name!r}"
        self._classes = declared_classes(output.shape, origin=self._logits) or self._count_classes()

    @property
    def input_name(self) -> str:
        return self._input_name

    @property
    def output_name(self) -> str:
        return self._output_name

    @property
    def input_dtype(self) -> str:
        return self._input_dtype

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self._shape

    @property
    def batch(self) -> int | None:
        return self._batch

    @property
    def classes(self) -> int:
        return self._classes

    def run(self, images: Shaped[NDArray[Any], "n c h w"]) -> Float32[NDArray[np.float32], "n k"]:
        """Logits [N, K] of images [N, C, H, W] of type `input_dtype`; N is `batch` where that is fixed.

        Raises:
            ModelError: the backend failed, or gave no [N, K].
        """
        return as_logits(self._run(images), batch=len(images), classes=self._classes, origin=self._logits)

    @abstractmethod
    def _run(self, images: NDArray[Any]) -> NDArray[Any]:
        """The output, of any shape; a ModelError where the backend failed."""

    def _count_classes(self) -> int:
        """K of one black image."""
        black = np.zeros((self._batch or 1, *self._shape), self._input_dtype)
        return counted_classes(self._run(black).shape, batch=len(black), origin=self._logits)


def checked_content(graph: OnnxFile) -> bytes:
    """The file with every weight inside, after every check that stands before a backend.

    Raises:
        ModelError: it may not be opened.
    """
    content = graph.whole()
    if operators := check_graph(content, what=str(graph.path)):
        try_graph(content, operators, what=str(graph.path))
    return content


def most_threads(threads: int | None) -> int | None:
    """A number of threads, no more than there are cores; None for every core.

    Raises:
        InputError: `threads` below 1, or no integer.
    """
    if threads is None:
        return None
    whole = isinstance(threads, (int, np.integer)) and not isinstance(threads, bool)
    if not (whole and threads >= 1):
        raise InputError("threads", expected="an integer from 1, or None for every core", got=repr(threads))
    return min(int(threads), os.cpu_count() or 1)
