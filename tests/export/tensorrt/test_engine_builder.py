"""What the compiler says to each TensorRT, against bindings that have the names of the real ones and no other."""

from __future__ import annotations

import json
import sys
from typing import Any

import onnx
import pytest

from hardtemper.export.quantization.quantize import IntegerGraph
from hardtemper.export.tensorrt.engine_builder import Compiled, Options, compile_engine
from hardtemper.export.tensorrt.inspector import engine_kernels, read_layers
from hardtemper.export.tensorrt.profiles import BatchRange
from hardtemper.export.tensorrt.tuning import Placement
from hardtemper.export.tensorrt.versions import Capabilities
from hardtemper.runtime.errors import InputError, MissingExtraError, ModelError

COMPATIBLE = Options(version_compatible=True, hardware_compatible=True)


def compiled(graph: IntegerGraph, options: Options | None = None, **settings: Any) -> Compiled:
    return compile_engine(graph.model, options=options or Options(), **settings)


def network_flag(trt: Any) -> str:
    flags = trt.said["network_flags"]
    return "".join(flag.name for flag in trt.NetworkDefinitionCreationFlag if flags & 1 << int(flag))


@pytest.mark.parametrize("fp16", [False, True])
def test_flags_by_version(fp16: bool, trt: Any, residual_tensorrt: IntegerGraph) -> None:
    compiled(residual_tensorrt, Options(fp16=fp16, workspace_mib=64))
    said = trt.said
    assert network_flag(trt) == {8: "EXPLICIT_BATCH", 10: "STRONGLY_TYPED", 11: ""}[trt.major]
    assert said["flags"] == ({"INT8", *(["FP16"] if fp16 else [])} if trt.major == 8 else set())
    assert said["WORKSPACE"] == 64 << 20
    own = {"EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"}
    assert said.get("tactics") == (own if trt.major == 8 else None)
    off = {"DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805": True}
    assert said["preview"] == (off if trt.major == 8 else {})


def test_the_graph_of_an_engine(trt: Any, residual_tensorrt: IntegerGraph) -> None:
    """Weights are floats behind a quantizer where the version wants them so; every MAC of ours is in int8."""
    found = compiled(residual_tensorrt)
    stored = {t.name: t for t in found.graph.graph.initializer}
    weights = [
        node for node in found.graph.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in stored
    ]
    assert bool(weights) == (trt.major >= 10)
    kernels = engine_kernels(read_layers(found.inspection), found.graph, version=found.version)
    assert kernels.integer_share == 1.0
    assert kernels.backend == f"tensorrt {trt.__version__}"
    assert json.loads(found.engine)["version"] == trt.__version__


def test_placement_shows_in_the_account(trt: Any, residual_tensorrt: IntegerGraph) -> None:
    found = compiled(residual_tensorrt, placement=Placement(planes=False))
    kernels = engine_kernels(read_layers(found.inspection), found.graph, version=found.version)
    assert 0.9 < kernels.integer_share < 1
    (first,) = [kernel for kernel in kernels.float_kernels if kernel.macs]
    assert first.reason == "reads float32"
    assert found.placement == Placement(planes=False)


def test_profiles(trt: Any, residual_tensorrt: IntegerGraph) -> None:
    sizes = (BatchRange(1, 1, 1), BatchRange(2, 64, 512))
    compiled(residual_tensorrt, Options(batches=sizes))
    image = (3, 12, 12)
    assert trt.said["profiles"] == [
        ("image", (1, *image), (1, *image), (1, *image)),
        ("image", (2, *image), (64, *image), (512, *image)),
    ]
    assert trt.said["inspected"] == ("image", (1, *image))


def test_a_fixed_batch(trt: Any, residual_tensorrt: IntegerGraph) -> None:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(residual_tensorrt.model)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    del fixed.graph.value_info[:]
    fixed.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 4
    with pytest.raises(InputError, match="4, which the graph fixes"):
        compile_engine(fixed, options=Options())
    compile_engine(fixed, options=Options(batches=(BatchRange.parse("4"),)))


def test_compatible_engines(trt: Any, residual_tensorrt: IntegerGraph) -> None:
    if trt.major == 8:  # 8.5
        with pytest.raises(InputError, match=r"8\.6 or later.*8\.5\.3\.1"):
            compiled(residual_tensorrt, COMPATIBLE)
        return
    compiled(residual_tensorrt, COMPATIBLE)
    assert trt.said["flags"] == {"VERSION_COMPATIBLE"}
    assert trt.said["hardware"] == trt.HardwareCompatibilityLevel.AMPERE_PLUS
    assert trt.said["host_code"] is True
    compiled(residual_tensorrt)
    assert trt.said["host_code"] is False


def test_the_timing_cache_goes_on(trt: Any, residual_tensorrt: IntegerGraph) -> None:
    first = compiled(residual_tensorrt)
    assert trt.said["timing_cache"] == (b"", False)
    second = compiled(residual_tensorrt, timing_cache=first.timing_cache)
    assert trt.said["timing_cache"] == (first.timing_cache, False)
    assert second.timing_cache != first.timing_cache
    compiled(residual_tensorrt, timing_cache=b"damaged")
    assert trt.said["timing_cache"] == (b"", False)


MEMORY = "[defaultAllocator.cpp::allocate::19] Error Code 1: Cuda Runtime (out of memory)"


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (
            [MEMORY, "Error Code 10: no implementation"],
            r"out of device memory.*profile for batches of 2:64:512.*smaller",
        ),
        (["Error Code 2: OutOfMemory (no further information)"], "out of device memory"),
        (
            ["a", "Error Code 10: Could not find any implementation\nmore"],
            "cannot build the engine; got: a; Error Code 10",
        ),
    ],
)
def test_failed_builds(messages: list[str], expected: str, trt: Any, residual_tensorrt: IntegerGraph) -> None:
    trt.fail_with = messages
    with pytest.raises(ModelError, match=expected) as caught:
        compiled(residual_tensorrt, Options(batches=(BatchRange(1, 1, 1), BatchRange(2, 64, 512))))
    assert "\n" not in str(caught.value)


def test_what_the_parser_says_comes_together(
    trt: Any, residual_tensorrt: IntegerGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Handed the graph of the wrong version, on purpose."""
    wrong = Capabilities.of("11.4" if trt.major == 8 else "8.5")
    from hardtemper.export.tensorrt import engine_builder as module

    graph = module.tensorrt_graph(residual_tensorrt.model, wrong)
    graph.opset_import[0].version = 25
    monkeypatch.setattr(module, "tensorrt_graph", lambda *_, **__: graph)
    with pytest.raises(ModelError, match="cannot parse the graph; got: opset 25 is not supported") as caught:
        compiled(residual_tensorrt)
    assert "\n" not in str(caught.value)
    if trt.major == 8:
        assert caught.value.got.count("weights must be float") == 9
        assert "DequantizeLinear 'DequantizeLinear:" in str(caught.value)


def test_no_driver(trt: Any, residual_tensorrt: IntegerGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pybind11 makes of a constructor that gives nothing."""

    def nothing(log: Any) -> Any:
        log.log(trt.ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(trt, "Builder", nothing)
    with pytest.raises(ModelError, match="cannot make the builder; got: CUDA initialization failure with error: 35"):
        compiled(residual_tensorrt)


def test_without_tensorrt(residual_tensorrt: IntegerGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("tensorrt", "tensorrt_lean", "tensorrt_dispatch"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'hardtemper\[tensorrt\]'"):
        compiled(residual_tensorrt)


def test_a_runtime_is_no_builder(residual_tensorrt: IntegerGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    lean = type("lean", (), {"__name__": "tensorrt_lean", "__version__": "11.4"})
    monkeypatch.setattr("hardtemper.export.tensorrt.engine_builder.import_tensorrt", lambda: lean)
    with pytest.raises(MissingExtraError, match=r"only runs them.*pip install"):
        compiled(residual_tensorrt)
