"""What all forms do with a layer's values: they keep its type, mode and what is trained."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hardtemper.toolchain.compress.factorization.forms import Form, filled
from hardtemper.toolchain.compress.factorization.linear_forms import LinearSvd


def test_a_factor_takes_weight_bias_type_and_mode() -> None:
    layer = nn.Linear(3, 4).double().eval()
    layer.weight.requires_grad_(False)
    weight = torch.arange(8.0).reshape(4, 2)
    before = torch.get_rng_state()
    made = filled(nn.Linear(2, 4, device="meta"), weight, layer)
    assert torch.equal(torch.get_rng_state(), before)
    assert made.weight.dtype == torch.float64
    assert torch.equal(made.weight, weight.double())
    assert torch.equal(made.bias, layer.bias)
    assert made.bias is not layer.bias
    assert (made.weight.requires_grad, made.bias.requires_grad, made.training) == (False, True, False)


def test_parameters_are_the_numbers_in_the_cores() -> None:
    assert LinearSvd(outputs=7, inputs=5).parameters((3,)) == 3 * 5 + 3 * 7


def test_a_form_says_its_sizes() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Form()  # type: ignore[abstract]
