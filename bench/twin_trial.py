"""Whether a twin can be attacked: tried when it is made, alone and beside others, and against its engine.

A graph may fail only when it runs, or only with several images at once. So the twin is given a black image with a
gradient to follow, then black, white and noise together, then each of them alone. It is no twin if it fails, gives
other shapes than the engine, has no gradient, or says another thing of an image when others stand beside it.

Rule: two forms of a network differ on an image if they predict different classes, or if a logit differs by more than a
tenth of what the network's logits span:

    unlike(x)  <=>  argmax e != argmax t   or   max_k |e_k - t_k| > max(s / 10, 10^-5 max |e|)
    s = median over images of (max_k e_k - min_k e_k)

e are the engine's logits, t the twin's. Rounding in another order, or a quantizer's step here and there, stays below
that; an attribute that the twin reads in another way does not. A number that only one of the two holds (NaN, infinite)
is a difference.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from ..export.twin.twin import Twin
from ..runtime.engine import Engine
from ..runtime.errors import HardtemperError
from .attacks.white_box.gradient import frozen
from .randomness import is_random

__all__ = ["logit_gap", "try_twin", "unlike"]

_SHARE = 0.1
_ROUNDING = 1e-5
_SEED = 0


def try_twin(model: onnx.ModelProto, engine: Engine, *, twin: Twin | None = None) -> tuple[Twin | None, str, str]:
    """Make the twin of a graph and try it.

    Args:
        model: the graph.
        engine: what runs it.
        twin: of that graph, where it was made for another engine.

    Returns:
        The twin or None; why there is none, "" where there is one; how it differs from the engine on the images of the
        trial, "" where it does not.
    """
    try:
        twin = Twin(model) if twin is None else twin
        reason, logits = _try(twin, engine)
    except HardtemperError as error:
        return None, f"no twin: {error}", ""
    except Exception as error:  # a graph from anywhere may break an operator's assumptions in any way
        lines = str(error).strip().splitlines()
        return None, f"no twin: {type(error).__name__}{': ' + lines[0] if lines else ''}", ""
    if reason:
        return None, f"no twin: {reason}", ""
    return twin, "", _difference(engine, logits)


def unlike(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.bool_]:
    """On which images two forms of a network differ by the module's rule, the first one's logits as measure.

    Args:
        one: logits [N, K].
        other: logits [N, K].

    Returns:
        bool [N].
    """
    found: NDArray[np.bool_] = (logit_gap(one, other) > 1) | (one.argmax(1) != other.argmax(1))
    return found


def logit_gap(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """The largest difference of a logit of each image, in units of what counts as one: float64 [N], 1 is the limit."""
    wide, beside = one.astype(np.float64), other.astype(np.float64)
    finite = np.isfinite(wide).all(1)
    span = float(np.median(np.ptp(wide[finite], axis=1))) if finite.any() else 0.0
    limit = max(_SHARE * span, _ROUNDING * float(np.abs(wide[finite]).max(initial=0)), np.finfo(np.float32).tiny)
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.where((wide == beside) | (np.isnan(wide) & np.isnan(beside)), 0, np.abs(wide - beside)) / limit
    worst: NDArray[np.float64] = np.where(np.isnan(gap), np.inf, gap).max(1, initial=0)
    return worst


def _images(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Black, white, and two of noise: uint8 [4, C, H, W]."""
    noise = np.random.default_rng(_SEED).integers(0, 256, (2, *shape), dtype=np.uint8)
    return np.concatenate([np.zeros((1, *shape), np.uint8), np.full((1, *shape), 255, np.uint8), noise])


def _try(twin: Twin, engine: Engine) -> tuple[str, NDArray[np.float32]]:
    """What is wrong with it, "" for nothing; and its logits of the trial's images."""
    images = _images(engine.input_shape)
    x = torch.from_numpy(images).float() / 255
    none = np.zeros((0, len(engine.labels)), np.float32)
    with frozen(twin):
        first = twin(torch.zeros(1, *engine.input_shape, requires_grad=True))
        if not first.requires_grad:
            return "its logits are cut off from the image, so there is no gradient to follow", none
        if first.shape != (1, len(engine.labels)):
            return f"it gives {list(first.shape)} where the engine gives [1, {len(engine.labels)}]", none
        with torch.no_grad():
            together = twin(x)
            if together.shape != (len(x), len(engine.labels)):
                expected = [len(x), len(engine.labels)]
                return f"it gives {list(together.shape)} of {len(x)} images at once, not {expected}", none
            logits = together.float().numpy()
            alone = np.concatenate([twin(image).float().numpy() for image in x.unsqueeze(1)])
            # a twin that draws noise gives other logits every time, whatever stands beside an image
            if (logit_gap(alone, logits) > 1).any() and not is_random(
                lambda pixels: twin(torch.from_numpy(pixels).float() / 255).float().numpy(), images
            ):
                return "its logits of an image depend on the images beside it", none
    return "", logits


def _difference(engine: Engine, logits: NDArray[np.float32]) -> str:
    """How far the twin's logits of the trial's images are from the engine's; "" where that is rounding, or chance."""
    images = _images(engine.input_shape)
    gap = logit_gap(engine(images), logits)
    differ = int((gap > 1).sum())
    if not differ or is_random(engine, images):
        return ""
    worst = float(gap.max())
    by = f"up to {100 * _SHARE * worst:.0f} % of what the logits span" if np.isfinite(worst) else "NaN or infinity"
    return f"twin and engine differ on {differ} of {len(images)} trial images (black, white, noise), by {by}"
