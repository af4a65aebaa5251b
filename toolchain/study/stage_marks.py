"""What names a stage of a study: a digest of everything that led to it.

Stages of different studies, scales and options that have the same digest are one stage, done once in one folder.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import torch

from ...bench.data.dataset import Dataset
from ...runtime.version import __version__
from ..recipe.recipe import Recipe
from ..train.device import resolve_device
from ..train.precision import resolve

__all__ = ["cell_mark", "compression_mark", "data_mark", "training_mark"]

_LENGTH = 12
"""Hexadecimal digits: a folder of studies has thousands of stages at most."""


def data_mark(data: Dataset) -> str:
    """Of the images and labels that stages learn from, calibrate with and are measured on."""
    digest = hashlib.sha256()
    for part in (data.train, data.heldout, data.calibration, data.test):
        for array in (part.images, part.labels):
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def training_mark(recipe: Recipe, data: str) -> str:
    """Of a dense network. `data` is a `data_mark`, here and below."""
    sections = recipe.model_dump(mode="json")
    led_to = {key: sections[key] for key in ("seed", "model", "train")}
    opponent = recipe.opponent_of(recipe.train)
    led_to["adversary"] = None if opponent is None else opponent.plain.model_dump(mode="json")
    device = resolve_device(recipe.device)
    led_to["machine"] = [device, resolve(recipe.train.precision, device), __version__, str(torch.__version__), data]
    return _digest(led_to)


def compression_mark(recipe: Recipe, data: str) -> str:
    """Of a compressed network; `recipe` is the compression's."""
    sections = recipe.model_dump(mode="json")
    steps = [step.model_dump(mode="json") for step in recipe.network_steps]
    training = [sections[key] for key in ("robust", "finetune", "adversary")] if steps else []
    return _digest([training_mark(recipe, data), steps, training])


def cell_mark(recipe: Recipe, compression: str, data: str) -> str:
    """Of a network that is measured. `compression` is a `compression_mark`."""
    sections = recipe.model_dump(mode="json")
    keys = ("robust", "compress", "adversary", "finetune", "quantize", "finetune_twin")
    return _digest([training_mark(recipe, data), compression, *(sections[key] for key in keys)])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:_LENGTH]
