from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from hardtemper.export.twin.operators.resampling import COORDINATES, ROUNDINGS
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.errors import UnsupportedOperatorError


def _model(build: Callable[..., Any], mode: str, sizes: str, **constants: Any) -> Any:
    text = f"r = Resize<{mode}>({sizes}) y = Flatten(r)"
    return build(text, inputs={"x": "float[N,2,5,4]"}, outputs={"y": "float[N,L]"}, constants=constants)


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(
    "sizes",
    [("x, , f", np.array([1, 1, 2, 1.5], np.float32)), ("x, , f", np.array([1, 1, 0.6, 3], np.float32)),
     ("x, , , f", np.array([3, 2, 7, 1]))],
)  # fmt: skip
def test_nearest(
    coordinates: str, rounding: str, sizes: tuple[str, Any], build: Callable[..., Any], run: Callable[..., Any]
) -> None:
    mode = f'mode="nearest", coordinate_transformation_mode="{coordinates}", nearest_mode="{rounding}"'
    model = _model(build, mode, sizes[0], f=sizes[1])
    x = np.random.default_rng(0).normal(size=(3, 2, 5, 4)).astype(np.float32)
    np.testing.assert_array_equal(Twin(model)(torch.from_numpy(x)).numpy(), run(model, {"x": x})[0])


@pytest.mark.parametrize(
    "mode", ['mode="linear"', 'mode="nearest", coordinate_transformation_mode="tf_crop_and_resize"']
)
def test_other_modes_are_unknown(mode: str, build: Callable[..., Any]) -> None:
    model = _model(build, mode, "x, , f", f=np.array([1, 1, 2, 2], np.float32))
    with pytest.raises(UnsupportedOperatorError, match="Resize with"):
        Twin(model)
