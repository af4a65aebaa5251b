from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hardtemper.runtime.errors import RecipeError
from hardtemper.toolchain.pipeline.pipeline import build
from hardtemper.toolchain.recipe.read import with_overrides
from hardtemper.toolchain.train.device import resolve_device


@pytest.mark.parametrize(
    ("device", "gpu", "expected"),
    [
        ("auto", False, "cpu"),
        ("auto", True, "cuda"),
        ("cpu", True, "cpu"),
        ("cpu", False, "cpu"),
        ("cuda", True, "cuda"),
    ],
)
def test_where_training_runs(monkeypatch: pytest.MonkeyPatch, device: str, gpu: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert resolve_device(device) == expected


def test_a_gpu_that_is_not_there_is_missed_first(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError) as caught:
        build(with_overrides(settings, {"device": "cuda", "data.name": "no-such-data"}), out=tmp_path / "out")
    assert str(caught.value) == 'device; expected: a GPU that torch can use; got: none; fix: device = "cpu"'
    assert list(tmp_path.iterdir()) == []
