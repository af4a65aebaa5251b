"""An ONNX file as the checks see it: nodes, attributes, tensors and types, without the tensors' data.

Names stay bytes.
"""

from __future__ import annotations

from typing import NamedTuple

from .wire import Field

__all__ = ["Attribute", "Model", "Node", "Span", "Tensor", "Value"]

Span = tuple[int, int]
"""Start and end of bytes in the file."""


class Tensor(NamedTuple):
    """A tensor (TensorProto).

    Attributes:
        name: "" where it has none.
        dims: its shape as the file says it.
        data_type: its element type, a number of TensorProto.DataType.
        raw: where its bytes lie; None where the data is in typed fields.
        typed: those fields, in the file's order.
        external: whether its data lies in another file.
        location: the name of that file, as far as it is known.
    """

    name: bytes
    dims: tuple[int, ...]
    data_type: int
    raw: Span | None
    typed: tuple[Field, ...]
    external: bool
    location: bytes


class Attribute(NamedTuple):
    """An attribute of a node: the values that checks ask for.

    Attributes:
        number: `i`; None where it is not given.
        numbers: `ints`.
        text: `s`; None where it is not given.
        tensor: `t`; None where it is not given.
        others: which of its fields hold something that no check knows: graphs, sparse tensors, types, references.
    """

    number: int | None
    numbers: tuple[int, ...]
    text: bytes | None
    tensor: Tensor | None
    others: tuple[str, ...]


class Node(NamedTuple):
    """A node; `twice` is an attribute's name that occurs twice, or None."""

    name: bytes
    op_type: bytes
    domain: bytes
    inputs: tuple[bytes, ...]
    outputs: tuple[bytes, ...]
    attributes: dict[bytes, Attribute]
    twice: bytes | None


class Value(NamedTuple):
    """An input, an output, or a value that is described.

    Attributes:
        name: its name.
        data_type: its element type; 0 where it is not said.
        shape: its sizes, each None where it is symbolic; None where no shape is said.
        other: what it is instead of a tensor, "" for a tensor.
    """

    name: bytes
    data_type: int
    shape: tuple[int | None, ...] | None
    other: str


class Model(NamedTuple):
    """An ONNX file.

    Attributes:
        nodes: in the file's order.
        tensors: the initializers.
        inputs, outputs: values.
        described: value_info, of which only name and `other` are read.
        others: what else it holds that an inference graph of one file does not: functions, training_info, sparse
            initializers.
    """

    nodes: list[Node]
    tensors: list[Tensor]
    inputs: list[Value]
    outputs: list[Value]
    described: list[Value]
    others: tuple[str, ...]
