"""A teacher that is asked once about each training image.

Distillations compare the student with T(x) in every epoch. Where images stay as they are, T(x) is one table [N, K],
made when it is first wanted; where they are changed on their way (flip, shift, cutout, cutmix), or the table would be
too large, T is asked once a batch. What it says to other images, such as adversarial ones, is asked each time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from ...bench.attacks.access import Model
from ...bench.data.dataset import Part
from ..recipe.training import Training
from .augment import changes_images

__all__ = ["CachedTeacher"]

_LARGEST = 2**28
"""Bytes of a table."""
_BATCH = 512


class CachedTeacher:
    """Images [N, C, H, W] -> logits [N, K], like the teacher itself.

    Args:
        teacher: in evaluation mode, on `device`.
        train: what the batches are taken from.
        settings: whether images are changed on their way.
        device: where the student is trained.
        autocast: the context to ask in.
    """

    def __init__(
        self,
        teacher: Model,
        train: Part,
        settings: Training,
        *,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._teacher = teacher
        self._images = torch.from_numpy(train.images)
        self._asked_each_time = changes_images(settings)
        self._device = device
        self._autocast = autocast
        self._table: Tensor | None = None
        self._batch: tuple[Tensor, Tensor] | None = None
        self._said: Tensor | None = None

    def open(self, x: Tensor, where: Tensor) -> None:
        """Begin a batch: x [N, C, H, W] are the training images `where`, int64 [N], maybe changed."""
        self._batch, self._said = (x, where), None

    def __call__(self, x: Tensor) -> Tensor:
        """What the teacher says; kept for the very tensor that `open` was given, and for no other."""
        if self._batch is None or x is not self._batch[0]:
            return self._teacher(x)
        if self._said is None:
            self._said = self._look_up(*self._batch)
        return self._said

    def _look_up(self, x: Tensor, where: Tensor) -> Tensor:
        if self._table is None and not self._asked_each_time:
            self._table = self._answers()
        return self._ask(x) if self._table is None else self._table[where]

    def _answers(self) -> Tensor | None:
        # In batches of their own: an interrupted training that goes on in the middle reads the same numbers.
        found = []
        for pixels in torch.split(self._images, _BATCH):
            found.append(self._ask(pixels.to(self._device).float() / 255))
            if found[0][0].nbytes * len(self._images) > _LARGEST:
                self._asked_each_time = True
                return None
        return torch.cat(found)

    def _ask(self, x: Tensor) -> Tensor:
        with torch.no_grad(), self._autocast():
            return self._teacher(x).float()
