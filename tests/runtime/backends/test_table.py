from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardtemper.runtime import engine
from hardtemper.runtime.backends.table import BACKENDS, PROCESSOR_BACKENDS, BackendOpener, OpenedGraph
from hardtemper.runtime.engine import load
from hardtemper.runtime.errors import BundleFormatError, InputError


class Constant:
    """A backend of its own: one row, nothing else."""

    name, input_dtype, input_shape, batch, classes = "constant", "uint8", (1, 8, 8), None, 10

    def run(self, images: Any) -> Any:
        return np.ones((len(images), 10), np.float32)


@pytest.fixture
def constant(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    fields: dict[str, object] = {"input.shape": [1, 8, 8]}
    row = BackendOpener(
        open=lambda *_: OpenedGraph(backend=Constant(), fields=fields), takes_threads=False, on_processor=False
    )
    monkeypatch.setattr(engine, "BACKENDS", {**BACKENDS, "constant": row})
    return fields


def test_the_rows() -> None:
    assert list(BACKENDS) == ["onnxruntime", "openvino", "tensorrt"]
    assert [row.takes_threads for row in BACKENDS.values()] == [True, True, False]
    assert PROCESSOR_BACKENDS == ("onnxruntime", "openvino")


def test_a_row_is_a_backend(make_bundle: Callable[..., Path], constant: dict[str, object]) -> None:
    opened = load(make_bundle(), backend="constant")
    assert np.array_equal(opened(np.zeros((3, 1, 8, 8), np.uint8)), np.ones((3, 10), np.float32))


@pytest.mark.parametrize(
    ("field", "value"), [("input.shape", [3, 8, 8]), ("output.classes", "11 labels"), ("input.name", "pixels")]
)
def test_what_the_graph_says_is_what_the_manifest_says(
    make_bundle: Callable[..., Path], constant: dict[str, object], field: str, value: object
) -> None:
    constant[field] = value
    with pytest.raises(BundleFormatError) as caught:
        load(make_bundle(), backend="constant")
    assert f"manifest.json: {field}; expected: {value}, as in " in str(caught.value)


def test_an_error_lists_the_table(make_bundle: Callable[..., Path], constant: dict[str, object]) -> None:
    with pytest.raises(InputError) as caught:
        load(make_bundle(), backend="abacus")
    expected = "onnxruntime or openvino or tensorrt without threads or constant without threads"
    assert str(caught.value) == f"backend; expected: {expected}; got: 'abacus'"


def test_the_table_imports_no_backend() -> None:
    code = "import sys; import hardtemper.runtime.backends.table; print([n for n in sys.modules if 'onnxruntime' in n])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
