from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import hardtemper
from hardtemper.runtime import engine as engine_module
from hardtemper.runtime import fastest
from hardtemper.runtime.backends.table import BACKENDS
from hardtemper.runtime.bundle.reader import read_bundle
from hardtemper.runtime.engine import Engine, is_onnx_file, load, open_onnx
from hardtemper.runtime.errors import BundleFormatError, ImageError, InputError, IntegrityError, ModelError
from hardtemper.runtime.fastest import Choice
from hardtemper.runtime.unproved import UnprovedWarning

SHAPE = (1, 8, 8)
MakeBundle = Callable[..., Path]


def pixels(n: int, seed: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, *SHAPE), np.uint8)


def test_load_runs_a_bundle(make_bundle: MakeBundle, classifier: Any) -> None:
    engine = load(make_bundle(), threads=1)
    assert engine.labels == tuple(f"class {index}" for index in range(10))
    assert engine.input_shape == SHAPE
    assert engine.bundle is not None
    assert engine.bundle.manifest.name == "linear"
    images = pixels(5)
    logits = engine(images)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, classifier.logits(images))
    classes = engine.predict(images)
    assert classes.dtype == np.int64
    np.testing.assert_array_equal(classes, classifier.logits(images).argmax(1))


def test_a_bundle_that_was_read_is_not_read_again(make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = read_bundle(make_bundle())
    monkeypatch.setattr(engine_module, "read_manifest", None)
    (bundle.path / "manifest.json").write_bytes(b"another")
    (bundle.path / "dense/model.onnx").write_bytes(b"another")
    engine = load(bundle, threads=1)
    assert engine.bundle is bundle
    assert engine(pixels(2)).shape == (2, 10)


def test_the_public_face_is_the_same(make_bundle: MakeBundle) -> None:
    assert hardtemper.load is load
    assert hardtemper.Engine is Engine
    assert isinstance(hardtemper.load(str(make_bundle())), hardtemper.Engine)


@pytest.mark.parametrize("batch", ["N", 1, 3])
@pytest.mark.parametrize("max_batch", [1, 4, 256])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 7, 300])
def test_any_number_of_images(tmp_path: Path, classifier: Any, batch: int | str, max_batch: int, n: int) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(classifier.onnx(batch=batch))
    engine = replace(open_onnx(path, threads=1), max_batch=max_batch)
    images = pixels(n)
    logits = engine(images)
    assert logits.shape == (n, 10)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, classifier.logits(images))
    assert engine.predict(images).shape == (n,)


class Recorder:
    """A backend that keeps what it is given; its logit is the sum of the image."""

    name, classes = "recorder", 1

    def __init__(self, *, batch: int | None = None, input_dtype: str = "uint8", input_shape: Any = SHAPE) -> None:
        self.batch, self.input_dtype, self.input_shape = batch, input_dtype, input_shape
        self.seen: list[NDArray[Any]] = []

    def run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        self.seen.append(images)
        return images.sum((1, 2, 3), dtype=np.float32)[:, None]


@pytest.mark.parametrize(
    ("batch", "n", "sizes"),
    [(None, 0, []), (None, 9, [4, 4, 1]), (None, 4, [4]), (3, 7, [3, 3, 3]), (6, 1, [6])],
)
def test_memory_is_bounded_and_fixed_batches_are_filled(batch: int | None, n: int, sizes: list[int]) -> None:
    backend = Recorder(batch=batch)
    images = pixels(n)
    logits = Engine(backend=backend, labels=("sum",), max_batch=4)(images)
    assert [len(seen) for seen in backend.seen] == sizes
    np.testing.assert_array_equal(logits[:, 0], images.sum((1, 2, 3)))


@pytest.mark.parametrize("input_dtype", ["uint8", "float32"])
@pytest.mark.parametrize("batch", [None, 4])
def test_any_memory_layout(input_dtype: str, batch: int | None) -> None:
    shape = (3, 4, 5)
    plain = np.random.default_rng(2).integers(0, 256, (6, *shape), np.uint8)
    backend = Recorder(batch=batch, input_dtype=input_dtype, input_shape=shape)
    engine = Engine(backend=backend, labels=("sum",))
    expected = engine(plain)
    for images in (
        np.asfortranarray(plain),
        np.ascontiguousarray(plain.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        np.repeat(plain, 2, axis=0)[::2],
        plain[::-1, :, ::-1][::-1, :, ::-1],
        np.broadcast_to(plain, plain.shape),
        (plain / 255).astype(np.float32)[::-1][::-1],
        (plain / 255).astype(">f8"),
    ):
        np.testing.assert_array_equal(engine(images), expected)
    assert all(seen.flags.c_contiguous and seen.dtype == input_dtype for seen in backend.seen)


def test_floats_are_rounded_to_pixels(make_bundle: MakeBundle) -> None:
    engine = load(make_bundle(), threads=1)
    images = pixels(3)
    nudge = np.random.default_rng(3).uniform(-0.49, 0.49, images.shape)
    floats = np.clip((images + nudge) / 255, 0, 1).astype(np.float32)
    np.testing.assert_array_equal(engine(floats), engine(images))


def test_a_float_model_gets_pixels_divided_by_255(tmp_path: Path, classifier: Any) -> None:
    (tmp_path / "model.onnx").write_bytes(classifier.onnx(dtype="float32"))
    engine = open_onnx(tmp_path / "model.onnx", threads=1)
    assert engine.bundle is None
    assert engine.labels == tuple("0123456789")
    images = pixels(4)
    np.testing.assert_allclose(engine(images), classifier.logits(images) * (256 / 255), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(engine((images / 255).astype(np.float32)), engine(images))
    backend = Recorder(input_dtype="float32")
    Engine(backend=backend, labels=("sum",))(images)
    np.testing.assert_array_equal(backend.seen[0], images.astype(np.float32) / np.float32(255))


def test_images_that_are_refused(make_bundle: MakeBundle) -> None:
    engine = replace(load(make_bundle()), max_batch=2)
    with pytest.raises(ImageError, match="add the batch axis"):
        engine(pixels(1)[0])
    with pytest.raises(ImageError, match="expected: "):
        engine(np.zeros((1, 3, 8, 8), np.uint8))
    with pytest.raises(ImageError, match="int64"):
        engine.predict(np.zeros((0, *SHAPE), np.int64))
    images = np.zeros((5, *SHAPE), np.float32)
    images[4, 0, 7, 7] = np.nan
    with pytest.raises(ImageError, match=r"images\[4, 0, 7, 7\]"):
        engine(images)


def test_threads_share_one_engine(make_bundle: MakeBundle, classifier: Any) -> None:
    engine = replace(load(make_bundle(), threads=1), max_batch=16)
    batches = [pixels(50, seed) for seed in range(64)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(engine, batches))
    for images, logits in zip(batches, results, strict=True):
        np.testing.assert_array_equal(logits, classifier.logits(images))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input", {"shape": [1, 8, 9], "dtype": "uint8", "name": "image"}),
        ("input", {"shape": [1, 8, 8], "dtype": "float32", "name": "image"}),
        ("input", {"shape": [1, 8, 8], "dtype": "uint8", "name": "picture"}),
        ("output", {"classes": ["a", "b"], "name": "logits"}),
        ("output", {"classes": list("abcdefghij"), "name": "scores"}),
    ],
)
def test_a_manifest_that_contradicts_its_graph(make_bundle: MakeBundle, field: str, value: dict[str, Any]) -> None:
    with pytest.raises(BundleFormatError, match=rf"manifest\.json: {field}\.\w+; expected: .*as in graph\.onnx"):
        load(make_bundle(**{field: value}))


def test_load_checks_hashes_unless_told_not_to(make_bundle: MakeBundle) -> None:
    folder = make_bundle()
    dense = folder / "dense/model.onnx"
    dense.write_bytes(bytes(len(dense.read_bytes())))
    with pytest.raises(IntegrityError):
        load(folder)
    assert load(folder, check=False).labels


def test_load_of_a_graph_that_is_no_onnx(make_bundle: MakeBundle) -> None:
    with pytest.raises(ModelError, match=r"graph\.onnx"):
        load(make_bundle(graph=b"not ONNX"))


def test_values_under_a_mask_count(make_bundle: MakeBundle) -> None:
    engine = load(make_bundle(), threads=1)
    images = np.ma.masked_array(np.full((1, *SHAPE), 0.5, np.float32))
    np.testing.assert_array_equal(engine(images), engine(images.data))
    images.data[0, 0, 0, 0] = np.nan
    images[0, 0, 0, 0] = np.ma.masked
    with pytest.raises(ImageError, match=r"images\[0, 0, 0, 0\]"):
        engine(images)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, [1]], ids=str)
def test_threads_that_cannot_be(make_bundle: MakeBundle, threads: Any) -> None:
    with pytest.raises(InputError, match=r"^threads; expected: an integer from 1, or None for every core"):
        load(make_bundle(), threads=threads)


def test_more_threads_than_cores_are_those_of_the_cores(make_bundle: MakeBundle, classifier: Any) -> None:
    images = np.random.default_rng(6).integers(0, 256, (3, 1, 8, 8), np.uint8)
    np.testing.assert_array_equal(load(make_bundle(), threads=2**40)(images), classifier.logits(images))


def test_threads_of_numpy(make_bundle: MakeBundle) -> None:
    assert load(make_bundle(), threads=np.int64(1)).labels  # type: ignore[arg-type]


def test_bad_settings(make_bundle: MakeBundle) -> None:
    with pytest.raises(ModelError, match="labels"):
        Engine(backend=Recorder(), labels=("a", "b"))
    with pytest.raises(InputError, match="max_batch"):
        Engine(backend=Recorder(), labels=("a",), max_batch=0)


def test_a_warning_where_nothing_was_proved(
    make_bundle: MakeBundle, manifest_value: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(make_bundle())
    folder = make_bundle(provenance=manifest_value["provenance"] | {"instruction_set": "another-one"})
    with pytest.warns(UnprovedWarning, match="proved on another-one.*toolchain verify") as caught:
        load(folder)
    assert [item.filename for item in caught] == [__file__]


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """This user's cache, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "hardtemper" / "backends"


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The choices that are made, instead of by time: the last backend, proved."""
    made: list[str] = []

    def choose(bundle: object, engines: dict[str, Engine]) -> Choice:
        made.append(",".join(engines))
        return Choice(backend=list(engines)[-1], proved=True)

    monkeypatch.setattr(fastest, "choose", choose)
    return made


def test_the_fastest_is_chosen_once(
    make_bundle: MakeBundle, cache: Path, chosen: list[str], classifier: Any, manifest_value: dict[str, Any]
) -> None:
    folder = make_bundle(provenance=manifest_value["provenance"] | {"instruction_set": "another-one"})
    for path in (folder, read_bundle(folder)):
        engine = load(path, backend="auto", threads=1)  # no warning: it is proved
        assert engine.backend.name == "openvino"
        np.testing.assert_array_equal(engine(pixels(3)), classifier.logits(pixels(3)))
    assert chosen == ["onnxruntime,openvino"]
    assert len(list(cache.iterdir())) == 1
    load(folder, backend="auto")
    assert len(chosen) == len(list(cache.iterdir())) == 2  # another number of threads
    with pytest.raises(IntegrityError, match="another bundle"):
        load(folder, backend="auto", digest="0" * 64)


def test_the_fastest_is_onnx_runtime_where_there_is_no_other(
    make_bundle: MakeBundle, cache: Path, chosen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "installed_version", {"onnxruntime": "1", "openvino": None}.get)
    assert load(make_bundle(), backend="auto").backend.name == "onnxruntime"
    assert chosen == []
    assert not cache.exists()


def test_a_backend_that_refuses_the_graph_is_no_candidate(
    make_bundle: MakeBundle, cache: Path, chosen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Any:
        raise ModelError("refused")

    row = replace(BACKENDS["openvino"], open=refuse)
    monkeypatch.setattr(engine_module, "BACKENDS", {**BACKENDS, "openvino": row})
    assert load(make_bundle(), backend="auto").backend.name == "onnxruntime"
    assert chosen == ["onnxruntime"]


CHILD = """
import sys
import hardtemper.runtime
import hardtemper.runtime.engine
import numpy as np

engine = hardtemper.runtime.engine.load(sys.argv[1])
assert engine(np.zeros((2, 1, 8, 8), np.uint8)).shape == (2, 10)
heavy = {"torch", "onnx", "pydantic", "click", "rich", "PIL", "scipy", "torchvision", "openvino"} & sys.modules.keys()
assert not heavy, heavy
"""


def test_a_child_process_imports_nothing_heavy(make_bundle: MakeBundle, tmp_path: Path) -> None:
    child = [sys.executable, "-W", "error", "-c", CHILD, str(make_bundle())]
    done = subprocess.run(child, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_what_is_taken_for_an_onnx_file(tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    assert [is_onnx_file(tmp_path / name) for name in ("model.onnx", "folder.onnx", "bundle", ".")] == [
        *(True, False, False, False)
    ]
