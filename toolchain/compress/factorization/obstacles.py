"""Why a layer is not factorized, whatever rank is asked for."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from ..cost import LayerCost
from .factors import Factors

__all__ = ["obstacles"]


def obstacles(module: nn.Module, found: Mapping[str, LayerCost], *, conv: str, linear: str) -> dict[str, str]:
    """The reason by name, for each layer that stays.

    Args:
        module: the network.
        found: cost of its layers by name.
        conv, linear: the forms that are asked for; "none" leaves layers of that kind alone.
    """
    layers = dict(module.named_modules())
    factors = {id(layer) for owner in layers.values() if isinstance(owner, Factors) for layer in owner.modules()}
    owners: dict[int, int] = {}
    for layer in layers.values():
        for parameter in layer.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    forms = {"conv": conv, "linear": linear}
    reasons = {}
    for name, cost in found.items():
        layer = layers[name]
        reason = _of_kind(layer, cost.kind)
        if id(layer) in factors:
            reason = "it is a factor of an earlier step"
        elif not reason and forms[cost.kind] == "none":
            reason = f'{cost.kind} = "none"'
        elif not reason and not cost.macs:
            reason = "the forward pass does not reach it"
        elif not reason and "weight" not in dict(layer.named_parameters(recurse=False)):
            reason = "its weight is computed from others (a parametrization)"
        elif not reason and any(owners[id(parameter)] > 1 for parameter in layer.parameters(recurse=False)):
            reason = "it shares its weights with another layer"
        if reason:
            reasons[name] = reason
    return reasons


def _of_kind(layer: nn.Module, kind: str) -> str:
    if kind == "depthwise conv":
        return "a depthwise convolution has one small kernel a channel"
    if kind == "grouped conv":
        return "a grouped convolution is factorized already: its groups do not see each other"
    if kind not in ("conv", "linear"):
        return "it is neither a convolution nor a linear layer"
    if type(layer) not in (nn.Conv2d, nn.Linear):
        return f"a {type(layer).__name__} is neither a Conv2d nor a Linear"
    return ""
