"""TensorRT's own account of an engine, read: which layer computed on what.

`EngineInspector.get_engine_information(JSON)`, with detailed verbosity, gives an object per layer. Two forms:

    8, 10   tensors {"Name", "Dimensions", "Format/Datatype": "Row major Int8 format"}, engine "Bindings": [name, ...]
    11      tensors {"Name", "Dimensions", "Format": ..., "Datatype": "Int8"}, engine "I/O Tensors": [{"Name", ...}]

A layer's "Name" holds the names of the ONNX nodes that it was made of, joined by " + "; "Metadata" (from 8.6 on) holds
them as "[ONNX Layer: name]". A convolution is integer where the layer that names it reads int8, has int8 weights and
its tactic, where it has a name, says nothing else. A convolution that no layer names counts as float.

Sources: "Engine Inspector" and "Migrating IEngineInspector Usage from TensorRT 10.x to 11.x" (docs.nvidia.com), and
recorded engines in NVIDIA/TensorRT, tools/experimental/trt-engine-explorer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import onnx

from ...runtime.errors import ModelError
from ..proofs.executed_kernels import Kernel, KernelReport
from ..proofs.macs import macs_as_written

__all__ = ["EngineLayer", "engine_kernels", "read_layers"]

_TYPES = (
    ("int8", r"int8"),
    ("uint8", r"uint8"),
    ("float16", r"fp16|half|float16"),
    ("bfloat16", r"bf16|bfloat16"),
    ("float8", r"fp8"),
    ("int32", r"int32"),
    ("int64", r"int64"),
    ("bool", r"bool"),
    ("float32", r"fp32|float"),
)
_INTEGER_TACTIC = re.compile(r"(?<![a-z])(i8|s8)|i8i|int8|imma", re.IGNORECASE)
_FLOAT_TACTIC = re.compile(r"f32f32|f16f16|tf32|hmma|_fp16|bf16|sgemm|hgemm|h16816|h884|s1688|s16816", re.IGNORECASE)
_MOVERS = frozenset({"constant", "noop", "reformat", "shuffle", "signal", "wait"})
"""Layers that compute nothing, though their names may hold the node that they move something for."""

_NODE = r"(?<![\w./:-]){}(?![\w./:-])"


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineLayer:
    """One layer of an engine.

    Attributes:
        name: TensorRT's, which lists the ONNX nodes in it.
        kind: its type, "CaskConvolution", "Reformat", ...
        inputs, outputs: element types of its tensors, "int8", "float32", ...; "unknown" where TensorRT does not say.
        weights: element type of its weights, "" where it has none.
        tactic: the kernel's name, "" where it has none.
        origin: the names of the ONNX nodes, as far as TensorRT lists them apart.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: str
    tactic: str
    origin: tuple[str, ...] = ()

    def holds(self, node: str) -> bool:
        """Whether the ONNX node of this name went into the layer."""
        return node in self.origin or re.search(_NODE.format(re.escape(node)), self.name) is not None

    def to_json(self) -> dict[str, Any]:
        """Plain values for a report."""
        return asdict(self)


def read_layers(inspection: str) -> tuple[EngineLayer, ...]:
    """The layers of an inspector's JSON, in the order of execution.

    Raises:
        ModelError: no such JSON, or one without details.
    """
    try:
        layers = json.loads(inspection)["Layers"]
        if not all(isinstance(layer, dict) for layer in layers):
            raise ModelError(
                "the engine's inspector", expected="detailed layers", got="names only", fix="compile the engine here"
            )
        return tuple(_layer(layer) for layer in layers)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError("the engine's inspector", expected="JSON with Layers", got=str(error)) from error


def engine_kernels(layers: tuple[EngineLayer, ...], graph: onnx.ModelProto, *, version: str) -> KernelReport:
    """Which share of the graph's multiply-accumulates runs in int8 kernels.

    Args:
        layers: of the engine.
        graph: what the engine was built from; every node has a name.
        version: TensorRT's.
    """
    macs = macs_as_written(graph)
    work = {node.name: macs[node.output[0]] for node in graph.graph.node if node.output[0] in macs}
    kernels = []
    left = dict(work)
    for layer in layers:
        held = [] if layer.kind.lower() in _MOVERS else [name for name in left if layer.holds(name)]
        floats = [kind for kind in layer.outputs if "float" in kind]
        reason = _why_float(layer) if held else f"gives {', '.join(floats)}" if floats else ""
        kernels.append(
            Kernel(
                name=layer.name,
                operator=layer.kind,
                macs=sum(left.pop(name) for name in held),
                output_types=layer.outputs,
                integer=not reason,
                reason=reason,
            )
        )
    for name, count in left.items():
        reason = "no layer of the engine names it"
        kernels.append(Kernel(name=name, operator="", macs=count, output_types=(), integer=False, reason=reason))
    return KernelReport(kernels=tuple(kernels), macs=sum(work.values()), backend=f"tensorrt {version}")


def _why_float(layer: EngineLayer) -> str:
    """Why a layer with weights is no int8 kernel; "" where it is one."""
    if not layer.inputs or layer.inputs[0] != "int8":
        return f"reads {layer.inputs[0] if layer.inputs else 'nothing'}"
    if layer.weights not in ("", "int8"):
        return f"has weights of {layer.weights}"
    if not layer.weights and not _INTEGER_TACTIC.search(layer.tactic):
        return f"TensorRT does not say what it computes on (tactic {layer.tactic or 'without a name'})"
    if _FLOAT_TACTIC.search(layer.tactic) and not _INTEGER_TACTIC.search(layer.tactic):
        return f"its tactic is {layer.tactic}"
    return ""


def _layer(entry: Mapping[str, Any]) -> EngineLayer:
    # "Weights", or "ConvWeights" where convolution and pool are one layer
    found = [value for key, value in entry.items() if key.endswith("Weights") and isinstance(value, dict)]
    weights: Mapping[str, Any] = found[0] if found else {}
    return EngineLayer(
        # a fused region is "{ForeignNode[first...last]}"
        name=str(entry["Name"]).replace("...", " ... "),
        kind=str(entry.get("LayerType", "")),
        inputs=tuple(_type(tensor) for tensor in entry.get("Inputs", [])),
        outputs=tuple(_type(tensor) for tensor in entry.get("Outputs", [])),
        weights=_type_in(str(weights["Type"])) if "Type" in weights else "",
        tactic=str(entry.get("TacticName", "")),
        origin=tuple(re.findall(r"\[ONNX Layer: ([^\]]*)\]", str(entry.get("Metadata", "")))),
    )


def _type(tensor: Mapping[str, Any]) -> str:
    fields = {key.lower(): str(value) for key, value in tensor.items()}
    return _type_in(fields.get("datatype") or fields.get("format/datatype") or fields.get("format", ""))


def _type_in(text: str) -> str:
    found = (name for name, pattern in _TYPES if re.search(rf"(?<![a-z0-9])({pattern})(?![a-z0-9])", text.lower()))
    return next(found, "unknown")
