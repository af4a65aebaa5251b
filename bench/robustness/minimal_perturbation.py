"""The smallest perturbation that fools the engine, image by image: a distance instead of a verdict at one radius.

    d(x) = min ||q' - q||_p / 255   over the 8-bit images q' found with   engine(q') != y

An upper bound of the true distance, as every attack's. A search on the twin (FAB-T in a ball that holds every image,
arXiv:1907.02044) gives directions; along each, the shortest step is bisected on the engine itself,

    q'(lambda) = round( clip( q + lambda delta ) )

so that what is reported is the length of an 8-bit image that was replayed, not of a float point near it. Rounding may
undo a perturbation that is just long enough; then up to twice its length is tried. The share of images with
d(x) > epsilon bounds the robust accuracy at epsilon from above, for all epsilon at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...runtime.errors import RecipeError
from ..attacks.access import Model, Scores
from ..attacks.threat.threat_model import Norm, ThreatModel, move_size
from ..attacks.white_box.fab import fab
from ..attacks.white_box.gradient import device_of, frozen
from ..measurement import Measurement, Setting, measured, share
from .case import Case
from .criteria import right_answers

__all__ = ["MinimalPerturbations", "Search", "minimal_perturbations"]

Search = Callable[..., Tensor]
"""search(model, x, y, threat=, generator=, batch_size=) -> the nearest adversarial points, float [N, C, H, W]."""

_QUARTILES = {"minimal-perturbation-p25": 0.25, "minimal-perturbation-p50": 0.5, "minimal-perturbation-p75": 0.75}
_LONGER = (1.0, 1.02, 1.05, 1.1, 1.2, 1.4, 2.0)
_HALVINGS = 10  # of a direction: a thousandth of its length, less than a level of most


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MinimalPerturbations:
    """What `minimal_perturbations` found on n images.

    Attributes:
        norm: the norm.
        attacks: names of the searches.
        seed: of everything random in them.
        values: float64 [N], lengths in pixel values in [0, 1]; 0 where the image is wrong as it is, infinite where
            nothing was found.
        adversarial: uint8 [N, C, H, W], the images of these lengths; the image itself where nothing was found.
    """

    norm: Norm
    attacks: tuple[str, ...]
    seed: int
    values: NDArray[np.float64] = field(repr=False)
    adversarial: NDArray[np.uint8] = field(repr=False)

    @property
    def n(self) -> int:
        """Images in all."""
        return len(self.values)

    @property
    def median(self) -> float:
        """Half of the images have one that is no longer; infinite where that holds for none."""
        return self.quantile(0.5)

    def quantile(self, share: float) -> float:
        """The least length within which this share of the images, in [0, 1], are broken."""
        return float(np.quantile(self.values, share, method="inverted_cdf"))

    def robust(self, epsilon: float) -> int:
        """Images that are right and have no perturbation of at most epsilon, decided on whole levels."""
        radius = ThreatModel(self.norm, epsilon).pixel_radius
        return int((_levels(self.values, self.norm) > radius).sum())

    def measurements(self, epsilons: Sequence[float]) -> tuple[Measurement, ...]:
        """Quartiles as "minimal-perturbation-p25", "-p50", "-p75" where finite; the share `robust` at each radius."""
        shared: dict[str, Setting] = {"norm": self.norm, "attack": " + ".join(self.attacks), "seed": self.seed}
        quartiles = {name: 255 * self.quantile(share) for name, share in _QUARTILES.items()}
        found = [
            measured(name, value, n=self.n, settings=shared)
            for name, value in quartiles.items()
            if math.isfinite(value)
        ]
        found += [
            share("robust-accuracy-by-distance", self.robust(epsilon), self.n, **shared, epsilon=epsilon)
            for epsilon in epsilons
        ]
        return tuple(found)


def minimal_perturbations(case: Case, attacks: Mapping[str, Search] | None = None) -> MinimalPerturbations:
    """Search with every attack, shorten on the engine, keep the shortest.

    Args:
        case: with a twin; the length counts in the norm of its threat model, whose radius and target do not count.
            Finished searches are kept by name. Progress is told after each batch; the task is the attack's name.
        attacks: searches by name, with settings that minimize, such as partial(fab, targeted=True, minimize=True),
            which is the one taken if not given.

    Raises:
        RecipeError: no attacks, or no twin.
    """
    searches = {"fab-t": partial(fab, targeted=True, minimize=True)} if attacks is None else attacks
    if not searches:
        raise RecipeError("minimal perturbations need a search", expected="one attack or more", got="none")
    norm = case.threat.norm
    best = np.full(case.n, np.inf)  # in levels
    adversarial = case.images.copy()
    for start, rows in case.batches(np.arange(case.n)):
        batch = slice(start, start + len(rows))  # views, which are written to
        pixels, y = case.images[batch], case.labels[batch]
        best[batch][~right_answers(case.engine(pixels), y)] = 0
        for index, (name, search) in enumerate(searches.items()):
            seed = case.stream(start, index)
            look = partial(
                _directions, search, case.white_box, pixels, y, norm=norm, seed=seed, batch_size=case.batch_size
            )
            found = case.load_or_compute({"minimal": name, "norm": norm, "seed": seed}, (pixels, y), look)
            deltas = found["deltas"]
            _shorten(case.engine, pixels, y, deltas, norm=norm, best=best[batch], adversarial=adversarial[batch])
            done = start + len(rows)
            median = np.median(np.sqrt(best[:done]) if norm == "l2" else best[:done])
            case.progress(name, done, case.n, f"median {median:.1f} levels ({norm})")
    values = np.sqrt(best) / 255 if norm == "l2" else best / 255
    return MinimalPerturbations(
        norm=norm, attacks=tuple(searches), seed=case.seed, values=values, adversarial=adversarial
    )


def _directions(
    search: Search,
    twin: Model,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    norm: Norm,
    seed: int,
    batch_size: int,
) -> dict[str, NDArray[np.float64]]:
    """What the search moved, "deltas" in levels, float64 [N, C, H, W]; 0 where it found nothing."""
    device = device_of(twin)
    x = torch.from_numpy(pixels).to(device).float() / 255
    size = pixels[0].size
    everything = ThreatModel(norm, {"linf": 1.0, "l2": math.sqrt(size), "l1": float(size)}[norm])
    with frozen(twin):
        found = search(
            twin,
            x,
            torch.from_numpy(labels).to(device),
            threat=everything,
            generator=torch.Generator().manual_seed(seed),
            batch_size=batch_size,
        )
    return {"deltas": 255 * found.cpu().numpy().astype(np.float64) - pixels}


def _shorten(
    engine: Scores,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    deltas: NDArray[np.float64],
    *,
    norm: Norm,
    best: NDArray[np.float64],
    adversarial: NDArray[np.uint8],
) -> None:
    """Replay points along each direction; what is shorter than `best` [N], in (squared) levels, is written there."""

    def fools(rows: NDArray[np.intp], times: NDArray[np.float64]) -> NDArray[np.bool_]:
        moved = pixels[rows] + times[:, None, None, None] * deltas[rows]
        candidates = np.clip(np.rint(moved), 0, 255).astype(np.uint8)
        fooled = ~right_answers(engine(candidates), labels[rows])
        sizes = move_size(candidates.astype(np.int64) - pixels[rows], norm)
        shorter = fooled & (sizes < best[rows])
        best[rows[shorter]] = sizes[shorter]
        adversarial[rows[shorter]] = candidates[shorter]
        return fooled

    left = np.flatnonzero((best > 0) & (deltas != 0).any((1, 2, 3)))
    low, high = np.zeros(len(pixels)), np.full(len(pixels), np.inf)
    for times in _LONGER:
        if not len(left):
            break
        fooled = fools(left, np.full(len(left), times))
        high[left[fooled]] = times
        low[left[~fooled]] = times
        left = left[~fooled]
    rows = np.flatnonzero(np.isfinite(high))
    for _ in range(_HALVINGS if len(rows) else 0):
        middle = (low[rows] + high[rows]) / 2
        fooled = fools(rows, middle)
        high[rows[fooled]] = middle[fooled]
        low[rows[~fooled]] = middle[~fooled]


def _levels(values: NDArray[np.float64], norm: Norm) -> NDArray[np.float64]:
    """`move_size` from lengths in [0, 1], exact."""
    levels = 255 * values
    exact: NDArray[np.float64] = np.rint(levels * levels if norm == "l2" else levels)
    return exact
