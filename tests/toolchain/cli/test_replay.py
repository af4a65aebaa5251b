"""`replay`: the adversarial images of a verdict on the engine that they were made for and on others."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hardtemper.bench.measurement import wilson
from hardtemper.bench.robustness.archive import Archive, read_archive, write_archive
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
    archive = read_archive(verdict)
    robust = archive.header["robust"]
    low, high = (100 * end for end in wilson(robust, 40))
    out = " ".join(said.out.split())
    for shown in (
        "pgd-20",
        "r-fgsm",
        "linf:8/255; of 40 images 40 (100.0 % [91.2, 100.0]) are right as they are",
        f"{robust} ({100 * robust / 40:.1f} % [{low:.1f}, {high:.1f}]) withstand all [95 % Wilson interval]",
        "made for the same graph: this is its verdict",
        "an upper bound: the candidates were made for another graph, or on another backend",
    ):
        assert shown in out
    assert str(other)[-20:] in said.out
    content = json.loads(counts.read_text(encoding="utf-8"))
    assert (content["verdict"], content["threat"], content["format_version"]) == (str(verdict), "linf:8/255", 1)
    same, different = content["engines"]
    assert (same["n"], same["clean"], same["robust"]) == (40, 40, robust)
    assert [engine["same_graph"] for engine in content["engines"]] == [True, False]
    assert (same["stored_clean"], same["stored_robust"]) == (40, robust)
    clean_share, robust_share = same["measurements"]
    assert (clean_share["name"], clean_share["value"], clean_share["n"]) == ("clean-accuracy", 100.0, 40)
    assert robust_share["spread"] == [low, high]
    assert [engine["measurements"][1]["settings"]["upper_bound"] for engine in content["engines"]] == [False, True]
    assert 0 < same["robust"] < 40
    assert all(attack["broken"] == attack["stored"] > 0 for attack in same["attacks"])
    answers = open_onnx(other).predict(archive.adversarial)
    broken = answers != archive.labels[archive.rows]
    assert [attack["broken"] for attack in different["attacks"]] == [
        int((broken & archive.on_engine & (archive.attacks == number)).sum()) for number in range(2)
    ]
    assert different["clean"] < 40


def test_on_another_backend_it_is_an_upper_bound(
    verdict: Path, model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    counts = tmp_path / "counts.json"
    assert main(["replay", str(verdict), str(model), "--backend", "openvino", "--json", str(counts)]) == 0
    assert "for another graph, or on another backend" in " ".join(capsys.readouterr().out.split())
    (engine,) = json.loads(counts.read_text(encoding="utf-8"))["engines"]
    archive = read_archive(verdict)
    assert archive.backend == "onnxruntime"
    assert (engine["same_graph"], engine["clean"], engine["robust"]) == (False, 40, archive.header["robust"])
    there = replace(archive, header={**archive.header, "backend": "openvino"})
    write_archive(there, tmp_path / "there.npz")
    assert main(["replay", str(tmp_path / "there.npz"), str(model)]) == 0
    assert "made for the same graph: this is its verdict" in " ".join(capsys.readouterr().out.split())


def test_what_only_queries_found_is_told(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also of a verdict that says nothing of alarms, as those of earlier versions."""
    images = np.random.default_rng(1).integers(100, 156, (12, 4, 4)).astype(np.uint8)
    labels = open_onnx(model).predict(images[:, None])
    data, work = tmp_path / "data.npz", tmp_path / "work"
    np.savez(data, train_images=images[:3], train_labels=np.arange(3), test_images=images, test_labels=labels)
    fast = ["--warmup", "0", "--repeats", "1", "--min-seconds", "0", "--batch", "1", "--attack", "square"]
    assert main(["bench", str(model), "--data", str(data), "--work", str(work), *fast]) == 0
    (path,) = work.glob("*.npz")
    made = read_archive(path)
    assert made.alarms == ("no white-box attack",)
    silent = replace(made, header={key: value for key, value in made.header.items() if key != "alarms"})
    write_archive(silent, tmp_path / "silent.npz")
    counts = tmp_path / "counts.json"
    for verdict in (path, tmp_path / "silent.npz"):
        capsys.readouterr()
        assert main(["replay", str(verdict), str(model), "--json", str(counts)]) == 0
        out = " ".join(capsys.readouterr().out.split())
        assert "withstand all (black-box only)" in out
        assert "ALARM when the verdict was made: no white-box attack" in out
        (row,) = json.loads(counts.read_text(encoding="utf-8"))["engines"]
        assert row["measurements"][1]["settings"]["standing"] == "black-box only"


def test_a_wrong_twins_bound_is_not_replayed_as_a_figure(verdict: Path, model: Path, tmp_path: Path) -> None:
    made = read_archive(verdict)
    write_archive(replace(made, header={**made.header, "alarms": ["wrong twin"]}), tmp_path / "doubted.npz")
    counts = tmp_path / "counts.json"
    assert main(["replay", str(tmp_path / "doubted.npz"), str(model), "--json", str(counts)]) == 0
    (row,) = json.loads(counts.read_text(encoding="utf-8"))["engines"]
    assert made.header["robust"] > 0
    assert row["measurements"][1]["name"] == "robust-accuracy-withheld"


def test_without_torch(verdict: Path, model: Path) -> None:
    """Whoever doubts a verdict need not install what made it."""
    code = "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'scipy', 'torchvision'])); "
    code += "from hardtemper.toolchain.__main__ import main; sys.exit(main(['replay', *sys.argv[1:]]))"
    command = [sys.executable, "-c", code, str(verdict), str(model)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "pgd-20" in done.stdout


def test_a_verdict_that_its_own_graph_does_not_give_fails_the_gate(
    verdict: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = read_archive(verdict)
    robust = archive.header["robust"]
    write_archive(replace(archive, header={**archive.header, "robust": robust + 1}), tmp_path / "praised.npz")
    praised, counts = str(tmp_path / "praised.npz"), tmp_path / "counts.json"
    assert main(["replay", praised, str(model), "--json", str(counts)]) == 1
    said = capsys.readouterr()
    (line,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert f"expected: 40 images right as they are, {robust + 1} robust; got: 40 and {robust}; fix: " in line
    assert "the counts differ from the verdict's, on the same graph" in line
    assert "because others may round differently" in line
    assert f"the verdict on the same graph says 40 and {robust + 1}" in " ".join(said.out.split())
    assert json.loads(counts.read_text(encoding="utf-8"))["engines"][0]["robust"] == robust  # stored all the same
    assert main(["replay", praised, str(linear(tmp_path / "other.onnx", seed=3))]) == 0  # there it promises nothing


def test_json_is_replaced_whole(
    verdict: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = tmp_path / "counts.json"
    counts.write_text("before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        assert main(["replay", str(verdict), str(model), "--json", str(counts)]) == 2
    assert "counts.json: cannot be written; got: No space left on device" in capsys.readouterr().err
    assert counts.read_text() == "before"
    assert main(["replay", str(verdict), str(model), "--json", str(counts)]) == 0
    assert json.loads(counts.read_text(encoding="utf-8"))["format_version"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["counts.json"]


@pytest.mark.parametrize("package", ["click", "rich"])
def test_without_what_the_command_line_is_made_of(package: str) -> None:
    """The extra would bring torch, which a replay does not need."""
    code = f"import sys; sys.modules[{package!r}] = None; from hardtemper.toolchain.__main__ import main; "
    code += "sys.exit(main(['replay', 'x', 'y']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: toolchain replay needs the package '{package}', which is not installed; fix: pip install click rich\n"
    )


def hostile(archive: Archive, path: Path, *, adversarial: Any = None, **about: Any) -> None:
    """The verdict with other candidates and another header, under the hashes that fit it."""
    content: dict[str, Any] = {name: getattr(archive, name) for name in archive.header["sha256"]}
    content["adversarial"] = archive.adversarial if adversarial is None else adversarial
    digests = {name: hashlib.sha256(np.ascontiguousarray(array).data).hexdigest() for name, array in content.items()}
    np.savez(path, **content, header=np.array(json.dumps({**archive.header, **about, "sha256": digests})))


def outside(archive: Archive, path: Path) -> None:
    """The verdict with a candidate that left the ball."""
    changed = archive.adversarial.copy()
    changed[0] = 255 - changed[0]
    hostile(archive, path, adversarial=changed)


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
    for about, where in (({"target": "3"}, ".target"), ({"target": 99}, ".target"), ({"epsilon": -1.0}, ": radius")):
        hostile(archive, tmp_path / "x.npz", threat={**archive.header["threat"], **about})
        assert f"x.npz: header.threat{where}" in fails(tmp_path / "x.npz", model)
    encrypted = bytearray(verdict.read_bytes())
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "encrypted.npz").write_bytes(encrypted)
    assert "encrypted.npz: no verdict" in fails(tmp_path / "encrypted.npz", model)
    np.savez(tmp_path / "deep.npz", header=np.array("[" * 100_000))
    assert "deep.npz: no verdict" in fails(tmp_path / "deep.npz", model)
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
    assert "expected: [N, 1, 5, 5]; got: [N, 1, 4, 4]; fix: name an engine for the verdict's images" in line
    assert main(["replay", str(verdict), str(linear(tmp_path / "two.onnx", classes=2))]) == 2
    assert "the verdict does not fit; expected: 3 classes; got: 2" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["verdict.npz"]])
def test_arguments_that_are_missing(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", *arguments]) == 2
    assert "Missing argument" in capsys.readouterr().err


def test_a_graph_that_is_swapped_after_it_was_read_is_not_replayed(
    verdict: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model.read_bytes())

    def swapping(graph: Any, **how: Any) -> Any:
        linear(path, seed=3)
        return open_onnx(graph, **how)

    monkeypatch.setattr("hardtemper.runtime.engine.open_onnx", swapping)
    assert main(["replay", str(verdict), str(path), "--json", str(tmp_path / "counts.json")]) == 0
    assert path.read_bytes() != model.read_bytes()
    (row,) = json.loads((tmp_path / "counts.json").read_text(encoding="utf-8"))["engines"]
    assert row["same_graph"] is True
    assert (row["clean"], row["robust"]) == (row["stored_clean"], row["stored_robust"])
    assert "this is its verdict" in capsys.readouterr().out


def test_a_verdict_that_is_swapped_while_it_is_read_is_the_first_one(
    verdict: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, first = tmp_path / "verdict.npz", read_archive(verdict)
    path.write_bytes(verdict.read_bytes())
    other = replace(first, images=255 - first.images, adversarial=255 - first.adversarial)
    write_archive(other, tmp_path / "other.npz")
    opened = Path.open

    def swapping(self: Path, *arguments: Any, **how: Any) -> Any:
        file = opened(self, *arguments, **how)
        if self == path and (tmp_path / "other.npz").exists():
            (tmp_path / "other.npz").replace(path)
        return file

    monkeypatch.setattr(Path, "open", swapping)
    found = read_archive(path)
    assert np.array_equal(found.images, first.images)
    assert np.array_equal(found.adversarial, first.adversarial)
    assert np.array_equal(read_archive(path).images, other.images)
