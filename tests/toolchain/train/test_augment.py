"""Changes to training images against PIL and brute force over everything that could have been drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import beta
from torch import Tensor

from hardtemper.toolchain.recipe.training import Training
from hardtemper.toolchain.train.augment import augmented

EVERY = {"flip": True, "shift": 2, "cutout": 3, "cutmix": 1.0}


def change(x: Tensor, y: Tensor | None = None, seed: int = 0, classes: int = 10, **settings: Any) -> Any:
    labels = torch.arange(len(x)) % classes if y is None else y
    generator = torch.Generator().manual_seed(seed)
    return augmented(x, labels, Training(**settings), classes=classes, generator=generator)


def photos(n: int, channels: int = 1, height: int = 7, width: int = 9) -> Tensor:
    """No pixel is black, and no two are the same."""
    count = n * channels * height * width
    random = torch.randperm(count, generator=torch.Generator().manual_seed(1))
    return ((random + 1) / (count + 1)).view(n, channels, height, width)


def test_nothing_asked_nothing_done() -> None:
    x = photos(5)
    found, labels = change(x)
    assert torch.equal(found, x)
    assert labels.dtype == torch.int64


@pytest.mark.parametrize("channels", [1, 3])
def test_flip(channels: int) -> None:
    x = photos(400, channels, 3, 4)
    found, _ = change(x, flip=True)
    mirrored = 0
    for image, before in zip(found.numpy(), x.numpy(), strict=True):
        other = np.stack([np.fliplr(plane) for plane in before])
        assert np.array_equal(image, before) or np.array_equal(image, other)
        mirrored += np.array_equal(image, other)
    assert 160 < mirrored < 240


@pytest.mark.parametrize("channels", [1, 3])
def test_shift(channels: int) -> None:
    """One of the 25 shifts that PIL makes, the same in each channel, and each of them for some image."""
    x = photos(160, channels)
    found, _ = change(x, shift=2)
    used = set()
    for image, before in zip(found.numpy(), x.numpy(), strict=True):
        planes = [Image.fromarray(plane) for plane in before]
        fits = []
        for right in range(-2, 3):
            for down in range(-2, 3):
                affine = (1, 0, -right, 0, 1, -down)
                moved = [plane.transform(plane.size, Image.Transform.AFFINE, affine, fillcolor=0) for plane in planes]
                if np.array_equal(np.stack([np.asarray(plane) for plane in moved]), image):
                    fits.append((right, down))
        assert len(fits) == 1
        used.update(fits)
    assert len(used) == 25


@pytest.mark.parametrize("side", [1, 2, 3, 4, 20])
def test_cutout(side: int) -> None:
    """A square around one of the pixels, as far as it is in the image, and each pixel is the centre for some image."""
    x = photos(600, 2, 5, 4)
    found, _ = change(x, cutout=side)
    squares = {}
    for row in range(5):
        for column in range(4):
            mask = np.ones((5, 4), bool)
            top, left = row - side // 2, column - side // 2
            mask[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = False
            squares[mask.tobytes()] = mask
    used = set()
    for image, before in zip(found.numpy(), x.numpy(), strict=True):
        mask = squares[(image[0] != 0).tobytes()]
        assert np.array_equal(image, before * mask)
        used.add(mask.tobytes())
    assert used == set(squares)


@pytest.mark.parametrize("concentration", [0.2, 1.0])
def test_cutmix_labels_are_the_shares_of_pixels(concentration: float) -> None:
    """Each image is one colour and its own class, so that its pixels tell where they come from."""
    n = 12
    x = (torch.arange(n).view(n, 1, 1, 1) + 1.0).expand(n, 2, 6, 8).clone()
    mixed = 0
    for seed in range(15):
        found, labels = change(x, torch.arange(n), seed, classes=n, cutmix=concentration)
        assert (labels.dtype, labels.shape) == (torch.float32, (n, n))
        for own, (image, shares) in enumerate(zip(found, labels, strict=True)):
            assert torch.equal(image[0], image[1])
            counts = torch.bincount(image[0].flatten().long() - 1, minlength=n)
            torch.testing.assert_close(shares, counts / 48)
            rows, columns = torch.where(image[0] != own + 1)
            if not len(rows):
                continue
            mixed += 1
            box = image[0, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert (box == box[0, 0]).all()  # one rectangle of one other image
    assert mixed > 80


@pytest.mark.parametrize("concentration", [0.3, 1.0])
def test_cutmix_draws_its_share_from_a_beta_distribution(concentration: float) -> None:
    """lambda ~ Beta(a, a) keeps 1 - (k / 4)^2 of a 4 x 4 image where a box of k x k is not cut at the border."""
    x = torch.arange(200.0).view(200, 1, 1, 1).expand(200, 1, 4, 4).clone()
    sides = []
    for seed in range(500):
        found, _ = change(x, seed=seed, cutmix=concentration)
        foreign = (found != x).flatten(1).sum(1).max()  # among 200 images some box is whole
        sides.append(int(foreign.sqrt()))
    for k in range(4):  # at most k: round(4 sqrt(1 - lambda)) <= k
        wanted = 1 - beta.cdf(1 - ((k + 0.5) / 4) ** 2, concentration, concentration)
        assert np.mean(np.array(sides) <= k) == pytest.approx(wanted, abs=0.06)


@pytest.mark.parametrize("given", [{key: EVERY[key]} for key in EVERY] + [EVERY])
def test_one_seed_one_result(given: dict[str, Any]) -> None:
    x = photos(32)
    before = x.clone()
    first, second, third = (change(x, seed=seed, **given) for seed in (4, 4, 5))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], third[0])
    assert torch.equal(x, before)
    assert 0 <= first[0].min() <= first[0].max() <= 1
    assert first[0].shape == x.shape
    torch.rand(3)  # nothing comes from torch's own generator
    assert torch.equal(change(x, seed=4, **given)[0], first[0])


def test_mixing_comes_last() -> None:
    """What is mixed are images already changed, and every label stays a distribution."""
    x = photos(40)
    changed, _ = change(x, flip=True, shift=2, cutout=3)
    found, labels = change(x, **EVERY)
    same = (found[:, :, None] == changed.transpose(0, 1)[None]).any(2)  # each pixel is some changed image's
    assert same.all()
    torch.testing.assert_close(labels.sum(1), torch.ones(40))
