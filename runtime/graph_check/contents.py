"""What a graph may hold: one flat graph of tensors and known operators, of bounded size, with names that can be shown.

Rule: what ONNX Runtime would run besides is refused, since nobody here reads it: graphs inside nodes (If, Loop, Scan),
local functions, training graphs; values that are no tensors; operators of other domains than ONNX's own, but for the
quantized ones of `com.microsoft`. Each name means one value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import ModelError
from .limits import MOST_NAME_BYTES, MOST_NODES, MOST_TENSORS, MOST_VALUES
from .onnx_records import Model, Node

__all__ = ["FROM_MICROSOFT", "ONNX_DOMAINS", "check_contents", "shown"]

ONNX_DOMAINS = (b"", b"ai.onnx")

FROM_MICROSOFT = frozenset(
    {
        "DequantizeLinear",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeMatMul",
        "GatherBlockQuantized",
        "Gelu",
        "MatMulBnb4",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "QAttention",
        "QEmbedLayerNormalization",
        "QGemm",
        "QLinearAdd",
        "QLinearAveragePool",
        "QLinearConcat",
        "QLinearConv",
        "QLinearGlobalAveragePool",
        "QLinearLeakyRelu",
        "QLinearMul",
        "QLinearReduceMean",
        "QLinearSigmoid",
        "QLinearSoftmax",
        "QLinearWhere",
        "QuantizeLinear",
    }
)
"""What ONNX Runtime's quantization tools write (its package `quantization`, version 1.32) and runs on the processor."""

_NO_TENSORS = frozenset(
    {
        "ConcatFromSequence",
        "If",
        "ImageDecoder",
        "Loop",
        "Optional",
        "OptionalGetElement",
        "OptionalHasElement",
        "RegexFullMatch",
        "Scan",
        "SequenceAt",
        "SequenceConstruct",
        "SequenceEmpty",
        "SequenceErase",
        "SequenceInsert",
        "SequenceLength",
        "SequenceMap",
        "SplitToSequence",
        "StringConcat",
        "StringNormalizer",
        "StringSplit",
        "TfIdfVectorizer",
    }
)
"""ONNX's operators that run graphs, or work on sequences, optional values, text or files."""

_FLOW = ("If", "Loop", "Scan")
_PLAIN = re.compile(rb"[\x20-\x7e]*")


def shown(name: bytes) -> str:
    """A name of the file for people, quoted, however long and whatever is in it."""
    name = name[:MOST_NAME_BYTES]
    try:
        return repr(name.decode("utf-8"))
    except UnicodeDecodeError:
        return repr(name)[1:]


def check_contents(model: Model, *, what: str) -> None:
    """Refuse a graph that breaks the module's rule.

    Args:
        what: the file, for the error.

    Raises:
        ModelError: it does; one line, with the first thing found.
    """
    _check_counts(model, what)
    _check_names(model, what)
    if model.others:
        fix = "inline the functions: onnx.inliner.inline_local_functions(model)" if "functions" in model.others else ""
        expected = "one graph of dense tensors, for inference"
        raise ModelError(f"{what}: not that graph alone", expected=expected, got=_list(model.others), fix=fix)
    for side, values in (("input", model.inputs), ("output", model.outputs), ("value", model.described)):
        for value in values:
            if value.other:
                raise ModelError(f"{what}: {side} {shown(value.name)}", expected="a tensor", got=value.other)
    for node in model.nodes:
        _check_node(node, what)
    _check_once(model, what)


def _check_counts(model: Model, what: str) -> None:
    values = len(model.inputs) + len(model.outputs) + len(model.described)
    for kind, count, most in (
        ("nodes", len(model.nodes), MOST_NODES),
        ("initializers", len(model.tensors), MOST_TENSORS),
        ("described values", values, MOST_VALUES),
    ):
        if count > most:
            raise ModelError(f"{what}: too many {kind}", expected=f"at most {most}", got=str(count))


def _check_names(model: Model, what: str) -> None:
    names = [tensor.name for tensor in model.tensors]
    for values in (model.inputs, model.outputs, model.described):
        names += [value.name for value in values]
    for node in model.nodes:
        names += (node.name, node.op_type, node.domain, *node.inputs, *node.outputs, *node.attributes)
    if not names or (max(map(len, names)) <= MOST_NAME_BYTES and _PLAIN.fullmatch(b"".join(names))):
        return
    for name in names:
        if len(name) > MOST_NAME_BYTES:
            raise ModelError(f"{what}: a name", expected=f"at most {MOST_NAME_BYTES} bytes", got=f"{len(name)} bytes")
        if not _printable(name):
            raise ModelError(f"{what}: a name", expected="printable text", got=shown(name))


def _printable(name: bytes) -> bool:
    try:
        return name.decode("utf-8").isprintable()
    except UnicodeDecodeError:
        return False


def _check_node(node: Node, what: str) -> None:
    op_type = node.op_type.decode()
    if node.domain not in ONNX_DOMAINS and not (node.domain == b"com.microsoft" and op_type in FROM_MICROSOFT):
        raise ModelError(
            f"{what}: operator {node.domain.decode()}.{op_type}",
            expected="ONNX's own operators, or the quantized ones of com.microsoft",
            got=f"the domain {shown(node.domain)}",
            fix="export the network again, without another runtime's optimizations",
        )
    if op_type in _NO_TENSORS:
        fix = "export the network without control flow" if op_type in _FLOW else ""
        raise ModelError(f"{what}: operators", expected="operators on tensors of numbers", got=op_type, fix=fix)
    if node.twice is not None:
        what = f"{what}: {op_type}: attribute {shown(node.twice)}"
        raise ModelError(what, expected="each attribute once", got="it twice")
    for name, attribute in node.attributes.items():
        if attribute.others:
            what = f"{what}: {op_type}: attribute {shown(name)}"
            raise ModelError(what, expected="numbers, text or a tensor", got=_list(attribute.others))


def _check_once(model: Model, what: str) -> None:
    """Each value is made once. An initializer may be listed among the inputs too, as older files do."""
    seen: set[bytes] = set()
    made: Iterable[bytes] = [tensor.name for tensor in model.tensors]
    made = [*made, *(name for node in model.nodes for name in node.outputs if name)]
    for name in made:
        if name in seen:
            raise ModelError(f"{what}: value {shown(name)}", expected="made once", got="made twice")
        seen.add(name)


def _list(things: Iterable[str]) -> str:
    return ", ".join(things)
