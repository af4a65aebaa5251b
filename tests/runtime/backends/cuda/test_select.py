from __future__ import annotations

import importlib
import types
from typing import Any

import pytest

from hardtemper.runtime.backends.cuda.select import open_cuda
from hardtemper.runtime.errors import MissingExtraError


class Missing:
    """`importlib.import_module` where only some packages are there."""

    def __init__(self, **modules: Any) -> None:
        self.modules = {name.replace("_", "."): module for name, module in modules.items()}

    def __call__(self, name: str) -> Any:
        if name in self.modules:
            return self.modules[name]
        raise ModuleNotFoundError(name)


def test_the_package_that_is_installed_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Answers:
        """Every call succeeds with one value."""

        def __getattr__(self, name: str) -> Any:
            return lambda *arguments: (0, 1)

    context = types.SimpleNamespace(detach=lambda: None)
    pycuda = types.SimpleNamespace(
        init=lambda: None,
        Device=lambda index: types.SimpleNamespace(retain_primary_context=lambda: context),
        MemoryError=MemoryError,
        Error=RuntimeError,
    )
    uncached = open_cuda.__wrapped__
    for modules, name in (
        ({"cuda_bindings_driver": Answers(), "pycuda_driver": pycuda}, "cuda-bindings"),
        ({"pycuda_driver": pycuda}, "pycuda"),
    ):
        monkeypatch.setattr(importlib, "import_module", Missing(**modules))
        assert uncached().name == name
    monkeypatch.setattr(importlib, "import_module", Missing())
    with pytest.raises(MissingExtraError) as caught:
        uncached()
    assert str(caught.value) == (
        "an engine on the GPU needs the package 'cuda-bindings', which is not installed; "
        "fix: pip install 'hardtemper[tensorrt]'"
    )
