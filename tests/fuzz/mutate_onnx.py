"""Mutations of an ONNX graph's structure, which stay a protobuf that parses.

Operators, attributes, names, edges, constants, shapes, types, versions and what a classifier has no use for (functions,
subgraphs, sequences, foreign domains). `_foldable` puts in what ONNX Runtime computes while it loads: a node whose
inputs are all constants.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import onnx
from mutate_bytes import ODD_INTEGERS
from onnx import TensorProto, helper, numpy_helper

__all__ = ["mutate_graph"]

_OPERATORS = sorted({schema.name for schema in onnx.defs.get_all_schemas()})
_QUANTIZED = ("QLinearAdd", "QLinearMul", "QGemm", "QLinearGlobalAveragePool", "QLinearLeakyRelu", "FusedMatMul")
_QUANTIZED += ("MatMulNBits", "FusedConv", "Gelu", "BiasGelu", "Attention", "DynamicQuantizeMatMul", "QLinearConcat")
_DOMAINS = ("", "ai.onnx", "com.microsoft", "ai.onnx.ml", "com.example", "ai.onnx.training", "\x1b[2J")
_NAMES = ("", "x" * 5000, "\x1b[2J\x1b[31mred", "a\nb", "a/b", "../a", "é", "\u202e", "{x}", "%s%n", "N")
_ATTRIBUTES = ("axis", "axes", "pads", "strides", "dilations", "kernel_shape", "group", "perm", "to", "keepdims")
_ATTRIBUTES += ("alpha", "beta", "epsilon", "mode", "auto_pad", "ceil_mode", "transA", "transB", "block_size", "value")
_TYPES = [value for value in TensorProto.DataType.values() if value]


def mutate_graph(random: Random, content: bytes, *, most: int = 2) -> tuple[bytes, str]:
    """An ONNX file after one to `most` mutations, and their names."""
    model = onnx.load_from_string(content)
    done = []
    for _ in range(random.randint(1, most)):
        mutation = random.choice(_MUTATIONS)
        mutation(random, model)
        done.append(mutation.__name__.strip("_"))
    return model.SerializeToString(deterministic=True), ", ".join(done)


def _names(model: Any) -> list[str]:
    graph = model.graph
    values = [name for node in graph.node for name in (*node.input, *node.output)]
    return [*values, *(tensor.name for tensor in graph.initializer), *(value.name for value in graph.input)] or [""]


def _node(random: Random, model: Any) -> Any:
    if not model.graph.node:
        model.graph.node.append(helper.make_node("Identity", ["image"], ["logits"]))
    return random.choice(model.graph.node)


def _operator(random: Random, model: Any) -> None:
    node = _node(random, model)
    node.op_type = random.choice((random.choice(_OPERATORS), random.choice(_QUANTIZED), random.choice(_NAMES)))
    if node.op_type in _QUANTIZED:
        node.domain = "com.microsoft"
        _import(model, "com.microsoft", 1)


def _domain(random: Random, model: Any) -> None:
    domain = random.choice(_DOMAINS)
    _node(random, model).domain = domain
    if random.random() < 0.7:
        _import(model, domain, random.choice((1, 1, 13, 21)))


def _import(model: Any, domain: str, version: int) -> None:
    if domain not in {opset.domain for opset in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(domain, version))


def _odd_integer(random: Random) -> int:
    return random.choice((*ODD_INTEGERS, random.randint(-3, 9)))


def _value(random: Random) -> Any:
    """Of an attribute."""
    match random.randrange(6):
        case 0:
            return _odd_integer(random)
        case 1:
            return [_odd_integer(random) for _ in range(random.choice((1, 2, 4, 5)))]
        case 2:
            return random.choice((0.0, -1.0, 1e38, float("nan"), float("inf")))
        case 3:
            return random.choice((*_NAMES[1:], "SAME_UPPER", "linear", "constant", "DCR"))
        case 4:
            return _tensor(random, "")
        case _:
            return [0.5, float("inf")]


def _attribute(random: Random, model: Any) -> None:
    """One changed, removed, added or given twice."""
    nodes = [node for node in model.graph.node if node.attribute]
    node = random.choice(nodes) if nodes and random.random() < 0.8 else _node(random, model)
    if node.attribute and (kind := random.randrange(4)) < 3:
        at = random.randrange(len(node.attribute))
        attribute = node.attribute[at]
        if kind == 0:
            del node.attribute[at]
        elif kind == 1 and attribute.ints:
            index = random.randrange(len(attribute.ints))
            attribute.ints[index] = _odd_integer(random)
        else:
            attribute.CopyFrom(helper.make_attribute(attribute.name, _value(random)))
        return
    node.attribute.append(helper.make_attribute(random.choice(_ATTRIBUTES), _value(random)))


def _edge(random: Random, model: Any) -> None:
    """An input or a result that gets another's name."""
    node = _node(random, model)
    side = node.input if node.input and random.random() < 0.8 else node.output
    new = random.choice((random.choice(_names(model)), random.choice(_names(model)), random.choice(_NAMES)))
    if side and random.random() < 0.8:
        side[random.randrange(len(side))] = new
    elif side and random.random() < 0.5:
        del side[random.randrange(len(side))]
    else:
        side.append(new)


def _swap_edges(random: Random, model: Any) -> None:
    first, second = _node(random, model), _node(random, model)
    if first.input and second.input:
        one, other = random.randrange(len(first.input)), random.randrange(len(second.input))
        first.input[one], second.input[other] = second.input[other], first.input[one]


def _rename(random: Random, model: Any) -> None:
    """A value, everywhere; or what a node, the graph or the file calls itself."""
    new = random.choice(_NAMES)
    match random.randrange(4):
        case 0:
            _node(random, model).name = new
        case 1:
            model.graph.name = new
        case 2:
            model.producer_name = model.doc_string = new
            helper.set_model_props(model, {new: new})
        case _:
            old = random.choice(_names(model))
            graph = model.graph
            for holder in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
                if holder.name == old:
                    holder.name = new
            for node in graph.node:
                for side in (node.input, node.output):
                    for index, name in enumerate(side):
                        if name == old:
                            side[index] = new


def _double_node(random: Random, model: Any) -> None:
    """A node twice: its results are then given twice, unless they are renamed."""
    copy = onnx.NodeProto()
    copy.CopyFrom(_node(random, model))
    if random.random() < 0.5:
        for index, name in enumerate(copy.output):
            copy.output[index] = f"{name}_again"
    model.graph.node.insert(random.randrange(len(model.graph.node) + 1), copy)


def _remove_node(random: Random, model: Any) -> None:
    if model.graph.node:
        index = random.randrange(len(model.graph.node))
        gone = model.graph.node[index]
        if random.random() < 0.6 and gone.input and gone.output:  # what read its result reads its input
            for node in model.graph.node:
                for place, name in enumerate(node.input):
                    if name == gone.output[0]:
                        node.input[place] = gone.input[0]
        del model.graph.node[index]


def _move_node(random: Random, model: Any) -> None:
    nodes = list(model.graph.node)
    node = nodes.pop(random.randrange(len(nodes))) if nodes else None
    if node is not None:
        nodes.insert(random.randrange(len(nodes) + 1), node)
        del model.graph.node[:]
        model.graph.node.extend(nodes)


def _insert_node(random: Random, model: Any) -> None:
    """On an edge: any operator, with constants as its further inputs."""
    node = _node(random, model)
    if not node.input:
        return
    at = random.randrange(len(node.input))
    further = [_add_constant(random, model) for _ in range(random.choice((0, 0, 1, 1, 2, 4)))]
    made = helper.make_node(random.choice(_OPERATORS), [node.input[at], *further], [f"new_{random.randrange(10**6)}"])
    for _ in range(random.choice((0, 0, 1, 2))):
        made.attribute.append(helper.make_attribute(random.choice(_ATTRIBUTES), _value(random)))
    node.input[at] = made.output[0]
    where = [index for index, other in enumerate(model.graph.node) if other is node or other == node]
    model.graph.node.insert(where[0] if where else 0, made)


def _array(random: Random) -> Any:
    """Of few elements and any kind."""
    shape = random.choice(((), (0,), (1,), (1,), (2,), (4,), (1, 1), (4, 4), (1, 4, 8, 8), (4, 4, 3, 3)))
    kind = random.choice(("f4", "f4", "i8", "i8", "i4", "u1", "i1", "f2", "f8", "b1", "u8"))
    if kind[0] in "iu":
        limits = np.iinfo(kind)
        odd = [value for value in (*ODD_INTEGERS, *range(-2, 6)) if limits.min <= value <= limits.max]
        return np.array([random.choice(odd) for _ in range(int(np.prod(shape)))], kind).reshape(shape)
    odd_floats = (0.0, 1.0, -1.0, 2.0**-8, 6e4, float("nan"), float("inf"), -float("inf"))
    return np.array([random.choice(odd_floats) for _ in range(int(np.prod(shape)))]).astype(kind).reshape(shape)


def _tensor(random: Random, name: str) -> Any:
    return numpy_helper.from_array(_array(random), name)


def _add_constant(random: Random, model: Any) -> str:
    name = f"constant_{random.randrange(10**6)}"
    model.graph.initializer.append(_tensor(random, name))
    return name


def _foldable(random: Random, model: Any) -> None:
    """A node of constants alone, which the rest reads."""
    many = {"Div": 2, "Mod": 2, "Expand": 2, "Tile": 2, "ConstantOfShape": 1, "Range": 3, "Pad": 2, "Reshape": 2}
    many |= {"BitShift": 2, "Pow": 2, "Gather": 2, "Slice": 4, "OneHot": 3, "TopK": 2, "Concat": 2, "Resize": 3}
    many |= {"Conv": 2, "MatMul": 2, "ScatterND": 3, "GatherND": 2, "Where": 3, "CumSum": 2, "Split": 2, "EyeLike": 1}
    many |= {"QuantizeLinear": 3, "DequantizeLinear": 3, "Loop": 2, "Unsqueeze": 2, "Squeeze": 2, "ReduceSum": 2}
    kind = random.choice((*many, random.choice(_OPERATORS)))
    made = helper.make_node(
        kind, [_add_constant(random, model) for _ in range(many.get(kind, random.choice((1, 2))))], ["folded"]
    )
    if kind == "BitShift":
        made.attribute.append(helper.make_attribute("direction", "LEFT"))
    model.graph.node.insert(0, made)
    node = _node(random, model)
    if random.random() < 0.5 and node.input:
        node.input[random.randrange(len(node.input))] = "folded"
    elif random.random() < 0.5:
        model.graph.output.append(helper.make_tensor_value_info("folded", TensorProto.FLOAT, None))


def _constant(random: Random, model: Any) -> None:
    """An initializer's shape, type or bytes."""
    if not model.graph.initializer:
        return
    tensor = random.choice(model.graph.initializer)
    match random.randrange(6):
        case 0:
            if tensor.dims:
                tensor.dims[random.randrange(len(tensor.dims))] = random.choice((*ODD_INTEGERS[:13], -1, -5))
            else:
                tensor.dims.append(random.choice((0, 1, 2, 2**31)))
        case 1:
            tensor.data_type = random.choice(_TYPES)
        case 2:
            tensor.raw_data = tensor.raw_data[: random.randrange(len(tensor.raw_data) + 1)] * random.choice((1, 2))
        case 3:
            tensor.data_location = TensorProto.EXTERNAL
            path = random.choice(("/etc/passwd", "/dev/zero", "../x", "manifest.json", "", "proof.npz"))
            for key, value in (("location", path), ("offset", "0"), ("length", str(random.choice(ODD_INTEGERS)))):
                tensor.external_data.add(key=key, value=value)
        case 4:
            name = tensor.name
            tensor.CopyFrom(_tensor(random, name))
        case _:
            changed = bytearray(tensor.raw_data or b"\0\0\0\0")
            new = random.choice(
                (b"\xff\xff\xff\x7f", b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\0\0", b"\xff\xff\xff\xff")
            )
            at = random.randrange(0, len(changed), 4)
            changed[at : at + 4] = new[: len(changed[at : at + 4])]
            tensor.raw_data = bytes(changed)


def _interface(random: Random, model: Any) -> None:
    """What the graph says that it takes and gives."""
    graph = model.graph
    side = random.choice((graph.input, graph.output))
    if not side:
        return
    value = random.choice(side)
    tensor = value.type.tensor_type
    match random.randrange(7):
        case 0 | 1:
            if tensor.shape.dim:
                dim = random.choice(tensor.shape.dim)
                dim.Clear()
                dim.dim_value = random.choice((0, 1, 2, 3, 7, 8, 16, -1, 2**16, 2**31, 2**62))
        case 2:
            for dim in tensor.shape.dim:
                dim.dim_param = random.choice(("N", "", "\x1b[2J"))
        case 3:
            tensor.elem_type = random.choice(_TYPES)
        case 4:
            side.append(value)
        case 5:
            value.type.ClearField("tensor_type")
            value.type.sequence_type.elem_type.tensor_type.elem_type = TensorProto.FLOAT
        case _:
            side.append(helper.make_tensor_value_info(random.choice(_names(model)), random.choice(_TYPES), [1]))


def _version(random: Random, model: Any) -> None:
    match random.randrange(4):
        case 0:
            model.ir_version = random.choice((0, 1, 3, 10, 12, 99, 2**31, -1))
        case 1 if model.opset_import:
            random.choice(model.opset_import).version = random.choice((-1, 0, 1, 6, 11, 13, 17, 22, 26, 99, 2**40))
        case 2:
            del model.opset_import[:]
        case _:
            model.opset_import.append(helper.make_opsetid(random.choice(_DOMAINS), random.choice((1, 7, 18, 99))))


def _foreign(random: Random, model: Any) -> None:
    """What a classifier has no use for."""
    node = _node(random, model)
    body = helper.make_graph([], "body", [], [])
    match random.randrange(6):
        case 0:
            inner = helper.make_node("Identity", ["a"], ["b"])
            if random.random() < 0.4:
                inner = helper.make_node("Call", ["a"], ["b"], domain="local")  # it calls itself
            local = helper.make_function("local", "Call", ["a"], ["b"], [inner], [helper.make_opsetid("", 18)])
            model.functions.append(local)
            node.op_type, node.domain = "Call", "local"
            _import(model, "local", 1)
        case 1:
            node.op_type = random.choice(("If", "Loop", "Scan"))
            for name in ("then_branch", "else_branch", "body"):
                node.attribute.append(helper.make_attribute(name, body))
        case 2:
            node.op_type = random.choice(("SequenceConstruct", "SplitToSequence", "ConcatFromSequence", "Optional"))
        case 3:
            sparse = model.graph.sparse_initializer.add()
            sparse.values.CopyFrom(numpy_helper.from_array(np.ones(2, np.float32), random.choice(_names(model))))
            sparse.indices.CopyFrom(numpy_helper.from_array(np.array([0, _odd_integer(random)], np.int64), "i"))
            sparse.dims.append(random.choice(ODD_INTEGERS))
        case 4:
            annotation = model.graph.quantization_annotation.add(tensor_name=random.choice(_names(model)))
            annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value=random.choice(_NAMES))
        case _:
            model.training_info.add().algorithm.CopyFrom(model.graph)


def _long(random: Random, model: Any) -> None:
    """A chain of very many nodes, or very many constants."""
    count = random.choice((300, 3000, 12_000))
    last = random.choice(_names(model))
    kind = random.choice(("Relu", "Identity", "Neg", "Cast"))
    for index in range(count):
        node = model.graph.node.add(op_type=kind, input=[last], output=[f"long_{index}"])
        if kind == "Cast":
            node.attribute.append(helper.make_attribute("to", random.choice((TensorProto.FLOAT, TensorProto.UINT8))))
        last = f"long_{index}"
    if random.random() < 0.5 and model.graph.output:
        model.graph.output[0].name = last


_Mutation = Callable[[Random, Any], None]
_OFTEN: tuple[_Mutation, ...] = (_operator, _attribute, _edge, _insert_node, _foldable, _constant, _interface)
_RARE: tuple[_Mutation, ...] = (
    _domain,
    _swap_edges,
    _rename,
    _double_node,
    _remove_node,
    _move_node,
    _version,
    _foreign,
)
_MUTATIONS = _OFTEN * 6 + _RARE * 4 + (_long,)
