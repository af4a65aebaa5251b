"""Parts never overlap, cover the training split, and depend on the seed alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardtemper.bench.data.dataset import Dataset, Part, Splits, divide, random_order
from hardtemper.runtime.errors import DataError


def make(n: int, m: int = 3, *, classes: int = 4, channels: int = 1) -> Splits:
    """Image i of the training split is filled with i % 256, so that images can be told apart."""
    images = np.zeros((n, channels, 2, 3), np.uint8)
    images += (np.arange(n) % 256).astype(np.uint8)[:, None, None, None]
    return Splits(
        name="made",
        classes=tuple(f"c{k}" for k in range(classes)),
        train_images=images,
        train_labels=np.arange(n) % classes,
        test_images=np.full((m, channels, 2, 3), 7, np.uint8),
        test_labels=np.arange(m) % classes,
        source="memory",
    )


@st.composite
def divisions(draw: st.DrawFn) -> tuple[int, int, int, int]:
    n = draw(st.integers(1, 300))
    heldout = draw(st.integers(0, n - 1))
    calibration = draw(st.integers(0, n - 1 - heldout))
    return n, heldout, calibration, draw(st.integers(0, 2**40))


@settings(deadline=None)
@given(divisions())
def test_parts_are_disjoint_and_cover_the_training_split(case: tuple[int, int, int, int]) -> None:
    n, heldout, calibration, seed = case
    splits = make(n)
    dataset = divide(splits, heldout=heldout, calibration=calibration, seed=seed)
    assert (len(dataset.heldout), len(dataset.calibration)) == (heldout, calibration)
    parts = (dataset.train, dataset.heldout, dataset.calibration)
    assert sorted(np.concatenate([part.indices for part in parts])) == list(range(n))
    for part in parts:
        assert part.split == "train"
        assert part.indices.dtype == part.labels.dtype == np.int64
        assert np.array_equal(part.images, splits.train_images[part.indices])
        assert np.array_equal(part.labels, splits.train_labels[part.indices])
    again = divide(splits, heldout=heldout, calibration=calibration, seed=seed)
    assert np.array_equal(again.train.indices, dataset.train.indices)


def test_the_test_split_stays_whole_and_in_order() -> None:
    splits = make(20, 9)
    test = divide(splits, heldout=5, calibration=5, seed=3).test
    assert (test.name, test.split) == ("test", "test")
    assert test.images is splits.test_images
    assert test.indices.tolist() == list(range(9))


def test_parts_carry_their_names() -> None:
    dataset = divide(make(10), heldout=2, calibration=3, seed=0)
    assert [getattr(dataset, name).name for name in ("train", "heldout", "calibration", "test")] == [
        "train",
        "heldout",
        "calibration",
        "test",
    ]
    assert dataset.input_shape == (1, 2, 3)
    assert {field.name for field in dataclasses.fields(Dataset)} == {
        "name", "classes", "train", "heldout", "calibration", "test", "source", "notes",
    }  # fmt: skip


def test_another_seed_gives_another_division() -> None:
    splits = make(200)
    first, second = (divide(splits, heldout=50, calibration=0, seed=seed).heldout.indices for seed in (0, 1))
    assert set(first) != set(second)


def test_the_order_of_a_seed_never_changes() -> None:
    """Bundles record seeds: these numbers must be the same on every NumPy for ever."""
    assert random_order(10, seed=0).tolist() == [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]
    assert random_order(10, seed=7).tolist() == [6, 3, 4, 9, 0, 2, 8, 7, 5, 1]


def test_sorted_sources_give_mixed_parts() -> None:
    splits = dataclasses.replace(make(400, classes=2), train_labels=np.repeat([0, 1], 200))
    dataset = divide(splits, heldout=100, calibration=100, seed=0)
    for part in (dataset.train, dataset.heldout, dataset.calibration):
        assert 0.3 < part.labels.mean() < 0.7
        assert 0.2 < part.head(50).labels.mean() < 0.8


@pytest.mark.parametrize(("heldout", "calibration"), [(-1, 0), (0, -1), (10, 0), (0, 10), (6, 4), (1000, 512)])
def test_impossible_divisions_are_refused(heldout: int, calibration: int) -> None:
    with pytest.raises(DataError, match="10 training images cannot be divided") as caught:
        divide(make(10), heldout=heldout, calibration=calibration, seed=0)
    assert caught.value.expected
    assert caught.value.fix == "lower data.heldout or data.calibration"
    assert caught.value.got == f"heldout {heldout}, calibration {calibration}"


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(DataError, match="seed"):
        divide(make(10), heldout=1, calibration=1, seed=-1)


def part_of(n: int) -> Part:
    return divide(make(n + 1), heldout=0, calibration=1, seed=0).train


def test_head_is_a_prefix() -> None:
    part = part_of(12)
    head = part.head(5)
    assert (len(head), head.name, head.split) == (5, "train", "train")
    assert np.array_equal(head.indices, part.indices[:5])
    assert np.array_equal(head.images, part.images[:5])
    assert len(part.head(12)) == 12


@settings(deadline=None)
@given(n=st.integers(1, 60), data=st.data(), seed=st.integers(0, 1000))
def test_subsets_are_different_images_of_the_part(n: int, data: st.DataObject, seed: int) -> None:
    part = part_of(n)
    count = data.draw(st.integers(1, n))
    subset = part.subset(count, seed=seed)
    assert len(subset) == len(set(subset.indices.tolist())) == count
    assert set(subset.indices) <= set(part.indices)
    assert np.array_equal(part.subset(count, seed=seed).indices, subset.indices)
    where = {index: place for place, index in enumerate(part.indices.tolist())}
    assert np.array_equal(subset.labels, part.labels[[where[index] for index in subset.indices.tolist()]])


def test_at_most_so_many_are_drawn() -> None:
    part = part_of(6)
    assert part.at_most(None, seed=0) is part.at_most(6, seed=0) is part.at_most(7, seed=0) is part
    assert np.array_equal(part.at_most(4, seed=3).indices, part.subset(4, seed=3).indices)


@pytest.mark.parametrize("n", [0, -1, 13])
def test_counts_outside_the_part_are_refused(n: int) -> None:
    part = part_of(12)
    for take in (lambda: part.head(n), lambda: part.subset(n, seed=0)):
        with pytest.raises(DataError, match=f"cannot take {n} images of the train part; expected: 1 to 12"):
            take()


GRAY = np.zeros((4, 1, 2, 3), np.uint8)
BAD = {
    "one class": ({"classes": ("only",)}, "too few classes"),
    "an empty name": ({"classes": ("a", "b", "", "d")}, "class 2 has no name that can be written; .*; got: ''; fix"),
    "a control character": ({"classes": ("a", "b\n", "c", "d")}, r"class 1 has no name .*; got: 'b\\n'"),
    "a name that is no UTF-8": ({"classes": ("a", "b", "c", "caf\udce9")}, r"class 3 has no .*; got: 'caf\\udce9'"),
    "a name twice": ({"classes": ("a", "b", "c", "b")}, "two classes have one name; .*; got: 'b' for classes 1 and 3"),
    "float images": ({"train_images": GRAY.astype(np.float32)}, "not pixels"),
    "no channel axis": ({"train_images": GRAY[:, 0]}, "not pixels"),
    "two channels": ({"train_images": np.zeros((4, 2, 2, 3), np.uint8)}, "not pixels"),
    "no images": ({"train_images": GRAY[:0], "train_labels": np.zeros(0, np.int64)}, "not pixels"),
    "labels of another type": ({"train_labels": np.zeros(4, np.int32)}, "not class numbers"),
    "labels in a column": ({"train_labels": np.zeros((4, 1), np.int64)}, "not class numbers"),
    "too few labels": ({"train_labels": np.zeros(3, np.int64)}, "do not match"),
    "a label too large": ({"test_labels": np.array([0, 1, 4])}, "out of range; .* got: 0 to 4"),
    "a negative label": ({"test_labels": np.array([0, 1, -1])}, "out of range"),
    "test of another size": ({"test_images": np.zeros((3, 1, 3, 3), np.uint8)}, "differ in shape"),
    "test of other channels": ({"test_images": np.zeros((3, 3, 2, 3), np.uint8)}, "differ in shape"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_inconsistent_splits_are_refused(case: tuple[dict[str, object], str]) -> None:
    changes, message = case
    with pytest.raises(DataError, match=message):
        dataclasses.replace(make(4), **changes)  # type: ignore[arg-type]
