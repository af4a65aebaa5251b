"""Whether a data set fits a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.data.dataset import Dataset, Splits, divide
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings
from hardtemper.runtime.errors import DataError

FAST: dict[str, Any] = {"batches": (1, 3), "warmup": 0, "repeats": 3, "min_seconds": 0.0, "preset": "quick"}
ONE: dict[str, Any] = {"batches": (1,)}
THREAT = ThreatModel("linf", 10 / 255)


def settings(**changes: Any) -> BenchSettings:
    return BenchSettings(**{**FAST, "threat": THREAT, **changes})


def model_file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    return path


def other_data(*, shape: tuple[int, ...] = (1, 6, 6), classes: tuple[str, ...] = ("0", "1", "2")) -> Dataset:
    images = np.zeros((4, *shape), np.uint8)
    labels = np.zeros(4, np.int64)
    splits = Splits(
        name="other",
        classes=classes,
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=labels,
        source="drawn",
    )
    return divide(splits, heldout=0, calibration=0, seed=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shape": (3, 6, 6)}, r"other: the images do not fit.*expected: \[N, 1, 6, 6\].*got: \[N, 3, 6, 6\].*fix: "),
        ({"shape": (1, 8, 8)}, r"got: \[N, 1, 8, 8\]"),
        ({"classes": ("0", "1")}, r"the classes do not fit.*expected: 3 classes.*got: 2.*fix: "),
        ({"classes": ("2", "1", "0")}, r"in another order.*expected: 0, 1, 2.*got: 2, 1, 0"),
    ],
)
def test_data_that_does_not_fit_is_refused(
    make_bundle: Callable[..., Path], wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        run_bench(make_bundle(), other_data(**wrong), settings())


@pytest.mark.parametrize("dense", [False, True])
def test_a_bare_files_labels_are_no_names(
    tmp_path: Path, make_bundle: Callable[..., Path], three_classes: Any, dense: bool
) -> None:
    """Eleven folders "0" to "10" are classes in the order of their names; nobody numbered the file's logits so."""
    names = tuple(sorted(map(str, range(11))))
    content = replace(three_classes, weights=np.random.default_rng(0).integers(-9, 9, (11, 36))).onnx()
    path = make_bundle(graph=content, classes=names, dense=content) if dense else model_file(tmp_path, content)
    report = run_bench(path, other_data(classes=names), settings(robust=False, **ONE))
    assert len(report.subjects) == (2 if dense else 1)
