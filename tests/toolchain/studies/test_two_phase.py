"""The difference estimator against the population that it estimates: every sample of a small one is drawn."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from hardtemper.bench.robustness.archive import Archive, write_archive
from hardtemper.toolchain.studies import two_phase


def test_all_samples_of_a_population_average_to_it() -> None:
    cheap = np.array([1, 1, 1, 0, 1, 1, 0, 1, 1])
    expensive = np.array([1, 0, 1, 0, 1, 1, 1, 0, 1])
    found = [
        two_phase.difference_estimate(cheap.mean(), (cheap - expensive)[list(part)].astype(float), len(cheap))
        for part in itertools.combinations(range(len(cheap)), 4)
    ]
    values = np.array([estimate.value for estimate in found])
    assert values.mean() == pytest.approx(100 * expensive.mean())
    variances = [(estimate.half_width / 1.959964) ** 2 for estimate in found]
    assert np.mean(variances) == pytest.approx(values.var())


def test_a_whole_population_leaves_no_doubt() -> None:
    differences = np.array([0.0, 1.0, 0.0, 0.5])
    estimate = two_phase.difference_estimate(0.75, differences, 4)
    assert (estimate.value, estimate.half_width) == (37.5, 0)


def archive(path: Path, indices: list[int], broken: list[int], *, wrong: int, engine: str = "a") -> Path:
    """`wrong` of the images are wrong as they are; rows `broken` on the engine; row 0 on the twin only."""
    n, rows = len(indices), [0, *broken]
    candidates = len(rows)
    write_archive(
        Archive(
            header={
                "threat": {"norm": "linf", "epsilon": 0.1, "target": None},
                "classes": 2,
                "attacks": [{"name": "any", "target": "twin", "settings": {}}],
                "graph_sha256": engine,
                "robust": n - wrong - len(broken),
            },
            images=np.zeros((n, 1, 2, 2), np.uint8),
            labels=np.zeros(n, np.int64),
            indices=np.array(indices, np.int64),
            adversarial=np.ones((candidates, 1, 2, 2), np.uint8),
            rows=np.array(rows, np.int64),
            attacks=np.zeros(candidates, np.int64),
            on_engine=np.array([False] + [True] * len(broken)),
            on_twin=np.ones(candidates, np.bool_),
        ),
        path,
    )
    return path


def test_archives_are_matched_by_image(tmp_path: Path) -> None:
    cheap = archive(tmp_path / "cheap.npz", [0, 1, 2, 3, 4, 5, 6, 7], [1, 2], wrong=1)
    part = archive(tmp_path / "part.npz", [5, 2, 7, 1], [0, 1, 3], wrong=0)  # images 5, 2 and 1; the cheap one: 2 and 1
    estimate = two_phase.estimate_from_archives([(cheap, part)])
    expected = two_phase.difference_estimate(5 / 8, np.array([1.0, 0, 0, 0]), 8)
    assert (estimate.value, estimate.half_width) == (expected.value, expected.half_width)
    assert estimate.value == pytest.approx(37.5)


def test_engines_on_the_same_images_count_as_one(tmp_path: Path) -> None:
    indices = [0, 1, 2, 3, 4, 5, 6, 7]
    pairs = [
        (
            archive(tmp_path / f"cheap{engine}.npz", indices, [], wrong=0, engine=engine),
            archive(tmp_path / f"part{engine}.npz", [3, 4, 5], [row], wrong=0, engine=engine),
        )
        for engine, row in (("a", 0), ("b", 1))
    ]
    estimate = two_phase.estimate_from_archives(pairs)
    assert estimate.half_width == two_phase.difference_estimate(1, np.array([0.5, 0.5, 0]), 8).half_width


@pytest.mark.parametrize(("engine", "indices"), [("b", [1, 2]), ("a", [1, 9])])
def test_archives_that_do_not_belong_together_are_refused(tmp_path: Path, engine: str, indices: list[int]) -> None:
    cheap = archive(tmp_path / "cheap.npz", [0, 1, 2, 3], [], wrong=0)
    part = archive(tmp_path / "part.npz", indices, [], wrong=0, engine=engine)
    with pytest.raises(ValueError, match=r"engines|not a part"):
        two_phase.estimate_from_archives([(cheap, part)])
