"""nn.Module -> one clean float ONNX graph.

`torch.onnx.export(dynamo=True)` folds batch normalization and constants; the passes of `export/passes` then bring the
graph to the few operators that integer kernels know. Every pass leaves the function as it is, up to float rounding.
torch is imported here; what comes out is an ONNX protobuf.
"""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import onnx
import onnx.version_converter
import onnx_ir as ir
import torch
from onnx_ir.passes import common as passes
from onnxscript import rewriter
from onnxscript.rewriter.rules import common as rules
from torch import nn

from ..runtime.errors import ModelError
from .adaptive_pools import ADAPTIVE_POOLS
from .integer_types import UINT8
from .passes.affine_to_conv import AffineToConv
from .passes.average_pool_to_conv import AveragePoolToConv
from .passes.canonical_pools import CanonicalPools
from .passes.clamp_before_flatten import ClampBeforeFlatten
from .passes.constant_rows import ConstantRows
from .passes.einsum_to_matmul import EinsumToMatMul
from .passes.feature_affine_to_conv import FeatureAffineToConv
from .passes.fold_clip import FoldClip
from .passes.fold_into_gemm import FoldIntoGemm
from .passes.fuse_gelu import FuseGelu
from .passes.group_norm_to_layer_norm import GroupNormToLayerNorm
from .passes.hard_sigmoid_to_clip import HardSigmoidToClip
from .passes.image_free import ImageFree
from .passes.known_sizes import KnownSizes
from .passes.logits_row import LogitsRow
from .passes.matmul_to_gemm import MatMulToGemm
from .passes.mean_of_rows import MeanOfRows
from .passes.merge_convs import MergeConvs
from .passes.node_pass import NodePass, SkippedNode
from .passes.pixel_input import PixelInput
from .passes.reshape_to_flatten import ReshapeToFlatten
from .passes.scale_behind_product import ScaleBehindProduct
from .passes.subtraction_to_sum import SubtractionToSum

__all__ = ["INPUT_SCALE", "OPSET", "FloatGraph", "PixelGraph", "lower", "lower_onnx", "pixel_graph"]

OPSET = 18
"""ONNX Runtime fuses to its integer kernels from opset 10 on; 18 is what the exporter writes natively."""

_MOST_WEIGHTS = int(1.9 * 2**30)
"""Bytes; the rest of protobuf's 2 GiB is for the graph."""

INPUT_SCALE = 2.0**-8
"""What one step of a pixel stands for in the integer graph: a power of two, so that nothing behind it rounds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatGraph:
    """A classifier as a clean float ONNX graph.

    Attributes:
        model: input `image` float32 [N, C, H, W] in [0, 1] (N dynamic), output `logits` float32 [N, K].
        input_shape: (C, H, W).
        skipped: the nodes that a pass is about and left as they were, with the reasons.
    """

    model: onnx.ModelProto
    input_shape: tuple[int, int, int]
    skipped: tuple[SkippedNode, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelGraph:
    """A classifier as a float graph of uint8 pixels.

    Attributes:
        model: input `image` uint8 [N, C, H, W], output `logits` float32 [N, K].
        skipped: as in `FloatGraph`; those of the float graph that still stand are among them.
    """

    model: ir.Model
    skipped: tuple[SkippedNode, ...]


def lower(module: nn.Module, *, input_shape: tuple[int, int, int]) -> FloatGraph:
    """Export `module` (evaluation mode, batch norm folded) and clean the graph.

    Args:
        module: float32 [N, C, H, W] in [0, 1] -> logits [N, K]; it is left as it was.
        input_shape: (C, H, W).

    Raises:
        ModelError: the module cannot be traced by `torch.export`, does not give logits [N, K], or has too many weights
            for an ONNX file.
    """
    size = sum(parameter.nbytes for parameter in module.parameters())
    if size > _MOST_WEIGHTS:
        raise ModelError(
            f"{type(module).__name__} does not fit into an ONNX file",
            expected=f"float32 weights of at most {_MOST_WEIGHTS / 2**30:.1f} GiB: protobuf's files end at 2",
            got=f"{size / 2**30:.1f} GiB",
            fix="take a smaller network",
        )
    # a copy in the default memory format: of channels-last weights the exporter makes nodes that ONNX Runtime refuses
    copied = copy.deepcopy(module).cpu().to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    try:
        with _quiet():
            program = torch.onnx.export(
                copied,
                (torch.zeros(2, *input_shape),),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=OPSET,
                input_names=["image"],
                output_names=["logits"],
                verbose=False,
                custom_translation_table=ADAPTIVE_POOLS,
            )
    except Exception as error:  # the exporter raises many types, none of them public
        cause = str(error.__cause__ or error).strip().splitlines()
        raise ModelError(
            f"{type(module).__name__} cannot be exported",
            expected="a module that torch.export traces with a dynamic batch axis",
            got=cause[0] if cause else type(error).__name__,
            fix="remove data-dependent control flow; run with --debug for the whole trace",
        ) from error
    assert program is not None
    LogitsRow()(program.model)
    shape = program.model.graph.outputs[0].shape
    if shape is None or len(shape) != 2 or isinstance(shape[0], int):
        raise ModelError(
            f"the result of {type(module).__name__}", expected="logits [N, K] for images [N, C, H, W]", got=str(shape)
        )
    return _clean(program.model, input_shape)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says about its own internals: what fails in it comes as an exception."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def lower_onnx(model: onnx.ModelProto) -> FloatGraph:
    """Clean a float ONNX classifier that something else exported (input float32 [N, C, H, W] in [0, 1])."""
    inputs = [i for i in model.graph.input if i.name not in {t.name for t in model.graph.initializer}]
    dims = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim] if len(inputs) == 1 else []
    if len(dims) != 4 or not all(dims[1:]) or inputs[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise ModelError(
            "the ONNX graph's input",
            expected="one float32 input [N, C, H, W] with fixed C, H and W",
            got=f"{len(inputs)} inputs, shape {dims}",
        )
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    if opset < OPSET:  # quantizers per channel came with 13
        model = onnx.version_converter.convert_version(model, OPSET)
    return _clean(ir.from_proto(model), (dims[1], dims[2], dims[3]))


def pixel_graph(
    graph: FloatGraph, *, scale: float, exact: bool, largest: int = UINT8.high, gelu: bool = False
) -> PixelGraph:
    """The same function of uint8 pixels, in the form that the quantizer reads.

    Args:
        graph: a clean float graph.
        scale: what one step of a pixel stands for (1/255 or 2^-8).
        exact: rewrite what would need a multiplier that is no power of two (average pools, ReLU6).
        largest: largest integer of an activation, at which a ReLU6 comes to saturate.
        gelu: write GELU as one operator, of opset 20.
    """
    model = ir.from_proto(graph.model)
    PixelInput(scale)(model)
    pools, clips = ([AveragePoolToConv()], [FoldClip(largest)]) if exact else ([], [])
    gelus = [FuseGelu()] if gelu else []
    steps: list[NodePass[Any]] = [MergeConvs(), FoldIntoGemm(), *pools, MergeConvs(), *clips, *gelus]
    skipped = _run(model, steps, skipped=graph.skipped)
    return PixelGraph(model=model, skipped=skipped)


def _run(
    model: ir.Model, steps: Sequence[NodePass[Any]], *, skipped: tuple[SkippedNode, ...] = ()
) -> tuple[SkippedNode, ...]:
    """Run the passes and take out what is not used any more; the nodes left alone, now or earlier, each once."""
    for step in steps:
        step(model)
    passes.RemoveUnusedNodesPass()(model)
    passes.TopologicalSortPass()(model)
    left = {(node.op_type, node.outputs[0].name) for node in model.graph}
    every = dict.fromkeys((*skipped, *(skip for step in steps for skip in step.skipped)))
    return tuple(skip for skip in every if (skip.operator, skip.result) in left)


def _clean(model: ir.Model, input_shape: tuple[int, int, int]) -> FloatGraph:
    model.graph.name = "classifier"
    passes.InlinePass()(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True)(model)
    passes.RemoveInitializersFromInputsPass()(model)
    passes.IdentityEliminationPass()(model)
    rewriter.rewrite(
        model,
        [
            rules.dropout_inference_rule,
            rules.dropout_zero_rule,
            rules.fuse_pad_into_conv_rule,
            rules.no_op_cast_rule,
            rules.no_op_transpose_rule,
        ],
    )
    passes.ShapeInferencePass()(model)
    folds: list[NodePass[Any]] = [
        AffineToConv(),
        MergeConvs(),
        FoldIntoGemm(),
        FeatureAffineToConv(),
        ClampBeforeFlatten(),
    ]
    forms: list[NodePass[Any]] = [
        ImageFree(),
        EinsumToMatMul(),
        MeanOfRows(),
        ReshapeToFlatten(),
        KnownSizes(),
        ConstantRows(),
        MatMulToGemm(),
        CanonicalPools(),
        ScaleBehindProduct(),
        SubtractionToSum(),
        HardSigmoidToClip(),
        GroupNormToLayerNorm(),
    ]
    skipped = _run(model, [*forms, *folds])
    passes.ShapeInferencePass()(model)
    passes.ClearMetadataAndDocStringPass()(model)
    model.metadata_props.clear()
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    return FloatGraph(model=proto, input_shape=input_shape, skipped=skipped)
