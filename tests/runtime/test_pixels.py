from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hardtemper.runtime.errors import ImageError
from hardtemper.runtime.pixels import check_images, to_pixels

ALL_PIXELS = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "longdouble"])
def test_every_pixel_survives(dtype: str) -> None:
    images = (ALL_PIXELS / 255).astype(dtype)
    pixels = to_pixels(images)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, ALL_PIXELS)


def test_uint8_is_not_copied() -> None:
    assert to_pixels(ALL_PIXELS) is ALL_PIXELS


@settings(deadline=None)
@given(hnp.arrays(np.float32, st.integers(0, 64), elements=st.floats(0, 1, width=32)))
def test_rounds_as_torch_does_in_float32(images: np.ndarray) -> None:
    expected = (torch.from_numpy(images) * 255).round().to(torch.uint8).numpy()
    np.testing.assert_array_equal(to_pixels(images), expected)


def test_half_goes_to_even() -> None:
    # (pixel + 1/2) / 255 is no binary number: only those whose product with 255 comes out at exactly a half are ties.
    halves = np.arange(255) + 0.5
    ties = halves[(halves / 255) * 255 == halves]
    assert len(ties) > 100
    assert to_pixels(ties / 255).tolist() == [round(tie) for tie in ties.tolist()]


@pytest.mark.parametrize(
    ("value", "fix"),
    [(np.nan, ""), (np.inf, ""), (-np.inf, ""), (-1e-7, "clip"), (1 + 2**-23, "clip"), (255.0, "divide"), (-3, "undo")],
)
def test_refuses_what_is_no_image(value: float, fix: str) -> None:
    images = np.zeros((4, 1, 2, 2), np.float32)
    images[2, 0, 1, 0] = value
    with pytest.raises(ImageError) as caught:
        to_pixels(images, first=256)
    assert caught.value.what == "images[258, 0, 1, 0]"
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("images", "got", "fix"),
    [
        ([[1.0]], "builtins.list", "numpy.asarray"),
        (torch.zeros(1, 3, 4, 5), "torch.Tensor", "numpy.asarray"),
        (np.zeros((1, 3, 4, 5), np.int64), "int64", "astype(numpy.uint8)"),
        (np.full((1, 3, 4, 5), -1), "int64", "undo"),
        (np.zeros((1, 3, 4, 5), bool), "bool", "255 * x"),
        (np.zeros((1, 3, 4, 5), np.complex64), "complex64", ""),
        (np.zeros((1, 3, 4, 5), object), "object", ""),
        (np.zeros((3, 4, 5), np.uint8), "[3, 4, 5]", "add the batch axis"),
        (np.zeros((2, 4, 5, 3), np.uint8), "[2, 4, 5, 3]", "channels first"),
        (np.zeros((2, 3, 5, 4), np.uint8), "[2, 3, 5, 4]", ""),
        (np.zeros((), np.uint8), "[]", ""),
        (np.zeros((1, 1, 3, 4, 5), np.uint8), "[1, 1, 3, 4, 5]", ""),
    ],
)
def test_check_images_says_what_is_wrong(images: object, got: str, fix: str) -> None:
    with pytest.raises(ImageError) as caught:
        check_images(images, shape=(3, 4, 5))
    assert caught.value.got == got
    assert fix in caught.value.fix
    assert bool(caught.value.fix) == bool(fix)


@pytest.mark.parametrize("n", [0, 1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
def test_check_images_takes(n: int, dtype: str) -> None:
    images = np.zeros((n, 3, 4, 5), dtype)
    assert check_images(images, shape=(3, 4, 5)) is images
