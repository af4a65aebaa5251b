"""A study as a file: which cells, what each compression is, how far a scale shrinks it, and what the paper found.

    cell = training x compression x fine-tuning      f_st^p, T_ad(f_st^p), ... in the words of the paper's table 1

A study may stand on another one (`base`), whose recipe, scale, networks and compressions it then shares; so what two
studies have in common is trained once.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ..recipe.section import Section
from .pictures.kinds import AnyPicture

__all__ = [
    "Compression",
    "FurtherAttack",
    "Lever",
    "Network",
    "Study",
    "StudyCell",
]

Against = Literal["clean", "adversary"]
Subject = Literal["network", "masked", "engine"]
Value = Annotated[tuple[float, ...], Field(min_length=1, max_length=2)]
"""Mean and, where the paper gives it, standard deviation, in per cent."""

_TRAINED = {"clean": "st", "adversary": "rb"}
_TUNED = {"clean": "T_st({})", "adversary": "T_ad({})", "none": "{}"}


class StudyCell(Section):
    """One network of a study, and what the paper measured of it.

    Attributes:
        network: a name of the study's `networks`; None where it has one network, its recipe's.
        training: what the dense network is trained against.
        compression: a name of the study's `compressions`.
        finetuning: what the compressed network is fine-tuned against.
        name: in the paper's words, where these are not f_st^p and the like.
        line: of a figure, that the cell is a point of; None: one line for each training.
        test, robustness: the paper's values; None where the paper has none in figures.
        size: the paper's model size in MiB.
    """

    network: str | None = None
    training: Against
    compression: str
    finetuning: Literal["none", "clean", "adversary"]
    name: str | None = None
    line: str | None = None
    test: Value | None = None
    robustness: Value | None = None
    size: float | None = None

    @property
    def key(self) -> str:
        """Such as "clean-pruned-adversary", behind the network's name where there are several."""
        key = f"{self.training}-{self.compression}-{self.finetuning}"
        return key if self.network is None else f"{self.network}-{key}"


class Compression(Section):
    """What is done to a dense network.

    Attributes:
        symbol: the paper's superscript, "p" in f^p; "" for the network as it is.
        label: in words.
        level: where a figure puts it on its axis.
        recipe: keys of a recipe, dotted.
        tunes: what fine-tuning trains: the float network in front of quantization or the twin of the integers.
        measured: the float network, the dense network with the removed filters masked, the INT8 engine. The first one
            is compared with the paper.
    """

    symbol: str
    label: str
    level: float | str | None = None
    recipe: dict[str, Any]
    tunes: Subject = "network"
    measured: Annotated[tuple[Subject, ...], Field(min_length=1, max_length=3)]


class FurtherAttack(Section):
    """What stands beside the study's attack, on as many images.

    Attributes:
        attack: a name of an attack or a preset.
        radius: of its ball, in radii of the training's.
        settings: of the attack, instead of its own.
    """

    attack: str
    radius: Annotated[float, Field(gt=0)] = 1.0
    settings: dict[str, int | float] = Field(default_factory=dict)


class Lever(Section):
    """How a setting follows the scale s: full * s^power, rounded, `least` at least.

    A study's powers are chosen so that the work of training is about in proportion to s.
    """

    power: Annotated[float, Field(gt=0, le=1)]
    least: Annotated[int, Field(ge=1)]

    def at(self, full: int, scale: float) -> int:
        """The value at a scale > 0."""
        return min(full, max(self.least, round(full * scale**self.power))) if scale < 1 else full


class Network(Section):
    """One of several networks of a study.

    Attributes:
        label: in words.
        recipe: keys of a recipe, dotted, at scale 1.
        scale: its settings that a smaller scale shrinks, beside the study's.
    """

    label: str
    recipe: dict[str, Any]
    scale: dict[str, Lever] = Field(default_factory=dict)


class Study(Section):
    """See the module.

    Attributes:
        name: of the file.
        title: one line.
        source: the paper, and its table or figure.
        departures: what the paper does not say and what is done otherwise, in sentences.
        base: the study that this one stands on.
        seeds: of the paper's runs.
        attack: what robustness is measured with; a name of an attack or a preset.
        further: attacks that stand beside.
        paper_data: what the paper's values were measured on, where that is not the recipe's data: they are shown, and
            no difference is.
        sizes: the table shows files and model sizes.
        costs: the table shows what the engines cost here, see `measure_costs.py`.
        train_images, test_images: how many of the data set's, at scale 1; None is all of them.
        recipe: of every cell, at scale 1; sections as in a recipe.
        scale: the settings that a smaller scale shrinks, by dotted key; "compress.METHOD.KEY" for those of a step.
        networks: by name, where there are several.
        compressions: by name.
        cells: in the order of the paper.
        x_axis: of a figure with lines over `x`; None puts the cells side by side.
        x: the compressions' levels, or the model size as a share of the dense network's, in logarithms.
        panels: what the lines show, one panel for each: "test", "robustness", or a further attack's name; without
            panels accuracy and robustness share one.
        pictures: what is drawn of the finished networks besides, by the name of its files.
    """

    name: str
    title: str
    source: str
    departures: tuple[str, ...] = ()
    base: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    attack: str = "pgd-20"
    further: tuple[FurtherAttack, ...] = ()
    paper_data: str | None = None
    sizes: bool = False
    costs: bool = False
    train_images: Annotated[int, Field(ge=1)]
    test_images: Annotated[int, Field(ge=1)]
    recipe: dict[str, Any]
    scale: dict[str, Lever]
    networks: dict[str, Network] = Field(default_factory=dict)
    compressions: dict[str, Compression]
    cells: Annotated[tuple[StudyCell, ...], Field(min_length=1)]
    x_axis: str | None = None
    x: Literal["level", "size"] = "level"
    panels: tuple[str, ...] = ()
    pictures: dict[str, AnyPicture] = Field(default_factory=dict)

    def label(self, cell: StudyCell) -> str:
        """The cell in the paper's words, such as T_ad(f_st^p)."""
        if cell.name is not None:
            return cell.name
        symbol = self.compressions[cell.compression].symbol
        network = f"f_{_TRAINED[cell.training]}" + (f"^{symbol}" if symbol else "")
        return _TUNED[cell.finetuning].format(network)

    def compared(self, label: str) -> Subject:
        """What stands for a compression of this label: the first that is measured of it."""
        return next(found.measured[0] for found in self.compressions.values() if found.label == label)
