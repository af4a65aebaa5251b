"""In which other forms a network may want its input: range, normalization, colour channels, sides, polarity.

    pixels  ->  moved in place (channels, sides, polarity)  ->  (x - mean) / std,  x = pixels / 255

A graph that takes 8-bit pixels has nothing but the first arrow. Constants: torchvision's for ImageNet; the data sets'
own means and deviations for the CIFARs, MNIST and Fashion-MNIST; CLIP's; Caffe's pixel means, which are of BGR images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...runtime.engine import Engine

__all__ = ["AS_IT_IS", "Form", "answers", "first_forms", "further_forms"]

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """One form of the input.

    Attributes:
        moves: what is done to the pixels, keys of `_MOVES`, in that order.
        values: what the values are, in words; "" for pixels / 255, or pixels where the graph takes those.
        mean: one number a channel, or one for all; of `(x - mean) / std`.
        std: the same.
    """

    moves: tuple[str, ...] = ()
    values: str = ""
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @property
    def words(self) -> str:
        """What the network would get."""
        return " and ".join([*([self.values] if self.values else []), *self.moves])

    @property
    def fix(self) -> str:
        """What to put in front of the network so that it takes what bench gives."""
        mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        scale = [f"(x - mean) / std with mean {mean} and std {std}"] if self.values else []
        return ", then ".join([*self.moves, *scale])


AS_IT_IS = Form()

_MOVES: Mapping[str, Callable[[Pixels], Pixels]] = {
    "BGR instead of RGB": lambda pixels: pixels[:, ::-1],
    "height and width exchanged": lambda pixels: pixels.swapaxes(2, 3),
    "inverted pixels": lambda pixels: 255 - pixels,
}
_BGR, _SIDES, _INVERTED = _MOVES

_ANY = (
    Form(values="pixels from 0 to 255", std=(1 / 255,)),
    Form(values="values from -1 to 1", mean=(0.5,), std=(0.5,)),
    Form(values="values from -0.5 to 0.5", mean=(0.5,)),
    Form(values="pixels from -128 to 127", mean=(128 / 255,), std=(1 / 255,)),
)
_COLOUR = (
    Form(values="ImageNet's normalization", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    Form(values="CIFAR-10's normalization", mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
    Form(values="CIFAR-100's normalization", mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762)),
    Form(values="CLIP's normalization", mean=(0.4815, 0.4578, 0.4082), std=(0.2686, 0.2613, 0.2758)),
)
_GRAY = (
    Form(values="MNIST's normalization", mean=(0.1307,), std=(0.3081,)),
    Form(values="Fashion-MNIST's normalization", mean=(0.2860,), std=(0.3530,)),
    Form(values="ImageNet's normalization", mean=(0.449,), std=(0.226,)),
)
_CAFFE = Form(
    moves=(_BGR,),
    values="Caffe's pixels less their means",
    mean=(103.939 / 255, 116.779 / 255, 123.68 / 255),
    std=(1 / 255,),
)


def first_forms(engine: Engine, images: Pixels) -> list[Form]:
    """Forms to try one by one; the likelier ones first.

    Args:
        engine: the network.
        images: uint8 [N, C, H, W] of the data, for their own mean and deviation.
    """
    channels, height, width = engine.input_shape
    moves = [Form(moves=(move,)) for move in _moves_of(channels, square=height == width)]
    if engine.backend.input_dtype == "uint8":
        return moves
    own = _own(images)
    values = [*(_COLOUR if channels == 3 else _GRAY), *_ANY, *([own] if own is not None else [])]
    if channels != 3:
        return [*values, *moves]
    return [*values, *moves, _CAFFE, *(_with(form, _BGR) for form in values)]


def further_forms(form: Form, engine: Engine) -> list[Form]:
    """A form with one more move."""
    channels, height, width = engine.input_shape
    return [_with(form, move) for move in _moves_of(channels, square=height == width) if move not in form.moves]


def answers(engine: Engine, images: Pixels, form: Form) -> NDArray[np.float32]:
    """Logits [N, K] of images in another form.

    Raises:
        ModelError: the backend failed.
    """
    pixels = images
    for move in form.moves:
        pixels = _MOVES[move](pixels)
    if not form.values:
        return engine(np.ascontiguousarray(pixels))
    mean, std = (np.array(values, np.float32).reshape(1, -1, 1, 1) for values in (form.mean, form.std))
    step = engine.backend.batch or engine.max_batch
    found = []
    for start in range(0, len(pixels), step):
        x = (pixels[start : start + step].astype(np.float32) / np.float32(255) - mean) / std
        filled = np.zeros((engine.backend.batch or len(x), *x.shape[1:]), np.float32)
        filled[: len(x)] = x
        found.append(engine.backend.run(filled)[: len(x)])
    return np.concatenate(found)


def _moves_of(channels: int, *, square: bool) -> list[str]:
    return [*([_BGR] if channels == 3 else []), *([_SIDES] if square else []), _INVERTED]


def _with(form: Form, move: str) -> Form:
    return replace(form, moves=(*form.moves, move))


def _own(images: Pixels) -> Form | None:
    """The data's own mean and deviation, a channel each; None where a channel does not vary."""
    x = images.astype(np.float64) / 255
    mean, std = x.mean((0, 2, 3)), x.std((0, 2, 3))
    if not std.all():
        return None
    return Form(values="the data's own mean and deviation", mean=tuple(mean.tolist()), std=tuple(std.tolist()))
