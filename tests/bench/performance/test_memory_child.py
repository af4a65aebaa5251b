"""The process that measures memory; the parent is tested in test_memory.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hardtemper.bench.performance.memory_child import main
from hardtemper.runtime.files.onnx_file import read_onnx

MODULE = "hardtemper.bench.performance.memory_child"


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells what is resident now")
def test_memory_grows(tmp_path: Path, three_classes: Any) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(three_classes.onnx())
    found = main(str(path), 2, 1, read_onnx(path).digest, "onnxruntime")
    baseline, loaded, peak = (found[key] for key in ("baseline", "loaded", "peak"))
    assert baseline is not None
    assert loaded is not None
    assert peak is not None
    assert 0 < baseline <= loaded <= peak


def test_torch_is_never_imported() -> None:
    code = f"import sys, {MODULE}; print('torch' in sys.modules)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "False"


def test_what_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-m", MODULE, str(tmp_path / "none.onnx"), "1", "0", "0" * 64, "onnxruntime"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode != 0
    assert len(child.stderr.strip().splitlines()) == 1
    assert "none.onnx" in child.stderr
