"""The most that an ONNX file may hold. Each figure is far above what image classifiers have.

The table in `docs/limits.md` is held against these figures by a test.
"""

from __future__ import annotations

__all__ = [
    "MOST_ALIVE",
    "MOST_CLASSES",
    "MOST_ELEMENTS",
    "MOST_FIELDS",
    "MOST_FILE_BYTES",
    "MOST_IMAGE_ELEMENTS",
    "MOST_NAME_BYTES",
    "MOST_NODES",
    "MOST_RANK",
    "MOST_TENSORS",
    "MOST_VALUES",
]

MOST_FILE_BYTES = 2**31 - 1
"""Bytes of an ONNX file: the most that protobuf can read."""

MOST_FIELDS = 4_000_000
"""Protobuf fields that are walked over: a second or two. Fifty thousand nodes have about two million."""

MOST_NODES = 50_000
"""Nodes. ONNX Runtime 1.32 took 9 s to open a chain of so many (one core of an x86 server, shared)."""

MOST_TENSORS = 100_000
"""Initializers."""

MOST_VALUES = 200_000
"""Inputs, outputs and described values together."""

MOST_NAME_BYTES = 4096
"""Bytes of one name, in UTF-8; also the longest path on Linux."""

MOST_RANK = 64
"""Dimensions of a tensor: NumPy's and ONNX Runtime's own limit."""

MOST_ELEMENTS = 2**28
"""Elements of one tensor inside the graph, for one image or the fixed batch: 1 GiB in float32."""

MOST_ALIVE = 2**29
"""Elements of all tensors inside the graph that are needed at one time, for one image or the fixed batch."""

MOST_IMAGE_ELEMENTS = 2**27
"""Elements of one image or the fixed batch, N x C x H x W: 512 MiB in float32, of which the engine makes two."""

MOST_CLASSES = 1_000_000
"""Logits of one image. The largest public set of labels, ImageNet-21k, has 21,841."""
