"""The most that a bundle may hold. Each figure is far above what image classifiers have.

The table in `docs/limits.md` is held against these figures by a test.
"""

from __future__ import annotations

__all__ = ["MOST_BUNDLE_BYTES", "MOST_FILES", "MOST_LABEL_CHARACTERS", "MOST_MANIFEST_BYTES"]

MOST_MANIFEST_BYTES = 2**24
"""Bytes of `manifest.json`: a million labels of ten letters. Those of the demo take 20,000."""

MOST_LABEL_CHARACTERS = 1000
"""Of one label. The longest of ImageNet has 121."""

MOST_FILES = 10_000
"""Files of a bundle; a graph may keep each of its weights in one."""

MOST_BUNDLE_BYTES = 2**32
"""Bytes of a bundle's files together: the graph and the dense one, each as large as an ONNX file can be."""
