"""The protocol of CUDA, and that it imports nothing of CUDA."""

from __future__ import annotations

import subprocess
import sys

from hardtemper.runtime.backends.cuda import interface as cuda_module


def test_nothing_of_cuda_is_imported_by_the_protocol() -> None:
    code = (
        "import sys, hardtemper.runtime.backends.tensorrt.backend as _; "
        "print([name for name in ('cuda', 'pycuda', 'tensorrt', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert cuda_module.__all__
