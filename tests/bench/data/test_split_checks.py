"""The checks by themselves; `test_dataset.py` has them through `Splits`."""

from __future__ import annotations

import numpy as np
import pytest

from hardtemper.bench.data.split_checks import check_classes, check_part, shape_of
from hardtemper.runtime.errors import DataError

IMAGES, LABELS = np.zeros((2, 1, 3, 4), np.uint8), np.array([0, 1])


def test_what_is_sound_passes() -> None:
    check_classes("x", ("a", "b"))
    check_part("x", IMAGES, LABELS, 2)


def test_shapes_in_words() -> None:
    assert shape_of(IMAGES) == "uint8 [2, 1, 3, 4]"


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (LABELS, 1, r"x labels are out of range; expected: 0 to 0 \(1 classes\); got: 0 to 1"),
        (LABELS - 1, 2, "out of range; .* got: -1 to 0"),
        (LABELS[:1], 2, "do not match the images; expected: 2 labels; got: 1"),
        (LABELS.astype(np.int32), 2, "are not class numbers"),
    ],
)
def test_labels_that_do_not_fit(labels: np.ndarray, classes: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_part("x", IMAGES, labels, classes)


@pytest.mark.parametrize("images", [IMAGES[:, :, :0], IMAGES[0], IMAGES.astype(np.int16), IMAGES.repeat(2, 1)])
def test_images_that_are_none(images: np.ndarray) -> None:
    with pytest.raises(DataError, match="x images are not pixels"):
        check_part("x", images, LABELS, 2)


@pytest.mark.parametrize(
    ("classes", "message"),
    [(("a",), "too few classes"), (("a", "a"), "two classes have one name"), (("a", "\n"), "class 1 has no name")],
)
def test_classes_that_do_not_fit(classes: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_classes("x", classes)
