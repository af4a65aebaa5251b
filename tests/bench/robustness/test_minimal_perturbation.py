from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.deepfool import deepfool
from hardtemper.bench.attacks.white_box.fab import fab
from hardtemper.bench.robustness.case import Case
from hardtemper.bench.robustness.minimal_perturbation import MinimalPerturbations, minimal_perturbations
from hardtemper.runtime.errors import RecipeError

NORMS: Any = ["linf", "l2", "l1"]
Model = Any  # `Linear`, in conftest.py
QUICK = {"fab-t": partial(fab, targeted=True, steps=15, minimize=True)}


def twin(model: Model) -> Any:
    weights = torch.from_numpy(model.weights.astype(np.float32) / 4096)

    def logits(x: Tensor) -> Tensor:
        pixels = x * 255
        return (pixels + (pixels.round() - pixels).detach()).flatten(1) @ weights.T

    return logits


def case(engine: Any, model: Any, images: Any, labels: Any, *, norm: Any, **how: Any) -> Case:
    return Case(engine=engine, twin=model, images=images, labels=labels, threat=ThreatModel(norm, 1.0), **how)


@pytest.fixture(scope="module")
def images(data: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    return data.test.images, data.test.labels


@pytest.mark.parametrize("norm", NORMS)
def test_what_is_reported_was_replayed(three_classes: Model, images: Any, norm: Any) -> None:
    pixels, labels = images
    found = minimal_perturbations(case(three_classes, twin(three_classes), pixels, labels, norm=norm), QUICK)
    right = three_classes(pixels).argmax(1) == labels
    assert 0 < right.sum() < len(right)
    assert (found.values[~right] == 0).all()
    assert np.isfinite(found.values).all()
    assert (three_classes(found.adversarial).argmax(1) != labels).all()
    moves = (found.adversarial.astype(float) - pixels).reshape(len(pixels), -1) / 255
    order = {"linf": math.inf, "l2": 2, "l1": 1}[norm]
    np.testing.assert_allclose(found.values, np.linalg.norm(moves, order, axis=1), rtol=1e-12)


def test_least_level_of_a_linear_engine(three_classes: Model, images: Any) -> None:
    """In linf the true minimum is known: the least radius at which some rival's corner breaks the image."""
    pixels, labels = images
    found = minimal_perturbations(case(three_classes, twin(three_classes), pixels, labels, norm="linf"), QUICK)
    withstands = np.stack([three_classes.withstands(pixels, labels, radius) for radius in range(256)])
    least = withstands.sum(0)  # radii that it withstands, counted from 0
    levels = np.rint(255 * found.values).astype(int)
    assert (levels >= least).all()
    assert (levels <= least + 1).all()
    assert (levels == least).mean() > 0.7


@pytest.mark.parametrize(("moved", "least"), [(30, 10), (11, 10), (9, 10), (7, 10), (5, 10), (4, math.inf)])
@pytest.mark.parametrize("norm", NORMS)
def test_moves_too_long_are_halved_and_those_too_short_doubled(norm: Any, moved: int, least: float) -> None:
    """The engine turns where the first pixel has fallen by 10."""

    def engine(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        bright = pixels[:, 0, 0, 0] > 100
        return np.stack([~bright, bright], 1).astype(np.float32)

    def search(model: Any, x: Tensor, *_: Any, **__: Any) -> Tensor:
        return x - moved / 255 * torch.eye(36)[0].view(1, 1, 6, 6)

    pixels, labels = np.full((2, 1, 6, 6), 110, np.uint8), np.array([1, 1])
    found = minimal_perturbations(case(engine, lambda x: x.flatten(1), pixels, labels, norm=norm), {"known": search})
    assert 255 * found.values == pytest.approx([least, least])


def test_every_search_has_a_stream_of_its_own(three_classes: Model, images: Any) -> None:
    def streams(seed: int) -> list[int]:
        seen: list[int] = []

        def search(model: Any, x: Tensor, *_: Any, generator: torch.Generator, **__: Any) -> Tensor:
            seen.append(generator.initial_seed())
            return x

        model, attacks = twin(three_classes), {"a": search, "b": search}
        minimal_perturbations(case(three_classes, model, *images, norm="l2", seed=seed, batch_size=25), attacks)
        return seen

    one, other = streams(0), streams(1)
    assert len({*one, *other}) == 2 * 2 * 2, "seeds, batches, attacks"
    assert streams(0) == one


def test_what_the_twin_finds_must_break_the_engine(three_classes: Model, images: Any) -> None:
    pixels, labels = images

    def stubborn(candidates: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Right whatever comes."""
        return np.eye(3, dtype=np.float32)[labels[: len(candidates)]]

    # All images are one, so that the engine's answers do not depend on which of them are asked about.
    right = three_classes(pixels).argmax(1) == labels
    same = np.repeat(pixels[right][:1], 3, 0)
    label = np.repeat(labels[right][:1], 3)
    labels = label
    found = minimal_perturbations(case(stubborn, twin(three_classes), same, label, norm="l2"), QUICK)
    assert np.isinf(found.values).all()
    assert np.array_equal(found.adversarial, same)
    assert found.median == math.inf
    assert found.robust(1e6) == 3
    assert [m.name for m in found.measurements([1.0])] == ["robust-accuracy-by-distance"]


def test_more_attacks_come_no_less_close(three_classes: Model, images: Any) -> None:
    pixels, labels = images
    quick = partial(deepfool, minimize=True)
    attacks: list[dict[str, Any]] = [{"deepfool": quick}, {"deepfool": quick, **QUICK}]
    one, both = (
        minimal_perturbations(case(three_classes, twin(three_classes), pixels, labels, norm="l2"), names)
        for names in attacks
    )
    assert (both.values <= one.values).all()
    assert (both.values < one.values).any()
    assert both.attacks == ("deepfool", "fab-t")


def test_batches_and_progress(three_classes: Model, images: Any) -> None:
    pixels, labels = images
    heard: list[tuple[str, int, int]] = []
    whole, parts = (
        minimal_perturbations(
            case(
                three_classes,
                twin(three_classes),
                pixels,
                labels,
                norm="linf",
                batch_size=size,
                progress=lambda task, done, total, _: heard.append((task, done, total)),
            ),
            QUICK,
        )
        for size in (128, 25)
    )
    np.testing.assert_array_equal(whole.values, parts.values)
    assert heard == [("fab-t", 40, 40), ("fab-t", 25, 40), ("fab-t", 40, 40)]


@pytest.mark.parametrize("norm", NORMS)
def test_progress_is_in_levels(three_classes: Model, images: Any, norm: Any) -> None:
    pixels, labels = images
    said: list[str] = []

    def progress(*news: Any) -> None:
        said.append(str(news[-1]))

    given = case(three_classes, twin(three_classes), pixels, labels, norm=norm, progress=progress)
    found = minimal_perturbations(given, QUICK)
    assert said == [f"median {255 * np.median(found.values):.1f} levels ({norm})"]


def test_default_attack(two_classes: Model) -> None:
    pixels = np.full((2, 1, 6, 6), 99, np.uint8)
    labels = two_classes(pixels).argmax(1)
    found = minimal_perturbations(case(two_classes, twin(two_classes), pixels, labels, norm="linf"))
    assert found.attacks == ("fab-t",)
    assert np.isfinite(found.values).all()


def summary(norm: Any, levels: list[float]) -> MinimalPerturbations:
    shape = (len(levels), 1, 1, 1)
    values = np.array(levels) / 255
    return MinimalPerturbations(
        norm=norm, attacks=("a", "b"), seed=3, values=values, adversarial=np.zeros(shape, np.uint8)
    )


def test_summary() -> None:
    found = summary("linf", [0, 8, 9, math.inf])
    assert found.n == 4
    assert 255 * found.quantile(0) == 0
    assert 255 * found.median == pytest.approx(8)
    assert 255 * found.quantile(0.75) == pytest.approx(9)
    assert found.quantile(0.76) == math.inf
    curve = {level: found.robust(level / 255) for level in (0, 7, 8, 9, 255)}
    assert curve == {0: 3, 7: 3, 8: 2, 9: 1, 255: 1}
    assert summary("l2", [math.sqrt(5), math.sqrt(6)]).robust(math.sqrt(5) / 255) == 1
    assert summary("l1", [5, 6]).robust(5 / 255) == 1


def test_measurements() -> None:
    by_name = {m.name: m for m in summary("linf", [0, 8, 9, math.inf]).measurements([8 / 255])}
    assert set(by_name) == {
        "minimal-perturbation-p25",
        "minimal-perturbation-p50",
        "minimal-perturbation-p75",
        "robust-accuracy-by-distance",
    }
    median, share = by_name["minimal-perturbation-p50"], by_name["robust-accuracy-by-distance"]
    assert (median.value, median.unit, median.n) == (pytest.approx(8), "levels", 4)
    assert median.settings == {"norm": "linf", "attack": "a + b", "seed": 3}
    assert (share.value, share.settings["epsilon"]) == (50, 8 / 255)


def test_refuses_nothing_to_do(three_classes: Model, images: Any) -> None:
    with pytest.raises(RecipeError, match="expected: one attack or more"):
        minimal_perturbations(case(three_classes, twin(three_classes), *images, norm="l2"), {})


def test_radius_is_that_of_the_threat_model() -> None:
    found = summary("linf", [25, 26])
    assert found.robust(0.1) == 1
    assert ThreatModel("linf", 0.1).pixel_radius == 25
