"""Runs every graph of a folder in ONNX Runtime, on whatever processor this Python is for; needs numpy and onnxruntime.

arm64_child.py FOLDER       FOLDER/NAME.onnx on FOLDER/NAME.images.npy -> FOLDER/NAME.logits.npy
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def main(folder: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for path in sorted(folder.glob("*.onnx")):
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        images = np.load(path.with_suffix(".images.npy"))
        (logits,) = session.run(None, {session.get_inputs()[0].name: images})
        np.save(path.with_suffix(".logits.npy"), logits)
    print(platform.machine(), "onnxruntime", onnxruntime.__version__)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
