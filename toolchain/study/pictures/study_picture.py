"""A picture of finished networks: settings in a study's file, values that are found once, and a drawing of them.

    find(finished) -> JSON values          draw(figure, values)

Finding is the work: it is kept, so that a picture is drawn again without it. A kind of picture is a subclass with
settings of its own, listed in `kinds.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....bench.attacks.threat.threat_model import ThreatModel
from ....bench.data.dataset import Dataset
from ...recipe.section import Section

__all__ = ["Finished", "FinishedNetwork", "Picture"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedNetwork:
    """One cell of one seed.

    Attributes:
        key: the cell's, such as "clean-pruned-adversary".
        label: in the paper's words, such as T_ad(f_st^p).
        seed: of everything random.
        graphs: ONNX files, float or integer, by subject ("network", "engine"); the first one is compared with the
            paper.
        threat: the adversary's ball.
    """

    key: str
    label: str
    seed: int
    graphs: Mapping[str, Path]
    threat: ThreatModel

    @property
    def compared(self) -> Path:
        """The graph that the paper's network stands beside."""
        return next(iter(self.graphs.values()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """What a picture is made from.

    Attributes:
        networks: the picture's cells, of every seed that was asked for.
        data: the images of a seed.
        images: test images to attack, at most.
    """

    networks: tuple[FinishedNetwork, ...]
    data: Callable[[int], Dataset]
    images: int

    def network(self, key: str) -> FinishedNetwork:
        """A cell, of the first seed."""
        return next(network for network in self.networks if network.key == key)


class Picture(Section, ABC):
    """See the module.

    Attributes:
        title: above the drawing.
        inches: width and height.
    """

    title: str
    inches: tuple[float, float] = (6.0, 4.5)

    @property
    @abstractmethod
    def cells(self) -> tuple[str, ...]:
        """Keys of the cells that it shows."""

    @abstractmethod
    def find(self, finished: Finished) -> dict[str, Any]:
        """The values behind the picture, as JSON.

        Raises:
            MissingExtraError: a package is not installed.
        """

    @abstractmethod
    def draw(self, figure: Any, values: Mapping[str, Any]) -> None:
        """Put `values` on a matplotlib figure; its size and title are set."""

    @abstractmethod
    def tell(self, values: Mapping[str, Any]) -> list[str]:
        """Lines of what it shows in figures, for below the table."""
