"""The frame of the passes: all three of requires, call and ensures run."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnx_ir as ir
import pytest

from hardtemper.export.passes.node_pass import NodePass, RefusedError, SkippedNode

Build = Callable[..., onnx.ModelProto]


class ReluToAbs(NodePass[str]):
    """Wrong algebra, to be seen at work: it refuses a Relu of the caller."""

    new, renames = "Abs", False

    def match(self, node: ir.Node) -> str | None:
        if node.op_type != "Relu":
            return None
        if node.outputs[0].is_graph_output():
            raise RefusedError("the caller reads it")
        return self.new

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: str) -> None:
        new = ir.node(found, [node.inputs[0]])
        new.outputs[0].shape, new.outputs[0].type = node.outputs[0].shape, node.outputs[0].type
        graph.insert_before(node, [new])
        node.outputs[0].replace_all_uses_with(new.outputs[0])
        graph.remove(node, safe=True)
        if self.renames:
            graph.outputs[0].name = "renamed"


class OneASweep(ReluToAbs):
    one_a_sweep = True


class Renames(ReluToAbs):
    renames = True


class GivesUp(ReluToAbs):
    """Says that nothing matches while it runs, and is wrong."""

    def _sweep(self, graph: ir.Graph) -> bool:
        return False


@pytest.fixture
def model(build: Build) -> ir.Model:
    text = "a = Relu(x) b = Neg(a) c = Relu(b) y = Relu(c)"
    return ir.from_proto(build(text, inputs={"x": "float[N,4]"}, outputs={"y": "float[N,4]"}))


@pytest.mark.parametrize("step", [ReluToAbs(), OneASweep()], ids=lambda step: type(step).__name__)
def test_every_match_is_rewritten_and_every_refusal_has_its_reason(step: ReluToAbs, model: ir.Model) -> None:
    assert step(model).modified
    assert [node.op_type for node in model.graph] == ["Abs", "Neg", "Abs", "Relu"]
    name = type(step).__name__
    refused = (SkippedNode(operator="Relu", result="y", step=name, reason="the caller reads it"),)
    assert step.skipped == refused
    assert not step(model).modified
    assert step.skipped == refused


def test_inputs_without_shapes_are_refused(model: ir.Model) -> None:
    model.graph.inputs[0].shape = None
    with pytest.raises(ir.passes.PreconditionError, match="the shape of the input 'x' is not known"):
        ReluToAbs()(model)


def test_a_match_that_is_left_is_found(model: ir.Model) -> None:
    with pytest.raises(ir.passes.PostconditionError, match="Relu 'a' is left"):
        GivesUp()(model)


def test_outputs_that_change_their_names_are_found(model: ir.Model) -> None:
    with pytest.raises(ir.passes.PostconditionError, match="'renamed'"):
        Renames()(model)
