"""Layouts, label types and class names: what is understood, and what is refused instead of guessed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hardtemper.bench.data.arrays import splits_from_arrays, to_labels, to_nchw
from hardtemper.runtime.errors import DataError

RNG = np.random.default_rng(0)


def pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, np.uint8)


LAYOUTS = {
    "NHW": ((5, 6, 7), (5, 1, 6, 7), lambda a: a[:, None]),
    "NHW, three rows": ((5, 3, 7), (5, 1, 3, 7), lambda a: a[:, None]),
    "NHWC gray": ((5, 6, 7, 1), (5, 1, 6, 7), lambda a: a.transpose(0, 3, 1, 2)),
    "NHWC colour": ((5, 6, 7, 3), (5, 3, 6, 7), lambda a: a.transpose(0, 3, 1, 2)),
    "NCHW gray": ((5, 1, 6, 7), (5, 1, 6, 7), lambda a: a),
    "NCHW colour": ((5, 3, 6, 7), (5, 3, 6, 7), lambda a: a),
    "NCHW, three rows": ((5, 3, 3, 7), (5, 3, 3, 7), lambda a: a),
}


@pytest.mark.parametrize("case", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(case: tuple[tuple[int, ...], tuple[int, ...], Any]) -> None:
    given, expected, rule = case
    array = pixels(*given)
    result = to_nchw(array, "x")
    assert result.shape == expected
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, rule(array))


@pytest.mark.parametrize(
    "shape", [(5, 3, 7, 3), (5, 1, 7, 3), (5, 2, 6, 7), (5, 6, 7, 4), (5, 6), (5,), (1, 5, 6, 7, 3)]
)
def test_unclear_layouts_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="x have no clear layout") as caught:
        to_nchw(pixels(*shape), "x")
    assert caught.value.got == f"uint8 {list(shape)}"


@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool, np.int8])
def test_images_are_bytes(dtype: type) -> None:
    with pytest.raises(DataError, match=r"x are not 8-bit pixels; expected: uint8; got: .*; fix: .*astype"):
        to_nchw(np.zeros((2, 3, 3), dtype), "x")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint64])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_labels_of_any_integer_type(dtype: type, shape: tuple[int, ...]) -> None:
    labels = to_labels(np.arange(4, dtype=dtype).reshape(shape), "y")
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "labels", [np.zeros(3), np.zeros((3, 2), int), np.zeros(0, int), np.array(3), np.array(["a"]), np.zeros(3, bool)]
)
def test_other_labels_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(DataError, match="y are not class numbers"):
        to_labels(labels, "y")


def arrays(**changes: Any) -> dict[str, Any]:
    return {
        "train_images": pixels(6, 4, 5),
        "train_labels": np.arange(6) % 3,
        "test_images": pixels(3, 4, 5),
        "test_labels": np.arange(3),
    } | changes


def test_classes_are_numbered_where_they_have_no_names() -> None:
    assert splits_from_arrays(arrays(), name="n", source="s").classes == ("0", "1", "2")
    assert splits_from_arrays(arrays(classes=None), name="n", source="s").classes == ("0", "1", "2")


@pytest.mark.parametrize("classes", [["a", "b", "c"], np.array(["a", "b", "c"]), ("a", "b", "c")])
def test_classes_by_name(classes: Any) -> None:
    assert splits_from_arrays(arrays(classes=classes), name="n", source="s").classes == ("a", "b", "c")


def test_a_named_class_may_have_no_image() -> None:
    assert len(splits_from_arrays(arrays(classes=list("abcde")), name="n", source="s").classes) == 5


BAD = {
    "a key missing": ({"test_labels": None}, "s lacks test_labels; expected: train_images, train_labels"),
    "labels from 1": ({"train_labels": np.arange(6) % 3 + 1}, "are not 0, 1, ..., K-1; .* got: 1, 2, 3; fix: renumber"),
    "a label left out": ({"train_labels": np.arange(6) * 2}, "got: 0, 2, 4, 6, 8, ...;"),
    "too few names": ({"classes": ["a", "b"]}, "train labels are out of range"),
    "names that are numbers": ({"classes": [0, 1, 2]}, "'classes' are not names; .* int64"),
    "names of unequal depth": ({"classes": ["a", ["b", "c"]]}, "s: 'classes' are no array; .*; got: ValueError"),
    "no name": ({"classes": ["a", "b", ""]}, "class 2 has no name that can be written"),
    "one name twice": ({"classes": ["a", "b", "a"]}, "'a' for classes 0 and 2"),
    "ragged images": (
        {"train_images": [[[1, 2]], [[1]]]},
        "s: train_images are no array; expected: an array, or lists",
    ),
    "ragged labels": ({"test_labels": [0, [1, 2]]}, "s: test_labels are no array; .*; got: ValueError: setting an"),
    "a table of names": ({"classes": [["a", "b", "c"]]}, "'classes' are not names"),
    "float images": ({"test_images": np.zeros((3, 4, 5))}, "s: test_images are not 8-bit pixels"),
    "a test label too large": ({"test_labels": np.array([0, 1, 3])}, "test labels are out of range"),
    "more labels than images": ({"test_labels": np.arange(4) % 3}, "labels do not match"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_broken_sets_are_refused(case: tuple[dict[str, Any], str]) -> None:
    changes, message = case
    with pytest.raises(DataError, match=message):
        splits_from_arrays(arrays(**changes), name="n", source="s")
