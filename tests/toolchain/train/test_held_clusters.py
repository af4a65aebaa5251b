"""Weights of one cluster stay on one value while they are trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hardtemper.toolchain.train.held_clusters import Clusters, held_clusters, project

INDEX = torch.tensor([[0, 1, -1, 0], [1, 0, 2, -1], [2, 2, 1, 0]])
SCALE = torch.tensor([[2.0**-7], [2.0**-5], [2.0**-9]]).expand(3, 4)
CODES = torch.tensor([13.0, -40, 101])


def shared(scale: Tensor = SCALE) -> tuple[nn.Linear, Clusters]:
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.where(INDEX < 0, 0, CODES[INDEX]) * scale)
    return layer, Clusters(index=INDEX, scale=scale)


def test_the_gradient_is_the_projection_onto_the_clusters() -> None:
    """Against least squares: gradients of the form s_i h_k, none where the code is 0."""
    _, clusters = shared()
    gradient = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    basis = np.zeros((12, 3))
    for place, (k, s) in enumerate(zip(INDEX.flatten().tolist(), SCALE.flatten().tolist(), strict=True)):
        if k >= 0:
            basis[place, k] = s
    step, *_ = np.linalg.lstsq(basis, gradient.flatten().double().numpy(), rcond=None)
    found = clusters.gradient(gradient)
    np.testing.assert_allclose(found.flatten().numpy(), basis @ step, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(clusters.gradient(found), found)
    assert found.norm() <= gradient.norm()


def test_a_step_is_that_of_the_shared_values() -> None:
    """SGD on t_k itself, with its gradient sum_i s_i g_i and a rate of 1 / sum_i s_i^2, gives the same weights."""
    layer, clusters = shared()
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    values = CODES.clone().requires_grad_()
    weight = torch.where(INDEX < 0, 0, values[INDEX]) * SCALE
    nn.functional.linear(x, weight, layer.bias).square().sum().backward()
    with held_clusters(layer, {"weight": clusters}):
        layer(x).square().sum().backward()
        torch.optim.SGD([layer.weight], lr=0.1).step()
    assert values.grad is not None
    own = torch.stack([(SCALE[k == INDEX] ** 2).sum() for k in range(3)])
    expected = CODES - 0.1 * values.grad / own
    torch.testing.assert_close(layer.weight.detach(), torch.where(INDEX < 0, 0, expected[INDEX]) * SCALE)


@pytest.mark.parametrize("nesterov", [False, True])
def test_clusters_hold_to_the_bit(nesterov: bool) -> None:
    """Momentum, weight decay and clipping commute with powers of two."""
    layer, clusters = shared()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.03, momentum=0.9, nesterov=nesterov, weight_decay=0.01)
    generator = torch.Generator().manual_seed(2)
    before = layer.weight.detach().clone()
    for _ in range(50):
        with held_clusters(layer, {"weight": clusters}):
            optimizer.zero_grad()
            (layer(torch.randn(8, 4, generator=generator)) - 1).square().mean().backward()
            nn.utils.clip_grad_norm_(layer.parameters(), 0.5)
            optimizer.step()
    codes = layer.weight.detach() / SCALE
    for k in range(3):
        assert len(codes[k == INDEX].unique()) == 1
    assert (codes[INDEX < 0] == 0).all()
    assert not torch.equal(layer.weight, before)


def test_hooks_go_with_the_block() -> None:
    layer, clusters = shared()
    with held_clusters(layer, {"weight": clusters}):
        pass
    layer(torch.ones(1, 4)).sum().backward()
    assert layer.weight.grad is not None
    assert (layer.weight.grad == 1).all()


def test_projection_puts_a_cluster_on_its_first_code() -> None:
    scale = torch.tensor([[0.0123], [0.345], [0.0067]]).expand(3, 4)
    layer, clusters = shared(scale)
    exact = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight *= 1 + 1e-6 * torch.randn(3, 4, generator=torch.Generator().manual_seed(3))
    moved: Any = layer.weight.detach().clone()
    project(layer, {"weight": clusters})
    assert not torch.equal(moved, exact)
    assert torch.equal(layer.weight, exact)
    project(layer, {"weight": clusters})
    assert torch.equal(layer.weight, exact)
