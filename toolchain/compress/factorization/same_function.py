"""The proof of a factorization: the factors are the dense layer whose weight is their product.

The product is computed from the cores, without strides, paddings, dilations and biases; the layer with this weight is
the dense network's own. Each factorized layer sees what reaches it for a few images, in both forms.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ....runtime.errors import CompressionError, first_line
from ..probe import evaluating
from ..same_values import RELATIVE, difference

__all__ = ["assert_same_function"]


def assert_same_function(
    dense: nn.Module, factorized: nn.Module, *, weights: Mapping[str, Tensor], images: Tensor
) -> float:
    """Compare the factorized network with the dense one whose layers have the products as weights, in eval mode.

    Args:
        dense: the network before, on the device of `images`; comes out unchanged.
        factorized: the network after, with factors in the places of layers.
        weights: the product of the factors by name of layer, in the shape of the layer's weight.
        images: float [N, C, H, W].

    Returns:
        The largest absolute difference of a logit.

    Raises:
        CompressionError: the factorized network does not run, or a layer differs by more than rounding.
    """
    expected = copy.deepcopy(dense)
    factors: dict[nn.Module, tuple[str, nn.Module]] = {}
    for name, weight in weights.items():
        layer = expected.get_submodule(name)
        assert isinstance(layer, (nn.Conv2d, nn.Linear))
        layer.weight = nn.Parameter(weight.to(layer.weight))
        factors[layer] = (name, factorized.get_submodule(name))

    def compare(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        name, product = factors[layer]
        _compare(name, output, product(*inputs))

    hooks = [layer.register_forward_hook(compare) for layer in factors]
    try:
        with evaluating(expected), evaluating(factorized), torch.no_grad():
            wanted = expected(images)
            logits = _run(factorized, images)
    finally:
        for hook in hooks:
            hook.remove()
    _compare("the logits", wanted, logits)
    return float((logits - wanted).abs().max())


def _run(factorized: nn.Module, images: Tensor) -> Any:
    try:
        return factorized(images)
    except Exception as error:  # whatever code that reads a layer's weight itself raises
        raise CompressionError(
            "the factorized network does not run: its code wants more of a layer than to call it",
            got=first_line(error),
            fix="keep that layer, keep=[...]; factors have no weight of their own",
        ) from error


def _compare(name: str, wanted: Tensor, given: Tensor) -> None:
    got = difference(wanted, given)
    if not got:
        return
    raise CompressionError(
        f"the factors are not the layer that they stand for: {name} differs first",
        expected=f"the same values up to {RELATIVE:g} of the largest",
        got=got,
        fix=f"keep the layer, keep=[{name!r}]",
    )
