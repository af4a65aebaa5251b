"""The gradient of a loss with respect to the image, and nothing else.

An attack does not change the model. While it runs, batch norm and dropout are in evaluation mode, and no parameter asks
for a gradient, so that custom backward passes skip the weights. Afterwards every flag is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ....runtime.errors import ModelError, RecipeError
from ....runtime.shapes import Float, Num
from ..access import Model
from ..losses import Loss

__all__ = ["check_differentiable", "device_of", "frozen", "logits_and_gradient", "logits_of"]


def device_of(model: Model) -> torch.device | None:
    """Where a module's parameters are; None for other functions and modules without parameters."""
    return next((p.device for p in model.parameters()), None) if isinstance(model, nn.Module) else None


@contextmanager
def frozen(model: Model) -> Iterator[None]:
    """Hold a module in evaluation mode with parameters that need no gradient; flags are restored one by one."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    training = [module for module in modules if module.training]
    learning = [parameter for module in modules for parameter in module.parameters(recurse=False)]
    learning = [parameter for parameter in learning if parameter.requires_grad]
    try:
        for module in training:
            module.training = False
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for module in training:
            module.training = True
        for parameter in learning:
            parameter.requires_grad_(True)


def logits_and_gradient(
    model: Model, x: Float[Tensor, " n *d"], labels: tuple[Num[Tensor, "n ..."], ...], loss: Loss, batch_size: int
) -> tuple[Float[Tensor, "n k"], Float[Tensor, " n"], Float[Tensor, " n *d"]]:
    """One forward and one backward pass.

    Args:
        model: differentiable.
        x: points in [0, 1].
        labels: what the loss takes after the logits.
        loss: see `losses`.
        batch_size: images a pass; bounds the memory, never the result.

    Returns:
        Logits, losses and the gradient of each image's loss, all detached.

    Raises:
        RecipeError: batch_size below 1.
        ModelError: the logits do not depend on the image in a way autograd can follow.
    """
    _refuse_no_images(batch_size)
    parts = []
    for start in range(0, len(x), batch_size):
        image = x[start : start + batch_size].detach().requires_grad_()
        with torch.enable_grad():
            logits = _at_least_float32(model(image))
            losses = loss(logits, *(label[start : start + batch_size] for label in labels))
            total = losses.sum()
        check_differentiable(losses)
        (grad,) = torch.autograd.grad(total, image)
        parts.append((logits.detach(), losses.detach(), grad))
    if len(parts) == 1:
        return parts[0]
    logits, losses, grad = (torch.cat(column) for column in zip(*parts, strict=True))
    return logits, losses, grad


def check_differentiable(found: Float[Tensor, "n ..."]) -> None:
    """Refuse what autograd cannot follow back to the images that it was computed from.

    Raises:
        ModelError: `found` asks for no gradient.
    """
    if not found.requires_grad:
        raise ModelError(
            "the model has no gradient with respect to its images",
            expected="a differentiable module",
            got="logits that are cut off from the input",
            fix="attack the twin, or use square, which needs scores only",
        )


def logits_of(model: Model, x: Float[Tensor, " n *d"], batch_size: int) -> Float[Tensor, "n k"]:
    """Logits without a gradient, `batch_size` images a pass.

    Raises:
        RecipeError: batch_size below 1.
    """
    _refuse_no_images(batch_size)
    with torch.no_grad():
        return torch.cat([_at_least_float32(model(part)) for part in torch.split(x, batch_size)])


def _refuse_no_images(batch_size: int) -> None:
    if batch_size < 1:
        raise RecipeError("a pass needs images", expected="batch_size >= 1", got=str(batch_size))


def _at_least_float32(logits: Tensor) -> Tensor:
    """Under autocast a model answers in half precision, in which losses and their differences vanish."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
