"""Settings for every test: shapes in annotations are checked (`shape_checks.py`), one torch thread (small batches gain
nothing from more), no deadlines on a busy machine, random numbers that do not depend on which tests ran before. And
what tests of several folders share: a Python file as a module, a bundle that was not built."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported anywhere

import importlib.util
import sys
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import settings

# whoever runs the tests may have narrowed the output (pytest-xdist does); tables are tested at a file's width
os.environ.pop("COLUMNS", None)


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _check_shapes() -> None:
    module = _load(Path(__file__).with_name("shape_checks.py"))
    sys.modules["shape_checks"] = module  # the hook asks for it by this name
    module.install()


_check_shapes()
settings.register_profile("hardtemper", deadline=None)
settings.load_profile("hardtemper")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Each test starts from random numbers of its own name: what fails once fails again."""
    torch.manual_seed(zlib.crc32(item.nodeid.encode()))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def load_module() -> Callable[[Path], ModuleType]:
    """Runs a Python file that is in no package, anew at each call, and gives its module."""
    return _load


@pytest.fixture(scope="session")
def write_toy() -> Callable[..., Path]:
    """Writes a bundle of given files in which nothing was measured and nothing proved."""
    from hardtemper.export.bundle_writer import Contents, write_bundle
    from hardtemper.runtime.bundle.manifest import Input, Output, Provenance
    from hardtemper.runtime.cpu import instruction_set

    def write(
        path: Path,
        files: Mapping[str, Path | bytes],
        *,
        shape: tuple[int, int, int],
        classes: tuple[str, ...],
        recipe: Mapping[str, object],
    ) -> Path:
        contents = Contents(
            name="toy",
            input=Input(shape=shape, name="image"),
            output=Output(classes=classes, name="logits"),
            graph="model.onnx",
            dense="dense.onnx" if "dense.onnx" in files else None,
            provenance=Provenance(
                created="2025-01-31T12:00:00Z",
                recipe=recipe,
                seed=0,
                versions={},
                instruction_set=instruction_set(),
                cpu="any",
            ),
            quantization={},
            layers=(),
            measurements=(),
            proofs={},
        )
        return write_bundle(path, contents, files=files).path

    return write
