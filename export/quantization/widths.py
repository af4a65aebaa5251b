"""How many bits each layer's weights and each rounded result have.

A layer is a Conv or Gemm; its name is its module's, that of its weight without ".weight". A width asked by layer goes
before the scheme's: a name before a pattern, a later pattern before an earlier one; a name speaks for the layers inside
it too ("features" for "features.3").

* The first and the last layer keep `Scheme.end_bits`, as is usual (Zhou et al. 2016, DoReFa-Net, section 2.7).
* A result has the bits of the layers that read it, by way of moves and clamps: the most of these. What no layer reads
  has the scheme's. Probabilities have 8.
* A depthwise convolution of one number a channel (an average pool, a batch norm, the copy of a sum's term) is an
  operator written as a convolution, and no layer: 8 bits, or 7 where the scheme has 7.

Codes of fewer bits are stored in int8 and uint8 and run in the kernels of 8 bits, exactly and at their speed.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from ...runtime.errors import InputError
from ..passes.values import attribute, constant
from .integer_layout import Layout, is_logits
from .scheme import Scheme

__all__ = ["LayerBits", "Widths", "widths_of"]

_SUFFIX = re.compile(r"\.weight(_\d+)*$")


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerBits:
    """One layer.

    Attributes:
        name: its module's.
        weight_bits: of its weights.
        activation_bits: asked for what it reads; the image has 8, whatever is asked.
    """

    name: str
    weight_bits: int
    activation_bits: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Widths:
    """The widths of one graph.

    Attributes:
        layers: in graph order.
        weights: bits by node; nodes that are missing have `Scheme.other_weight_bits`.
        activations: bits by name of the rounded result.
    """

    layers: tuple[LayerBits, ...]
    weights: Mapping[ir.Node, int]
    activations: Mapping[str, int]


def widths_of(graph: ir.Graph, layout: Layout, scheme: Scheme) -> Widths:
    """The widths of a float graph of pixels.

    Raises:
        InputError: the scheme names a layer that the graph does not have.
    """
    nodes = {node: _name(node) for node in graph if _is_layer(node)}
    names = list(dict.fromkeys(nodes.values()))
    weights = _asked(scheme.layer_weight_bits, names, "layer_weight_bits")
    activations = _asked(scheme.layer_activation_bits, names, "layer_activation_bits")
    order = list(nodes)
    last = next((node for node in order if is_logits(node)), order[-1] if order else None)
    found: dict[ir.Node, LayerBits] = {}
    for node, name in nodes.items():
        is_end = node in (order[0], last)
        read = max(scheme.activation_bits, scheme.end_bits) if node is last else scheme.activation_bits
        found[node] = LayerBits(
            name=name,
            weight_bits=weights.get(name, scheme.end_weight_bits if is_end else scheme.weight_bits),
            activation_bits=activations.get(name, read),
        )
    readers = {value.name or "": _readers(value, layout, found) for value in layout.quantized_values()}
    return Widths(
        layers=tuple(found.values()),
        weights={node: layer.weight_bits for node, layer in found.items()},
        activations={
            name: max((found[reader].activation_bits for reader in reading), default=scheme.activation_bits)
            for name, reading in readers.items()
        },
    )


def _is_layer(node: ir.Node) -> bool:
    weight = constant(node.inputs[1]) if node.op_type in ("Conv", "Gemm") else None
    if weight is None:
        return False
    groups = attribute(node, "group", 1)
    depthwise = node.op_type == "Conv" and groups == len(weight) and weight[0].shape[0] == 1
    rows = weight.reshape(len(weight), -1)
    return not (depthwise and bool((rows == rows[:, :1]).all()))


def _name(node: ir.Node) -> str:
    weight = node.inputs[1]
    assert weight is not None
    return _SUFFIX.sub("", weight.name or "")


def _readers(value: ir.Value, layout: Layout, layers: Mapping[ir.Node, LayerBits]) -> list[ir.Node]:
    """The layers that read a value, by way of what moves and clamps."""
    found: list[ir.Node] = []
    for reader, index in value.uses():
        if reader in layers and index == 0:
            found.append(reader)
        elif reader in layout and layout[reader] in ("moved", "stored"):
            found += [layer for result in reader.outputs for layer in _readers(result, layout, layers)]
    return found


def _asked(asked: Mapping[str, int], names: list[str], key: str) -> dict[str, int]:
    """Bits by layer."""
    found: dict[str, int] = {}
    by_name: dict[str, int] = {}
    for pattern, bits in asked.items():
        matching = [name for name in names if name == pattern or name.startswith(f"{pattern}.")]
        (by_name if matching else found).update(dict.fromkeys(matching or _by_pattern(pattern, names, key), bits))
    return found | by_name


def _by_pattern(pattern: str, names: list[str], key: str) -> list[str]:
    matching = fnmatch.filter(names, pattern)
    if not matching:
        nearest = difflib.get_close_matches(pattern, names, n=3, cutoff=0.0)
        raise InputError(
            f"quantize.{key} names no layer of the network",
            expected=f"a layer such as {', '.join(map(repr, nearest))}, or a pattern such as 'features.*'",
            got=repr(pattern),
        )
    return matching
