"""Shapes in annotations: checked in every test, gone where jaxtyping is not installed."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated, Any

import numpy as np
import pytest
from jaxtyping import AbstractDtype, TypeCheckError

from hardtemper.runtime import shapes
from hardtemper.runtime.engine import Engine


class Backend:
    """Gives whatever it is told to."""

    input_shape, classes, batch, input_dtype = (3, 2, 2), 5, None, "uint8"

    def __init__(self, logits: np.ndarray[Any, Any]) -> None:
        self._logits = logits

    def run(self, images: object) -> Any:
        return self._logits


def engine(logits: np.ndarray[Any, Any]) -> Engine:
    return Engine(backend=Backend(logits), labels=tuple("abcde"))  # type: ignore[arg-type]


IMAGES = np.zeros((4, 3, 2, 2), np.uint8)


def test_right_shapes_pass() -> None:
    logits = np.arange(20, dtype=np.float32).reshape(4, 5)
    assert np.array_equal(engine(logits)(IMAGES), logits)


@pytest.mark.parametrize("shape", [(4, 5, 1), (4,)])
def test_a_wrong_shape_is_found_by_every_test(shape: tuple[int, ...]) -> None:
    with pytest.raises(TypeCheckError, match="return value"):
        engine(np.zeros(shape, np.float32))(IMAGES)


def test_a_wrong_dtype_is_found_by_every_test() -> None:
    with pytest.raises(TypeCheckError, match="return value"):
        engine(np.zeros((4, 5), np.float64))(IMAGES)


def test_the_names_are_jaxtypings() -> None:
    for name in shapes.__all__:
        assert issubclass(getattr(shapes, name), AbstractDtype)


def test_the_runtime_does_without_jaxtyping() -> None:
    code = (
        "import sys; sys.modules['jaxtyping'] = None\n"
        "from hardtemper.runtime import engine, shapes\n"
        "import numpy as np\n"
        "print(shapes.Float32[np.ndarray, 'n k'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, str(Annotated[np.ndarray, "n k"])), done.stderr
