from __future__ import annotations

import importlib
import types
from typing import Any

import pytest

from hardtemper.runtime.backends.tensorrt.package import errors, import_tensorrt, last_error, logger, version
from hardtemper.runtime.errors import MissingExtraError, ModelError


def only(monkeypatch: pytest.MonkeyPatch, **found: Any) -> None:
    """Only these packages are installed; an exception is what importing one raises."""

    def load(name: str) -> Any:
        if isinstance(result := found.get(name, ModuleNotFoundError(name)), Exception):
            raise result
        return result

    monkeypatch.setattr(importlib, "import_module", load)


def test_the_fullest_package_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, tensorrt_dispatch="dispatch")
    assert import_tensorrt() == "dispatch"
    only(monkeypatch, tensorrt_dispatch="dispatch", tensorrt_lean="lean")
    assert import_tensorrt() == "lean"
    only(monkeypatch, tensorrt_lean="lean", tensorrt="full")
    assert import_tensorrt() == "full"


def test_none_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch)
    with pytest.raises(MissingExtraError, match="tensorrt"):
        import_tensorrt()


@pytest.mark.parametrize("error", [ImportError("libnvinfer.so.10: no\nsuch file"), OSError("libnvinfer.so.10: no")])
def test_one_that_does_not_load_is_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    only(monkeypatch, tensorrt=error)
    with pytest.raises(ModelError, match=r"^tensorrt is installed and does not load; got: libnvinfer.so.10: no; fix: "):
        import_tensorrt()


def test_the_version_is_numbers() -> None:
    assert version(types.SimpleNamespace(__version__="8.5.3.1")) == (8, 5, 3, 1)
    assert version(types.SimpleNamespace(__version__="10.0.0.dev1")) == (10, 0, 0)


def test_errors_are_kept_until_they_are_asked_for() -> None:
    class Base:
        Severity = types.SimpleNamespace(ERROR=1, INTERNAL_ERROR=0, WARNING=2)

    errors()
    fake = types.ModuleType("tensorrt")
    fake.ILogger = Base  # type: ignore[attr-defined]
    log = logger(fake)
    log.log(2, "a warning")
    assert last_error() == "nothing said"
    log.log(1, "first")
    log.log(0, "second\nwith more")
    assert last_error() == "second"
    assert errors() == []
