"""Weight sharing: the weights of a layer take few values, which are whole codes of its int8 grid.

    C = kmeans(bins from min to max, w / s)    over the weights whose code is not 0; s the scale of a weight's channel
    w <- s round(c)                            with c its nearest center; weights of code 0 stay 0

Deep compression with adversarial robustness via decision boundary smoothing, algorithm 6 (Han et al. 2016,
arXiv:1510.00149). The paper shares floats; here the values are in units of each channel's scale, so an index and the
code book stand for the integers that ship, and nothing rounds behind it. A layer of n bits has 2^n values at most, 0
among them. Its file, by equation 6 with weights of 8 bits,

    2^n + n N / 8 bytes    for N weights

is what indices of n bits take; a packed bundle stores them in a Huffman code, which takes less.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper

from ....export.quantization.quantize import IntegerGraph
from ....runtime.errors import CompressionError
from ...recipe.weight_sharing import WeightSharing
from ...train.held_clusters import Clusters
from ..compressed import StepReport
from ..compressed_integers import CompressedIntegers, TensorReport
from ..layer_names import by_layer, named
from .integer_weights import IntegerWeights, integer_weights
from .kmeans import codebook, nearest

__all__ = ["share_weights"]

_BYTE = 8


def share_weights(graph: IntegerGraph, settings: WeightSharing) -> CompressedIntegers:
    """Let the weights of each layer share values.

    Args:
        graph: left as it is.
        settings: bits by kind of layer; `per_layer` and `keep` name layers as in the network.

    Returns:
        The graph with shared integers, and the clusters that its twin holds while it is trained.
        `checks["index_bytes"]` is equation 6 over all layers that were shared.

    Raises:
        CompressionError: a setting names no layer, or a layer has fewer weights than values.
    """
    found = integer_weights(graph.model)
    kinds = {weights.layer: weights.kind for weights in found}
    keep = named(settings.keep, kinds, "keep")
    own = by_layer(settings.per_layer, kinds)
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    shadow, clusters, rows = dict(graph.shadow), {}, []
    for weights in found:
        bits = int(own.get(weights.layer, settings.conv_bits if weights.kind == "conv" else settings.linear_bits))
        width = graph.weight_bits.get(weights.initializer, _BYTE)
        if weights.layer in keep or bits >= width:
            why = (
                "kept as asked"
                if weights.layer in keep
                else f"codes of {width} bits take no more than {2**width} values"
            )
            rows.append(_row(weights, width, weights.codes, why))
            continue
        _refuse_more_values_than_weights(weights, bits)
        codes = _shared(weights, graph.shadow.get(weights.initializer), 2**bits)
        stored[weights.initializer].CopyFrom(numpy_helper.from_array(codes, weights.initializer))
        shadow[weights.initializer] = (weights.scale * codes).astype(np.float32)
        clusters[weights.initializer] = _clusters(codes, weights.scale)
        rows.append(_row(weights, bits, codes, ""))
    checks = {
        "shared": float(sum(row.weights for row in rows if not row.reason)),
        "weights": float(sum(row.weights for row in rows)),
        "most_values": float(max((row.values_after for row in rows if not row.reason), default=0)),
        "index_bytes": sum(2**row.bits + row.bits * row.weights / 8 for row in rows if not row.reason),
    }
    return CompressedIntegers(
        graph=replace(graph, model=model, shadow=shadow),
        clusters=clusters,
        tensors=tuple(rows),
        steps=(StepReport(method=settings.method, settings=settings.account, checks=checks),),
    )


def _refuse_more_values_than_weights(weights: IntegerWeights, bits: int) -> None:
    if weights.codes.size < 2**bits:
        raise CompressionError(
            f"{bits} bits are {2**bits} values, more than {weights.layer!r} has weights",
            expected=f"at most {weights.codes.size.bit_length() - 1} bits",
            got=str(bits),
            fix=f"fewer bits, per_layer={{{weights.layer!r}: 8}} or keep=[{weights.layer!r}]",
        )


def _shared(weights: IntegerWeights, shadow: npt.NDArray[np.float32] | None, most: int) -> npt.NDArray[np.int8]:
    """Codes of at most `most` values; as they are where there are no more."""
    codes = weights.codes
    if len(np.unique(codes)) <= most:
        return codes
    exact = codes.astype(np.float64)
    if shadow is not None:  # the floats that the codes were rounded from; what was clipped stays at the end
        exact = np.clip(shadow.astype(np.float64) / weights.scale, exact - 0.5, exact + 0.5)
    left = codes != 0
    book = codebook(exact[left], most, zero=not left.all())
    shared = np.zeros_like(codes)
    shared[left] = book[nearest(exact[left], book)]
    return shared


def _clusters(codes: npt.NDArray[np.int8], scale: npt.NDArray[np.float32]) -> Clusters:
    values = np.unique(codes[codes != 0])
    index = np.where(codes == 0, -1, np.searchsorted(values, codes)).astype(np.int64)
    return Clusters(index=torch.from_numpy(index), scale=torch.from_numpy(np.broadcast_to(scale, codes.shape).copy()))


def _row(weights: IntegerWeights, bits: int, after: npt.NDArray[np.int8], why: str) -> TensorReport:
    before = weights.codes
    return TensorReport(
        name=weights.layer,
        kind=weights.kind,
        bits=bits,
        weights=before.size,
        zeros=int((after == 0).sum()),
        values_before=len(np.unique(before)),
        values_after=len(np.unique(after)),
        error=float(((before.astype(np.float64) - after) ** 2).mean()),
        reason=why,
    )
