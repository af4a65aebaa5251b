"""The child's own part, run in processes of their own: it sets limits that nothing takes back."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

CODE = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from hardtemper.runtime.backends.trial_child import main; main(int(sys.argv[1]))"
)


def said(content: bytes, most: int = 2**30) -> str:
    command = [sys.executable, "-c", CODE, str(most), *sys.path]
    child = subprocess.run(command, input=content, capture_output=True, check=False)
    assert (child.returncode, child.stderr) == (0, b"")
    return child.stdout.decode()


@pytest.mark.parametrize("batch", ["N", 3])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_classifier_runs(classifier: Any, dtype: str, batch: Any) -> None:
    assert said(classifier.onnx(dtype=dtype, batch=batch)) == ""


def test_what_is_no_classifier_is_not_run(classifier: Any) -> None:
    assert said(classifier.onnx(shape=("C", 8, 8))) == ""


def test_what_onnx_runtime_says(classifier: Any) -> None:
    assert said(b"no ONNX").startswith("InvalidProtobuf: ")
    assert "Gemm" in said(classifier.onnx(shape=(1, 8, 9)))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits private memory")
def test_memory_is_limited(classifier: Any) -> None:
    assert "alloc" in said(classifier.onnx(batch=2**20), most=2**27).lower()
