"""An app: which class is in this image file? Needs numpy, onnxruntime and Pillow; no torch.

python examples/app.py out/fashion-mnist photo.png
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from PIL import Image

import hardtemper


def read_image(path: str, shape: tuple[int, int, int]) -> Any:
    """The file as uint8 [1, C, H, W], gray or in colour and resized as the engine wants it."""
    channels, height, width = shape
    with Image.open(path, formats=["JPEG", "PNG", "WEBP"]) as image:  # no format that starts an interpreter
        fitted = image.convert("L" if channels == 1 else "RGB").resize((width, height))
    return np.asarray(fitted, np.uint8).reshape(1, height, width, channels).transpose(0, 3, 1, 2)


def classify(engine: hardtemper.Engine, path: str) -> tuple[str, float]:
    """The label and its score, 0 to 1: the softmax of the logits. A score is not a probability of being right."""
    logits = engine(read_image(path, engine.input_shape))[0].astype(np.float64)
    scores = np.exp(logits - logits.max())
    best = int(logits.argmax())
    return engine.labels[best], float(scores[best] / scores.sum())


def main(arguments: list[str]) -> int:
    if len(arguments) < 2:
        print("usage: python app.py BUNDLE IMAGE...", file=sys.stderr)
        return 2
    bundle, *images = arguments
    engine = hardtemper.load(bundle, threads=1)
    for path in images:
        label, score = classify(engine, path)
        print(f"{path}: {label} ({score:.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
