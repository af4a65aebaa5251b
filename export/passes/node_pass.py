"""One rewrite, tried on every node of a graph: the frame of the passes.

    requires  the graph's inputs have shapes, which the rewrites read
    call      sweep over the nodes and rewrite what matches, until nothing does
    ensures   nothing that matches is left; the graph's outputs have the names that they had

All three run at every call (`onnx_ir.passes`). A node that the pass is about but cannot rewrite is left as it was, and
`skipped` says why.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import onnx_ir as ir

__all__ = ["NodePass", "RefusedError", "SkippedNode"]

Match = TypeVar("Match")


@dataclass(frozen=True, kw_only=True, slots=True)
class SkippedNode:
    """A node that a pass is about and left alone.

    Attributes:
        operator: its type, "Clip".
        result: the name of its first output.
        step: the pass, "FoldClip".
        reason: why, to be read behind the node's name: "Add reads it".
    """

    operator: str
    result: str
    step: str
    reason: str


class RefusedError(Exception):
    """Raised by `match`: the pass is about this node, but the algebra does not hold; the message is the reason."""


class NodePass(ir.passes.InPlacePass, Generic[Match]):
    """A pass that rewrites one node, with its neighbours, at a time.

    Attributes:
        skipped: after a call, the nodes that were refused, in graph order.
        one_a_sweep: begin again behind each rewrite, where that may make nodes match which stand before it.
    """

    one_a_sweep: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.skipped: tuple[SkippedNode, ...] = ()
        self._outputs: list[str | None] = []

    @abstractmethod
    def match(self, node: ir.Node) -> Match | None:
        """What `rewrite` needs to know of the node; None where the pass is not about it.

        Raises:
            RefusedError: the pass is about it, but cannot rewrite it.
        """

    @abstractmethod
    def rewrite(self, graph: ir.Graph, node: ir.Node, found: Match) -> None:
        """Put another form of the same function in the node's place."""

    def prepare(self, graph: ir.Graph) -> None:
        """Look at the whole graph before its nodes are matched one by one."""

    def requires(self, model: ir.Model) -> None:
        for value in model.graph.inputs:
            if value.shape is None:
                raise ir.passes.PreconditionError(f"the shape of the input {value.name!r} is not known")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self._outputs = [value.name for value in model.graph.outputs]
        modified = False
        while self._sweep(model.graph):
            modified = True
        return ir.passes.PassResult(model, modified)

    def ensures(self, model: ir.Model) -> None:
        self.prepare(model.graph)
        for node in model.graph:
            try:
                left = self.match(node) is not None
            except RefusedError:
                continue
            if left:
                raise ir.passes.PostconditionError(f"{node.op_type} {node.outputs[0].name!r} is left")
        outputs = [value.name for value in model.graph.outputs]
        if outputs != self._outputs:
            raise ir.passes.PostconditionError(f"the outputs {self._outputs} are now {outputs}")

    def _sweep(self, graph: ir.Graph) -> bool:
        """Rewrite every node that matches; True where one did."""
        self.prepare(graph)
        skipped, modified = [], False
        for node in list(graph):
            try:
                found = self.match(node)
            except RefusedError as refusal:
                skipped.append(self._skip(node, str(refusal)))
                continue
            if found is not None:
                self.rewrite(graph, node, found)
                modified = True
                if self.one_a_sweep:
                    break
        self.skipped = tuple(skipped)
        return modified

    def _skip(self, node: ir.Node, reason: str) -> SkippedNode:
        return SkippedNode(
            operator=node.op_type, result=node.outputs[0].name or "", step=type(self).__name__, reason=reason
        )
