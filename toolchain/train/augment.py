"""Changes to training images that keep their class, each with its own random numbers for each image.

flip     mirrored left to right with probability 1/2
shift    moved by up to `shift` pixels each way, black comes in (a random crop of the padded image)
cutout   one black square of `cutout` pixels, its centre anywhere  (DeVries & Taylor 2017, arXiv:1708.04552)
cutmix   a box of another image, and its share of the label: lambda ~ Beta(a, a)  (Yun et al. 2019, arXiv:1905.04899)
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..recipe.training import Training

__all__ = ["augmented", "changes_images"]


def changes_images(settings: Training) -> bool:
    """Whether `augmented` hands back other images than it is given."""
    return bool(settings.flip or settings.shift or settings.cutout or settings.cutmix)


def augmented(
    x: Tensor, y: Tensor, settings: Training, *, classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Changed copies of images [N, C, H, W] and their labels: int64 [N], or float [N, classes] with cutmix.

    Random numbers are drawn on the generator's device, so that a seed gives the same images on every device.
    """
    if settings.flip:
        mirrored = torch.rand(len(x), generator=generator).to(x.device) < 0.5
        x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(3), x)
    if settings.shift:
        x = _shifted(x, settings.shift, generator)
    if settings.cutout:
        x = x * ~_box(x, settings.cutout, settings.cutout, generator)
    if settings.cutmix:
        return _mixed(x, y, settings.cutmix, classes, generator)
    return x, y


def _shifted(x: Tensor, most: int, generator: torch.Generator) -> Tensor:
    n, _, height, width = x.shape
    padded = F.pad(x, [most] * 4)
    top, left = (torch.randint(0, 2 * most + 1, (n, 1), generator=generator).to(x.device) for _ in range(2))
    rows = top + torch.arange(height, device=x.device)
    columns = left + torch.arange(width, device=x.device)
    image = torch.arange(n, device=x.device)
    return padded[image[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _box(x: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """A box in each image, cut at the border: bool [N, 1, H, W]."""
    sides = []
    for size, extent in zip(x.shape[2:], (height, width), strict=True):
        centre = torch.randint(0, size, (len(x), 1), generator=generator).to(x.device)
        place = torch.arange(size, device=x.device)
        sides.append((place >= centre - extent // 2) & (place < centre - extent // 2 + extent))
    rows, columns = sides
    return (rows[:, :, None] & columns[:, None, :]).unsqueeze(1)


def _mixed(
    x: Tensor, y: Tensor, concentration: float, classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    # Beta(a, a) from two gamma variates would need torch's own generator: the quotient of powers of uniforms is exact
    # for a <= 1 (Joehnk 1964), with rejection; a batch shares one lambda, as published.
    while True:
        u, v = torch.rand(2, generator=generator, dtype=torch.float64).pow(1 / concentration).tolist()
        if 0 < u + v <= 1:
            break
    share = math.sqrt(v / (u + v))  # of a side, for the box that comes from the other image
    box = _box(x, round(share * x.shape[2]), round(share * x.shape[3]), generator)
    other = torch.randperm(len(x), generator=generator).to(x.device)
    foreign = box.float().mean((1, 2, 3)).unsqueeze(1)
    labels = F.one_hot(y, classes).float()
    return torch.where(box, x[other], x), (1 - foreign) * labels + foreign * labels[other]
