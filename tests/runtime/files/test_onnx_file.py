"""An ONNX file and its weights, wherever they lie: read once, hashed, and run as they were read."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from hardtemper.runtime.bundle.reader import read_bundle
from hardtemper.runtime.engine import load, open_onnx
from hardtemper.runtime.errors import BundleError, IntegrityError, ModelError
from hardtemper.runtime.files.onnx_file import OnnxFile, read_onnx

WEIGHTS = np.arange(8, dtype=np.float32).reshape(4, 2)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 1, 2, 2), np.uint8)


def linear(weights: Any = WEIGHTS) -> onnx.ModelProto:
    """[N, 1, 2, 2] -> [N, 2]; the shape of the last Reshape is an initializer too."""
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["y"]),
            helper.make_node("Reshape", ["y", "shape"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 2, 2])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array([-1, 2]), "shape")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def logits(weights: Any = WEIGHTS) -> Any:
    return IMAGES.reshape(3, 4).astype(np.float32) / np.float32(255) @ weights


def save(path: Path, *, outside: bool = True, least: int = 60, weights: Any = WEIGHTS) -> Path:
    """With every tensor of `least` bytes or more, 33 for the object counted, in weights.bin."""
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(linear(weights), path, save_as_external_data=outside, location="weights.bin", size_threshold=least)
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("outside", [False, True])
def test_the_digest_is_over_the_graph_and_its_weights_files(tmp_path: Path, outside: bool) -> None:
    path = save(tmp_path / "model.onnx", outside=outside)
    files = (path, tmp_path / "weights.bin") if outside else (path,)
    read = read_onnx(path)
    assert read.content == path.read_bytes()
    assert [read.outside[name] for name in read.outside] == [file.read_bytes() for file in files[1:]]
    assert read.digest == sha256("".join(sha256(file.read_bytes()) for file in files).encode())
    files[-1].write_bytes(files[-1].read_bytes() + b"\0")
    assert read_onnx(path).digest != read.digest


@pytest.mark.parametrize("outside", [False, True])
def test_what_was_read_runs_whatever_lies_there_now(tmp_path: Path, outside: bool) -> None:
    path = save(tmp_path / "model.onnx", outside=outside, least=0)
    read = read_onnx(path)
    for file in list(tmp_path.iterdir()):
        file.unlink()
    np.testing.assert_allclose(open_onnx(read)(IMAGES), logits(), rtol=1e-6)
    whole = onnx.load_model_from_string(read.whole())
    assert [numpy_helper.to_array(tensor).tolist() for tensor in whole.graph.initializer] == [
        WEIGHTS.tolist(),
        [-1, 2],
    ]


def test_the_graph_never_opens_a_file_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime looks there for the weights of a graph that it is given as bytes."""
    path = save(tmp_path / "model" / "model.onnx")
    save(tmp_path / "elsewhere" / "model.onnx", weights=-WEIGHTS)
    monkeypatch.chdir(tmp_path / "elsewhere")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    (foreign,) = session.run(None, {"image": IMAGES.astype(np.float32) / np.float32(255)})
    np.testing.assert_allclose(foreign, logits(-WEIGHTS), rtol=1e-6)
    np.testing.assert_allclose(open_onnx(path)(IMAGES), logits(), rtol=1e-6)


def reversed_entries(model: onnx.ModelProto) -> bytes:
    """The entries of external_data with their value before their key, as protobuf allows."""
    content = model.SerializeToString()
    for entry in {e.SerializeToString() for tensor in model.graph.initializer for e in tensor.external_data}:
        key = 2 + entry[1]
        content = content.replace(entry, entry[key:] + entry[:key])
    return content


def padded_lengths(model: onnx.ModelProto) -> bytes:
    """The length of "location" in two bytes, 0x88 0x00, and that of the entry and of what holds it one more."""
    (tensor,) = model.graph.initializer[:1]
    del model.graph.initializer[1:]
    del model.graph.node[2:]
    model.graph.output[0].name = "y"
    (entry,) = (e for e in tensor.external_data if e.key == "location")
    inner = b"\x0a\x88\x00location" + entry.SerializeToString()[10:]
    rest = TensorProto()
    rest.CopyFrom(tensor)
    del rest.external_data[:]
    content = rest.SerializeToString() + b"\x6a" + bytes([len(inner)]) + inner
    assert len(content) < 128
    del model.graph.initializer[:]
    graph = model.graph.SerializeToString() + b"\x2a" + bytes([len(content)]) + content
    model.ClearField("graph")
    length = len(graph)
    return model.SerializeToString() + b"\x3a" + bytes([length & 127 | 128, length >> 7]) + graph


def in_a_constant(model: onnx.ModelProto) -> bytes:
    node = helper.make_node("Constant", [], ["w"])
    node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(model.graph.initializer[0])
    del model.graph.initializer[0]
    model.graph.node.insert(0, node)
    return model.SerializeToString()


def in_a_branch(model: onnx.ModelProto) -> bytes:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["chosen"])],
        "branch",
        [],
        [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, [4, 2])],
    )
    branch.initializer.add().CopyFrom(model.graph.initializer[0])
    del model.graph.initializer[0]
    model.graph.initializer.add().CopyFrom(numpy_helper.from_array(np.array(True), "yes"))
    node = helper.make_node("If", ["yes"], ["v"], then_branch=branch, else_branch=branch)
    model.graph.node.insert(0, node)
    model.graph.node[2].input[1] = "v"
    return model.SerializeToString()


@pytest.mark.parametrize("hide", [reversed_entries, padded_lengths, in_a_constant, in_a_branch])
def test_weights_outside_are_found_wherever_the_graph_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hide: Callable[[onnx.ModelProto], bytes]
) -> None:
    path = save(tmp_path / "model" / "model.onnx")
    path.write_bytes(hide(onnx.load(path, load_external_data=False)))
    save(tmp_path / "elsewhere" / "model.onnx", weights=-WEIGHTS)
    monkeypatch.chdir(tmp_path / "elsewhere")
    read = read_onnx(path)
    assert list(read.outside) == ["weights.bin"]
    assert read.outside["weights.bin"] == (tmp_path / "model" / "weights.bin").read_bytes()
    session = ort.InferenceSession(read.whole(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": IMAGES.astype(np.float32) / np.float32(255)})
    np.testing.assert_allclose(found, logits(), rtol=1e-6)


def relocated(path: Path, **entries: str | None) -> Path:
    """The weights of `path` with other entries; None takes one away."""
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        old = {entry.key: entry.value for entry in tensor.external_data}
        del tensor.external_data[:]
        for key, value in {**old, **entries}.items():
            if value is not None:
                tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    "name",
    [
        "../secret.bin",
        "a/../../secret.bin",
        "/etc/passwd",
        "",
        ".",
        "..",
        "C:weights.bin",
        "a\\b",
        "*/_ORT_MEM_ADDR_/*",
    ],
)
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.bin").write_bytes(WEIGHTS.tobytes())
    path = relocated(save(tmp_path / "model" / "model.onnx"), location=name)
    with pytest.raises(ModelError, match=r"model\.onnx: weights in .*expected: a file in its folder"):
        open_onnx(path)


def test_a_name_that_is_missing(tmp_path: Path) -> None:
    path = save(tmp_path / "model.onnx")
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"weights in 'weights\.bin'; .*got: no such file"):
        open_onnx(path)


def test_links(tmp_path: Path) -> None:
    path = save(tmp_path / "model" / "model.onnx")
    (path.parent / "weights.bin").rename(path.parent / "inside.bin")
    (path.parent / "weights.bin").symlink_to("inside.bin")
    np.testing.assert_allclose(open_onnx(path)(IMAGES), logits(), rtol=1e-6)
    (path.parent / "inside.bin").rename(tmp_path / "outside.bin")
    (path.parent / "weights.bin").unlink()
    (path.parent / "weights.bin").symlink_to(tmp_path / "outside.bin")
    with pytest.raises(ModelError, match=r"got: a link to .*outside\.bin; fix: copy the model, links followed"):
        open_onnx(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders on this system")
def test_a_pipe_is_no_weights_file(tmp_path: Path) -> None:
    path = save(tmp_path / "model.onnx")
    (tmp_path / "weights.bin").unlink()
    os.mkfifo(tmp_path / "weights.bin")
    with pytest.raises(ModelError, match=r"weights in .weights\.bin"):
        open_onnx(path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": "-1"}, "whole numbers"),
        ({"offset": "1e3"}, "whole numbers"),
        ({"length": "9" * 30}, "whole numbers"),
        ({"length": "\u0663"}, "whole numbers"),
        ({"offset": "100000"}, "bytes at most"),
        ({"length": "100000"}, "bytes at most"),
        ({"offset": "20", "length": "999999999999"}, "bytes at most"),
    ],
)
def test_places_beyond_the_file_are_refused(tmp_path: Path, entries: dict[str, str], message: str) -> None:
    path = relocated(save(tmp_path / "model.onnx"), **entries)
    with pytest.raises(ModelError, match=message):
        open_onnx(path)


def test_more_than_one_onnx_file_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "model.onnx")
    monkeypatch.setattr("hardtemper.runtime.files.onnx_file.MOST_BYTES", path.stat().st_size + 8)
    with pytest.raises(ModelError, match=r"too large with its weights; expected: .* bytes, the most of an ONNX"):
        open_onnx(path)


@pytest.mark.parametrize("outside", [False, True])
def test_onnx_is_needed_for_weights_outside_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outside: bool
) -> None:
    path = save(tmp_path / "model.onnx", outside=outside)
    monkeypatch.setitem(sys.modules, "onnx", None)
    if outside:
        with pytest.raises(ModelError, match=r"onnx, which is not installed; fix: pip install onnx, or store"):
            open_onnx(path)
    else:
        assert open_onnx(path).labels == ("0", "1")


def test_no_onnx_at_all(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x0a\x08location no ONNX file")
    with pytest.raises(ModelError, match="no ONNX file"):
        read_onnx(tmp_path / "model.onnx")


def test_a_bundle_may_list_its_weights(make_bundle: Callable[..., Path], classifier: Any, tmp_path: Path) -> None:
    """No build writes such a bundle, but the format has room for one."""
    model = onnx.load_model_from_string(classifier.onnx())
    onnx.save(model, tmp_path / "g.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    folder = make_bundle(graph=(tmp_path / "g.onnx").read_bytes())
    with pytest.raises(BundleError, match=r"no file 'w\.bin'"):
        load(folder)
    weights = (tmp_path / "w.bin").read_bytes()
    (folder / "w.bin").write_bytes(weights)
    with pytest.raises(IntegrityError, match=r"w\.bin: not listed"):
        load(folder)
    text = (folder / "manifest.json").read_text(encoding="utf-8")
    entry = f'"files": [{{"path": "w.bin", "sha256": "{sha256(weights)}", "bytes": {len(weights)}}}, '
    (folder / "manifest.json").write_text(text.replace('"files": [', entry), encoding="utf-8")
    images = np.random.default_rng(1).integers(0, 256, (4, 1, 8, 8), np.uint8)
    np.testing.assert_array_equal(load(folder)(images), classifier.logits(images))
    bundle = read_bundle(folder)
    (folder / "w.bin").write_bytes(bytes(len(weights)))
    with pytest.raises(IntegrityError, match=r"w\.bin: SHA-256 differs"):
        load(bundle)


def test_a_read_file_says_little_of_itself() -> None:
    assert repr(OnnxFile(path=Path("m.onnx"), content=b"x" * 999)) == f"OnnxFile(path={Path('m.onnx')!r})"
