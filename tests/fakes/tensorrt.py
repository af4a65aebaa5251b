"""A TensorRT without a GPU: the names of the real bindings, and what a builder does as far as we rely on it.

Every object has the names that the recorded bindings of its version have (`tests/data/tensorrt/api-*.json`), and no
other: to touch one that is not there is an AttributeError, as it is with the real bindings. The parser refuses what
the real one's `QuantDequantLinearHelper` and opset limit refuse (onnx/onnx-tensorrt, branches 8.5-GA and 10.1-GA). An
engine is JSON: the layers that the inspector will tell.
"""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

API = Path(__file__).parents[1] / "data" / "tensorrt"
OPSETS = {8: 17, 10: 20, 11: 24}


class Guard:
    """`target` behind the names of one class of the bindings."""

    def __init__(self, kind: str, names: dict[str, Any], target: Any) -> None:
        object.__setattr__(self, "_parts", (kind, names, target))

    def __getattr__(self, name: str) -> Any:
        kind, names, target = object.__getattribute__(self, "_parts")
        if name not in names:
            raise AttributeError(f"TensorRT's {kind} has no {name}")
        return getattr(target, name)

    def __setattr__(self, name: str, value: Any) -> None:
        kind, names, target = object.__getattribute__(self, "_parts")
        if name not in names:
            raise AttributeError(f"TensorRT's {kind} has no {name}")
        setattr(target, name, value)


def bare(guarded: Any) -> Any:
    """What is behind the guard."""
    return object.__getattribute__(guarded, "_parts")[2]


class FakeTensorRT:
    """The module `tensorrt` of one version.

    Args:
        version: one that is recorded.

    Attributes:
        said: what the last build was told: "network_flags", "flags", "profiles", ...
        fail_with: messages to log instead of building.
    """

    def __init__(self, version: str) -> None:
        self._api = json.loads((API / f"api-{version}.json").read_text(encoding="utf-8"))
        self.__version__, self.__name__ = version, "tensorrt"
        self.major = int(version.partition(".")[0])
        self.said: dict[str, Any] = {}
        self.fail_with: list[str] = []
        for name, members in self._api.items():
            if isinstance(members, dict) and all(isinstance(value, int) for value in members.values()):
                setattr(self, name, enum.IntEnum(name, members))
        severity = enum.IntEnum("Severity", {"INTERNAL_ERROR": 0, "ERROR": 1, "WARNING": 2, "INFO": 3, "VERBOSE": 4})
        self.ILogger = type("ILogger", (), {"Severity": severity, "__init__": lambda self: None})
        assert {"Severity", "ERROR", "INTERNAL_ERROR"} <= self._api["ILogger"].keys()

    def guard(self, kind: str, target: Any) -> Any:
        public = {name for name in dir(target) if not name.startswith("_")} - {"trt"}
        methods = {name for name in public if callable(getattr(target, name))}
        assert self.major < 11 or methods <= self._api[kind].keys() | {"set_preview_feature"}, (kind, methods)
        return Guard(kind, self._api[kind], target)

    def Builder(self, log: Any) -> Any:  # noqa: N802 - the bindings' name
        self.said = {"flags": set(), "profiles": [], "preview": {}}
        return self.guard("Builder", Builder(self, log))

    def OnnxParser(self, network: Any, log: Any) -> Any:  # noqa: N802
        return self.guard("OnnxParser", OnnxParser(self, network))

    def Runtime(self, log: Any) -> Any:  # noqa: N802
        return self.guard("Runtime", Runtime(self))


class Builder:
    def __init__(self, trt: FakeTensorRT, log: Any) -> None:
        self.trt, self.logger = trt, log

    def create_network(self, flags: int = 0) -> Any:
        self.trt.said["network_flags"] = flags
        return self.trt.guard("INetworkDefinition", Network())

    def create_builder_config(self) -> Any:
        return self.trt.guard("IBuilderConfig", Config(self.trt))

    def create_optimization_profile(self) -> Any:
        return self.trt.guard("IOptimizationProfile", Profile())

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        trt, graph = self.trt, bare(network).graph
        for message in trt.fail_with:
            self.logger.log(trt.ILogger.Severity.ERROR, message)
        if trt.fail_with:
            return None
        if trt.major < 10:
            flag = 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
            assert trt.said["network_flags"] & flag, "8.x has implicit batches without the flag"
        quantized = any(node.op_type == "QuantizeLinear" for node in graph.node)
        assert trt.major >= 10 or not quantized or "INT8" in trt.said["flags"], "Q/DQ needs the INT8 flag below 10"
        assert bare(config).profiling_verbosity == trt.ProfilingVerbosity.DETAILED
        return json.dumps({"version": trt.__version__, "layers": layers(graph, trt.major)}).encode()


class Network:
    graph: onnx.GraphProto


class Config:
    profiling_verbosity: Any = None
    hardware_compatibility_level: Any = None

    def __init__(self, trt: FakeTensorRT) -> None:
        self.trt = trt

    def set_flag(self, flag: Any) -> None:
        self.trt.said["flags"].add(flag.name)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self.trt.said[pool.name] = size

    def set_preview_feature(self, feature: Any, enable: bool) -> None:
        self.trt.said["preview"][feature.name] = enable

    def set_tactic_sources(self, sources: int) -> bool:
        self.trt.said["tactics"] = {source.name for source in self.trt.TacticSource if sources & 1 << int(source)}
        return True

    def create_timing_cache(self, content: bytes) -> Any:
        return None if content == b"damaged" else self.trt.guard("ITimingCache", TimingCache(content))

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        self.trt.said["timing_cache"] = (bare(cache).content, ignore_mismatch)
        return True

    def add_optimization_profile(self, profile: Any) -> int:
        self.trt.said["profiles"].append(bare(profile).shapes)
        self.trt.said["hardware"] = self.hardware_compatibility_level
        return len(self.trt.said["profiles"]) - 1


class TimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content + b"+"


class Profile:
    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002 - the bindings' names
        self.shapes = (input, min, opt, max)


class ParserError:
    def __init__(self, node: int, text: str) -> None:
        self._node, self._text = node, text

    def node(self) -> int:
        return self._node

    def desc(self) -> str:
        return self._text


class OnnxParser:
    def __init__(self, trt: FakeTensorRT, network: Any) -> None:
        self.trt, self._network, self._errors = trt, network, list[ParserError]()

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return self.trt.guard("ParserError", self._errors[index])

    def parse(self, model: bytes) -> bool:
        proto = onnx.load_from_string(model)
        opset = next(entry.version for entry in proto.opset_import if entry.domain == "")
        if opset > OPSETS[self.trt.major]:
            self._errors.append(ParserError(-1, f"opset {opset} is not supported"))
        stored = {tensor.name: tensor for tensor in proto.graph.initializer}
        for index, node in enumerate(proto.graph.node):
            for text in refusals(node, stored, float_weights=self.trt.major < 10):
                self._errors.append(ParserError(index, f"{text}\nsecond line"))
        bare(self._network).graph = proto.graph
        return not self._errors


def refusals(node: onnx.NodeProto, stored: dict[str, onnx.TensorProto], *, float_weights: bool) -> list[str]:
    """What the parser says against a node."""
    found = []
    if node.op_type == "Conv" and len(node.input) > 2 and node.input[2] not in stored:
        found.append("the bias is no initializer")
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        if len(node.input) != 3:
            return ["three inputs are required"]
        zero, scale = numpy_helper.to_array(stored[node.input[2]]), numpy_helper.to_array(stored[node.input[1]])
        if zero.dtype != np.int8:
            found.append(f"{zero.dtype} is no quantized type")
        if zero.any():
            found.append("TRT only supports symmetric quantization")
        if zero.size != scale.size or not (scale > 0).all() or scale.dtype != np.float32:
            found.append("scale")
        data = stored.get(node.input[0])
        if node.op_type == "DequantizeLinear" and data is not None and float_weights:
            found.append("weights must be float")
    return found


class Runtime:
    engine_host_code_allowed = False

    def __init__(self, trt: FakeTensorRT) -> None:
        self.trt = trt

    def deserialize_cuda_engine(self, content: bytes) -> Any:
        self.trt.said["host_code"] = self.engine_host_code_allowed
        return self.trt.guard("ICudaEngine", Engine(self.trt, json.loads(content)))


class Engine:
    def __init__(self, trt: FakeTensorRT, content: dict[str, Any]) -> None:
        self.trt, self._content = trt, content

    def create_execution_context(self) -> Any:
        return self.trt.guard("IExecutionContext", Context(self.trt))

    def create_engine_inspector(self) -> Any:
        return self.trt.guard("EngineInspector", Inspector(self.trt, self._content["layers"]))


class Context:
    def __init__(self, trt: FakeTensorRT) -> None:
        self.trt = trt

    def set_input_shape(self, name: str, shape: Any) -> bool:
        self.trt.said["inspected"] = (name, tuple(shape))
        return True


class Inspector:
    execution_context: Any = None

    def __init__(self, trt: FakeTensorRT, found: list[dict[str, Any]]) -> None:
        self.trt, self._layers = trt, found

    def get_engine_information(self, format: Any) -> str:  # noqa: A002 - the bindings' name
        assert format == self.trt.LayerInformationFormat.JSON
        assert self.execution_context is not None, "without a context the types are N/A"
        key = "I/O Tensors" if self.trt.major >= 11 else "Bindings"
        return json.dumps({"Layers": self._layers, key: []})


def layers(graph: onnx.GraphProto, major: int) -> list[dict[str, Any]]:
    """A layer for each convolution and product, with what follows it up to the next quantizer in its name."""
    makers = {name: node for node in graph.node for name in node.output}
    found = []
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm"):
            continue
        integer = all(name in makers and makers[name].op_type == "DequantizeLinear" for name in node.input[:2])
        kind, last = "Int8" if integer else "Float", node.output[0] == graph.output[0].name
        name = f"{node.input[1]} + {node.name} + Relu:behind"
        inputs = [tensor(node.input[0], kind, major)]
        outputs = [tensor(node.output[0], "Float" if last or not integer else "Int8", major)]
        layer = {"Name": name, "LayerType": "CaskConvolution", "Inputs": inputs, "Outputs": outputs}
        tactic = "sm80_xmma_fprop_i8i8_i8i32_f32" if integer else "sm80_xmma_fprop_f32f32_tf32f32_f32"
        found.append(layer | {"Weights": {"Type": kind, "Count": 1}, "TacticName": tactic})
    return found


def tensor(name: str, kind: str, major: int) -> dict[str, Any]:
    if major >= 11:
        return {"Name": name, "Dimensions": [], "Format": "Row major linear", "Datatype": kind}
    text = {"Int8": "Thirty-two wide channel vectorized row major Int8 format", "Float": "Row major linear FP32"}[kind]
    return {"Name": name, "Location": "Device", "Dimensions": [], "Format/Datatype": text}
