"""Which Python package reaches CUDA: cuda-bindings, or pycuda, whichever is installed."""

from __future__ import annotations

import importlib
from contextlib import suppress
from functools import cache

from ...errors import MissingExtraError
from .bindings import CudaBindings
from .interface import Cuda
from .pycuda import PyCuda

__all__ = ["open_cuda"]


@cache
def open_cuda() -> Cuda:
    """CUDA through the package that is installed, the same object for the whole process.

    Raises:
        MissingExtraError: there is none.
        ModelError: CUDA cannot be initialized.
    """
    for module in ("cuda.bindings.driver", "pycuda.driver"):
        with suppress(ModuleNotFoundError):
            api = importlib.import_module(module)
            return PyCuda(api) if module == "pycuda.driver" else CudaBindings(api)
    raise MissingExtraError("cuda-bindings", extra="tensorrt", feature="an engine on the GPU")
