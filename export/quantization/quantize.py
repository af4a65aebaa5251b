"""Float graph -> integer graph.

Calibrate, fit the grids of sums (`sum_grids.py`), place quantizers (`placement.py`), round the weights (`weights.py`),
write Softmax, LayerNormalization and division by a row's length in operations that round alike everywhere
(`exact_softmax.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx_ir.passes import common as passes

from ...runtime.errors import UnsupportedOperatorError
from ...runtime.progress import ProgressCallback, silent
from ...runtime.shapes import Float32, UInt8
from ..lower import INPUT_SCALE, FloatGraph, PixelGraph, pixel_graph
from ..passes.node_pass import SkippedNode
from ..twin.graph import refuse_unknown
from .calibration import calibrate
from .exact_normalization import ExactLayerNormalization
from .exact_softmax import ExactSoftmax
from .exact_unit_length import ExactUnitLength
from .integer_layout import FloatOperator, Layout
from .operators.matrix import refused
from .placement import PlaceQuantizers
from .scheme import Grid, Scheme
from .sum_grids import fit_sums
from .widths import LayerBits, widths_of

__all__ = ["IntegerGraph", "check_operators", "quantize"]


@dataclass(frozen=True, kw_only=True, slots=True)
class IntegerGraph:
    """A quantized classifier: the graph that is trained, attacked, proved and shipped.

    Attributes:
        model: Q/DQ ONNX; input `image` uint8 [N, C, H, W], output `logits` float32 [N, K].
        scheme: how it was quantized.
        shadow: the float values that integer weights and biases were rounded from, by initializer name.
        skipped: the nodes that a pass on the float graph is about and left as they were, with the reasons.
        weight_bits: of the codes of each weight, by initializer name.
        layers: how many bits each layer has.
        float_operators: what stays float between integers, with the reasons.
        tie_distances: how far each function of one 8-bit tensor stays from a rounding tie, in steps of its result, by
            that result's name (`ties.py`).
        bounded: the scales that integers of the graph depend on (`stored_values.py`), by initializer name.
    """

    model: onnx.ModelProto
    scheme: Scheme
    shadow: Mapping[str, Float32[npt.NDArray[np.float32], " ..."]]
    weight_bits: Mapping[str, int]
    layers: tuple[LayerBits, ...]
    skipped: tuple[SkippedNode, ...]
    float_operators: tuple[FloatOperator, ...]
    tie_distances: Mapping[str, float]
    bounded: frozenset[str]


def quantize(
    graph: FloatGraph,
    images: UInt8[npt.NDArray[np.uint8], "n c h w"],
    *,
    scheme: Scheme | None = None,
    progress: ProgressCallback = silent,
) -> IntegerGraph:
    """Place quantizers, calibrate them on `images` and round the weights.

    Args:
        graph: clean float graph.
        images: calibration images, uint8 [N, C, H, W].
        scheme: defaults to power-of-two scales, even zero points, least squared error.

    Raises:
        UnsupportedOperatorError: operators that the twin does not know or kernels compute otherwise, all listed.
        InputError: the scheme names a layer that the graph does not have.
        DataError: no images, or activations that are not finite on them.
    """
    scheme = scheme or Scheme()
    pixel = _known_pixel_graph(graph, scheme)
    model = pixel.model
    layout = Layout(model.graph, scheme)
    floats, names = layout.float_operators(), [value.name or "" for value in layout.quantized_values()]
    widths = widths_of(model.graph, layout, scheme)
    bits = widths.activations
    found = calibrate(ir.to_proto(model), names, images, scheme=scheme, bits=bits, progress=progress)
    grids: Mapping[str, Grid] = {**found, **layout.known_grids()}
    pixels, held = Grid(INPUT_SCALE, 0), frozenset[str]()
    if scheme.exact_sums:
        fitted = fit_sums(model, grids, pixels=pixels)
        grids, held = fitted.grids, fitted.terms
    placer = PlaceQuantizers(grids, pixels=pixels, scheme=scheme, bits=widths.weights, held=held)
    placer(model)
    skipped = pixel.skipped
    if scheme.made_for.exact_here and scheme.sums == "exact":
        for step in (ExactSoftmax(), ExactLayerNormalization(), ExactUnitLength()):
            step(model)
            skipped += step.skipped
    passes.RemoveUnusedNodesPass()(model)
    passes.TopologicalSortPass()(model)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return IntegerGraph(
        model=proto,
        scheme=scheme,
        shadow=placer.weights.shadow,
        weight_bits=placer.weights.bits,
        layers=widths.layers,
        skipped=skipped,
        float_operators=floats,
        tie_distances=placer.tie_distances,
        bounded=placer.bounded,
    )


def check_operators(graph: FloatGraph, scheme: Scheme | None = None) -> None:
    """Find out before any training whether a graph can be quantized.

    Raises:
        UnsupportedOperatorError, InputError: as `quantize` does.
    """
    scheme = scheme or Scheme()
    pixels = _known_pixel_graph(graph, scheme).model.graph
    widths_of(pixels, Layout(pixels, scheme), scheme)


def _known_pixel_graph(graph: FloatGraph, scheme: Scheme) -> PixelGraph:
    target = scheme.made_for
    largest = target.activations.high
    pixel = pixel_graph(graph, scale=INPUT_SCALE, exact=scheme.exact, largest=largest, gelu=target.gelu)
    refuse_unknown(ir.to_proto(pixel.model))
    if found := refused(pixel.model.graph):
        raise UnsupportedOperatorError(
            "the graph holds operators that integer kernels compute otherwise",
            got=", ".join(f"{operator} ({', '.join(names[:3])})" for operator, names in sorted(found.items())),
            fix="replace these layers in the model",
        )
    return pixel
