"""How much memory an engine takes: a process of its own that imports only the runtime and runs only that engine.

This process cannot be measured instead: it holds torch, data sets and twins, and a peak never goes down again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ...runtime.errors import ModelError
from ..measurement import Measurement, measured

__all__ = ["Memory", "measure_memory"]

_CHILD = "hardtemper.bench.performance.memory_child"


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Resident memory of a process that runs one engine, in MiB.

    Attributes:
        batch: images a call.
        threads: threads within an operator; None for every core.
        baseline_mib: with Python, numpy and the backend's package imported; None where the system tells only the peak.
        loaded_mib: with the engine open; None where the system tells only the peak.
        peak_mib: the most there ever was; None where the system does not tell (Windows).
    """

    batch: int
    threads: int | None
    baseline_mib: float | None
    loaded_mib: float | None
    peak_mib: float | None

    def measurement(self) -> Measurement | None:
        """The peak, with the other figures among its settings; None where there is no peak."""
        if self.peak_mib is None:
            return None
        return measured(
            "peak-memory",
            self.peak_mib,
            n=1,
            settings={
                "batch": self.batch,
                "threads": self.threads,
                "baseline_mib": self.baseline_mib,
                "loaded_mib": self.loaded_mib,
            },
        )


def measure_memory(
    path: Path, *, digest: str, batch: int, threads: int | None = None, backend: str = "onnxruntime"
) -> Memory:
    """Run the bundle or ONNX file at `path` in a process of its own.

    Args:
        path: a bundle's folder or an ONNX file.
        digest: `Bundle.digest` or `OnnxFile.digest` of what may be measured: the child reads `path` again.
        batch: images a call, 1 or more.
        threads: threads within an operator; None for every core.
        backend: what runs it.

    Raises:
        ModelError: the engine cannot be opened or run there, or another file lies there.
    """
    command = [sys.executable, "-m", _CHILD, str(path.resolve()), str(batch), str(threads or 0), digest, backend]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode != 0:
        lines = child.stderr.strip().splitlines()
        raise ModelError(
            f"{path}: the process that measures memory failed",
            expected="exit status 0",
            got=f"exit status {child.returncode}{': ' + lines[-1] if lines else ''}",
        )
    found = json.loads(child.stdout)
    return Memory(
        batch=batch,
        threads=threads,
        baseline_mib=found["baseline"],
        loaded_mib=found["loaded"],
        peak_mib=found["peak"],
    )
