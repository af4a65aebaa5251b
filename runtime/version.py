"""The version of the package, which reports and bundles name."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
