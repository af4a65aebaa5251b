"""Which kernels ONNX Runtime really ran, by its own account: the optimized graph and the profile of a run.

A kernel is integer where all its results are integers, or are the logits (QGemm turns the last int32 sums into float
itself). The MACs (`macs.py`) of the optimized graph are held against those of the graph as written, so that nothing
escapes the count. One optimizer is left out for that, NchwcTransformer: it pads channels, those of float convolutions
only.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from ...runtime.backends.onnxruntime import open_session, session_options
from ...runtime.errors import GateError, InputError, ModelError, first_line
from .macs import SECOND_FACTOR, macs_as_written, product, terms

__all__ = ["Kernel", "KernelReport", "check_integer_share", "inspect_kernels"]

_SUFFIX = "_kernel_time"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """One executed kernel.

    Attributes:
        name: the node's name in the optimized graph.
        operator: its type, with the domain where that is not ONNX's own.
        macs: multiply-accumulates per image; 0 for all but convolutions and matrix products.
        output_types: element types of its results.
        integer: whether the kernel computes on integers.
        reason: why not, where it does not.
    """

    name: str
    operator: str
    macs: int
    output_types: tuple[str, ...]
    integer: bool
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelReport:
    """The kernels of one run, in order of execution."""

    kernels: tuple[Kernel, ...]
    macs: int
    backend: str

    @property
    def integer_macs(self) -> int:
        """MACs per image in integer kernels."""
        return sum(kernel.macs for kernel in self.kernels if kernel.integer)

    @property
    def integer_share(self) -> float:
        """Share of the MACs that integer kernels did, in [0, 1]."""
        return self.integer_macs / self.macs if self.macs else 0.0

    @property
    def float_kernels(self) -> tuple[Kernel, ...]:
        """Kernels between the first quantizer and the logits that computed on floats."""
        return tuple(kernel for kernel in self.kernels if not kernel.integer)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        return {
            "backend": self.backend,
            "macs": self.macs,
            "integer_macs": self.integer_macs,
            "integer_share": self.integer_share,
            "kernels": [asdict(kernel) | {"output_types": list(kernel.output_types)} for kernel in self.kernels],
        }


def check_integer_share(kernels: KernelReport, least: float) -> None:
    """Let pass only an engine that runs on integers.

    Args:
        least: share of the MACs, in [0, 1].

    Raises:
        GateError: too few MACs in integer kernels; layers with MACs are named first.
    """
    if kernels.integer_share < least:
        floats = sorted(kernels.float_kernels, key=lambda kernel: -kernel.macs)[:5]
        named = ", ".join(f"{k.operator} {k.name}" + (f" ({k.reason})" if k.reason else "") for k in floats)
        raise GateError(
            "MACs in integer kernels",
            expected=f"at least {least:.1%}",
            got=f"{kernels.integer_share:.1%}; in float: {named}",
            fix="set quantize.integer_share lower, or replace these layers",
        )


def inspect_kernels(model: onnx.ModelProto) -> KernelReport:
    """Run one black image through `model` and read which kernels did it.

    Raises:
        InputError: no temporary file can be written.
        ModelError: ONNX Runtime refuses the graph, or its profile lacks a kernel of the optimized graph.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            optimized, events, images = _profile(model, Path(folder))
    except OSError as error:
        got = error.strerror or str(error)
        raise InputError("the folder of temporary files", expected="room for a profile", got=got) from error
    executed = {str(event["name"]).removesuffix(_SUFFIX): event["args"] for event in events}
    weights = {t.name: tuple(t.dims) for t in optimized.graph.initializer}
    outputs = {o.name for o in optimized.graph.output}
    kernels = []
    nameless = _by_operator(events)
    for node in optimized.graph.node:
        arguments = executed.get(node.name) if node.name else next(nameless[node.op_type], None)
        if arguments is None:
            raise ModelError(
                f"the profile lacks {node.op_type} {node.name!r}",
                expected="an event for every node",
                got=str(len(executed)),
            )
        kernels.append(_kernel(node, arguments, weights, outputs, images=images))
    macs = sum(macs_as_written(model).values())
    counted = sum(kernel.macs for kernel in kernels)
    if counted != macs:
        raise ModelError(
            "MACs of the optimized graph", expected=f"{macs}, as in the graph as written", got=str(counted)
        )
    return KernelReport(kernels=tuple(kernels), macs=macs, backend=f"onnxruntime {onnxruntime.__version__}")


def _by_operator(events: list[dict[str, Any]]) -> Mapping[str, Iterator[dict[str, Any]]]:
    """Of the nodes that ONNX Runtime made without a name, which the profile calls by operator and number, in order."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        operator = str(event["args"]["op_name"])
        if re.fullmatch(rf"{re.escape(operator)}_\d+{_SUFFIX}", str(event["name"])):
            found[operator].append(event["args"])
    return defaultdict(lambda: iter(()), {operator: iter(arguments) for operator, arguments in found.items()})


def _profile(model: onnx.ModelProto, folder: Path) -> tuple[onnx.ModelProto, list[dict[str, Any]], int]:
    """The optimized graph, the events of its nodes, and how many images were run."""
    options = session_options()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    try:
        session = open_session(_named(model).SerializeToString(), options, disabled_optimizers=["NchwcTransformer"])
        meta = session.get_inputs()[0]
        shape = [size if isinstance(size, int) and size > 0 else 1 for size in meta.shape]
        image = np.zeros(shape, np.uint8 if meta.type == "tensor(uint8)" else np.float32)
        session.run(None, {meta.name: image})
        profile = Path(session.end_profiling())
    except Exception as error:  # onnxruntime raises a dozen types of its own
        raise ModelError("ONNX Runtime refuses the graph", got=first_line(error)) from error
    events = json.loads(profile.read_text(encoding="utf-8", errors="replace"))
    events = [e for e in events if e.get("cat") == "Node" and "op_name" in e.get("args", {})]
    events = [e for e in events if e["name"].endswith(_SUFFIX)]
    return onnx.load(str(folder / "optimized.onnx")), events, shape[0]


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every node has a name of its own, by which the profile calls it."""
    named = onnx.ModelProto()
    named.CopyFrom(model)
    for index, node in enumerate(named.graph.node):
        if not node.name:
            node.name = f"{node.op_type}#{index}"
    return named


def _kernel(
    node: onnx.NodeProto,
    arguments: dict[str, Any],
    weights: dict[str, tuple[int, ...]],
    outputs: set[str],
    *,
    images: int,
) -> Kernel:
    produced = _types_and_shapes(arguments, "output_type_shape")
    types = tuple(kind for kind, _ in produced)
    reads = _types_and_shapes(arguments, "input_type_shape")
    floats = [kind for kind in types if "float" in kind or "double" in kind]
    # the kernel that turns integers into the logits gives floats; one that reads floats first computes on them
    last = all(name in outputs for name in node.output if name) and bool(reads) and "float" not in reads[0][0]
    integer = not floats or last
    return Kernel(
        name=node.name,
        operator=f"{node.domain}.{node.op_type}" if node.domain else node.op_type,
        macs=_executed_macs(node, weights, reads, produced) // images,
        output_types=types,
        integer=integer,
        reason="" if integer else f"gives {', '.join(floats)}",
    )


def _types_and_shapes(arguments: dict[str, Any], key: str) -> list[tuple[str, list[int]]]:
    return [(kind, shape) for entry in arguments.get(key, []) for kind, shape in entry.items()]


def _executed_macs(
    node: onnx.NodeProto,
    weights: dict[str, tuple[int, ...]],
    reads: list[tuple[str, list[int]]],
    produced: list[tuple[str, list[int]]],
) -> int:
    """MACs by the shapes that the profile saw; weights that were packed ahead have no entry in it."""
    if node.op_type == "MatMulNBits":  # a weight packed in blocks
        sizes = {attribute.name: attribute.i for attribute in node.attribute}
        return product(produced[0][1]) * int(sizes["K"])
    index = SECOND_FACTOR.get(node.op_type)
    if index is None or not produced:
        return 0
    name = node.input[index]
    weight = weights[name] if name in weights else tuple(reads[sum(1 for i in node.input[:index] if i)][1])
    return product(produced[0][1]) * terms(node, weight)
