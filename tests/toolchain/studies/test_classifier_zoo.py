"""The table of classifiers, on the smallest of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hardtemper.toolchain.studies import classifier_zoo


def test_a_row_says_what_lowers_and_what_differs(tmp_path: Path) -> None:
    classifier_zoo.main(
        ["--only", "squeezenet1_1", "no_such", "--images", "3", "--out", str(tmp_path), "--json", str(tmp_path / "t")]
    )
    row, failed = json.loads((tmp_path / "t").read_text(encoding="utf-8"))["rows"]
    assert row["lowers"] is True
    assert row["integer share"] == 1
    assert row["prunes"] < 0.5
    assert row["differ"] == {"twin": 0, "openvino": 0}
    assert failed["network"] == "no_such"
    assert "no_such" in failed["failed"]


def test_batch_norms_get_the_images_statistics_and_layer_scales_are_no_longer_near_zero() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False))
    module.scale = nn.Parameter(torch.full((4,), 1e-6))
    images = torch.rand(100, 3, 8, 8)
    classifier_zoo.alive(module, images)
    assert not module.training
    assert module.scale.tolist() == [1] * 4
    with torch.no_grad():
        behind = module(images)
    np.testing.assert_allclose(behind.mean((0, 2, 3)), 0, atol=0.1)
    np.testing.assert_allclose(behind.std((0, 2, 3)), 1, atol=0.1)
