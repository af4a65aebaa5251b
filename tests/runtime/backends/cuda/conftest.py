"""A CUDA driver without a GPU: `libcuda.c`, built here; and the Python package that is installed, driven on it."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hardtemper.runtime.backends.cuda.driver import Driver

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """libcuda.c as libcuda.so.1."""
    if sys.platform != "linux":
        pytest.skip("libcuda.c is built for Linux")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    path = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    flags = ["-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-Wl,-soname,libcuda.so.1"]
    subprocess.run([compiler, *flags, str(HERE / "libcuda.c"), "-o", str(path), "-ldl", "-lpthread"], check=True)
    return path


@pytest.fixture
def driver(library: Path) -> Iterator[Driver]:
    """The fake driver with its context current on this thread."""
    driver, context = Driver(ctypes.CDLL(str(library))), ctypes.c_void_p()
    driver("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
    driver("cuCtxPushCurrent_v2", context)
    yield driver
    driver("cuCtxPopCurrent_v2", ctypes.byref(context))


@pytest.fixture
def drive(library: Path) -> Callable[..., dict[str, Any]]:
    """Drives the real package that is installed through `drive_cuda.py` on the fake driver; what it found."""

    def run(*mode: str) -> dict[str, Any]:
        search = os.pathsep.join([str(library.parent), os.environ.get("LD_LIBRARY_PATH", "")])
        done = subprocess.run(
            [sys.executable, str(HERE / "drive_cuda.py"), *mode],
            env={**os.environ, "LD_LIBRARY_PATH": search},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


@pytest.fixture
def driven() -> dict[str, Any]:
    """What every package has to give, besides its name and its own words for errors."""
    return {
        "gpu": ["Fake GPU", "8.6", "12.4", "0000:01:00.0"],
        "copied": True,
        "elapsed_ms": 1.5,
        "captured without running": True,
        "launched": True,
        "free": (1 << 20) - 100,
        "left": [0, 0, 0],
        "once": True,
    }
