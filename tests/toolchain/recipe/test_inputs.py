"""The sections `data` and `model`: what a build starts from."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from hardtemper.bench.data.resize import LARGEST_SIZE
from hardtemper.toolchain.recipe.inputs import DEEPEST, MOST_HIDDEN, WIDEST, DataSource, Model


def test_the_papers_data_and_network_are_the_default() -> None:
    assert (DataSource().name, DataSource().heldout, DataSource().calibration) == ("fashion-mnist", 2000, 512)
    assert (Model().name, Model().normalize) == ("cnn8", "none")


def test_paths_are_paths() -> None:
    assert DataSource.model_validate({"root": "data"}).root == Path("data")
    assert Model.model_validate({"checkpoint": "net.pth"}).checkpoint == Path("net.pth")


@pytest.mark.parametrize("size", [7, LARGEST_SIZE + 1])
def test_an_image_size_out_of_range(size: int) -> None:
    with pytest.raises(ValidationError, match="image_size"):
        DataSource(image_size=size)


def test_normalization_is_a_name_or_numbers() -> None:
    assert Model(normalize=((0.5,), (0.25,))).normalize == ((0.5,), (0.25,))
    with pytest.raises(ValidationError, match="normalize"):
        Model.model_validate({"normalize": "imagnet"})


@pytest.mark.parametrize(("key", "most"), [("width", WIDEST), ("hidden", MOST_HIDDEN), ("depth", DEEPEST)])
def test_layers_of_no_use(key: str, most: int) -> None:
    for value in (0, most + 1, 10**6, 10**12):
        with pytest.raises(ValidationError, match=key):
            Model.model_validate({key: value})
    assert getattr(Model.model_validate({key: most}), key) == most
