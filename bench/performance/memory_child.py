"""Run as `python -m` with PATH BATCH THREADS DIGEST BACKEND: one engine alone in a process, and its memory.

Resident memory in MiB, as one JSON object on stdout: `baseline` with the backend's package imported, `loaded` with the
engine open, `peak` the most there ever was, over three calls. THREADS 0 means every core. A bundle or an ONNX file of
another DIGEST is not measured. torch is never imported here.

Peak: VmHWM of /proc/self/status, else `ru_maxrss`, which counts bytes on macOS and KiB elsewhere. On Linux `ru_maxrss`
is no substitute: a child inherits its parent's.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np

from ...runtime.engine import Engine, load, open_onnx
from ...runtime.errors import HardtemperError, IntegrityError
from ...runtime.files.onnx_file import read_onnx

__all__ = ["main"]

_STATUS = Path("/proc/self/status")
_CALLS = 3


def main(path: str, batch: int, threads: int, digest: str, backend: str) -> dict[str, float | None]:
    """Open the bundle or ONNX file at `path`, run it on `batch` images, and give back what it took, in MiB."""
    importlib.import_module(backend)
    baseline = _resident_mib("VmRSS")
    engine = _open(Path(path), threads or None, digest, backend)
    loaded = _resident_mib("VmRSS")
    images = np.random.default_rng(0).integers(0, 256, (batch, *engine.input_shape), np.uint8)
    for _ in range(_CALLS):
        engine(images)
    return {"baseline": baseline, "loaded": loaded, "peak": _resident_mib("VmHWM") or _peak_mib()}


def _open(path: Path, threads: int | None, digest: str, backend: str) -> Engine:
    if path.is_dir():
        return load(path, backend=backend, threads=threads, digest=digest)
    graph = read_onnx(path)
    if graph.digest != digest:
        raise IntegrityError(f"{path}: another file", expected=f"digest {digest}", got=graph.digest)
    return open_onnx(graph, backend=backend, threads=threads)


def _resident_mib(field: str) -> float | None:
    """VmRSS (now) or VmHWM (peak); None on systems without /proc."""
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(found[0]) / 1024 if found else None


def _peak_mib() -> float | None:
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


if __name__ == "__main__":
    try:
        print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])))
    except HardtemperError as error:
        sys.exit(str(error))
