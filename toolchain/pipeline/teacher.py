"""The teacher of the distilling objectives: a network that is given, or the dense one after adversarial training.

A given teacher is a bundle or an ONNX file, which becomes a twin, so that it has gradients. Otherwise
the dense network is trained against the recipe's adversary with plain adversarial training (section `teacher`), before
it is compressed. The student still starts from the standard weights.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import onnx
import torch
from torch import nn

from ...bench.compatibility import check_data
from ...bench.data.dataset import Dataset
from ...export.twin.twin import Twin
from ...runtime.bundle.reader import read_bundle
from ...runtime.engine import open_onnx
from ...runtime.errors import DataError, RecipeError
from ...runtime.files.onnx_file import read_onnx
from ..models.logits import return_logits
from ..recipe.recipe import Recipe
from ..train.finetune import Trained, finetune
from ..train.training_context import TrainingContext

__all__ = ["GivenTeacher", "given_teacher", "load_teacher", "train_teacher"]

_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GivenTeacher:
    """A network that was given.

    Attributes:
        twin: its differentiable form, in evaluation mode.
        graph_sha256: SHA-256 of the graph that the twin was made from, with its weights.
    """

    twin: Twin
    graph_sha256: str


def given_teacher(recipe: Recipe, data: Dataset) -> GivenTeacher | None:
    """The teacher that the recipe names, opened before any work; None where it names none or learns from none.

    Raises:
        as `load_teacher`.
    """
    opponent = recipe.opponent
    if opponent is None or not opponent.distils or opponent.teacher is None:
        return None
    return load_teacher(opponent.teacher, data)


def load_teacher(path: Path, data: Dataset) -> GivenTeacher:
    """The twin of a bundle's engine or of an ONNX file, which is read once; a softmax at its end is taken off.

    Raises:
        BundleError, ModelError: it cannot be read, or has operators that the twin does not know.
        RecipeError: it is for other images or classes, or has the same classes in another order.
    """
    bundle = read_bundle(path) if path.is_dir() else None
    graph = read_onnx(path) if bundle is None else bundle.graph()
    engine = open_onnx(graph)  # refuses what is no classifier with clear errors, and knows its shapes
    if bundle is not None:
        engine = replace(engine, labels=bundle.manifest.output.classes, bundle=bundle)
    try:
        check_data(engine, data, path)
    except DataError as error:
        fix = "name a teacher of the same images and classes, in the same order"
        what = f"adversary.teacher: {error.what}"
        raise RecipeError(what, expected=error.expected, got=error.got, fix=fix) from None
    twin = _freeze(Twin(onnx.load_model_from_string(graph.whole())))
    return_logits(twin, torch.zeros(2, *twin.input_shape))
    return GivenTeacher(twin=twin, graph_sha256=graph.digest)


def train_teacher(recipe: Recipe, dense: nn.Module, data: Dataset, context: TrainingContext) -> Trained:
    """An adversarially trained copy of the dense network, in evaluation mode."""
    trained = finetune(
        copy.deepcopy(dense),
        data.train,
        data.heldout,
        recipe.teacher,
        stage="teacher",
        context=context,
        adversary=recipe.adversary.plain,
    )
    _freeze(trained.module)
    return trained


def _freeze(module: _Module) -> _Module:
    module.eval().requires_grad_(False)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module
