"""Which of the backends on the processor are installed, and their versions; none is imported to tell."""

from __future__ import annotations

__all__ = ["installed_version"]


def installed_version(backend: str) -> str | None:
    """The version of a backend's package as it was released; None where it is not installed."""
    if backend == "onnxruntime":  # it comes under several names (onnxruntime-gpu), and every engine has imported it
        import onnxruntime

        return str(onnxruntime.__version__)
    from importlib import metadata  # takes longer than all else that opening a bundle imports of the standard library

    try:
        return metadata.version(backend)
    except metadata.PackageNotFoundError:
        return None
