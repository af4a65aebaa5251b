"""ONNX -> engine: one code path, in which `versions.py` decides what is said to which TensorRT.

    graph -> network -> configuration + optimization profile -> serialized engine -> the inspector's account of it

The engine is deserialized once, for the inspector; it was built a moment ago by this process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx

from ...runtime.backends.tensorrt.package import errors, import_tensorrt, logger
from ...runtime.errors import InputError, MissingExtraError, ModelError
from .dialect import tensorrt_graph
from .float16 import to_float16
from .profiles import BatchRange
from .tuning import Placement
from .versions import Capabilities

__all__ = ["Compiled", "Options", "compile_engine", "import_builder"]

_OUT_OF_MEMORY = (
    "out of memory",
    "outofmemory",
    "insufficient memory",
    "cuda_error_out_of_memory",
    "memory allocation",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What an engine is asked to be.

    Attributes:
        batches: a profile for each range of batch sizes.
        fp16: float16 for what stays float.
        version_compatible: later versions of TensorRT may run it, the lean runtime too.
        hardware_compatible: every GPU from compute capability 8.0 on may run it.
        workspace_mib: scratch memory that a kernel may take, in MiB; None lets TensorRT take all that there is.
    """

    batches: tuple[BatchRange, ...] = (BatchRange(1, 64, 256),)
    fp16: bool = False
    version_compatible: bool = False
    hardware_compatible: bool = False
    workspace_mib: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiled:
    """An engine and how it came to be.

    Attributes:
        engine: serialized.
        graph: what was parsed.
        inspection: the inspector's JSON on it.
        timing_cache: of this and the builds before it; makes the next one faster, on this GPU.
        version: TensorRT's.
        placement: where its quantizers stand.
    """

    engine: bytes
    graph: onnx.ModelProto
    inspection: str
    timing_cache: bytes
    version: str
    placement: Placement


def import_builder() -> Any:
    """The full TensorRT, with its builder.

    Raises:
        MissingExtraError: it is not installed, or only a runtime without the builder.
    """
    trt = import_tensorrt()
    if not hasattr(trt, "Builder"):
        raise MissingExtraError(
            "tensorrt", extra="tensorrt", feature=f"building an engine ({trt.__name__} only runs them)"
        )
    return trt


def compile_engine(
    model: onnx.ModelProto, *, options: Options, placement: Placement | None = None, timing_cache: bytes = b""
) -> Compiled:
    """Build an engine on this machine's GPU. Ask `cuda.driver.find_gpu` first whether there is one.

    Args:
        model: a bundle's graph, input uint8 [N, C, H, W].
        options: what the engine is to be.
        placement: where quantizers stand; as many int8 layers as there can be, if not given.
        timing_cache: what an earlier build on this GPU gave.

    Raises:
        MissingExtraError: TensorRT is not installed.
        UnsupportedOperatorError: the parser refuses operators; all of them listed.
        ModelError: the graph cannot be a TensorRT graph, or no engine can be built; out of memory names the profile.
        InputError: an option that this version does not have.
    """
    trt = import_builder()
    version = str(trt.__version__)
    capabilities = Capabilities.of(version)
    _refuse_impossible(options, capabilities, version)
    placement = placement or Placement()
    graph = tensorrt_graph(model, capabilities, placement=placement)
    if options.fp16 and not capabilities.precision_flags:
        graph = to_float16(graph)
    errors()  # of somebody before
    log = logger(trt)
    builder = _made(trt.Builder, log, what="the builder")
    network = builder.create_network(_network_flags(trt, capabilities))
    _parse(trt, network, log, graph)
    config = builder.create_builder_config()
    _configure(trt, config, capabilities, options, quantized=_is_quantized(graph))
    cache = config.create_timing_cache(timing_cache) or config.create_timing_cache(b"")  # a damaged one gives nothing
    config.set_timing_cache(cache, False)
    _add_profiles(builder, config, graph, options.batches)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _build_failure(errors(), options.batches)
    engine = bytes(plan)
    return Compiled(
        engine=engine,
        graph=graph,
        inspection=_inspect(trt, log, engine, graph, options),
        timing_cache=bytes(cache.serialize()),
        version=version,
        placement=placement,
    )


def _refuse_impossible(options: Options, capabilities: Capabilities, version: str) -> None:
    wanted = options.version_compatible or options.hardware_compatible
    if wanted and not capabilities.compatible_engines:
        raise InputError(
            "version- and hardware-compatible engines", expected="TensorRT 8.6 or later", got=version, fix="upgrade it"
        )


def _network_flags(trt: Any, capabilities: Capabilities) -> int:
    if not capabilities.network_flag:
        return 0
    return 1 << int(getattr(trt.NetworkDefinitionCreationFlag, capabilities.network_flag))


def _made(factory: Any, *arguments: Any, what: str) -> Any:
    """What a constructor of the bindings gives; where TensorRT gives nothing, pybind11 raises a TypeError."""
    try:
        return factory(*arguments)
    except (TypeError, RuntimeError) as error:
        said = [line for line in errors() if line.strip()] or [str(error)]
        raise ModelError(f"TensorRT cannot make {what}", got=said[-1].splitlines()[0]) from error


def _parse(trt: Any, network: Any, log: Any, graph: onnx.ModelProto) -> None:
    parser = _made(trt.OnnxParser, network, log, what="the parser")
    if parser.parse(graph.SerializeToString()):
        return
    found = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        number = error.node()
        known = 0 <= number < len(graph.graph.node)
        node = f"{graph.graph.node[number].op_type} {graph.graph.node[number].name!r}: " if known else ""
        found.append(node + str(error.desc()).strip().splitlines()[0])
    raise ModelError("TensorRT cannot parse the graph", got="; ".join(found) or "no reason given")


def _configure(trt: Any, config: Any, capabilities: Capabilities, options: Options, *, quantized: bool) -> None:
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    if capabilities.precision_flags:
        if quantized:
            config.set_flag(trt.BuilderFlag.INT8)
        if options.fp16:
            config.set_flag(trt.BuilderFlag.FP16)
    if capabilities.external_tactics:
        config.set_preview_feature(trt.PreviewFeature.DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805, True)
        own = (trt.TacticSource.EDGE_MASK_CONVOLUTIONS, trt.TacticSource.JIT_CONVOLUTIONS)
        config.set_tactic_sources(sum(1 << int(source) for source in own))
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS


def _add_profiles(builder: Any, config: Any, graph: onnx.ModelProto, batches: tuple[BatchRange, ...]) -> None:
    image = graph.graph.input[0]
    batch, *shape = (d.dim_value for d in image.type.tensor_type.shape.dim)
    for sizes in batches:
        if batch and {sizes.least, sizes.typical, sizes.most} != {batch}:
            raise InputError("batch range", expected=f"{batch}, which the graph fixes", got=str(sizes))
        profile = builder.create_optimization_profile()
        profile.set_shape(image.name, *((n, *shape) for n in (sizes.least, sizes.typical, sizes.most)))
        if config.add_optimization_profile(profile) < 0:
            raise ModelError(
                f"TensorRT refuses the profile for batches of {sizes}", got=(errors() or ["no reason"])[-1]
            )


def _build_failure(said: list[str], batches: tuple[BatchRange, ...]) -> ModelError:
    lines = [line.strip().splitlines()[0] for line in said if line.strip()]
    memory = [line for line in lines if any(word in line.lower().replace("_", " ") for word in _OUT_OF_MEMORY)]
    if memory:
        largest = max(batches, key=lambda sizes: sizes.most)
        return ModelError(
            f"out of device memory while building the profile for batches of {largest}",
            got=memory[-1],
            fix="a smaller largest batch, or free the GPU's memory",
        )
    return ModelError("TensorRT cannot build the engine", got="; ".join(lines[-2:]) or "no reason given")


def _inspect(trt: Any, log: Any, engine_bytes: bytes, graph: onnx.ModelProto, options: Options) -> str:
    """The inspector's JSON at the first profile's typical shape; without a shape, types are "N/A"."""
    runtime = _made(trt.Runtime, log, what="the runtime")
    if options.version_compatible:
        runtime.engine_host_code_allowed = True  # such engines carry code; this one's is our own
    engine = runtime.deserialize_cuda_engine(engine_bytes)
    if engine is None:
        raise ModelError("TensorRT cannot read the engine that it built", got=(errors() or ["no reason given"])[-1])
    inspector = engine.create_engine_inspector()
    context = engine.create_execution_context()
    if context is None:
        raise _build_failure(errors(), options.batches)
    image = graph.graph.input[0]
    shape = [d.dim_value for d in image.type.tensor_type.shape.dim][1:]
    context.set_input_shape(image.name, (options.batches[0].typical, *shape))
    inspector.execution_context = context
    return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def _is_quantized(graph: onnx.ModelProto) -> bool:
    return any(node.op_type == "QuantizeLinear" for node in graph.graph.node)
