"""File sizes of weight sharing: the formula at hand-computed points, and orders that any coding must keep."""

from __future__ import annotations

import numpy as np
import pytest

from hardtemper.bench.data.dataset import Dataset, Part
from hardtemper.toolchain.studies import sharing_sizes


def test_the_formula() -> None:
    assert sharing_sizes.equation_7(1024, 5) == 2**5 / 1024 + 5 / 32
    assert sharing_sizes.equation_7(8, 8) > 1  # a book of more values than there are weights


@pytest.fixture
def images() -> Dataset:
    rng = np.random.default_rng(0)
    part = Part(
        images=rng.integers(0, 256, (32, 1, 28, 28), dtype=np.uint8),
        labels=np.arange(32, dtype=np.int64) % 10,
        name="toy",
        indices=np.arange(32, dtype=np.int64),
        split="train",
    )
    return Dataset(
        name="toy", train=part, heldout=part, calibration=part, test=part, classes=tuple("0123456789"), source="made up"
    )


def test_fewer_values_take_fewer_bytes(images: Dataset) -> None:
    changes = {"robust": False, "train.epochs": 0, "finetune.epochs": 0, "model.width": 8}
    found = {
        name: (integer, float_file) for name, integer, float_file in sharing_sizes.trained_graphs(images, **changes)
    }
    assert list(found) == ["all weights", "80% zeros"]
    packed = {}
    for name, (integer, float_file) in found.items():
        before = sharing_sizes.graph_row(integer, float_file)
        assert before["INT8 ONNX"] < before["float ONNX"] == len(float_file)
        rows = [sharing_sizes.shared_row(integer, bits, bits) for bits in (5, 3, 2)]
        for column in ("equation 7", "entropy", "packed"):
            sizes = [row[column] for row in rows]
            assert sizes == sorted(sizes, reverse=True)
            assert len(set(sizes)) == len(sizes)
        assert [row["largest_values"] for row in rows] == [32, 8, 4]
        assert all(row["entropy"] <= row["zip of INT8 weights"] for row in rows)
        assert rows[-1]["packed"] < before["packed"]
        packed[name] = rows[0]["packed"]
    assert packed["80% zeros"] < packed["all weights"]
