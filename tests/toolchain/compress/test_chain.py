"""Several compression steps in order, and one account of all of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hardtemper.bench.data.dataset import Part
from hardtemper.toolchain.compress.chain import compress
from hardtemper.toolchain.compress.compressed import Compressed
from hardtemper.toolchain.compress.context import Context
from hardtemper.toolchain.compress.methods import Method
from hardtemper.toolchain.compress.pruning.filters import prune_filters
from hardtemper.toolchain.recipe.adversary import Adversary
from hardtemper.toolchain.recipe.filter_pruning import FilterPruning
from hardtemper.toolchain.recipe.training import FineTuning
from hardtemper.toolchain.recipe.weight_pruning import WeightPruning
from hardtemper.toolchain.train.training_context import TrainingContext

CONTEXT = Context(input_shape=(1, 8, 8))


@pytest.fixture
def dense() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(192, 6), nn.ReLU(), nn.Linear(6, 3)),
    ).eval()


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_one_step_is_its_method(dense: nn.Module) -> None:
    step = FilterPruning(sparsity=0.5)
    alone, chained = prune_filters(dense, step, CONTEXT), compress(dense, [step], CONTEXT)
    assert tuple(dataclasses.replace(row, weights=0) for row in chained.layers) == alone.layers
    assert sum(row.weights for row in chained.layers) < alone.parameters_after  # without biases and norms
    assert chained.steps == alone.steps
    state = alone.module.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in chained.module.state_dict().items())


def test_two_steps_are_accounted_from_the_dense_network_to_the_last(dense: nn.Module) -> None:
    before = {key: value.clone() for key, value in dense.state_dict().items()}
    steps = [FilterPruning(sparsity=0.5, keep=("3",)), FilterPruning(sparsity=0.5, linear=True)]
    result = compress(dense, steps, CONTEXT)
    assert all(torch.equal(value, before[key]) for key, value in dense.state_dict().items())
    rows = {row.name: row for row in result.layers}
    assert (rows["0"].channels_before, rows["0"].channels_after) == (8, 2)
    assert (rows["3"].channels_before, rows["3"].channels_after) == (12, 6)
    assert (rows["6"].channels_before, rows["6"].channels_after) == (6, 3)
    assert rows["0"].reason == rows["3"].reason == rows["6"].reason == ""
    assert rows["8"].reason == "logits layer: its outputs are the classes"  # said by both, once
    assert (result.parameters_before, result.parameters_after) == (parameters(dense), parameters(result.module))
    assert [(step.method, step.settings["keep"], step.settings["linear"]) for step in result.steps] == [
        ("filters", ["3"], False),
        ("filters", [], True),
    ]


def test_channels_are_named_as_in_the_dense_network(dense: nn.Module) -> None:
    result = compress(dense, [FilterPruning(sparsity=0.5), FilterPruning(sparsity=0.5)], CONTEXT)
    norms = dense[0].weight.detach().abs().sum(dim=(1, 2, 3))
    row = next(row for row in result.layers if row.name == "0")
    assert set(row.removed) == set(torch.topk(norms, k=6, largest=False).indices.tolist())
    kept = sorted(set(range(8)) - set(row.removed))
    assert torch.equal(result.module[0].weight, dense[0].weight[kept])


def test_without_a_step_the_network_stays_and_every_layer_says_so(dense: nn.Module) -> None:
    result = compress(dense, [], CONTEXT)
    assert result.steps == ()
    assert result.module is not dense
    assert all(torch.equal(value, dense.state_dict()[key]) for key, value in result.module.state_dict().items())
    assert {row.reason for row in result.layers} == {"the recipe has no compression step"}
    assert result.parameters_before == result.parameters_after == parameters(dense)
    assert result.macs_before == result.macs_after > 0


def test_every_method_is_given_the_whole_context(dense: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a method that trains or calibrates needs reaches it as it is, in every step."""
    part = Part(
        images=np.zeros((2, 1, 8, 8), np.uint8),
        labels=np.zeros(2, np.int64),
        name="train",
        indices=np.arange(2),
        split="train",
    )

    def progress(*_: object) -> None:
        pass

    given: list[Context] = []

    def noting(module: nn.Module, settings: FilterPruning, context: Context) -> Compressed:
        given.append(context)
        return prune_filters(module, settings, CONTEXT)

    monkeypatch.setattr(
        "hardtemper.toolchain.compress.chain.METHODS", {"filters": Method(settings=FilterPruning, compress=noting)}
    )
    wanted: dict[str, Any] = {
        "input_shape": (1, 8, 8),
        "check_images": torch.zeros(2, 1, 8, 8),
        "calibration": part,
        "train": dataclasses.replace(part),
        "heldout": dataclasses.replace(part),
        "finetune": FineTuning(epochs=7),
        "adversary": Adversary(),
        "training": TrainingContext(seed=3, device="cuda", progress=progress),
    }
    assert {*wanted, "step"} == {field.name for field in dataclasses.fields(Context)}
    compress(dense, [FilterPruning(sparsity=0.5), FilterPruning(sparsity=0.25)], Context(**wanted))
    assert [context.step for context in given] == [1, 2]
    assert all(getattr(context, name) is value for context in given for name, value in wanted.items())


def test_zeros_are_counted_behind_the_last_step(dense: nn.Module) -> None:
    result = compress(dense, [WeightPruning(sparsity=0.5), FilterPruning(sparsity=0.5)], CONTEXT)
    rows = {row.name: row for row in result.layers}
    for name in ("0", "3", "6", "8"):
        assert rows[name].zeros == int((result.module.get_submodule(name).weight == 0).sum()) > 0
    assert rows["1"].zeros == 0
    assert rows["8"].reason == ""  # its weights were pruned, though its outputs are the classes
    assert rows["8"].channels_after == 3
