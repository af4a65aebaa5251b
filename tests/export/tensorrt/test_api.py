"""The fake's names are the real bindings': recorded ones, and those of whatever TensorRT is installed."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

API = Path(__file__).parents[2] / "data" / "tensorrt"
RECORDED = sorted(API.glob("api-*.json"))


def listing(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded(path: Path) -> None:
    found = listing(path)
    assert path.stem == f"api-{found['version']}"
    major = int(found["version"].partition(".")[0])
    assert ("INT8" in found["BuilderFlag"]) == ("FP16" in found["BuilderFlag"]) == (major < 11)
    assert ("EXPLICIT_BATCH" in found["NetworkDefinitionCreationFlag"]) == (major < 11)
    assert ("STRONGLY_TYPED" in found["NetworkDefinitionCreationFlag"]) == (major >= 10)
    assert ("hardware_compatibility_level" in found["IBuilderConfig"]) == (major >= 10)
    assert "UINT8" in found["DataType"]


def test_the_fake_refuses_what_is_not_there(fakes: Any) -> None:
    latest = fakes.FakeTensorRT("11.4.0.106")
    with pytest.raises(AttributeError):
        latest.BuilderFlag.INT8  # noqa: B018
    config = latest.Builder(None).create_builder_config()
    with pytest.raises(AttributeError, match="IBuilderConfig has no int8_calibrator"):
        config.int8_calibrator = None
    oldest = fakes.FakeTensorRT("8.5.3.1").Builder(None).create_builder_config()
    with pytest.raises(AttributeError, match="IBuilderConfig has no hardware_compatibility_level"):
        oldest.hardware_compatibility_level = 1


@pytest.mark.parametrize("package", ["tensorrt", "tensorrt_lean"])
def test_installed(package: str) -> None:
    """Every name that is recorded for a version like the installed one is there; the lean one has no builder."""
    try:
        module = importlib.import_module(package)
    except ImportError:
        pytest.skip(f"{package} is not installed")
    like = [path for path in RECORDED if path.stem.startswith(f"api-{module.__version__.partition('.')[0]}.")]
    for path in like:
        for kind, names in listing(path).items():
            real = getattr(module, kind, None)
            if real is not None and isinstance(names, dict):
                assert names.keys() <= set(dir(real)), kind
