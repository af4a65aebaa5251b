from __future__ import annotations

import types
from typing import Any

import pytest

from hardtemper.runtime.backends.tensorrt.signature import Profile, read_signature
from hardtemper.runtime.errors import ModelError

TRT = types.SimpleNamespace(TensorIOMode=types.SimpleNamespace(INPUT="in", OUTPUT="out"))


class Engine:
    """Tensors as (name, mode, shape, type), and profiles by index."""

    def __init__(self, *tensors: tuple[str, str, tuple[int, ...], str], profiles: Any = ((1, 8, 64),)) -> None:
        self._tensors = {name: rest for name, *rest in tensors}
        self._profiles = profiles
        self.num_io_tensors, self.num_optimization_profiles = len(tensors), len(profiles)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return self._tensors[name][0]

    def get_tensor_shape(self, name: str) -> Any:
        return self._tensors[name][1]

    def get_tensor_dtype(self, name: str) -> Any:
        return types.SimpleNamespace(name=self._tensors[name][2])

    def get_tensor_profile_shape(self, _: str, index: int) -> Any:
        return [(size, 3, 8, 8) for size in self._profiles[index]]


IMAGE = ("image", "in", (-1, 3, 8, 8), "FLOAT")
LOGITS = ("logits", "out", (-1, 10), "FLOAT")


def test_what_an_engine_says() -> None:
    found = read_signature(TRT, Engine(LOGITS, IMAGE, profiles=((9, 64, 256), (1, 1, 8))), origin="x.engine")
    assert (found.input, found.input_shape, found.input_dtype) == ("image", (3, 8, 8), "float32")
    assert (found.output, found.classes, found.output_dtype) == ("logits", 10, "float32")
    assert [(p.index, p.least, p.best, p.most) for p in found.profiles] == [(1, 1, 1, 8), (0, 9, 64, 256)]
    assert [found.profile(batch).index for batch in (1, 8, 9, 256, 1000)] == [1, 1, 0, 0, 0]


def test_a_fixed_batch_is_its_own_profile() -> None:
    found = read_signature(TRT, Engine(("image", "in", (4, 3, 8, 8), "FLOAT"), LOGITS), origin="x.engine")
    assert found.profiles == (Profile(index=0, least=4, best=4, most=4),)


@pytest.mark.parametrize(
    ("tensors", "what"),
    [
        ((IMAGE,), "tensors"),
        ((IMAGE, LOGITS, ("more", "out", (-1, 2), "FLOAT")), "tensors"),
        ((("image", "in", (-1, 3, -1, 8), "FLOAT"), LOGITS), "shapes"),
        ((IMAGE, ("logits", "out", (-1, 10, 2), "FLOAT")), "shapes"),
        ((("image", "in", (-1, 3, 8, 8), "INT64"), LOGITS), "types"),
        ((IMAGE, ("logits", "out", (-1, 10), "INT32")), "types"),
    ],
)
def test_what_is_no_classifier_is_refused(tensors: Any, what: str) -> None:
    with pytest.raises(ModelError, match=rf"^x\.engine: {what}; expected: "):
        read_signature(TRT, Engine(*tensors), origin="x.engine")
