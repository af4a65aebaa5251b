"""Multiply-accumulates of one image, by a graph's shapes.

MACs of a convolution or matrix product: elements of the output for one image * terms of the sum that each of them is:
elements of the weight / output channels, or the rows of the second factor, which may be computed itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from ...runtime.errors import ModelError, first_line

__all__ = ["SECOND_FACTOR", "macs_as_written", "one_image", "product", "terms"]

SECOND_FACTOR = {"Conv": 1, "FusedConv": 1, "QLinearConv": 3, "Gemm": 1, "FusedGemm": 1, "MatMul": 1, "FusedMatMul": 1}
SECOND_FACTOR |= {"QGemm": 3, "QLinearMatMul": 3, "MatMulInteger": 1, "ConvInteger": 1, "MatMulIntegerToFloat": 1}
SECOND_FACTOR |= {"DynamicQuantizeMatMul": 1}
"""Operators that multiply and add -> the index of the weight, or of the second factor."""


def macs_as_written(model: onnx.ModelProto) -> dict[str, int]:
    """MACs per image of each convolution and matrix product, by its result, before any optimization.

    Sizes that ONNX cannot tell count as one.

    Raises:
        ModelError: ONNX cannot infer the graph's shapes.
    """
    single, images = one_image(model)
    try:
        inferred = onnx.shape_inference.infer_shapes(single, data_prop=True).graph
    except Exception as error:  # ONNX's parser and its inference raise errors of several kinds
        raise ModelError("ONNX cannot tell the graph's shapes", got=first_line(error)) from error
    shapes = {t.name: tuple(t.dims) for t in inferred.initializer}
    for value in [*inferred.input, *inferred.value_info, *inferred.output]:
        if value.name not in shapes:
            shapes[value.name] = tuple(d.dim_value or 1 for d in value.type.tensor_type.shape.dim)
    macs = {}
    for node in inferred.node:
        index = SECOND_FACTOR.get(node.op_type)
        if index is not None:
            result = node.output[0]
            if result not in shapes:
                raise ModelError(
                    "ONNX cannot tell the graph's shapes", expected="all of them", got=f"none of {result!r}"
                )
            macs[result] = product(shapes[result]) * terms(node, shapes.get(node.input[index], ())) // images
    return macs


def one_image(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    """A copy that takes one image where it takes any number, without inferred shapes; how many images it takes."""
    single, images = onnx.ModelProto(), 1
    single.CopyFrom(model)
    del single.graph.value_info[:]
    stored = {t.name for t in single.graph.initializer}
    for value in single.graph.input:
        if value.name not in stored and value.type.tensor_type.shape.dim:
            batch = value.type.tensor_type.shape.dim[0]
            batch.dim_value = images = batch.dim_value or 1
    return single, images


def terms(node: onnx.NodeProto, weight: tuple[int, ...]) -> int:
    """Terms of the sum that an element of the result is, by the shape of the weight or second factor."""
    if "Conv" in node.op_type:
        return product(weight[1:])
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return weight[-1] if transposed or len(weight) == 1 else product(weight[-2:-1])


def product(sizes: Any) -> int:
    """Of a shape's sizes, 1 for none."""
    return int(np.prod([int(size) for size in sizes], dtype=np.int64)) if len(sizes) else 1
