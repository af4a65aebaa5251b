"""The smallest entries of several tensors, by sorting in Python."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from hardtemper.toolchain.compress.smallest import smallest


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20), st.data())
def test_as_sorting_by_value_and_position_gives(values: list[int], data: st.DataObject) -> None:
    cut, count = data.draw(st.integers(0, len(values))), data.draw(st.integers(0, len(values)))
    masks = smallest([torch.tensor(values[:cut]), torch.tensor(values[cut:]).view(1, -1)], count)
    assert [tuple(mask.shape) for mask in masks] == [(cut,), (1, len(values) - cut)]
    wanted = sorted(range(len(values)), key=lambda place: (values[place], place))[:count]
    found = torch.cat([mask.flatten() for mask in masks]).nonzero().flatten().tolist()
    assert found == sorted(wanted)
