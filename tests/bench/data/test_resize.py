"""Resizing against torchvision's own transforms."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardtemper.bench.data.resize import resize_batch
from hardtemper.bench.data.vision import torchvision
from hardtemper.runtime.errors import DataError


@settings(deadline=None)
@given(
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    size=st.integers(1, 40),
    seed=st.integers(0, 2**32),
)
def test_the_same_as_torchvisions_resize_and_center_crop(
    channels: int, height: int, width: int, size: int, seed: int
) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (2, channels, height, width), np.uint8)
    transforms = torchvision().transforms
    oracle = transforms.Compose([transforms.Resize(size), transforms.CenterCrop(size)])
    result = resize_batch(images, size)
    assert result.shape == (2, channels, size, size)
    assert result.dtype == np.uint8
    for image, resized in zip(images, result, strict=True):
        picture = PIL.Image.fromarray(image[0] if channels == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
        expected = np.asarray(oracle(picture))
        np.testing.assert_array_equal(resized[0] if channels == 1 else resized.transpose(1, 2, 0), expected)


def test_images_of_the_size_are_left_alone() -> None:
    images = np.zeros((2, 3, 8, 8), np.uint8)
    assert resize_batch(images, 8) is images


@pytest.mark.parametrize("size", [0, -3, 4097, 10**9])
def test_no_size_out_of_range(size: int) -> None:
    with pytest.raises(DataError, match="not a side length; expected: 1 to 4096 pixels"):
        resize_batch(np.zeros((2, 3, 8, 8), np.uint8), size)
