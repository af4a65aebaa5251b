"""Settings for every test: shapes in annotations are checked (`shape_checks.py`), one torch thread (small batches gain
nothing from more), no deadlines on a busy machine."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported anywhere

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings


def _check_shapes() -> None:
    path = Path(__file__).with_name("shape_checks.py")
    spec = importlib.util.spec_from_file_location("shape_checks", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # the hook asks for it by this name
    spec.loader.exec_module(module)
    module.install()


_check_shapes()
settings.register_profile("hardtemper", deadline=None)
settings.load_profile("hardtemper")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)
