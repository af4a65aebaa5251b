from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hardtemper.export.twin.gradients import leaking
from hardtemper.export.twin.values.levels import added, byte_levels, clamped, layer_levels, max_pooled, pixel_levels


def images() -> Tensor:
    return torch.linspace(-0.1, 1.1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4).requires_grad_()


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_pixels_and_their_gradient(share: float) -> None:
    x = images()
    with leaking(share):
        levels = pixel_levels(x)
    assert torch.equal(levels.q, (x.detach() * 255).round().clamp(0, 255).to(torch.uint8))
    levels.real().sum().backward()
    assert x.grad is not None
    inside = (x.detach() >= 0) & (x.detach() <= 1)
    assert (x.grad[inside] == 255).all()
    assert (x.grad[~inside].abs() <= 255 * share).all()


def test_a_path_holds_one_number() -> None:
    levels = pixel_levels(images())
    assert levels.path.shape == levels.q.shape
    assert levels.path.untyped_storage().nbytes() <= 4


def test_pools_and_sums_are_torchs() -> None:
    a, b = (torch.randint(0, 256, (2, 3, 6, 6)).float() for _ in range(2))
    pooled = max_pooled(byte_levels(a), (2, 2, 0, 1, False)).q
    assert torch.equal(pooled.float(), torch.nn.functional.max_pool2d(a, 2, 2))
    summed = added(byte_levels(a), byte_levels(b), (0.5, 0.25), 3.0).q
    assert torch.equal(summed.float(), (a * 0.5 + b * 0.25 + 3).round().clamp(0, 255))


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_a_clamp_of_bytes(share: float) -> None:
    q = torch.tensor([[0.0, 3.0, 4.0, 15.0, 16.0, 255.0]]).requires_grad_()
    with leaking(share):
        y = clamped(byte_levels(q), 4, 15)
    assert y.q.tolist() == [[4, 4, 4, 15, 15, 15]]
    y.real().sum().backward()
    assert q.grad is not None
    assert q.grad.tolist() == [[share, share, 1, 1, share, share]]


class Half:
    """A layer that halves."""

    def __call__(self, q: Tensor) -> Tensor:
        return (q.float() / 2).round().to(torch.uint8)

    def transposed(self, gradient: Tensor, shape: torch.Size) -> Tensor:
        return (gradient / 2).reshape(shape)


def test_no_gradient_where_a_layer_may_have_cut() -> None:
    q = torch.tensor([[0.0, 1.0, 2.0, 100.0, 255.0]]).requires_grad_()
    layer_levels(Half(), byte_levels(q)).real().sum().backward()
    assert q.grad is not None
    assert torch.equal(q.grad, torch.tensor([[0.0, 0.0, 0.5, 0.5, 0.5]]))  # 0 and round(0.5) = 0
