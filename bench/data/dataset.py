"""A data set as uint8 arrays, divided into parts that never overlap.

Rule: the source's training split is put in random order; the first `heldout` images are held out (model selection,
early stopping), the next `calibration` images calibrate quantizers, all others train. The source's test split is
`test`, whole and in its own order. Nothing that is tuned ever sees `test`.

The order is argsort(r), r = n raw 64-bit draws of PCG64(seed). Raw draws are frozen by NumPy's stream policy (NEP 19),
the methods of `Generator` are not: the same seed gives the same parts on every NumPy, today and later.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...runtime.errors import DataError
from .split_checks import check_classes, check_part, shape_of

__all__ = ["Dataset", "Images", "Labels", "Part", "Splits", "divide", "random_order"]

Images = npt.NDArray[np.uint8]
"""uint8 [N, C, H, W], C = 1 (gray) or 3 (RGB)."""

Labels = npt.NDArray[np.int64]
"""int64 [N], each 0 <= label < K."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Splits:
    """What a loader reads: the source's own training and test split, checked.

    Attributes:
        name: the data set's name.
        classes: K >= 2 different printable names, none empty; label k is `classes[k]`.
        train_images: uint8 [N, C, H, W].
        train_labels: int64 [N].
        test_images: uint8 [M, C, H, W].
        test_labels: int64 [M].
        source: where it came from.
        notes: what a loader left out or read in another way than plainly, and labels that may be meant otherwise; one
            line each, printable.

    Raises:
        DataError: a name, type, shape or label is not as above.
    """

    name: str
    classes: tuple[str, ...]
    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    source: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_classes(self.name, self.classes)
        check_part(f"{self.name}: train", self.train_images, self.train_labels, len(self.classes))
        check_part(f"{self.name}: test", self.test_images, self.test_labels, len(self.classes))
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise DataError(
                f"{self.name}: training and test images differ in shape",
                expected=f"test images of {shape_of(self.train_images)}",
                got=shape_of(self.test_images),
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Part:
    """Images and labels of one purpose.

    Attributes:
        images: uint8 [N, C, H, W].
        labels: int64 [N].
        name: "train", "heldout", "calibration" or "test".
        indices: int64 [N], each image's position in the source split.
        split: the source split, "train" or "test".
    """

    images: Images
    labels: Labels
    name: str
    indices: npt.NDArray[np.int64]
    split: str

    def __len__(self) -> int:
        return len(self.labels)

    def head(self, n: int) -> Part:
        """The first `n` images, 1 <= n <= N. A DataError otherwise.

        Papers evaluate on the first images of a test split; use it only where the source is not sorted by class.
        """
        self._check_count(n)
        return self._take(np.arange(n))

    def subset(self, n: int, *, seed: int) -> Part:
        """`n` different images, 1 <= n <= N, drawn at random. A DataError otherwise."""
        self._check_count(n)
        return self._take(random_order(len(self), seed=seed)[:n])

    def at_most(self, n: int | None, *, seed: int) -> Part:
        """`n` images, drawn since many splits are sorted by class; the part itself if it has no more or `n` is None."""
        return self if n is None or n >= len(self) else self.subset(n, seed=seed)

    def _check_count(self, n: int) -> None:
        if not 1 <= n <= len(self):
            raise DataError(
                f"cannot take {n} images of the {self.name} part", expected=f"1 to {len(self)} images", got=str(n)
            )

    def _take(self, where: npt.NDArray[np.intp]) -> Part:
        return Part(
            images=self.images[where],
            labels=self.labels[where],
            name=self.name,
            indices=self.indices[where],
            split=self.split,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Dataset:
    """Four parts of one data set; `train`, `heldout` and `calibration` are disjoint and cover the training split.

    Attributes:
        name: the data set's name.
        classes: K class names; label k is `classes[k]`.
        train: images to learn from.
        heldout: images to choose between models by.
        calibration: images to calibrate quantizers with.
        test: the source's test split, whole.
        source: where it came from.
        notes: as in `Splits`.
    """

    name: str
    classes: tuple[str, ...]
    train: Part
    heldout: Part
    calibration: Part
    test: Part
    source: str
    notes: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        _, channels, height, width = self.test.images.shape
        return channels, height, width


def random_order(n: int, *, seed: int) -> npt.NDArray[np.intp]:
    """A permutation of 0..n-1, the same for the same `n` and `seed` (seed >= 0, a DataError otherwise)."""
    if seed < 0:
        raise DataError("the seed of a data set is negative", expected="0 or more", got=str(seed))
    return np.argsort(np.random.PCG64(seed).random_raw(n), kind="stable")


def divide(splits: Splits, *, heldout: int, calibration: int, seed: int) -> Dataset:
    """Divide the training split by the rule above.

    Args:
        splits: what the loader read, N training images.
        heldout: images to hold out, 0 or more.
        calibration: images for calibration, 0 or more; heldout + calibration < N.
        seed: 0 or more; decides which image falls into which part.

    Raises:
        DataError: a count is negative or nothing is left to train on.
    """
    total = len(splits.train_labels)
    if heldout < 0 or calibration < 0 or heldout + calibration >= total:
        raise DataError(
            f"{splits.name}: {total} training images cannot be divided as asked",
            expected=f"heldout and calibration of 0 or more, and together less than {total}",
            got=f"heldout {heldout}, calibration {calibration}",
            fix="lower data.heldout or data.calibration",
        )
    order = random_order(total, seed=seed)
    ends = (heldout, heldout + calibration)

    def part(name: str, indices: npt.NDArray[np.intp]) -> Part:
        return Part(
            images=splits.train_images[indices],
            labels=splits.train_labels[indices],
            name=name,
            indices=indices.astype(np.int64),
            split="train",
        )

    return Dataset(
        name=splits.name,
        classes=splits.classes,
        train=part("train", order[ends[1] :]),
        heldout=part("heldout", order[: ends[0]]),
        calibration=part("calibration", order[ends[0] : ends[1]]),
        test=Part(
            images=splits.test_images,
            labels=splits.test_labels,
            name="test",
            indices=np.arange(len(splits.test_labels), dtype=np.int64),
            split="test",
        ),
        source=splits.source,
        notes=splits.notes,
    )
