"""Whether a data set fits a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hardtemper.bench.compatibility import check_image_shape
from hardtemper.bench.data.dataset import Dataset
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings
from hardtemper.runtime.errors import DataError, ModelError


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
    make_bundle: Callable[..., Path],
    wrong: dict[str, Any],
    message: str,
    settings: Callable[..., BenchSettings],
    other_data: Callable[..., Dataset],
) -> None:
    with pytest.raises(DataError, match=message):
        run_bench(make_bundle(), other_data(**wrong), settings())


@pytest.mark.parametrize("dense", [False, True])
def test_a_bare_files_labels_are_no_names(
    *,
    make_bundle: Callable[..., Path],
    three_classes: Any,
    dense: bool,
    settings: Callable[..., BenchSettings],
    model_file: Callable[[bytes], Path],
    other_data: Callable[..., Dataset],
) -> None:
    """Eleven folders "0" to "10" are classes in the order of their names; nobody numbered the file's logits so."""
    names = tuple(sorted(map(str, range(11))))
    content = replace(three_classes, weights=np.random.default_rng(0).integers(-9, 9, (11, 36))).onnx()
    path = make_bundle(graph=content, classes=names, dense=content) if dense else model_file(content)
    report = run_bench(path, other_data(classes=names), settings(robust=False, batches=(1,)))
    assert len(report.subjects) == (2 if dense else 1)


@pytest.mark.parametrize("shape", [(3, 8, 3), (8, 4, 3)])
def test_channels_last_images_are_the_networks_fault(shape: tuple[int, int, int]) -> None:
    """[N, 3, W, 3] and [N, H, 4, 3] may be either by themselves; the images tell."""
    height, width, channels = shape
    engine: Any = SimpleNamespace(input_shape=shape)
    with pytest.raises(ModelError, match=r"net.onnx: channels-last.*got: \[N, \d, \d, 3\].*Transpose") as caught:
        check_image_shape(engine, (channels, height, width), "photos", Path("net.onnx"), fix="other data")
    assert "photos" not in str(caught.value)
    check_image_shape(engine, shape, "photos", Path("net.onnx"), fix="other data")
