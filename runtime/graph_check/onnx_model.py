"""Reads an ONNX file from its bytes; the tensors' data stay where they lie.

Rule: only the fields that a check asks for, by their numbers in onnx.proto (https://github.com/onnx/onnx, 1.23). One
that is unknown, or stored as another kind than its own, is passed over, as protobuf does. Of a single value that is
given twice the last one counts, as in protobuf too; a message given twice would be merged, and is refused.
"""

from __future__ import annotations

from .onnx_records import Attribute, Model, Node, Span, Tensor, Value
from .wire import Field, Wire, WireError, signed

__all__ = ["read_model"]

_VARINT, _BYTES, _FIXED32 = 0, 2, 5


_MODEL_OTHERS = {20: "training_info", 25: "functions"}
_ATTRIBUTE_OTHERS = {
    6: "a graph",
    10: "tensors",
    11: "graphs",
    14: "a type",
    15: "types",
    21: "a reference",
    22: "a sparse tensor",
    23: "sparse tensors",
}
_TYPES = {4: "a sequence", 5: "a map", 7: "an opaque type", 8: "a sparse tensor", 9: "an optional"}


def read_model(wire: Wire) -> Model:
    """Read a ModelProto.

    Raises:
        WireError: the bytes are none.
    """
    graphs: list[Span] = []
    others: list[str] = []
    for tag, start, end in wire.fields(0, len(wire.data)):
        if tag == 7 << 3 | _BYTES:
            graphs.append((start, end))
        elif tag >> 3 in _MODEL_OTHERS:
            others.append(_MODEL_OTHERS[tag >> 3])
    if len(graphs) != 1:
        raise WireError("no graph in it" if not graphs else "a graph that is given twice")
    model = Model([], [], [], [], [], ())
    for tag, start, end in wire.fields(*graphs[0]):
        if tag == 1 << 3 | _BYTES:
            model.nodes.append(_node(wire, start, end))
        elif tag == 5 << 3 | _BYTES:
            model.tensors.append(_tensor(wire, start, end))
        elif tag == 11 << 3 | _BYTES:
            model.inputs.append(_value(wire, start, end))
        elif tag == 12 << 3 | _BYTES:
            model.outputs.append(_value(wire, start, end))
        elif tag == 13 << 3 | _BYTES:
            model.described.append(_described(wire, start, end))
        elif tag >> 3 == 15:
            others.append("sparse initializers")
    return model._replace(others=tuple(dict.fromkeys(others)))


def _node(wire: Wire, start: int, end: int) -> Node:
    data = wire.data
    name = op_type = domain = b""
    inputs: list[bytes] = []
    outputs: list[bytes] = []
    attributes: dict[bytes, Attribute] = {}
    twice = None
    for tag, at, stop in wire.fields(start, end):
        if tag == 1 << 3 | _BYTES:
            inputs.append(data[at:stop])
        elif tag == 2 << 3 | _BYTES:
            outputs.append(data[at:stop])
        elif tag == 5 << 3 | _BYTES:
            key, attribute = _attribute(wire, at, stop)
            if key in attributes:
                twice = key
            attributes[key] = attribute
        elif tag == 4 << 3 | _BYTES:
            op_type = data[at:stop]
        elif tag == 3 << 3 | _BYTES:
            name = data[at:stop]
        elif tag == 7 << 3 | _BYTES:
            domain = data[at:stop]
    return Node(name, op_type, domain, tuple(inputs), tuple(outputs), attributes, twice)


def _attribute(wire: Wire, start: int, end: int) -> tuple[bytes, Attribute]:
    data = wire.data
    name = b""
    number: int | None = None
    numbers: list[int] = []
    text: bytes | None = None
    tensor: Tensor | None = None
    others: list[str] = []
    for tag, at, stop in wire.fields(start, end):
        if tag == 1 << 3 | _BYTES:
            name = data[at:stop]
        elif tag == 8 << 3 | _VARINT:
            numbers.append(signed(at))
        elif tag == 3 << 3 | _VARINT:
            number = signed(at)
        elif tag == 8 << 3 | _BYTES:
            numbers += map(signed, wire.varints(at, stop))
        elif tag == 4 << 3 | _BYTES:
            text = data[at:stop]
        elif tag == 5 << 3 | _BYTES:
            if tensor is not None:
                raise WireError("a tensor that is given twice")
            tensor = _tensor(wire, at, stop)
        elif tag >> 3 in _ATTRIBUTE_OTHERS:
            others.append(_ATTRIBUTE_OTHERS[tag >> 3])
    return name, Attribute(number, tuple(numbers), text, tensor, tuple(others))


def _tensor(wire: Wire, start: int, end: int) -> Tensor:
    data = wire.data
    name = location = b""
    dims: list[int] = []
    data_type = 0
    raw: Span | None = None
    typed: list[Field] = []
    external = False
    for field in wire.fields(start, end):
        tag, at, stop = field
        if tag == 1 << 3 | _VARINT:
            dims.append(signed(at))
        elif tag == 1 << 3 | _BYTES:
            dims += map(signed, wire.varints(at, stop))
        elif tag == 2 << 3 | _VARINT:
            data_type = signed(at, 32)
        elif tag == 9 << 3 | _BYTES:
            raw = at, stop
        elif tag == 8 << 3 | _BYTES:
            name = data[at:stop]
        elif tag >> 3 in (4, 5, 6, 7, 10, 11):
            typed.append(field)
        elif tag == 13 << 3 | _BYTES:
            external, location = True, _entry(wire, at, stop) or location
        elif tag == 14 << 3 | _VARINT:
            external = external or at != 0
    return Tensor(name, tuple(dims), data_type, raw, tuple(typed), external, location)


def _entry(wire: Wire, start: int, end: int) -> bytes:
    """The value of an entry of external_data that is called "location"; "" of any other."""
    found = {tag: wire.data[at:stop] for tag, at, stop in wire.fields(start, end) if tag & 7 == _BYTES}
    return found.get(2 << 3 | _BYTES, b"") if found.get(1 << 3 | _BYTES) == b"location" else b""


def _described(wire: Wire, start: int, end: int) -> Value:
    """A value of which only name and kind count."""
    data = wire.data
    # nearly all are a name and a tensor's type, less than 128 bytes together: told without a walk
    if 4 < end - start < 0x80 and data[start] == 0x0A:
        kind = start + 2 + data[start + 1]
        plain = kind + 4 <= end and data[kind] == 0x12 and data[kind + 2] == 0x0A
        if plain and kind + 2 + data[kind + 1] == end == kind + 4 + data[kind + 3]:
            return Value(data[start + 2 : kind], 0, None, "")
    return _value(wire, start, end)._replace(data_type=0, shape=None)


def _value(wire: Wire, start: int, end: int) -> Value:
    name = b""
    types: list[Span] = []
    for tag, at, stop in wire.fields(start, end):
        if tag == 1 << 3 | _BYTES:
            name = wire.data[at:stop]
        elif tag == 2 << 3 | _BYTES:
            types.append((at, stop))
    if not types:
        return Value(name, 0, None, "")
    if len(types) > 1:
        raise WireError("a type that is given twice")
    tensors: list[Span] = []
    for tag, at, stop in wire.fields(*types[0]):
        if tag >> 3 in _TYPES:
            return Value(name, 0, None, _TYPES[tag >> 3])
        if tag == 1 << 3 | _BYTES:
            tensors.append((at, stop))
    if len(tensors) > 1:
        raise WireError("a type that is given twice")
    return _tensor_value(wire, name, tensors[0]) if tensors else Value(name, 0, None, "")


def _tensor_value(wire: Wire, name: bytes, place: Span) -> Value:
    data_type, shapes = 0, []
    for tag, at, stop in wire.fields(*place):
        if tag == 1 << 3 | _VARINT:
            data_type = signed(at, 32)
        elif tag == 2 << 3 | _BYTES:
            shapes.append((at, stop))
    if len(shapes) > 1:
        raise WireError("a shape that is given twice")
    if not shapes:
        return Value(name, data_type, None, "")
    sizes = [_size(wire, at, stop) for tag, at, stop in wire.fields(*shapes[0]) if tag == 1 << 3 | _BYTES]
    return Value(name, data_type, tuple(sizes), "")


def _size(wire: Wire, start: int, end: int) -> int | None:
    """A dimension; None where it is symbolic or not said. Of number and symbol the last one counts."""
    size = None
    for tag, at, _ in wire.fields(start, end):
        if tag == 1 << 3 | _VARINT:
            size = signed(at)
        elif tag == 2 << 3 | _BYTES:
            size = None
    return size
