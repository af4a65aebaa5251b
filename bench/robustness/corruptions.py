"""Robustness to common corruptions: noise, blur, weather and bad compression instead of an adversary.

Hendrycks & Dietterich 2019 (arXiv:1903.12261): 15 corruptions at 5 severities, and the share of errors on each,

    E_{c,s} = share of images, corrupted by c at severity s, that the classifier gets wrong
    mean corruption error = mean of E_{c,s} over c and s

The paper's mCE divides by AlexNet's errors, which exist for ImageNet alone; this is the plain mean, as for CIFAR-10-C.
The corruptions are those of `imagecorruptions` (its maintained fork, `imagecorruptions-imaug`) with its parameters,
which are ImageNet-C's, made for images of 224 x 224. On smaller images,

* corruptions of pixel values or of shares of the image (noise, fog, zoom, brightness, contrast, pixelation, JPEG) are
  made at the image's own size, mirrored at its edges to 32 x 32 pixels where it is smaller, and cropped again;
* corruptions with lengths in pixels (defocus, glass, motion, snow, frost, elastic) are made on the image enlarged by
  the whole factor round(224 / longer side), and each block of pixels is averaged again: a blur of 10 pixels of 224 is
  one of 1.25 pixels of 28.

CIFAR-10-C and MNIST-C have parameters of their own, written for their size: figures compare between engines that were
measured here, not with those tables. Gray images go through as three equal channels, and the second (green) comes back.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.cpu import instruction_set
from ...runtime.errors import DataError, MissingExtraError, RecipeError
from ..measurement import Measurement, Setting, measured, share
from .case import Case
from .criteria import right_answers

__all__ = ["CORRUPTIONS", "SEVERITIES", "CorruptionResult", "corrupt", "evaluate_corruptions"]

CORRUPTIONS: tuple[str, ...] = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
"""The paper's 15, in its order."""

SEVERITIES: tuple[int, ...] = (1, 2, 3, 4, 5)

_ENLARGED = frozenset({"defocus_blur", "glass_blur", "motion_blur", "snow", "frost", "elastic_transform"})
_SEEDED = frozenset({"glass_blur", "impulse_noise"})  # these do not draw from NumPy's global generator
_MADE_FOR = 224
_SMALLEST = 32  # what the package takes

_Apply = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


@dataclass(frozen=True, kw_only=True, slots=True)
class CorruptionResult:
    """What an engine makes of corrupted images.

    Attributes:
        n: images; each of them was corrupted in every way.
        clean: images that the engine gets right as they are.
        right: for each (corruption, severity), the images that it gets right.
        seed: of everything random in the corruptions.
    """

    n: int
    clean: int
    right: dict[tuple[str, int], int]
    seed: int

    @property
    def mean_accuracy(self) -> float:
        """Mean over corruptions and severities, in [0, 1]."""
        return sum(self.right.values()) / (len(self.right) * self.n)

    @property
    def mean_error(self) -> float:
        """The mean corruption error, 1 - mean_accuracy."""
        return 1 - self.mean_accuracy

    def measurements(self) -> tuple[Measurement, ...]:
        """Each accuracy with its Wilson interval, then their mean and the mean error.

        The means have no interval: all the answers are about the same n images, so they are not independent.
        """
        rows = [
            share("corruption-accuracy", count, self.n, corruption=name, severity=severity, seed=self.seed)
            for (name, severity), count in self.right.items()
        ]
        names = dict.fromkeys(name for name, _ in self.right)
        severities = dict.fromkeys(severity for _, severity in self.right)
        over: dict[str, Setting] = {
            "corruptions": " ".join(names),
            "severities": " ".join(map(str, severities)),
            "clean": self.clean,
            "seed": self.seed,
        }
        means = (("mean-corruption-accuracy", self.mean_accuracy), ("mean-corruption-error", self.mean_error))
        return (
            *rows,
            *(measured(name, 100 * mean, n=self.n, settings=over) for name, mean in means),
        )


def corrupt(images: NDArray[np.uint8], name: str, severity: int, *, seed: int) -> NDArray[np.uint8]:
    """Corrupt images.

    Args:
        images: uint8 [N, C, H, W], C = 1 or 3.
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: 0 or more; image i of a call is corrupted alike whatever comes after it.

    Returns:
        uint8 [N, C, H, W].

    Raises:
        RecipeError: unknown corruption, or severity out of range.
        DataError: images of another type or shape.
        MissingExtraError: the package is not installed.
    """
    _check(images, (name,), (severity,), seed)
    apply = _package().corrupt
    result = np.empty_like(images)
    with _own_random_state():
        for index, image in enumerate(images):
            stream = np.random.SeedSequence([seed, CORRUPTIONS.index(name), severity, index])
            number = int(stream.generate_state(1)[0])
            np.random.seed(number)  # noqa: NPY002 (what the package draws from)
            options = {"seed": number} if name in _SEEDED else {}
            call = partial(apply, corruption_name=name, severity=severity, **options)
            three = np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)
            corrupted = (_enlarged if name in _ENLARGED else _padded)(call, three)
            result[index] = corrupted.transpose(2, 0, 1) if len(image) == 3 else corrupted[..., 1]
    return result


def evaluate_corruptions(
    case: Case, *, names: Sequence[str] = CORRUPTIONS, severities: Sequence[int] = SEVERITIES
) -> CorruptionResult:
    """The accuracy of an engine on corrupted images.

    Args:
        case: C = 1 or 3; neither its twin nor its threat model is asked. Finished counts are kept. Progress is told
            after each corruption at each severity.
        names: of `CORRUPTIONS`, one or more.
        severities: of 1 to 5, one or more.

    Raises:
        RecipeError: settings out of range.
        DataError: images that do not fit.
        MissingExtraError: the package is not installed.
    """
    _check(case.images, names, severities, case.seed)
    clean = int(case.right().sum())
    right: dict[tuple[str, int], int] = {}
    total = len(names) * len(severities)

    def count(name: str, severity: int) -> dict[str, NDArray[np.int64]]:
        logits = case.engine(corrupt(case.images, name, severity, seed=case.seed))
        return {"right": np.asarray(right_answers(logits, case.labels).sum())}

    # Counts, unlike candidates, are not asked of the engine again: they hold where they were made.
    where = {"package": _version(), "instruction_set": instruction_set(), "seed": case.seed}
    for name in names:
        for severity in severities:
            what = {"corruption": name, "severity": severity, **where}
            found = case.load_or_compute(what, (case.images, case.labels), partial(count, name, severity))
            right[name, severity] = int(found["right"])
            text = f"{name} {severity}: {right[name, severity]} of {case.n} right"
            case.progress("corruptions", len(right), total, text)
    return CorruptionResult(n=case.n, clean=clean, right=right, seed=case.seed)


def _padded(apply: _Apply, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Of the image's own size, [H, W, 3], mirrored to the smallest size that the package takes."""
    height, width = image.shape[:2]
    top, left = (max(_SMALLEST - side, 0) // 2 for side in (height, width))
    below, right = (max(_SMALLEST - side, 0) - before for side, before in ((height, top), (width, left)))
    # "symmetric" repeats the pixel at the edge: it can mirror images of a single pixel, too.
    mirrored = np.pad(image, ((top, below), (left, right), (0, 0)), mode="symmetric")
    return apply(mirrored)[top : top + height, left : left + width]


def _enlarged(apply: _Apply, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Of the size that the parameters were made for, [H, W, 3]; an image that is not corrupted comes back exactly."""
    height, width = image.shape[:2]
    factor = max(round(_MADE_FOR / max(height, width)), 1)
    large = _padded(apply, image.repeat(factor, 0).repeat(factor, 1))
    blocks = large.reshape(height, factor, width, factor, 3).mean((1, 3))
    return np.asarray(np.rint(blocks), np.uint8)


def _package() -> Any:
    try:
        return importlib.import_module("imagecorruptions")
    except ModuleNotFoundError:
        raise MissingExtraError(
            "imagecorruptions-imaug", extra="corruptions", feature="robustness to common corruptions"
        ) from None


def _version() -> str:
    """Of the package or its fork, whichever is installed."""
    for name in ("imagecorruptions-imaug", "imagecorruptions"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return f"{name} {metadata.version(name)}"
    return ""


@contextlib.contextmanager
def _own_random_state() -> Iterator[None]:
    """NumPy's global generator is given back as it was."""
    state = np.random.get_state()  # noqa: NPY002 (what the package draws from)
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002 (as above)


def _check(images: NDArray[np.uint8], names: Sequence[str], severities: Sequence[int], seed: int) -> None:
    known = bool(names) and set(names) <= set(CORRUPTIONS) and len(set(names)) == len(names)
    if not known or not severities or not set(severities) <= set(SEVERITIES) or seed < 0:
        raise RecipeError(
            "common corruptions",
            expected=f"some of {', '.join(CORRUPTIONS)}, each once; severities of 1 to 5; seed >= 0",
            got=f"{', '.join(names) or 'none'}; {', '.join(map(str, severities)) or 'none'}; seed {seed}",
        )
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape[2:]:
        raise DataError(
            "images to corrupt",
            expected="uint8 [N, C, H, W] with C = 1 or 3",
            got=f"{images.dtype} {list(images.shape)}",
        )
