"""The stages one by one give the build's graph, and a compressed network can be finished more than once."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from hardtemper.runtime.progress import silent
from hardtemper.toolchain.pipeline.checkpoints import Workspace
from hardtemper.toolchain.pipeline.stages import (
    compress_dense,
    finish,
    prepare,
    rehearse,
    rehearse_integers,
    train_dense,
)
from hardtemper.toolchain.recipe.read import with_overrides

pytestmark = pytest.mark.usefixtures("lower_once")


def test_they_are_those_of_a_build(tiny: Any, settings: dict[str, Any], tmp_path: Path) -> None:
    recipe = with_overrides(settings, {})
    prepared = prepare(recipe, Workspace(tmp_path / "work"), silent)
    rehearsed = rehearse(recipe, prepared)
    assert rehearsed.parameters_after < rehearsed.parameters_before
    assert rehearse_integers(recipe, prepared, rehearsed).graph.model.graph.node
    dense = train_dense(recipe, prepared)
    assert len(dense.trained.epochs) == recipe.train.epochs
    assert (dense.taught, dense.teacher) == (None, None)
    compressed = compress_dense(recipe, prepared)
    again = copy.deepcopy(compressed)
    shipped = finish(recipe, prepared, compressed, None).network.to_onnx().SerializeToString(deterministic=True)
    assert shipped == (Path(tiny.path) / "model.onnx").read_bytes()
    plain = with_overrides(settings, {"finetune.epochs": 0, "finetune_twin.epochs": 0, "robust": False})
    untuned = finish(plain, prepared, again, None)
    assert (untuned.tuned.epochs, untuned.twin.epochs) == ((), ())
