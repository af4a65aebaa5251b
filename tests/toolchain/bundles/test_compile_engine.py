"""`toolchain build --target tensorrt` and `toolchain compile`, with bindings that build nothing (`tests/fakes`)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hardtemper.export.tensorrt.tuning import Placement
from hardtemper.runtime.backends.cuda.driver import Gpu
from hardtemper.runtime.backends.tensorrt.cache import read_engine, write_engine
from hardtemper.runtime.bundle.reader import read_bundle
from hardtemper.toolchain.__main__ import main
from hardtemper.toolchain.bundles import compile_engine as module
from hardtemper.toolchain.pipeline.pipeline import build
from hardtemper.toolchain.recipe.read import with_overrides

GPU = Gpu(name="NVIDIA H200", compute_capability="9.0", cuda="12.8", pci_bus_id="0000:01:00.0")


@pytest.fixture(scope="module")
def bundle(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny recipe for TensorRT, from the tiny bundle's checkpoints."""
    out = tmp_path_factory.mktemp("tensorrt") / "tiny"
    shutil.copytree(tiny.path.with_name("tiny.work"), out.with_name("tiny.work"))
    recipe = dict(read_bundle(tiny.path).manifest.provenance.recipe)
    build(with_overrides(recipe, {"quantize.target": "tensorrt", "finetune_twin.epochs": 0}), out=out)
    return out


@pytest.fixture(scope="module")
def fakes(load_module: Callable[[Path], ModuleType]) -> ModuleType:
    return load_module(Path(__file__).parents[2] / "fakes" / "tensorrt.py")


@pytest.fixture
def trt(fakes: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    fake = fakes.FakeTensorRT("10.16.1.11")
    monkeypatch.setattr("hardtemper.export.tensorrt.engine_builder.import_tensorrt", lambda: fake)
    monkeypatch.setattr(module, "open_driver", lambda: None)
    monkeypatch.setattr(module, "find_gpu", lambda driver: GPU)
    return fake


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "hardtemper" / "engines"


def engines(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.engine"))


def test_a_bundle_for_tensorrt(bundle: Path) -> None:
    manifest = read_bundle(bundle).manifest
    assert manifest.quantization["target"] == "tensorrt"
    assert manifest.quantization["activation_type"] == "int8"
    assert manifest.proofs["parity"]["exact"] is True
    assert manifest.proofs["kernels"]["integer_share"] < 1  # the pixels' convolution is a float one in ONNX Runtime
    assert main(["verify", str(bundle), "--images", "8"]) == 0


def test_an_engine_is_built_once(bundle: Path, trt: Any, cache: Path, tmp_path: Path, capsys: Any) -> None:
    report = tmp_path / "report.json"
    assert main(["compile", str(bundle), "--batch", "1:8:32", "--json", str(report)]) == 0
    out = capsys.readouterr().out
    assert "MACs in int8 kernels" in out
    assert "100.0%" in out
    (path,) = engines(cache)
    entry, content = read_engine(path)
    assert entry.key == path.stem
    assert json.loads(content)["version"] == "10.16.1.11"
    assert (entry.gpu, entry.compute_capability, entry.driver) == ("NVIDIA H200", "9.0", "12.8")
    assert entry.profiles == ((1, 8, 32),)
    assert (entry.input.dtype, entry.input.shape, entry.input.scale) == ("uint8", (1, 16, 16), 1.0)
    assert (entry.output.name, entry.output.dtype, entry.output.shape) == ("logits", "float32", (4,))
    graph = next(f for f in read_bundle(bundle).manifest.files if f.path == "model.onnx")
    assert entry.graph_sha256 == graph.sha256
    said = json.loads(report.read_text())
    assert said["kernels"]["integer_share"] == 1
    assert {layer["weights"] for layer in said["layers"]} == {"int8"}
    read_bundle(bundle)  # as it was

    trt.said.clear()
    assert main(["compile", str(bundle), "--batch", "1:8:32"]) == 0
    assert "--rebuild" in capsys.readouterr().out
    assert not trt.said  # nothing was built
    assert main(["compile", str(bundle), "--batch", "1:8:32", "--rebuild"]) == 0
    assert trt.said["timing_cache"][0]  # of the first build
    assert main(["compile", str(bundle), "--fp16"]) == 0
    assert len(engines(cache)) == 2


def test_a_damaged_entry_is_built_again(bundle: Path, trt: Any, cache: Path) -> None:
    assert main(["compile", str(bundle)]) == 0
    (path,) = engines(cache)
    path.write_bytes(b"something else")
    assert main(["compile", str(bundle)]) == 0
    read_engine(path)


@pytest.fixture
def one_in_float(fakes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let TensorRT compute the second layer on floats."""
    honest = fakes.layers

    def layers(graph: Any, major: int) -> list[dict[str, Any]]:
        found = honest(graph, major)
        found[1]["Inputs"] = [fakes.tensor("x", "Float", major)]
        return found  # type: ignore[no-any-return]

    monkeypatch.setattr(fakes, "layers", layers)


@pytest.mark.usefixtures("one_in_float")
def test_the_gate(bundle: Path, trt: Any, cache: Path, error: Callable[..., str]) -> None:
    """Named, exit code 1, nothing cached."""
    line = error("compile", bundle, code=1)
    assert "at least 100.0%" in line
    assert "Conv:features." in line
    assert "reads float32" in line
    assert not engines(cache)
    assert main(["compile", str(bundle), "--dense"]) == 0  # has no gate


def test_tuning(bundle: Path, trt: Any, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """What would not pass the gate is not even timed."""
    timed = []

    def milliseconds(compiled: Any, *_: Any) -> float:
        timed.append(compiled.placement)
        return 0.5 if not compiled.placement.early_pools else 1.0

    monkeypatch.setattr(module, "_time", milliseconds)
    assert main(["compile", str(bundle), "--tune"]) == 0
    (path,) = engines(cache)
    assert read_engine(path)[0].flags["placement"] == str(Placement(early_pools=False))
    assert timed == [Placement(), Placement(early_pools=False)]
    assert "too few int8 kernels" in capsys.readouterr().out


def test_time_is_asked_of_the_runtime(bundle: Path, trt: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine that is timed is this one, from a folder of our own."""
    opened: list[bytes] = []
    monkeypatch.setattr(
        "hardtemper.runtime.backends.tensorrt.open.open_engine", lambda path: opened.append(read_engine(path)[1])
    )
    monkeypatch.setattr(module, "kernel_milliseconds", lambda backend, batch: float(batch))
    assert main(["compile", str(bundle), "--tune", "--batch", "1:2:4"]) == 0
    assert len(opened) == 2


def test_a_bundle_for_the_cpu(tiny: Any, trt: Any, cache: Path, error: Callable[..., str]) -> None:
    line = error("compile", tiny.path)
    assert "not quantized for TensorRT" in line
    assert "toolchain build --target tensorrt" in line
    assert main(["compile", str(tiny.path), "--dense"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--batch", "8:4:2"), "1 <= MIN <= OPT <= MAX"),
        (("--batch", "x"), "MIN:OPT:MAX"),
        (("--engine", "some.engine"), "opening it runs its code"),
        (("--engine", "some.engine", "--trust-engine"), "some.json: cannot be read"),
    ],
)
def test_bad_options(
    arguments: tuple[str, ...], message: str, bundle: Path, trt: Any, error: Callable[..., str]
) -> None:
    assert message in error("compile", bundle, *arguments)


def test_no_driver(bundle: Path, error: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", nothing)
    assert "no NVIDIA driver" in error("compile", bundle)


def test_no_tensorrt(
    bundle: Path, trt: Any, cache: Path, error: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing() -> None:
        raise module.ModelError("stands for MissingExtraError")

    monkeypatch.setattr(module, "import_builder", nothing)
    assert "stands for" in error("compile", bundle)


def test_out_of_memory(bundle: Path, trt: Any, cache: Path, error: Callable[..., str]) -> None:
    trt.fail_with = ["Error Code 2: OutOfMemory (no further information)"]
    assert "profile for batches of 1:64:256" in error("compile", bundle)


def test_a_cache_that_others_can_write_to(bundle: Path, trt: Any, cache: Path, error: Callable[..., str]) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    assert "not trusted" in error("compile", bundle)


@pytest.mark.usefixtures("trt")
def test_engines_from_elsewhere(
    bundle: Path, cache: Path, tmp_path: Path, error: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    assert main(["compile", str(bundle), "--out", str(elsewhere)]) == 0
    (path,) = engines(elsewhere)
    assert "--trust-engine" in error("compile", bundle, "--engine", path)
    assert not engines(cache)
    assert main(["compile", str(bundle), "--engine", str(path), "--trust-engine"]) == 0
    (mine,) = engines(cache)
    assert read_engine(mine) == read_engine(path)

    entry, content = read_engine(path)
    other = write_engine(tmp_path / "other", replace(entry, graph_sha256="0" * 64), content)
    assert "not built from" in error("compile", bundle, "--engine", other, "--trust-engine")
    monkeypatch.setattr(module, "find_gpu", lambda driver: replace(GPU, compute_capability="8.6"))
    line = error("compile", bundle, "--engine", path, "--trust-engine")
    assert "built for compute capability 9.0, found 8.6" in line


def test_compiling_needs_no_torch() -> None:
    """The machine that compiles need not be the one that trained."""
    modules = "hardtemper.toolchain.bundles.compile_engine, hardtemper.toolchain.cli"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "False"


def test_what_was_learned_of_kernels_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timings = module._TimingCache(tmp_path / "cache", "10.16.1.11", GPU)
    assert timings.read() == b""
    timings.write(b"first")
    with monkeypatch.context() as patch:
        patch.setattr("hardtemper.runtime.files.atomic.os.fsync", lambda _: (_ for _ in ()).throw(OSError("full")))
        timings.write(b"second")
    assert timings.read() == b"first"
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.usefixtures("trt", "cache")
def test_a_report_that_cannot_be_written(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["compile", str(bundle), "--batch", "1:8:32", "--json", str(tmp_path / "file" / "x.json")]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "x.json: cannot be written" in line


def test_a_graph_that_is_swapped_after_it_was_hashed_is_not_compiled(
    *, bundle: Path, trt: Any, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))

    def swapping(path: Path) -> Any:
        found = read_bundle(path)
        (path / "model.onnx").write_bytes((path / "dense.onnx").read_bytes())
        return found

    monkeypatch.setattr(module, "read_bundle", swapping)
    assert main(["compile", str(copy)]) == 2
    assert "model.onnx: size differs" in capsys.readouterr().err
    assert engines(cache) == []
