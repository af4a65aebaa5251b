"""What both backends on the processor do; graphs of other forms are in test_image_classifier.py."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardtemper.runtime.backends.classifier_backend import checked_content, most_threads
from hardtemper.runtime.errors import InputError, ModelError
from hardtemper.runtime.files.onnx_file import OnnxFile


@pytest.mark.parametrize("threads", [0, -1, 1.0, True, "2", np.float32(1)])
def test_no_number_of_threads(threads: Any) -> None:
    with pytest.raises(InputError, match="threads; expected: an integer from 1, or None for every core"):
        most_threads(threads)


def test_no_more_threads_than_cores() -> None:
    assert most_threads(None) is None
    assert most_threads(1) == most_threads(np.int64(1)) == 1  # type: ignore[arg-type]
    assert most_threads(10**9) == os.cpu_count()


def test_the_guard_stands_before_every_backend(classifier: Any) -> None:
    content = classifier.onnx()
    assert checked_content(OnnxFile(path=Path("model.onnx"), content=content)) == content
    with pytest.raises(ModelError, match=r"model\.onnx"):
        checked_content(OnnxFile(path=Path("model.onnx"), content=b"no ONNX"))
