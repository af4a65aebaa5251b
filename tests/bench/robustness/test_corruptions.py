from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.measurement import wilson
from hardtemper.bench.resume import ResumeStore
from hardtemper.bench.robustness import corruptions
from hardtemper.bench.robustness.case import Case
from hardtemper.bench.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt, evaluate_corruptions
from hardtemper.runtime.errors import DataError, MissingExtraError, RecipeError

GLOBAL = np.random.mtrand._rand  # what NumPy's global functions draw from


def case_of(engine: Any, images: Any, labels: Any, **how: Any) -> Case:
    return Case(engine=engine, twin=None, images=images, labels=labels, threat=ThreatModel("linf", 0.1), **how)


def draw(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    """Smooth images: a few patches, bright and dark."""
    n, c, h, w = shape
    patches = np.random.default_rng(seed).integers(40, 216, (n, c, -(-h // 7), -(-w // 7)))
    return patches.repeat(7, 2).repeat(7, 3)[:, :, :h, :w].astype(np.uint8)


@pytest.fixture
def harmless(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """A package whose corruptions do nothing but draw a number; the shapes it was given."""
    seen: list[tuple[int, ...]] = []

    def do_nothing(image: NDArray[np.uint8], *, corruption_name: str, severity: int, **_: int) -> NDArray[np.uint8]:
        assert image.dtype == np.uint8
        GLOBAL.normal()
        seen.append(image.shape)
        return image

    package = ModuleType("imagecorruptions")
    package.corrupt = do_nothing  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "imagecorruptions", package)
    return seen


@pytest.mark.parametrize(
    "shape", [(1, 28, 28), (3, 32, 32), (3, 9, 31), (1, 1, 1), (3, 40, 60), (3, 300, 224)], ids=str
)
def test_sizes_and_channels_come_back_exactly(harmless: list[tuple[int, ...]], shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype(np.uint8)
    for name in CORRUPTIONS:
        assert np.array_equal(corrupt(images, name, 3, seed=0), images), name
    assert min(min(height, width) for height, width, _ in harmless) >= 32
    assert {channels for *_, channels in harmless} == {3}
    assert max(max(height, width) for height, width, _ in harmless) >= 200


def test_other_random_numbers_are_left_alone(harmless: list[tuple[int, ...]]) -> None:
    GLOBAL.seed(3)
    expected = GLOBAL.normal(size=2)
    GLOBAL.seed(3)
    first = GLOBAL.normal()
    corrupt(draw((1, 1, 28, 28)), "fog", 1, seed=0)
    assert [first, GLOBAL.normal()] == expected.tolist()


def test_the_right_answers_are_counted(harmless: list[tuple[int, ...]]) -> None:
    images, labels = draw((10, 1, 8, 8)), np.arange(10) % 2
    told: list[tuple[Any, ...]] = []

    def engine(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.tile(np.array([0, 1], np.float32), (len(pixels), 1))

    case = case_of(engine, images, labels, progress=lambda *said: told.append(said))
    result = evaluate_corruptions(case, names=("fog", "snow"), severities=(1, 4))
    assert (result.n, result.clean) == (10, 5)
    assert result.right == {("fog", 1): 5, ("fog", 4): 5, ("snow", 1): 5, ("snow", 4): 5}
    assert result.mean_accuracy == result.mean_error == 0.5
    *rows, accuracy, error = result.measurements()
    assert [(row.settings["corruption"], row.settings["severity"]) for row in rows] == list(result.right)
    low, high = wilson(5, 10)
    assert all((row.value, row.unit, row.spread) == (50, "%", (100 * low, 100 * high)) for row in rows)
    assert (accuracy.name, accuracy.value) == ("mean-corruption-accuracy", 50)
    assert (error.name, error.value) == ("mean-corruption-error", 50)
    assert accuracy.settings["corruptions"] == "fog snow"
    assert accuracy.settings["severities"] == "1 4"
    assert [said[:3] for said in told] == [("corruptions", done, 4) for done in (1, 2, 3, 4)]


def test_a_nan_is_no_answer(harmless: list[tuple[int, ...]]) -> None:
    def engine(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = np.tile(np.array([0, 1], np.float32), (len(pixels), 1))
        logits[:3, 1] = np.nan  # where NumPy finds the largest
        return logits

    images, labels = draw((10, 1, 8, 8)), np.ones(10, np.int64)
    result = evaluate_corruptions(case_of(engine, images, labels), names=("fog",), severities=(1,))
    assert (result.clean, result.right) == (7, {("fog", 1): 7})


def test_counts_of_another_machine_or_package_are_counted_again(
    harmless: list[tuple[int, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def engine(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        asked.append(len(pixels))
        return np.ones((len(pixels), 2), np.float32)

    def count() -> int:
        asked.clear()
        case = case_of(engine, draw((10, 1, 8, 8)), np.ones(10, np.int64), store=ResumeStore(tmp_path, {"engine": "a"}))
        evaluate_corruptions(case, names=("fog",), severities=(1,))
        return len(asked)

    assert (count(), count()) == (2, 1), "the clean images are asked every time"
    for name in ("_version", "instruction_set"):
        monkeypatch.setattr(corruptions, name, lambda: "another")
        assert (count(), count()) == (2, 1)


@pytest.mark.parametrize(
    ("name", "severity", "seed"), [("rain", 1, 0), ("fog", 0, 0), ("fog", 6, 0), ("fog", 1, -1)], ids=str
)
def test_refused_settings(name: str, severity: int, seed: int) -> None:
    with pytest.raises(RecipeError, match=r"expected: .*got: "):
        corrupt(draw((1, 1, 28, 28)), name, severity, seed=seed)


@pytest.mark.parametrize("shape", [(1, 2, 28, 28), (1, 28, 28), (1, 1, 0, 28)], ids=str)
def test_refused_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"expected: .*got: "):
        corrupt(np.zeros(shape, np.uint8), "fog", 1, seed=0)
    if len(shape) == 4:  # what is no batch of images is no case either
        case = case_of(lambda x: np.zeros((len(x), 2)), np.zeros(shape, np.uint8), np.zeros(shape[0], np.int64))
        with pytest.raises(DataError, match=r"expected: .*got: "):
            evaluate_corruptions(case)


def test_refused_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'hardtemper\[corruptions\]'"):
        corrupt(draw((1, 1, 28, 28)), "fog", 1, seed=0)


def test_names_are_those_of_the_package() -> None:
    package = pytest.importorskip("imagecorruptions")
    assert list(CORRUPTIONS) == package.get_corruption_names("common")
    assert SEVERITIES == (1, 2, 3, 4, 5)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "glass_blur" else ()) for name in CORRUPTIONS]
)  # glass is compiled on its first use
def test_every_corruption(name: str, channels: int) -> None:
    pytest.importorskip("imagecorruptions")
    images = draw((3, channels, 28, 28))
    before = images.copy()
    weak, again, other, strong = (
        corrupt(images, name, severity, seed=seed) for severity, seed in ((1, 0), (1, 0), (1, 1), (5, 0))
    )
    assert np.array_equal(images, before)
    assert (weak.dtype, weak.shape) == (np.uint8, images.shape)
    assert np.array_equal(weak, again)
    drawn = name not in {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
    assert np.array_equal(weak, other) != drawn
    assert np.array_equal(weak[:2], corrupt(images[:2], name, 1, seed=0))
    change = [abs(corrupted.astype(int) - images).mean() for corrupted in (weak, strong)]
    if name == "frost":  # every image gets another piece of another texture
        assert min(change) > 0
    else:
        assert 0 < change[0] < change[1]


def test_large_images_are_what_the_package_makes_of_them() -> None:
    package = pytest.importorskip("imagecorruptions")
    images = draw((1, 3, 224, 224))
    for name in ("defocus_blur", "contrast", "jpeg_compression"):
        expected = package.corrupt(np.ascontiguousarray(images[0].transpose(1, 2, 0)), 2, name)
        assert np.array_equal(corrupt(images, name, 2, seed=0)[0].transpose(1, 2, 0), expected)


def test_noise_on_gray_images_is_as_strong_as_on_colour() -> None:
    pytest.importorskip("imagecorruptions")
    for channels in (1, 3):
        gray = np.full((4, channels, 32, 32), 128, np.uint8)
        assert corrupt(gray, "gaussian_noise", 1, seed=0).std() == pytest.approx(255 * 0.08, rel=0.05)
