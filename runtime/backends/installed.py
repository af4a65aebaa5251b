"""Which of the backends on the processor are installed, and their versions; none is imported to tell."""

from __future__ import annotations

from importlib import metadata

__all__ = ["installed_version"]


def installed_version(backend: str) -> str | None:
    """The version of a backend's package as it was released; None where it is not installed."""
    if backend == "onnxruntime":  # it comes under several names (onnxruntime-gpu), and every engine has imported it
        import onnxruntime

        return str(onnxruntime.__version__)
    try:
        return metadata.version(backend)
    except metadata.PackageNotFoundError:
        return None
