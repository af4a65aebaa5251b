"""Parameters and multiply-accumulates (MACs) of every layer, counted while one image passes.

    convolution             MACs = output elements * (in_channels / groups) * kernel elements
    transposed convolution  MACs = input elements * (out_channels / groups) * kernel elements
    linear                  MACs = output elements * in_features

A bias is no multiplication and is not counted; neither are norms and activations, nor products of two activations
(attention). A layer that is called twice counts twice; a parameter that two layers share counts for the first of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from ...runtime.errors import CompressionError, first_line
from .probe import evaluating, image_like

__all__ = ["LayerCost", "costs", "is_weighted", "weighted_kinds"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerCost:
    """What one layer costs.

    Attributes:
        kind: "conv", "grouped conv", "depthwise conv", "linear", "norm", or the class's name.
        channels: output channels (features of a linear layer); 0 where the word has no meaning.
        parameters: its own parameters, without those of submodules.
        macs: multiply-accumulates for one image; 0 if the layer was not reached.
    """

    kind: str
    channels: int
    parameters: int
    macs: int


def is_weighted(kind: str) -> bool:
    """Whether a kind is that of convolutions or linear layers."""
    return kind == "linear" or kind.endswith("conv")


def weighted_kinds(found: Mapping[str, LayerCost]) -> dict[str, str]:
    """The kind of every convolution and linear layer, by name."""
    return {name: cost.kind for name, cost in found.items() if is_weighted(cost.kind)}


def costs(module: nn.Module, *, input_shape: tuple[int, int, int]) -> dict[str, LayerCost]:
    """Cost of every convolution, linear layer and other module that owns parameters, by name.

    Args:
        module: takes float [1, C, H, W]; run once, in eval mode; its mode is restored.
        input_shape: (C, H, W).

    Raises:
        CompressionError: the module does not take such an image.
    """
    macs: dict[nn.Module, int] = {}

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        macs[layer] = macs.get(layer, 0) + _macs(layer, inputs[0], output)

    layers = [layer for layer in module.modules() if isinstance(layer, (_ConvNd, nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        with evaluating(module), torch.no_grad():
            module(image_like(module, input_shape))
    except RuntimeError as error:
        raise CompressionError(
            f"the network does not take an image of shape {tuple(input_shape)}",
            got=first_line(error),
            fix="give the input_shape (C, H, W) that it was made for",
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    counted: set[int] = set()
    found: dict[str, LayerCost] = {}
    for name, layer in module.named_modules():
        own = [parameter for parameter in layer.parameters(recurse=False) if id(parameter) not in counted]
        if own or isinstance(layer, (_ConvNd, nn.Linear)):
            counted.update(id(parameter) for parameter in own)
            found[name] = LayerCost(
                kind=_kind(layer),
                channels=_channels(layer),
                parameters=sum(parameter.numel() for parameter in own),
                macs=macs.get(layer, 0),
            )
    return found


def _macs(layer: nn.Module, image: Tensor, output: Tensor) -> int:
    if isinstance(layer, _ConvNd):
        kernel = math.prod(layer.kernel_size)
        if layer.transposed:
            return image.numel() * (layer.out_channels // layer.groups) * kernel
        return output.numel() * (layer.in_channels // layer.groups) * kernel
    assert isinstance(layer, nn.Linear)
    return output.numel() * layer.in_features


def _kind(layer: nn.Module) -> str:
    if isinstance(layer, _ConvNd):
        if layer.groups == 1:
            return "conv"
        return "depthwise conv" if layer.groups == layer.in_channels == layer.out_channels else "grouped conv"
    if isinstance(layer, nn.Linear):
        return "linear"
    if isinstance(layer, (_NormBase, nn.GroupNorm, nn.LayerNorm)):
        return "norm"
    return type(layer).__name__


def _channels(layer: nn.Module) -> int:
    for field in ("out_channels", "out_features", "num_features", "num_channels"):
        value = getattr(layer, field, None)
        if isinstance(value, int):
            return value
    return 0
