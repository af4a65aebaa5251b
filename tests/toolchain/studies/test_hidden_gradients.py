"""The study's parts in small: training, a row of the table, and the search that knows the levels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from hardtemper.bench.data.dataset import Part
from hardtemper.bench.data.load import load_dataset
from hardtemper.toolchain.studies.defenses import DEFENSES, defended
from hardtemper.toolchain.studies.hidden_gradients import bench_defense, left_by_levels, train


def test_training_can_be_repeated() -> None:
    torch.manual_seed(5)
    x, y = torch.rand(8, 1, 28, 28), torch.arange(8)
    one, other = (train(x, y, epochs=1, adversarial=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not any(parameter.requires_grad for parameter in one.parameters())


def test_a_row_holds_the_union_and_the_alarms(npz: Any, tmp_path: Path) -> None:
    dataset = load_dataset(str(npz), heldout=0, calibration=0)
    torch.manual_seed(0)
    c, h, w = dataset.input_shape
    classes = len(dataset.classes)
    network = nn.Sequential(nn.Flatten(), nn.Linear(c * h * w, classes)).eval().requires_grad_(False)
    onnx.save(defended(network, dataset.input_shape, DEFENSES["huge logits"]), tmp_path / "huge.onnx")
    row = bench_defense(tmp_path / "huge.onnx", dataset, 8)
    assert (row["n"], row["draws"]) == (8, 1)
    assert 0 <= row["union"] <= row["clean"] <= 8
    assert row["interval"][0] <= 100 * row["union"] / 8 <= row["interval"][1]
    assert [name for name, *_ in row["attacks"]][:2] == ["pgd-20", "apgd-ce"]


def test_the_search_between_levels_moves_what_can_be_moved() -> None:
    """Class 1 where the mean is above 0.3; pixels of 0.45 reach 0.5 in the ball, pixels of 0.3 stay at 0.25."""
    last = nn.Linear(16, 2)
    network = nn.Sequential(nn.Flatten(), last)
    with torch.no_grad():
        last.weight[:] = torch.tensor([[0.0], [1 / 16]]).expand(2, 16)
        last.bias[:] = torch.tensor([0.0, -0.3])
    images = np.stack([np.full((1, 4, 4), value, np.uint8) for value in (115, 77)])
    part = Part(images=images, labels=np.zeros(2, np.int64), indices=np.arange(2), name="two", split="test")
    ten = nn.Sequential(network, _Padded())
    assert left_by_levels(ten, part, levels=4, restarts=1, steps=10) == 1  # type: ignore[arg-type]


class _Padded(nn.Module):
    """Eight classes more, which nothing is taken for: the search looks at nine rivals."""

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return torch.cat([logits, logits.new_full((len(logits), 8), -9.0)], 1)
