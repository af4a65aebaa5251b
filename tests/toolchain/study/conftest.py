"""A study that runs in seconds: small images, a small network, one epoch each."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from hardtemper.toolchain.study.cell_recipe import Scaled
from hardtemper.toolchain.study.read_study import parse_study
from hardtemper.toolchain.study.study_file import Study

SETTINGS: dict[str, Any] = {
    "title": "Tiny",
    "source": "No paper, table 0",
    "departures": ["Everything is small."],
    "seeds": [0, 1],
    "train_images": 200,
    "test_images": 32,
    "recipe": {
        "data": {"heldout": 0, "calibration": 32},
        "model": {"name": "cnn8", "width": 8, "hidden": 16},
        "train": {"epochs": 2, "batch_size": 32, "momentum": 0.9, "keep_best": False},
        "compress": [],
        "adversary": {"threat": "linf:0.1", "steps": 4},
        "finetune": {"epochs": 1, "batch_size": 32, "learning_rate": 0.05, "keep_best": False},
        "finetune_twin": {"epochs": 1, "batch_size": 32, "keep_best": False},
    },
    "scale": {
        "train_images": {"power": 0.5, "least": 64},
        "adversary.steps": {"power": 0.5, "least": 1},
        "model.width": {"power": 0.25, "least": 4},
    },
    "compressions": {
        "none": {"symbol": "", "label": "none", "recipe": {"compress": []}, "measured": ["network"]},
        "pruned": {
            "symbol": "p",
            "label": "half of the filters",
            "level": 0.5,
            "recipe": {"compress": [{"method": "filters", "sparsity": 0.5}]},
            "measured": ["network", "engine"],
        },
        "quantized": {
            "symbol": "q",
            "label": "INT8",
            "level": "INT8",
            "recipe": {"compress": []},
            "tunes": "engine",
            "measured": ["engine"],
        },
    },
    "cells": [
        {"training": "clean", "compression": "pruned", "finetuning": "none", "test": [50.0, 2.0]},
        {"training": "clean", "compression": "pruned", "finetuning": "clean"},
        {"training": "clean", "compression": "quantized", "finetuning": "adversary", "robustness": [40.0]},
        {"training": "adversary", "compression": "none", "finetuning": "none"},
    ],
}


@pytest.fixture
def tiny_settings(npz: Path) -> dict[str, Any]:
    """The settings of `tiny_study`, a copy for each test."""
    settings = copy.deepcopy(SETTINGS)
    settings["recipe"]["data"]["name"] = str(npz)
    return settings


@pytest.fixture
def tiny_study(tiny_settings: dict[str, Any]) -> Study:
    return parse_study("tiny", tiny_settings)


@pytest.fixture
def tiny_scaled(tiny_study: Study) -> Scaled:
    """At a scale that leaves 100 training images and two steps."""
    return Scaled(study=tiny_study, scale=0.25)
