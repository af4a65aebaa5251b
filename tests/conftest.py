"""Settings for every test: one torch thread (small batches gain nothing from more), no deadlines on a busy machine."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported anywhere

import pytest
import torch
from hypothesis import settings

settings.register_profile("hardtemper", deadline=None)
settings.load_profile("hardtemper")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)
