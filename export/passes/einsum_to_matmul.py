"""A sum of products over one index as a matrix product.

    Einsum("...ik,...jk->...ij", a, b) = MatMul(a, transpose(b))

of two tensors whose other indices are shared and stay, but for one of each: attention over windows is written so. Both
are transposed to [shared, i, k] and [shared, k, j], and the result from [shared, i, j], where that is not their order.
Matrix products have integer kernels; Einsum has none.
"""

from __future__ import annotations

from typing import NamedTuple

import onnx_ir as ir

from .node_pass import NodePass, RefusedError
from .values import attribute, replace_by_chain

__all__ = ["EinsumToMatMul"]


class _Product(NamedTuple):
    """The orders of the axes of both factors in front of the product, and of the result behind it."""

    left: list[int]
    right: list[int]
    result: list[int]


class EinsumToMatMul(NodePass[_Product]):
    """Einsum of two tensors that is a product of matrices."""

    def match(self, node: ir.Node) -> _Product | None:
        """How the axes have to be moved."""
        if node.op_type != "Einsum":
            return None
        equation = str(attribute(node, "equation", "")).replace(" ", "")
        terms, arrow, result = equation.partition("->")
        factors = terms.split(",")
        if len(factors) != 2 or not arrow or "." in equation:
            raise RefusedError(f"{equation!r} is no product of two tensors with named axes")
        left, right = factors
        if any(len(set(term)) != len(term) for term in (left, right, result)):
            raise RefusedError(f"{equation!r} repeats an axis of one tensor")
        shared = [axis for axis in result if axis in left and axis in right]
        summed = [axis for axis in left if axis in right and axis not in result]
        pairs = ((left, right), (right, left))
        own = [[axis for axis in term if axis in result and axis not in other] for term, other in pairs]
        known = {*shared, *summed, *own[0], *own[1]}
        if any(len(axes) != 1 for axes in (summed, *own)) or known != {*left, *right, *result}:
            raise RefusedError(f"{equation!r} is no product of matrices")
        product = [*shared, *own[0], *own[1]]
        return _Product(
            [left.index(axis) for axis in [*shared, *own[0], *summed]],
            [right.index(axis) for axis in [*shared, *summed, *own[1]]],
            [product.index(axis) for axis in result],
        )

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: _Product) -> None:
        chain: list[ir.Node] = []

        def moved(value: ir.Value, order: list[int]) -> ir.Value:
            if order == sorted(order):
                return value
            made = ir.node("Transpose", [value], {"perm": order})
            made.outputs[0].type = value.type
            if value.shape is not None:
                made.outputs[0].shape = ir.Shape([value.shape[axis] for axis in order])
            chain.append(made)
            return made.outputs[0]

        left, right = node.inputs
        assert left is not None
        assert right is not None
        factors = [moved(left, found.left), moved(right, found.right)]
        product = ir.node("MatMul", factors)
        product.outputs[0].type = left.type
        first, second = (factor.shape for factor in factors)
        if first is not None and second is not None:
            product.outputs[0].shape = ir.Shape([*first[:-1], second[-1]])
        chain.append(product)
        moved(product.outputs[0], found.result)
        replace_by_chain(node, chain)
