"""Which kernels OpenVINO runs, by its own account: the execution graph of the model that it compiled.

MACs of a convolution or matrix product: elements of the output * elements of the weight / output channels; of a product
of two activations, elements of the output * columns of the first. A kernel that multiplies is integer where both
factors are, whatever it makes of its int32 sums; any other one where its results are, or where it makes the logits of
integers. MACs of the graph as written that no kernel of the execution graph accounts for count as float.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from ...runtime.backends.installed import installed_version
from ...runtime.backends.openvino import compile_graph
from .executed_kernels import Kernel, KernelReport
from .macs import macs_as_written, one_image

__all__ = ["inspect_openvino_kernels"]

_PRODUCTS = ("Convolution", "FullyConnected", "MatMul", "Deconvolution")
_NO_WORK = ("Const", "Input", "Output")
_INTEGERS = ("i4", "u4", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "boolean")


def inspect_openvino_kernels(model: onnx.ModelProto) -> KernelReport:
    """Compile `model` as the backend does, for one image, and read which kernels run it.

    Raises:
        MissingExtraError: the package openvino is not installed.
        ModelError: OpenVINO refuses the graph, or ONNX cannot tell its shapes.
    """
    single, images = one_image(model)
    compiled = compile_graph(single.SerializeToString())
    nodes = compiled.get_runtime_model().get_ordered_ops()
    kinds = {node.get_friendly_name(): _fact(node, "layerType") for node in nodes}
    last = {
        source.get_node().get_friendly_name()
        for node in nodes
        if _fact(node, "layerType") == "Output"
        for source in node.input_values()
    }
    kernels = [_kernel(node, kinds, last, images) for node in nodes if kinds[node.get_friendly_name()] not in _NO_WORK]
    counted = sum(kernel.macs for kernel in kernels)
    macs = max(counted, sum(macs_as_written(model).values()))
    if missing := macs - counted:
        reason = "no kernel of the execution graph accounts for them"
        kernels.append(
            Kernel(name="other", operator="unknown", macs=missing, output_types=(), integer=False, reason=reason)
        )
    return KernelReport(kernels=tuple(kernels), macs=macs, backend=f"openvino {installed_version('openvino')}")


def _kernel(node: Any, kinds: Mapping[str, str], last: set[str], images: int) -> Kernel:
    name, kind = node.get_friendly_name(), _fact(node, "layerType")
    sources = [source.get_node().get_friendly_name() for source in node.input_values()]
    reads = [_type(port) for port in node.inputs()]
    types = tuple(_type(port) for port in node.outputs())
    floats = [given for given in (reads[:2] if kind in _PRODUCTS else types) if given not in _INTEGERS]
    constant = bool(sources) and all(kinds[source] == "Const" for source in sources)
    logits = name in last and bool(reads) and reads[0] in _INTEGERS
    integer = not floats or constant or (logits and kind not in _PRODUCTS)
    return Kernel(
        name=name,
        operator=kind,
        macs=_macs(kind, [_shape(port) for port in node.inputs()], [_shape(port) for port in node.outputs()]) // images,
        output_types=types,
        integer=integer,
        reason="" if integer else f"computes on {', '.join(dict.fromkeys(floats))}",
    )


def _macs(kind: str, reads: Sequence[Sequence[int]], gives: Sequence[Sequence[int]]) -> int:
    """MACs of all images."""
    if kind not in _PRODUCTS or len(reads) < 2 or not gives:
        return 0
    output = math.prod(gives[0])
    if kind == "MatMul":
        return output * reads[0][-1]
    channels = gives[0][-1] if kind == "FullyConnected" else gives[0][1]
    return output * math.prod(reads[1]) // max(channels, 1)


def _fact(node: Any, key: str) -> str:
    """What the plugin says of a node; "" where it says nothing."""
    facts = node.get_rt_info()
    return str(facts[key].astype(str)) if key in facts else ""


def _type(port: Any) -> str:
    return str(port.get_element_type().to_string())


def _shape(port: Any) -> list[int]:
    """Sizes; 1 where one is open."""
    return [size.get_length() if size.is_static else 1 for size in port.get_partial_shape()]
