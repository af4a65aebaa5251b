from __future__ import annotations

import pytest
import torch
from torch import nn

from hardtemper.bench.attacks.losses import ce
from hardtemper.bench.attacks.white_box.gradient import check_differentiable, frozen, logits_and_gradient, logits_of
from hardtemper.runtime.errors import ModelError, RecipeError


def mixed() -> nn.Sequential:
    """A module in training, but for one layer, with one parameter that is not trained."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(8, 3))
    model[1].eval()
    model[0].weight.requires_grad_(False)
    return model


def flags(model: nn.Module) -> tuple[list[bool], list[bool]]:
    return [module.training for module in model.modules()], [p.requires_grad for p in model.parameters()]


def test_frozen_restores_every_flag() -> None:
    model = mixed()
    before = flags(model)
    with frozen(model):
        assert not any(flags(model)[0])
        assert not any(flags(model)[1])
    assert flags(model) == before


def test_frozen_restores_after_an_error() -> None:
    model = mixed()
    before = flags(model)
    with pytest.raises(ZeroDivisionError), frozen(model):
        raise ZeroDivisionError
    assert flags(model) == before


def test_frozen_takes_any_callable() -> None:
    with frozen(torch.sin):
        pass


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_gradient_is_that_of_each_image(batch_size: int) -> None:
    torch.manual_seed(0)
    model = mixed().double().eval()
    x, y = torch.rand(7, 1, 4, 4).double(), torch.arange(7) % 3
    logits, losses, grad = logits_and_gradient(model, x, (y,), ce, batch_size)
    for i in range(7):
        leaf = x[i : i + 1].clone().requires_grad_()
        alone = ce(model(leaf), y[i : i + 1])
        (expected,) = torch.autograd.grad(alone, leaf, torch.ones(1).double())
        torch.testing.assert_close(grad[i : i + 1], expected)
        torch.testing.assert_close(losses[i : i + 1], alone.detach())
    assert not any(tensor.requires_grad for tensor in (logits, losses, grad, x))
    torch.testing.assert_close(logits_of(model, x, batch_size), logits)
    assert all(p.grad is None for p in model.parameters())


def test_gradient_inside_no_grad() -> None:
    with torch.no_grad():
        _, _, grad = logits_and_gradient(nn.Flatten(), torch.rand(2, 1, 1, 3), (torch.tensor([0, 1]),), ce, 8)
    assert grad.abs().sum() > 0


def test_a_model_without_gradient_is_refused() -> None:
    with pytest.raises(ModelError, match=r"no gradient .* fix: attack the twin"):
        logits_and_gradient(lambda x: x.detach().flatten(1), torch.rand(2, 1, 1, 3), (torch.tensor([0, 1]),), ce, 8)


def test_half_precision_logits_are_widened() -> None:
    x, y = torch.rand(2, 1, 1, 3), torch.tensor([0, 1])
    logits, losses, grad = logits_and_gradient(lambda x: x.flatten(1).bfloat16(), x, (y,), ce, 8)
    assert logits.dtype == losses.dtype == grad.dtype == torch.float32


@pytest.mark.parametrize("batch_size", [0, -3])
def test_a_pass_needs_images(batch_size: int) -> None:
    x, y = torch.rand(2, 1, 1, 3), torch.tensor([0, 1])
    with pytest.raises(RecipeError, match=r"expected: batch_size >= 1; got: "):
        logits_of(nn.Flatten(), x, batch_size)
    with pytest.raises(RecipeError, match=r"expected: batch_size >= 1; got: "):
        logits_and_gradient(nn.Flatten(), x, (y,), ce, batch_size)


def test_what_autograd_cannot_follow_is_refused() -> None:
    x = torch.zeros(2, 3, requires_grad=True)
    check_differentiable(2 * x)
    with pytest.raises(ModelError, match=r"no gradient .* fix: attack the twin"):
        check_differentiable(2 * x.detach())
