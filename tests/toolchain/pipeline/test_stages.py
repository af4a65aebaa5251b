"""The stages one by one give the build's graph, and a compressed network can be finished more than once."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from hardtemper.runtime.progress import silent
from hardtemper.toolchain.pipeline.checkpoints import Workspace
from hardtemper.toolchain.pipeline.stages import (
    compress_dense,
    finish,
    harden,
    prepare,
    rehearse,
    rehearse_integers,
    train_dense,
)
from hardtemper.toolchain.recipe.read import with_overrides
from hardtemper.toolchain.train.training_context import NoCheckpoints

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


def test_hardening_twice_gives_what_a_build_gives(tiny: Any, settings: dict[str, Any], tmp_path: Path) -> None:
    recipe = with_overrides(settings, {})
    prepared = prepare(recipe, Workspace(tmp_path / "work"), silent)
    dense = train_dense(recipe, prepared)
    before = {name: value.clone() for name, value in dense.trained.module.state_dict().items()}
    free = dataclasses.replace(prepared, training=dataclasses.replace(prepared.training, checkpoints=NoCheckpoints()))
    other = harden(with_overrides(settings, {"compress.filters.sparsity": 0.25, "finetune.epochs": 1}), free, None)
    assert other.compressed.macs_after > tiny.build.stages.compressed.macs_after
    hardened = harden(recipe, free, dense.teacher)
    assert hardened.network.to_onnx() == tiny.build.stages.model
    after = dense.trained.module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_rehearsal_has_the_shapes(settings: dict[str, Any], tmp_path: Path, tiny: Any) -> None:
    seen: list[str] = []
    recipe = with_overrides(settings, {"compress.filters.rounds": 2})
    prepared = prepare(recipe, Workspace(tmp_path / "work"), lambda task, *_: seen.append(task))
    rehearsed = rehearse(recipe, prepared)
    assert rehearsed.macs_after == tiny.build.stages.compressed.macs_after
    model = rehearse_integers(recipe, prepared, rehearsed).graph.model
    shapes = [
        sorted(list(tensor.dims) for tensor in graph.graph.initializer if len(tensor.dims) > 1)
        for graph in (model, tiny.build.stages.model)
    ]
    assert shapes[0] == shapes[1]
    assert seen == []
