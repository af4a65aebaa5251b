"""Which images and attacks, decided before anything is measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.data.dataset import Dataset
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings
from hardtemper.runtime.errors import DataError, RecipeError


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"preset": "transfer"}, RecipeError, "transfer: there is no other network to make candidates on; name one"),
        ({"preset": "multi-targeted", "threat": ThreatModel("linf", 0.1, 1)}, RecipeError, "no attack of 'multi-tar"),
        ({"threat": ThreatModel("linf", 0.1, 3)}, RecipeError, "is no class of other; expected: a class from 0 to 2"),
        ({"threat": ThreatModel("linf", 0.1, 0)}, DataError, "other: no test image to attack in linf:0.1->0"),
    ],
)
def test_what_cannot_be_attacked_at_all_is_refused_before_anything_is_measured(
    *,
    three_classes: Any,
    changes: dict[str, Any],
    error: type[Exception],
    message: str,
    settings: Callable[..., BenchSettings],
    model_file: Callable[[bytes], Path],
    other_data: Callable[..., Dataset],
) -> None:
    told: list[str] = []
    path = model_file(three_classes.onnx())
    with pytest.raises(error, match=message):
        run_bench(path, other_data(), settings(**changes), progress=lambda task, *_: told.append(task))
    assert told == []


def test_an_engine_with_nothing_to_transfer_from_is_skipped_beside_one_that_has(
    make_bundle: Callable[..., Path],
    data: Dataset,
    three_classes: Any,
    settings: Callable[..., BenchSettings],
    value: Callable[..., float],
) -> None:
    path = make_bundle(dense=three_classes.onnx(dtype="float32"))
    dense, shipped = run_bench(path, data, settings(preset="transfer", batches=(1,))).subjects
    reason = "there is no other network to make candidates on; name one with --transfer"
    assert [(skip.what, skip.reason) for skip in dense.skipped] == [
        ("transfer", reason),
        ("robust accuracy", f"no attack of 'transfer' is left (transfer: {reason})"),
    ]
    assert value(shipped, "robust-accuracy", attack="transfer-parent") == value(
        shipped, "robust-accuracy", attack="union"
    )


def test_a_targeted_threat_leaves_images_of_the_target_out(
    data: Dataset, three_classes: Any, settings: Callable[..., BenchSettings], model_file: Callable[[bytes], Path]
) -> None:
    path = model_file(three_classes.onnx())
    aimed = ThreatModel("linf", 10 / 255, 1)
    (subject,) = run_bench(path, data, settings(threat=aimed, batches=(1,))).subjects
    union = subject.find("robust-accuracy", attack="union")
    assert union is not None
    assert (union.n, union.settings["threat"]) == ((data.test.labels != 1).sum(), "linf:10/255->1")
