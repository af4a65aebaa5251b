"""OpenVINO against ONNX Runtime, bit for bit, on integer graphs without sums of branches; and its errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from hardtemper.runtime.backends import openvino as module
from hardtemper.runtime.backends.openvino import OpenVinoBackend, compile_graph
from hardtemper.runtime.engine import load, open_onnx
from hardtemper.runtime.errors import BundleFormatError, InputError, MissingExtraError, ModelError
from hardtemper.runtime.files.onnx_file import OnnxFile
from hardtemper.runtime.unproved import UnprovedWarning

SIDE = 12


class Cnn:
    """A random integer CNN with scales that are powers of two: two convolutions, a max-pool and a linear layer."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def dequantized(self, name: str, codes: NDArray[Any], scale: float) -> str:
        inputs = [self.constant(f"{name}_q", codes), self.constant(f"{name}_s", np.float32(scale))]
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [name]))
        return name

    def layer(self, name: str, x: str, scale: float, shape: tuple[int, ...], **more: Any) -> tuple[str, float]:
        """A convolution or linear layer; gives its float result and the scale of its sums."""
        weight = self.dequantized(f"{name}_w", self.rng.integers(-127, 128, shape, np.int8), 2**-7)
        bias = self.rng.integers(-9999, 9999, shape[0]).astype(np.int32)
        bias_name = self.dequantized(f"{name}_b", bias, scale * 2**-7)
        operator = "Conv" if len(shape) == 4 else "Gemm"
        options = more if operator == "Conv" else {"transB": 1}
        self.nodes.append(helper.make_node(operator, [x, weight, bias_name], [name], **options))
        return name, scale * 2**-7

    def quantized(self, x: str, scale: float) -> str:
        """A ReLU's result in uint8, and back."""
        both = [self.constant(f"{x}_s", np.float32(scale)), self.constant(f"{x}_z", np.uint8(0))]
        self.nodes += [
            helper.make_node("Relu", [x], [f"{x}_relu"]),
            helper.make_node("QuantizeLinear", [f"{x}_relu", *both], [f"{x}_q8"]),
            helper.make_node("DequantizeLinear", [f"{x}_q8", *both], [f"{x}_dq"]),
        ]
        return f"{x}_dq"

    def onnx(self, batch: int | str = "N") -> bytes:
        pixels = [self.constant("pixel_s", np.float32(2**-8)), self.constant("pixel_z", np.uint8(0))]
        self.nodes.append(helper.make_node("DequantizeLinear", ["image", *pixels], ["x"]))
        first, _ = self.layer("one", "x", 2**-8, (8, 3, 3, 3), pads=[1, 1, 1, 1])
        second, _ = self.layer("two", self.quantized(first, 2**-5), 2**-5, (16, 8, 3, 3), strides=[2, 2])
        self.nodes.append(helper.make_node("MaxPool", [self.quantized(second, 2**-3)], ["pool"], kernel_shape=[2, 2]))
        self.nodes.append(helper.make_node("Flatten", ["pool"], ["flat"]))
        logits, _ = self.layer("logits", "flat", 2**-3, (10, 16 * 16))
        graph = helper.make_graph(
            self.nodes,
            "cnn",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, 3, SIDE, SIDE])],
            [helper.make_tensor_value_info(logits, TensorProto.FLOAT, [batch, 10])],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return bytes(onnx.ModelProto.SerializeToString(model))


def images(n: int, seed: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, SIDE, SIDE), np.uint8)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes a graph, given as bytes or in ONNX's text form."""

    def write(graph: bytes | str) -> Path:
        path = tmp_path / "model.onnx"
        if isinstance(graph, str):
            model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g {graph}')
            graph = model.SerializeToString()
        path.write_bytes(graph)
        return path

    return write


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("batch", ["N", 3])
def test_the_logits_of_onnx_runtime(save: Callable[..., Path], seed: int, batch: int | str) -> None:
    path = save(Cnn(seed).onnx(batch))
    engine, reference = (open_onnx(path, backend=name) for name in ("openvino", "onnxruntime"))
    assert engine.backend.name == "openvino"
    assert engine.backend.batch == reference.backend.batch == (None if batch == "N" else 3)
    for n in (1, 5, 1, 2, 64):  # one engine takes any number, in any order
        logits = engine(images(n, seed=n))
        assert len(np.unique(logits)) > n
        np.testing.assert_array_equal(logits, reference(images(n, seed=n)))


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_a_bundle_and_threads(make_bundle: Callable[..., Path], classifier: Any, threads: int | None) -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (5, 1, 8, 8), np.uint8)
    with pytest.warns(UnprovedWarning, match="not on openvino.*verify --backend openvino"):
        engine = load(make_bundle(), backend="openvino", threads=threads)
    assert engine.labels == tuple(f"class {index}" for index in range(10))
    # by default the activations of such a Gemm, float beside integer weights, would be quantized once more
    np.testing.assert_array_equal(engine(pixels), classifier.logits(pixels))


def test_calls_from_several_threads(save: Callable[..., Path]) -> None:
    path = save(Cnn(2).onnx())
    engine, reference = (open_onnx(path, backend=name, threads=1) for name in ("openvino", "onnxruntime"))
    given = [images(n, seed=n) for n in range(1, 13)]
    with ThreadPoolExecutor(4) as pool:
        for found, pixels in zip(pool.map(engine, given), given, strict=True):
            np.testing.assert_array_equal(found, reference(pixels))


def test_its_settings_keep_floats_in_float32(classifier: Any) -> None:
    compiled = compile_graph(classifier.onnx(), threads=1)
    said = {name: str(compiled.get_property(name)) for name in module._SETTINGS if name != "CACHE_DIR"}
    assert said["INFERENCE_PRECISION_HINT"] == "<Type: 'float32'>"
    assert {name: said[name] for name in ("NUM_STREAMS", "PERFORMANCE_HINT")} == {
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
    }
    assert said["DYNAMIC_QUANTIZATION_GROUP_SIZE"] == "0"
    assert said["ENABLE_CPU_PINNING"] == "False"
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1


def test_another_form_of_image_in_the_manifest(make_bundle: Callable[..., Path], manifest_value: Any) -> None:
    folder = make_bundle(input={**manifest_value["input"], "dtype": "float32"})
    with pytest.raises(BundleFormatError, match=r"input.dtype; expected: uint8, as in graph.onnx; got: float32"):
        load(folder, backend="openvino")


REFUSED = {
    "rows": ("(float[N,784] x) => (float[N,784] y) { y = Identity(x) }", r"got: \[\?, 784\]; fix: it takes rows"),
    "channels last": ("(float[N,16,16,3] x) => (float[N,768] y) { y = Flatten(x) }", "channels-last"),
    "class numbers": (
        "(float[N,3,2,2] x) => (int64[N] y) { t = Flatten(x) y = ArgMax<axis=1,keepdims=0>(t) }",
        r"float logits.*got: y int64",
    ),
    "decisions": ("(float[N,3,2,2] x) => (bool[N,12] y) { t = Flatten(x) y = Greater(t, t) }", "got: y bool"),
    "two outputs": (
        "(float[N,3,2,2] x) => (float[N,12] y, float[N,12] z) { y = Flatten(x) z = Relu(y) }",
        "one output; got: y float",
    ),
    "a map": ("(float[N,3,2,2] x) => (float[N,3,2,2] y) { y = Relu(x) }", "expected: .1, K. logits.*not a map"),
    "an unknown operator": ("(float[N,3,2,2] x) => (float[N,12] y) { y = NoSuchOperator(x) }", "NoSuchOperator"),
    "two operators that OpenVINO has not": (
        "(float[2,3,2,2] x) => (float[2,3] y) { d = Det(x) y = NoSuchOperator(d) }",
        r"No conversion rule found for operations: (Det|NoSuchOperator)-\d+, ",
    ),
    "shapes that do not fit": (
        "(float[1,3,2,2] x) => (float[1,7] y) { s = Constant<value_ints=[-1,7]>() y = Reshape(x, s) }",
        "OpenVINO cannot load the file; got: Conversion is failed for: Reshape",
    ),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_one_line_for_what_it_does_not_take(save: Callable[..., Path], text: str, message: str) -> None:
    path = save(text)
    with pytest.raises(ModelError, match=message) as caught:
        open_onnx(path, backend="openvino")
    assert caught.value.what.startswith(str(path))
    assert "\n" not in str(caught.value)


def test_damaged_files(save: Callable[..., Path], classifier: Any, capfd: pytest.CaptureFixture[str]) -> None:
    whole = classifier.onnx()
    for damaged in (b"", b"\0", b"not ONNX", whole[: len(whole) // 2], whole[:-1], whole[1:], whole[::-1]):
        path = save(damaged)
        with pytest.raises(ModelError) as caught:
            open_onnx(path, backend="openvino")
        assert caught.value.what.startswith(str(path))
    assert capfd.readouterr() == ("", "")


def test_a_graph_that_fails_while_it_runs(save: Callable[..., Path]) -> None:
    text = "(float[N,1,2,2] x) => (float[M,3] y) { s = Constant<value_ints=[-1,3]>() y = Reshape(x, s) }"
    engine = open_onnx(save(text), backend="openvino")
    with pytest.raises(ModelError, match="OpenVINO cannot run the graph") as caught:
        engine(np.zeros((1, 1, 2, 2), np.uint8))
    assert str(caught.value).isprintable()
    with pytest.raises(ModelError, match=r"expected: \[3, 3\] logits; got: \[4, 3\]"):
        engine(np.zeros((3, 1, 2, 2), np.uint8))


def test_no_such_package(classifier: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module._core.cache_clear()
    monkeypatch.setitem(sys.modules, "openvino", None)
    graph = OnnxFile(path=Path("model.onnx"), content=classifier.onnx())
    with pytest.raises(MissingExtraError, match=r"needs the package 'openvino'.*pip install 'hardtemper\[openvino\]'"):
        OpenVinoBackend(graph)
    with pytest.raises(InputError, match="threads"):
        OpenVinoBackend(graph, threads=0)


def test_neither_onnx_nor_torch_is_imported(save: Callable[..., Path]) -> None:
    path = save(Cnn(0).onnx())
    code = (
        "import sys; from hardtemper.runtime.engine import open_onnx; import numpy as np; "
        f"e = open_onnx({str(path)!r}, backend='openvino'); e(np.zeros((1, *e.input_shape), np.uint8)); "
        "print(sorted({'onnx', 'torch', 'onnxruntime'} & sys.modules.keys()))"
    )
    child = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (child.returncode, child.stdout.strip(), child.stderr) == (0, "[]", "")
