from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardtemper.export.quantization.quantize import IntegerGraph
from hardtemper.runtime.progress import silent
from hardtemper.toolchain.compress.cost import costs
from hardtemper.toolchain.pipeline.checkpoints import Workspace
from hardtemper.toolchain.pipeline.stages import harden, prepare, train_dense
from hardtemper.toolchain.recipe.recipe import Recipe
from hardtemper.toolchain.search.budget import Budget
from hardtemper.toolchain.search.quantity import Meter

pytestmark = pytest.mark.usefixtures("lower_once")
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 1, 8, 8), np.uint8)


def test_latencies_are_of_the_references_scale(integer: IntegerGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = integer.model.SerializeToString()
    first = Meter.on(Budget("latency_ms", 1.0), whole, IMAGES, None)
    assert first.reference_ms > 0
    later = Meter.on(Budget("latency_ms", 1.0), whole, IMAGES, 40.0)

    def twice_as_fast(engines: dict[str, Any], images: Any, **settings: Any) -> list[Any]:
        assert list(engines) == ["reference", "candidate"]
        assert settings["batch"] == 1
        return [None, type("Row", (), {"paired_speedup": 2.0})]

    monkeypatch.setattr("hardtemper.toolchain.search.quantity.measure_latency", twice_as_fast)
    assert later._of_graph(Recipe(), integer.model) == 20.0


def test_macs_and_bytes(integer: IntegerGraph, small: Callable[..., Recipe], tmp_path: Path) -> None:
    """A rehearsal costs what the hardened network costs; bytes are those of the file that a bundle holds."""
    recipe = small(**{"finetune_twin.epochs": 0, "bundle.pack": "always"})
    prepared = prepare(recipe, Workspace(tmp_path / "work"), silent)
    whole = integer.model.SerializeToString()
    macs, size = (Meter.on(Budget(key, 1.0), whole, IMAGES, 1.0) for key in ("macs", "size_kib"))
    train_dense(recipe, prepared)  # biases of an untrained network are zeros, which pack too well
    rehearsed = macs.rehearsed(recipe, prepared), size.rehearsed(recipe, prepared)
    hardened = harden(recipe, prepared, None)
    counted = sum(cost.macs for cost in costs(hardened.tuned.module, input_shape=(1, 16, 16)).values())
    assert rehearsed[0] == macs.of(recipe, hardened) == counted
    stored = size.of(recipe, hardened)
    assert rehearsed[1] == pytest.approx(stored, rel=0.1)
    assert stored < len(hardened.network.to_onnx().SerializeToString()) / 1024
