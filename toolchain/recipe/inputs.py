"""The sections `data` and `model` of a recipe: what a build starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ...bench.data.resize import LARGEST_SIZE
from .section import Section

__all__ = ["DEEPEST", "MOST_HIDDEN", "WIDEST", "DataSource", "Model"]

WIDEST = 1024
"""cnn8's last convolution then has 4,096 channels and takes 0.6 GiB."""

MOST_HIDDEN = 4096
"""VGG's hidden layers."""


DEEPEST = 48
"""ViT-G's layers (Zhai et al. 2022, arXiv:2106.04560)."""


class DataSource(Section):
    """Where the images come from and how the training split is divided."""

    name: str = Field("fashion-mnist", description="data set name, image folder, .npz file or package.module:factory")
    root: Path | None = Field(None, description="folder to look in first for a data set given by name")
    image_size: Annotated[int, Field(ge=8, le=LARGEST_SIZE)] | None = Field(
        None, description="side in pixels to resize every image to"
    )
    class_order: str | None = Field(
        None, description="order of an image folder's classes: name (as strings; default), natural or a text file"
    )
    heldout: Annotated[int, Field(ge=0)] = Field(2000, description="training images held out for early stopping")
    calibration: Annotated[int, Field(ge=1)] = Field(512, description="training images that calibrate quantizers")
    download: bool = Field(False, description="download a named data set where no folder holds it")


class Model(Section):
    """Which network."""

    name: str = Field(
        "cnn8",
        description="cnn8, lenet, vgg16-small, vit, wide_resnet50, a torchvision classifier, a .pt2 file or "
        "package.module:factory",
    )
    width: Annotated[int, Field(ge=1, le=WIDEST)] | None = Field(
        None, description="channels of the first layer, or of each of vit's 12 heads"
    )
    depth: Annotated[int, Field(ge=1, le=DEEPEST)] | None = Field(None, description="layers of vit")
    hidden: Annotated[int, Field(ge=1, le=MOST_HIDDEN)] | None = Field(
        None, description="units of the hidden linear layers of cnn8, lenet and vgg16-small"
    )
    stem: Literal["imagenet", "cifar"] | None = Field(None, description="first layers of a torchvision ResNet")
    pretrained: str | None = Field(None, description="weights to start from, by torchvision's name or file")
    checkpoint: Path | None = Field(None, description="trained weights; standard training is then skipped")
    normalize: Literal["none", "imagenet"] | tuple[tuple[float, ...], tuple[float, ...]] = Field(
        "none", description="none, imagenet or [means, deviations] of pixels / 255"
    )
