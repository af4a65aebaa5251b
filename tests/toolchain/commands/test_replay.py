"""`replay`: the adversarial images of a verdict on the engine that they were made for and on others."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hardtemper.bench.archive import Archive, read_archive, write_archive
from hardtemper.runtime.engine import open_onnx
from hardtemper.toolchain.__main__ import main


def linear(path: Path, *, seed: int = 0, side: int = 4, classes: int = 3) -> Path:
    """A linear classifier of uint8 pixels."""
    weights = np.random.default_rng(seed).integers(-7, 8, (side * side, classes)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["image", "scale"], ["x"]),
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 1, side, side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(np.float32(2**-8), "scale"), numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return linear(tmp_path_factory.mktemp("replay") / "model.onnx")


@pytest.fixture(scope="module")
def verdict(model: Path) -> Path:
    """What `bench` stores of `model`; the labels are the model's own answers."""
    images = np.random.default_rng(1).integers(100, 156, (40, 4, 4)).astype(np.uint8)
    labels, some = open_onnx(model).predict(images[:, None]), np.arange(3)
    data = model.parent / "data.npz"
    np.savez(data, train_images=images[:3], train_labels=some, test_images=images, test_labels=labels)
    fast = ["--warmup", "0", "--repeats", "1", "--min-seconds", "0", "--batch", "1", "--attack", "paper,r-fgsm"]
    assert main(["bench", str(model), "--data", str(data), "--threat", "linf:8/255", *fast]) == 0
    (path,) = (model.parent / "model.onnx.bench").iterdir()
    return path


def test_on_the_engine_that_it_was_made_for_and_on_another(
    verdict: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = linear(tmp_path / "other.onnx", seed=3)
    counts = tmp_path / "new" / "counts.json"
    assert main(["replay", str(verdict), str(model), str(other), "--json", str(counts)]) == 0
    said = capsys.readouterr()
    for shown in ("pgd-20", "r-fgsm", "linf:8/255; of 40 images 40 (100.0 %)", str(other)[-20:]):
        assert shown in said.out
    content = json.loads(counts.read_text(encoding="utf-8"))
    assert (content["verdict"], content["threat"], content["format_version"]) == (str(verdict), "linf:8/255", 1)
    same, different = content["engines"]
    archive = read_archive(verdict)
    assert (same["n"], same["clean"], same["robust"]) == (40, 40, archive.header["robust"])
    assert 0 < same["robust"] < 40
    assert all(attack["broken"] == attack["stored"] > 0 for attack in same["attacks"])
    answers = open_onnx(other).predict(archive.adversarial)
    broken = answers != archive.labels[archive.rows]
    assert [attack["broken"] for attack in different["attacks"]] == [
        int((broken & archive.on_engine & (archive.attacks == number)).sum()) for number in range(2)
    ]
    assert different["clean"] < 40


def test_without_torch(verdict: Path, model: Path) -> None:
    """Whoever doubts a verdict need not install what made it."""
    code = "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'scipy', 'torchvision'])); "
    code += "from hardtemper.toolchain.__main__ import main; sys.exit(main(['replay', *sys.argv[1:]]))"
    command = [sys.executable, "-c", code, str(verdict), str(model)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "pgd-20" in done.stdout


def outside(archive: Archive, path: Path) -> None:
    """The verdict with a candidate that left the ball, under the hashes that fit it."""
    changed = archive.adversarial.copy()
    changed[0] = 255 - changed[0]
    content: dict[str, Any] = {name: getattr(archive, name) for name in archive.header["sha256"]}
    write_archive(archive, path)
    with np.load(path) as stored:
        header = json.loads(str(stored["header"]))
    header["sha256"]["adversarial"] = hashlib.sha256(changed.data).hexdigest()
    np.savez(path, **{**content, "adversarial": changed, "header": np.array(json.dumps(header))})


def test_bad_files_end_in_one_line_and_exit_code_2(
    verdict: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*arguments: Path) -> str:
        assert main(["replay", *map(str, arguments)]) == 2
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        assert captured.out == ""
        return captured.err

    archive = read_archive(verdict)
    outside(archive, tmp_path / "outside.npz")
    assert "every candidate in linf:8/255; got: 1 of" in fails(tmp_path / "outside.npz", model)
    damaged = bytearray(verdict.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged.npz").write_bytes(damaged)
    assert "damaged.npz: " in fails(tmp_path / "damaged.npz", model)
    assert "none.npz: cannot be read" in fails(tmp_path / "none.npz", model)
    assert "no verdict" in fails(model.parent / "data.npz", model)
    assert "no such model" in fails(verdict, tmp_path / "none.onnx")
    assert "no such bundle" in fails(verdict, tmp_path / "none")
    line = fails(verdict, linear(tmp_path / "large.onnx", side=5))
    assert "the images do not fit" in line
    assert "expected: [N, 1, 5, 5]; got: [N, 1, 4, 4]" in line
    assert main(["replay", str(verdict), str(linear(tmp_path / "two.onnx", classes=2))]) == 2
    assert "the verdict does not fit; expected: 3 classes; got: 2" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["verdict.npz"]])
def test_arguments_that_are_missing(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", *arguments]) == 2
    assert "Missing argument" in capsys.readouterr().err
