"""Run in a process of its own by `trial.py`: opens the ONNX graph on stdin and runs it on one black image.

On stdout comes what ONNX Runtime says against the graph, or nothing. Where the graph ends the process, the exit status
tells. The limit on memory is kept where the system has one on private memory (Linux, RLIMIT_DATA).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from .image_classifier import INPUT_DTYPES
from .onnxruntime import open_session, session_options

__all__ = ["main"]

_STATUS = Path("/proc/self/status")


def main(most_bytes: int) -> None:
    """Try the graph on stdin.

    Args:
        most_bytes: of memory, beyond what the process has before.
    """
    content = sys.stdin.buffer.read()
    _limit(most_bytes)
    try:
        _run(open_session(content, session_options(threads=1)))
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        print(f"{type(error).__name__}: {error}")


def _run(session: Any) -> None:
    """Run an image classifier; anything else is refused without running."""
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in INPUT_DTYPES:
        return
    batch, *sizes = inputs[0].shape or [None]
    if all(isinstance(size, int) and size > 0 for size in sizes):
        shape = (batch if isinstance(batch, int) and batch > 0 else 1, *sizes)
        session.run(None, {inputs[0].name: np.zeros(shape, INPUT_DTYPES[inputs[0].type])})


def _limit(most_bytes: int) -> None:
    try:
        import resource

        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except (ModuleNotFoundError, OSError):  # Windows; macOS
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    held = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:")), None)
    if held is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (held + most_bytes, held + most_bytes))
