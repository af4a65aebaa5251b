"""Which channels can only be removed together: the dependency graph of a network, channel by channel.

Removing filter j of a convolution removes channel j of the batch norm behind it and kernel j of every layer that reads
it (Li et al. 2017, section 3.1, figure 1). A residual add ties channel j of all convolutions that are added; a
depthwise convolution ties its outputs to its inputs; a grouped one ties the channels at the same place of every group,
because all groups must stay of one size; flattening ties a channel to the columns of the linear layer that read it.

torch-pruning (Fang et al. 2023, DepGraph) draws the graph and slices the tensors; it is imported in this file only.
Everything is numbered as in the dense network and every tensor is sliced once, so no index has to be translated from
one removal to the next.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch_pruning
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch_pruning.ops import OPTYPE, module2type

from ....runtime.errors import CompressionError
from ..probe import image_like
from .groups import UNFOLLOWED, ChannelGroup, Ties, Unit, gather
from .reshapes import Reshapes

__all__ = ["Coupling", "trace"]

_PRODUCERS = (OPTYPE.CONV, OPTYPE.DEPTHWISE_CONV, OPTYPE.LINEAR)
_SLICED = (*_PRODUCERS, OPTYPE.BN, OPTYPE.PRELU, OPTYPE.IN)
_MIXERS = (OPTYPE.LN, OPTYPE.GN, OPTYPE.EMBED, OPTYPE.MHA, OPTYPE.LSTM, OPTYPE.CUSTOMIZED)
_MUST_STAY = "tied to a group that must stay: "


class Coupling:
    """The groups of a traced network and the means to remove units. Every layer that was reached is in one group."""

    def __init__(self, graph: Any, groups: tuple[ChannelGroup, ...]) -> None:
        self.groups = groups
        self._graph = graph

    def remove(self, units: Iterable[Unit], module: nn.Module) -> None:
        """Slice the tensors of `module`, the traced network or a copy of it with its dense numbering: once only."""
        units = tuple(units)
        for name, channels in gather(unit.outputs for unit in units).items():
            layer = module.get_submodule(name)
            self._graph.get_pruner_of_module(layer).prune_out_channels(layer, list(channels))
        for name, channels in gather(unit.inputs for unit in units).items():
            layer = module.get_submodule(name)
            self._graph.get_pruner_of_module(layer).prune_in_channels(layer, list(channels))


def trace(module: nn.Module, *, input_shape: tuple[int, int, int]) -> Coupling:
    """Find the coupled channels of `module`, which is left in eval mode with all its parameters requiring gradients.

    Args:
        module: takes float [1, C, H, W].
        input_shape: (C, H, W).

    Raises:
        CompressionError: torch-pruning cannot follow the network.
    """
    for parameter in module.parameters():
        parameter.requires_grad_(True)
    with warnings.catch_warnings(), torch.enable_grad():
        # It warns of shapes that it cannot infer; where that matters, the check of the result says so.
        warnings.simplefilter("ignore", UserWarning)
        graph = torch_pruning.DependencyGraph()
        reshapes = Reshapes()
        try:
            with reshapes.mapped():
                with reshapes:
                    graph.build_dependency(module, example_inputs=(image_like(module, input_shape),), verbose=False)
                groups = _groups(graph, module, reshapes)
        except Exception as error:  # whatever its tracing meets
            raise CompressionError(
                "the channels of this network cannot be followed",
                expected="convolutions, linear layers, norms, residual adds, concatenations, flattening",
                got=f"{type(error).__name__}: {error}",
                fix="compress it by another method, or replace the operation (a channel shuffle, say)",
            ) from error
    return Coupling(graph, groups)


def _groups(graph: Any, module: nn.Module, reshapes: Reshapes) -> tuple[ChannelGroup, ...]:
    names = {layer: name for name, layer in module.named_modules()}
    kinds = {layer: module2type(layer) for layer in names if layer in graph.module2node}
    producers = {layer: names[layer] for layer, kind in kinds.items() if kind in _PRODUCERS}
    unsliceable = _unsliceable(module)
    ties = Ties()
    covered: set[str] = set()
    for layer, name in producers.items():
        pruner = graph.get_pruner_of_module(layer)
        width = int(pruner.get_out_channels(layer))
        for j in range(width):
            ties.tie((name, "out", j), (name, "out", j))
        if kinds[layer] is OPTYPE.CONV and layer.groups > 1:
            _tie_places(ties, name, "out", layer.out_channels, layer.groups)
            _tie_places(ties, name, "in", layer.in_channels, layer.groups)
        if name in covered:  # an earlier group holds all its channels, so that group holds all that hangs on them
            continue
        try:
            items = list(graph.get_pruning_group(layer, pruner.prune_out_channels, list(range(width))))
        except (IndexError, ZeroDivisionError):  # a split, or what is behind it, that torch-pruning lost track of
            ties.block((name, "out", 0), UNFOLLOWED)
            continue
        for item in items:
            node = item.dep.target
            side = "out" if graph.is_out_channel_pruning_fn(item.dep.handler) else "in"
            obstacle = _obstacle(node, side, unsliceable, reshapes)
            if obstacle:
                ties.block((name, "out", 0), obstacle)
            if node.type not in _SLICED:
                continue
            target = names[node.module]
            size = (graph.get_out_channels if side == "out" else graph.get_in_channels)(node.module)
            if max(item.idxs, default=0) >= size:
                ties.block((name, "out", 0), UNFOLLOWED)
            for channel, root in zip(item.idxs, item.root_idxs, strict=True):
                if channel < size:
                    ties.tie((name, "out", root), (target, side, channel))
            if side == "out" and len(item.idxs) == size:
                covered.add(target)
    return ties.groups(list(producers.values()))


def _obstacle(node: Any, side: str, unsliceable: Mapping[int, str], reshapes: Reshapes) -> str:
    """Why channels that reach `node` must stay; "" if they need not."""
    if side == "out" and not node.outputs:
        return "logits layer: its outputs are the classes"
    if node.type is OPTYPE.RESHAPE and reshapes.mixes(node.grad_fn):
        return UNFOLLOWED
    if node.type in _MIXERS:
        return f"{_MUST_STAY}{node.name} works on its channels together"
    return _MUST_STAY + unsliceable[id(node.module)] if id(node.module) in unsliceable else ""


def _tie_places(ties: Ties, name: str, side: str, channels: int, groups: int) -> None:
    size = channels // groups
    for j in range(size, channels):
        ties.tie((name, side, j % size), (name, side, j))


def _unsliceable(module: nn.Module) -> dict[int, str]:
    """Modules and bare parameters that cannot be sliced, by id, with the reason."""
    reasons: dict[int, str] = {}
    owners: dict[int, list[str]] = {}
    for name, layer in module.named_modules():
        own = dict(layer.named_parameters(recurse=False))
        for key, parameter in own.items():
            owners.setdefault(id(parameter), []).append(name)
            path = f"{name}.{key}" if name else key
            reasons[id(parameter)] = f"the parameter {path!r} has an entry for every channel"
        if isinstance(layer, (_ConvNd, nn.Linear)) and "weight" not in own:
            reasons[id(layer)] = f"the weight of {name!r} is computed from others (a parametrization)"
        if isinstance(layer, _ConvNd) and layer.groups > 1:
            uneven = layer.groups == layer.out_channels != layer.in_channels
            if uneven or (layer.transposed and layer.groups != layer.out_channels):
                reasons[id(layer)] = f"{name!r} is a grouped convolution of a shape that cannot be sliced"
    for name, layer in module.named_modules():
        for parameter in layer.parameters(recurse=False):
            others = [owner for owner in owners[id(parameter)] if owner != name]
            if others:
                reasons[id(layer)] = f"{name!r} shares its weights with {', '.join(map(repr, others))}"
    return reasons
