"""Our side of the comparison with AutoAttack, and its arithmetic; the published code is brought by whoever runs it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hardtemper.toolchain.studies import autoattack as study

SETTINGS = {"steps": 3, "targets": 2, "queries": 20}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return study.small_cnn().eval()


@pytest.fixture(scope="module")
def images() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (8, 1, 28, 28)).astype(np.uint8), rng.integers(0, 10, 8)


@pytest.mark.parametrize("make", study.NETWORKS.values(), ids=study.NETWORKS)
def test_the_networks_classify_gray_images(make: Any) -> None:
    with torch.no_grad():
        assert make().eval()(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_each_attack_of_theirs_has_one_of_ours(network: nn.Module) -> None:
    tools = [(attack, tool) for attack, tool, _ in study.attacks(network, **SETTINGS)]
    for attack in ("apgd-ce", "apgd-t", "fab-t", "square"):
        assert {(attack, "ours"), (attack, "autoattack")} <= set(tools)
    assert [attack for attack, tool in tools if tool == "art"] == ["apgd-ce", "square"]


def test_ours_stay_in_the_ball_and_are_counted(network: nn.Module, images: tuple[Any, Any]) -> None:
    for _, tool, run in study.attacks(network, **SETTINGS):
        if tool.startswith("ours"):
            found = study.measured(network, run, *images)
            assert found["n"] == 8
            assert 0 <= found["robust"] <= found["right"] <= 8
            if tool != "ours-float":
                assert found["robust"] == found["robust_8bit"]


def test_an_attack_that_leaves_the_ball_is_refused(network: nn.Module, images: tuple[Any, Any]) -> None:
    with pytest.raises(AssertionError):
        study.measured(network, lambda x, y: 255 - x, *images)


def test_parts_add_up_and_times_are_an_image() -> None:
    part = {"n": 4, "right": 3, "robust": 2, "robust_8bit": 2, "cpu_seconds": 6.0, "seconds": 7.0}
    ours = study.total([part, part])
    assert (ours["n"], ours["robust_percent"], ours["right_percent"]) == (8, 50.0, 75.0)
    theirs = study.total([{**part, "cpu_seconds": 12.0}])
    rows = [
        {"network": "n", "attack": "square", "tool": tool, **figures}
        for tool, figures in (("ours", ours), ("autoattack", theirs))
    ]
    assert [row["times_faster"] for row in study.compared(rows)] == [2.0, 1.0]
