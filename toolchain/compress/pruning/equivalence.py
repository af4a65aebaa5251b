"""The proof of a pruning: the smaller network equals the dense one with the removed filters masked.

Masked means, as in section 3.1 of the paper (after Li et al. 2017), that the output of every removed filter is 0,
behind the convolution and again behind its batch norm, and that the next layer's kernels for it are 0 too: a sigmoid
between the two would otherwise make a constant of the 0. Both networks see the same images, and every convolution and
linear layer must give the same values in the channels that are left, not the logits only: logits that hardly depend on
the image (80 % of the filters gone, not yet fine-tuned) would be equal even if a layer were wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ....runtime.errors import CompressionError
from ..probe import evaluating
from ..same_values import RELATIVE, difference

__all__ = ["assert_equals_masked"]

_IMAGES_AT_ONCE = 8


def assert_equals_masked(
    dense: nn.Module,
    hardened: nn.Module,
    *,
    outputs: Mapping[str, tuple[int, ...]],
    inputs: Mapping[str, tuple[int, ...]],
    images: Tensor,
) -> float:
    """Compare the hardened network with the masked dense one, layer by layer, in eval mode.

    Args:
        dense: the network before, on the device of `images`; comes out unchanged.
        hardened: the network after; comes out unchanged.
        outputs: removed output channels by name of layer, in the dense numbering.
        inputs: removed input channels by name of layer, in the dense numbering.
        images: float [N, C, H, W].

    Returns:
        The largest absolute difference of a logit.

    Raises:
        CompressionError: the hardened network does not run, or a layer differs by more than rounding.
    """
    # In pieces, because the outputs of all layers are held at once.
    pieces = [images[start : start + _IMAGES_AT_ONCE] for start in range(0, len(images), _IMAGES_AT_ONCE)]
    return max(_compare_networks(dense, hardened, outputs=outputs, inputs=inputs, images=piece) for piece in pieces)


def _compare_networks(
    dense: nn.Module,
    hardened: nn.Module,
    *,
    outputs: Mapping[str, tuple[int, ...]],
    inputs: Mapping[str, tuple[int, ...]],
    images: Tensor,
) -> float:
    expected, logits = _run(dense, images, outputs=outputs, inputs=inputs)
    try:
        got, hardened_logits = _run(hardened, images, outputs={}, inputs={})
    except Exception as error:  # whatever the layers, or the code between them, raise on other shapes
        raise CompressionError(
            "the hardened network does not run: pruning left two layers with different channel counts",
            got=(str(error).splitlines() or [type(error).__name__])[0],
            fix="keep the layers before these two, keep=[...]: they are tied to the image, a constant or one another",
        ) from error
    for name, wanted_calls in expected.items():
        axis, gone = _axis(dense.get_submodule(name)), set(outputs.get(name, ()))
        for wanted, given in zip(wanted_calls, got[name], strict=True):
            left = torch.tensor([j for j in range(wanted.shape[axis]) if j not in gone], device=wanted.device)
            _compare(name, wanted.index_select(axis, left), given)
    _compare("the logits", logits, hardened_logits)
    return float((logits - hardened_logits).abs().max())


def _compare(name: str, wanted: Tensor, given: Tensor) -> None:
    got = difference(wanted, given)
    if not got:
        return
    raise CompressionError(
        f"the hardened network is not the dense one with its filters masked: {name} differs first",
        expected=f"the same values up to {RELATIVE:g} of the largest",
        got=got,
        fix=f"keep the layers before it, keep=[...]; something between them and {name} mixes channels",
    )


def _run(
    module: nn.Module,
    images: Tensor,
    *,
    outputs: Mapping[str, tuple[int, ...]],
    inputs: Mapping[str, tuple[int, ...]],
) -> tuple[dict[str, list[Tensor]], Tensor]:
    """Outputs of every convolution and linear layer, by name and call, and the logits; with channels masked."""
    seen: dict[str, list[Tensor]] = {}

    def mask_inputs(channels: Tensor) -> Any:
        def hook(layer: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (given[0].index_fill(_axis(layer), channels, 0.0), *given[1:])

        return hook

    def mask_outputs(name: str, channels: Tensor | None) -> Any:
        def hook(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> Tensor:
            masked = output if channels is None else output.index_fill(_axis(layer), channels, 0.0)
            if isinstance(layer, (_ConvNd, nn.Linear)):
                # A copy: an activation that works in place would write into what was seen.
                seen.setdefault(name, []).append(masked.clone())
            return masked

        return hook

    hooks = []
    try:
        for name, layer in module.named_modules():
            if name in inputs:
                channels = torch.tensor(inputs[name], device=images.device)
                hooks.append(layer.register_forward_pre_hook(mask_inputs(channels)))
            if name in outputs or isinstance(layer, (_ConvNd, nn.Linear)):
                gone = torch.tensor(outputs[name], device=images.device) if name in outputs else None
                hooks.append(layer.register_forward_hook(mask_outputs(name, gone)))
        with evaluating(module), torch.no_grad():
            logits = module(images)
    finally:
        for hook in hooks:
            hook.remove()
    return seen, logits


def _axis(layer: nn.Module) -> int:
    return -1 if isinstance(layer, nn.Linear) else 1
