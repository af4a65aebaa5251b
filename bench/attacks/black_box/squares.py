"""The sampling distributions of the Square Attack on 8-bit levels: where it starts, and what it tries next.

Andriushchenko et al. 2020 (arXiv:1912.00049), algorithms 2 and 3, and for l1 the variant of AutoAttack (Croce & Hein
2021, arXiv:2103.01208). With q an image's levels, R = `pixel_radius` and norms of p = 2 or 1:

    linf    window <- clip(q +- R), one sign for each channel
    lp      W1 <- nu / ||nu|| * ( ||delta_{W1 u W2}||^p + (epsilon^p - ||delta||^p) / c )^(1/p),   W2 <- 0
            nu = rho eta / ||eta|| + delta_{W1} / ||delta_{W1}||,   rho = +-1 for each channel

l1 spends c times that, and is projected. eta is two halves of opposite sign, one of them a row larger, but of the same
p-norm, as in the published code; in each, the value at Chebyshev distance d from the half's centre is
sum_{j >= d} 1 / (j + 1)^(4/p), summed to the half's edge. It lies upright or on its side at random.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ..access import Pixels
from ..threat.geometry import ball_of
from ..threat.threat_model import ThreatModel

__all__ = ["LinfSquares", "LpSquares", "Squares", "squares_in"]


class Squares(Protocol):
    """Draws candidates inside the ball; every image draws its own window."""

    def start(self, x: Pixels) -> Pixels:
        """First candidates around the images x."""

    def propose(self, x: Pixels, best: Pixels, side: int) -> Pixels:
        """Candidates that differ from `best` in a window of `side` pixels."""


def squares_in(threat: ThreatModel, rng: np.random.Generator) -> Squares:
    """The distribution for a threat model's norm."""
    return LinfSquares(threat, rng) if threat.norm == "linf" else LpSquares(threat, rng)


class LinfSquares:
    """Algorithm 2: corners of the ball, window by window."""

    def __init__(self, threat: ThreatModel, rng: np.random.Generator) -> None:
        self._radius = threat.pixel_radius
        self._rng = rng

    def start(self, x: Pixels) -> Pixels:
        n, c, _, w = x.shape
        return self._corner(x, self._rng.integers(0, 2, (n, c, 1, w), dtype=bool))

    def propose(self, x: Pixels, best: Pixels, side: int) -> Pixels:
        n, c = x.shape[:2]
        window = _windows(self._rng, x, side)
        up = self._rng.integers(0, 2, (n, c, 1, 1), dtype=bool)
        candidate = np.where(window, self._corner(x, up), best)
        if len(same := np.flatnonzero((candidate == best).all((1, 2, 3)))):
            # A wasted query (every second one on grey images with windows of a pixel): flip some channels instead.
            channels = self._rng.integers(1, 2**c, (len(same), 1)) >> np.arange(c) & 1
            up = up[same] ^ (channels == 1)[:, :, None, None]
            candidate[same] = np.where(window[same], self._corner(x[same], up), best[same])
        return candidate

    def _corner(self, x: Pixels, up: NDArray[np.bool_]) -> Pixels:
        room_up = np.minimum(self._radius, 255 - x.astype(np.int16))
        room_down = np.minimum(self._radius, x.astype(np.int16))
        return (x + np.where(up, room_up, -room_down)).astype(np.uint8)


class LpSquares:
    """Algorithm 3, for l2 and l1: the budget moves from one window to another."""

    def __init__(self, threat: ThreatModel, rng: np.random.Generator) -> None:
        self._ball, self._length = ball_of(threat), 255 * threat.epsilon
        self._p = 1 if threat.norm == "l1" else 2
        self._rng = rng

    def start(self, x: Pixels) -> Pixels:
        n, c, h, w = x.shape
        delta = np.zeros(x.shape, np.float32)
        tile = max(min(h, w) // 5, 1)
        for top in range(h % tile // 2, h - tile + 1, tile):
            for left in range(w % tile // 2, w - tile + 1, tile):
                delta[:, :, top : top + tile, left : left + tile] = self._signed_eta(n, c, tile)
        return self._pixels(x, delta)

    def propose(self, x: Pixels, best: Pixels, side: int) -> Pixels:
        n, c, h, w = x.shape
        side = min(max(side, 3) | 1, h, w)  # an odd side of at least 3, as published: eta has a middle
        delta = best.astype(np.float32) - x
        p = self._p
        unused = np.maximum(self._length**p - (np.abs(delta) ** p).sum((1, 2, 3)), 0)
        top, left = (self._rng.integers(0, size - side + 1, n) for size in (h, w))
        here = (
            np.arange(n)[:, None, None, None],
            np.arange(c)[:, None, None],
            (top[:, None] + np.arange(side))[:, None, :, None],
            (left[:, None] + np.arange(side))[:, None, None, :],
        )
        old = delta[here]
        taken = _windows(self._rng, x, side)
        delta_taken = np.where(taken, delta, 0)
        delta_taken[here] = old
        available = ((np.abs(delta_taken) ** p).sum((2, 3)) + unused[:, None] / c) ** (1 / p)
        if p == 1:
            available *= c
        nu = _unit(self._signed_eta(n, c, side) + _unit(old, p), p)
        delta = np.where(taken, 0, delta)
        delta[here] = nu * available[:, :, None, None]
        return self._pixels(x, delta)

    def _signed_eta(self, n: int, c: int, side: int) -> NDArray[np.float32]:
        """Unit patterns [N, C, side, side] of random sign and, for each image, random orientation."""
        upright = _eta(side, self._p)
        lying = self._rng.integers(0, 2, (n, 1, 1, 1), dtype=bool)
        sign = self._rng.integers(0, 2, (n, c, 1, 1)).astype(np.float32) * 2 - 1
        return sign * np.where(lying, upright.T, upright)

    def _pixels(self, x: Pixels, delta: NDArray[np.float32]) -> Pixels:
        """x + delta [levels] as 8-bit images in the ball: l2 scaled to the length epsilon, l1 to no less, projected."""
        flat = delta.reshape(len(x), -1)
        length = np.linalg.norm(flat, self._p, axis=1)[:, None]
        scale = self._length / np.maximum(length, 1e-12)
        moved = (flat * (scale if self._p == 2 else np.maximum(scale, 1))).reshape(x.shape)
        moved = (x + moved) / np.float32(255)
        if self._p == 2:
            moved = np.clip(moved, 0, 1)
        candidate: Pixels = self._ball.to_pixels(torch.from_numpy(moved), torch.from_numpy(x)).numpy()
        return candidate


def _windows(rng: np.random.Generator, x: Pixels, side: int) -> NDArray[np.bool_]:
    """A random square of `side` pixels in each image: bool [N, 1, H, W]."""
    n, _, h, w = x.shape
    top, left = (rng.integers(0, size - side + 1, (n, 1)) for size in (h, w))
    rows = (np.arange(h) >= top) & (np.arange(h) < top + side)
    columns = (np.arange(w) >= left) & (np.arange(w) < left + side)
    return rows[:, None, :, None] & columns[:, None, None, :]


def _unit(delta: NDArray[np.float32], p: int) -> NDArray[np.float32]:
    """Each channel of a window [N, C, s, s] brought to length 1; zero stays zero."""
    length = (np.abs(delta) ** p).sum((2, 3), keepdims=True) ** (1 / p)
    unit: NDArray[np.float32] = delta / np.maximum(length, 1e-12)
    return unit


def _eta(side: int, p: int) -> NDArray[np.float32]:
    """The pattern [side, side] of length 1: a half that rises to its middle, above one that falls."""
    upper, lower = (_bump(height, side, p) for height in (side // 2, side - side // 2))
    # Of side 1 the upper half is empty, and its length 0.
    upper, lower = (half / max(float(np.linalg.norm(half.ravel(), p)), 1e-12) for half in (upper, lower))
    eta = np.concatenate((upper, -lower))
    return np.asarray(eta / np.linalg.norm(eta.ravel(), p), np.float32)


def _bump(height: int, width: int, p: int) -> NDArray[np.float64]:
    terms = 1 / np.arange(1, max(height, width) // 2 + 2) ** (4 / p)
    tail = terms[::-1].cumsum()[::-1]  # tail[d] = sum of the terms from d on
    rows, columns = abs(np.arange(height) - height // 2), abs(np.arange(width) - width // 2)
    bump: NDArray[np.float64] = tail[np.maximum(rows[:, None], columns)]
    return bump
