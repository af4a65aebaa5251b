"""The hook is at work in every test, and only where an array is named."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from hardtemper.export.quantization.scheme import Scheme
from hardtemper.export.quantization.weight_codes import weight_scales
from hardtemper.export.twin.gradients import round_ste
from hardtemper.export.twin.values.levels import Levels
from hardtemper.runtime.engine import load


def test_a_wrong_shape_of_an_array_is_refused() -> None:
    weight, bias = np.ones((4, 3, 3, 3), np.float32), np.ones(5, np.float32)
    with pytest.raises(TypeCheckError, match="bias"):
        weight_scales(weight, bias, input_scale=1.0, scheme=Scheme(), bits=8)
    assert weight_scales(weight, bias[:4], input_scale=1.0, scheme=Scheme(), bits=8).shape == (4,)


def test_a_wrong_dtype_of_a_tensor_is_refused() -> None:
    with pytest.raises(TypeCheckError):
        round_ste(torch.zeros(3, dtype=torch.int32))


def test_fields_of_a_dataclass_fit_each_other() -> None:
    q = torch.zeros(2, 3, dtype=torch.uint8)
    with pytest.raises(TypeCheckError):
        Levels(q, torch.zeros(3, 2))
    Levels(q, torch.zeros(2, 3))


def test_a_function_without_arrays_is_the_one_that_ships() -> None:
    assert inspect.unwrap(load) is load
    assert inspect.unwrap(round_ste) is not round_ste
