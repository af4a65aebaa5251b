"""Robust accuracy on all test images, from a cheap attack on all of them and an expensive one on a random part.

The difference estimator of a two-phase sample (Cochran 1977, Sampling Techniques, 3rd ed., section 12.9) whose first
phase is all N images. With p_i = 1 where image i survives the cheap attack and s_i = 1 where it survives the expensive
one,

    estimate = mean_N(p) - mean_n(d),   d_i = p_i - s_i,   variance = (1 - n / N) / n * s^2(d)

It is unbiased, and its interval is narrower than that of mean_n(s), as what one attack breaks beyond another differs
less from image to image than what it breaks. Several engines attacked on the same images count as one whose d_i are
means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...bench.robustness.archive import Archive, read_archive

__all__ = ["Estimate", "difference_estimate", "estimate_from_archives"]

_Z = 1.959964  # of a two-sided 95 % normal interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """In per cent; `half_width` is half of the 95 % interval, over images and not over trainings."""

    value: float
    half_width: float


def difference_estimate(cheap: float, differences: NDArray[np.float64], total: int) -> Estimate:
    """The module's rule.

    Args:
        cheap: share of all images that survives the cheap attack, in 0..1.
        differences: float64 [n], d_i of a random part of the images without replacement, n >= 2.
        total: N, all images, at least n.
    """
    n = len(differences)
    variance = (1 - n / total) / n * float(differences.var(ddof=1))
    value = cheap - float(differences.mean())
    return Estimate(value=100 * value, half_width=100 * _Z * math.sqrt(variance))


def estimate_from_archives(pairs: Sequence[tuple[Path, Path]]) -> Estimate:
    """Of one or more engines, mean over them, from their stored verdicts.

    Args:
        pairs: an engine's archives, the cheap attack's of all test images, the expensive one's of a random part; the
            part is the same for all engines.

    Raises:
        ValueError: archives of different engines in one pair, different parts, or images of a part that are unknown.
        DataError: an archive is damaged.
    """
    shares, differences = [], []
    parts: list[NDArray[np.int64]] = []
    total = 0
    for first, second in pairs:
        cheap, expensive = read_archive(first), read_archive(second)
        if cheap.header["graph_sha256"] != expensive.header["graph_sha256"]:
            raise ValueError(f"{first} and {second} are of different engines")
        part = expensive.indices
        position = {index: row for row, index in enumerate(cheap.indices.tolist())}
        known = all(index in position for index in part.tolist())
        if not known or any(not np.array_equal(part, other) for other in parts):
            raise ValueError(f"{second}: its images are not a part of {first}'s, or not those of the other engines")
        rows = [position[index] for index in part.tolist()]
        total = len(cheap.indices)
        parts.append(part)
        shares.append(cheap.header["robust"] / total)
        differences.append(_broken(expensive).astype(np.float64) - _broken(cheap)[rows])
    return difference_estimate(float(np.mean(shares)), np.mean(differences, axis=0), total)


def _broken(archive: Archive) -> NDArray[np.bool_]:
    """bool [N]: right as it is, and wrong on the engine under some attack; d_i needs no more."""
    broken = np.zeros(len(archive.indices), dtype=np.bool_)
    broken[archive.rows[archive.on_engine]] = True
    return broken
