"""Weights that a compression set to zero stay zero while a network is trained.

    g_i <- 0  where  w_i = 0

"Our modified training algorithm masks over pruned nodes and keeps their gradients set to 0." (Deep compression with
adversarial robustness via decision boundary smoothing, algorithm 5; Han et al. 2015, arXiv:1506.02626)

With a gradient of 0 nothing moves such a weight: neither momentum, nor weight decay, nor an average of weights, nor
adversarial weight perturbation. A rule on the gradient needs no second set of weights, and the same rule holds the
zeros of a float network and of its integer twin: a batch norm that is folded into a filter leaves its zeros zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

__all__ = ["held_zeros"]


@contextmanager
def held_zeros(module: nn.Module) -> Iterator[None]:
    """Within the block, every weight that is exactly 0 has a gradient of 0.

    Weights are parameters of two dimensions or more. One that is zero as a whole (a class token at its start) was not
    pruned, since no compression empties a layer; it is trained.

    Args:
        module: a float network or a `Twin`, on the device that it is trained on.
    """
    hooks = []
    for weight in module.parameters():
        left = weight.detach() != 0
        if weight.requires_grad and weight.ndim > 1 and left.any() and not left.all():
            hooks.append(weight.register_hook(_masked(left)))  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _masked(left: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda gradient: gradient * left
