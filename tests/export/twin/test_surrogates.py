"""Surrogate gradients against the formulas of the papers; the forward pass is the true function."""

from __future__ import annotations

import torch

from hardtemper.export.twin.surrogates import choose, has_path, smoothing, step, through, truth


def test_a_path_is_a_gradient_that_is_followed_now() -> None:
    x = torch.ones(2, requires_grad=True)
    assert has_path(torch.ones(2), x)
    assert not has_path(torch.ones(2))
    with torch.no_grad():
        assert not has_path(x)


def test_through_has_the_value_of_one_and_the_gradient_of_the_other() -> None:
    x = torch.tensor([0.3, -1.7], requires_grad=True)
    y = through(x, x.floor())
    assert y.tolist() == [0, -2]
    assert torch.autograd.grad(y @ torch.tensor([2.0, 3.0]), x)[0].tolist() == [2, 3]


def test_a_step_has_the_slope_of_a_fast_sigmoid_as_wide_as_the_image() -> None:
    d = torch.tensor([[-1.0, 3.0], [0.0, 1e-3]], requires_grad=True)
    y = step(d, d > 0)
    assert y.tolist() == [[0, 1], [0, 1]]
    assert truth(y).tolist() == [[False, True], [False, True]]
    (slope,) = torch.autograd.grad(y.sum(), d)
    s = torch.tensor([[2.0], [5e-4]])
    torch.testing.assert_close(slope, s / (s + d.detach().abs()) ** 2)
    (one,) = torch.autograd.grad(step(d[:1], d[:1] > 0).sum(), d)
    assert torch.equal(one[0], slope[0]), "no image changes another's"


def test_a_step_of_one_number_an_image_and_a_difference_that_is_not_finite() -> None:
    d = torch.tensor([-2.0, 0.0, torch.inf, torch.nan], requires_grad=True)
    (slope,) = torch.autograd.grad(step(d, d > 0).sum(), d)
    assert slope[:2].isfinite().all()
    assert slope[0] > 0
    assert slope[3].isfinite()


def test_a_choice_of_constants_passes_its_condition_always() -> None:
    x = torch.tensor([[-1.0], [2.0]], requires_grad=True)
    y = choose(step(x, x > 0), torch.tensor(5.0), torch.tensor([1.0, 2.0, 8.0]))
    assert y.tolist() == [[1, 2, 8], [5, 5, 5]]
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, torch.full((2, 1), 4.0 + 3.0 - 3.0) * (1 / x.detach().abs()) / 4)


def test_a_choice_of_values_with_gradients_passes_its_condition_where_it_is_smoothed() -> None:
    x = torch.tensor([[0.5, -0.5]], requires_grad=True)

    def relu() -> torch.Tensor:
        return choose(step(x, x > 0), x, torch.zeros(1))

    assert torch.autograd.grad(relu().sum(), x)[0].tolist() == [[1, 0]]
    with smoothing("backward"):
        y = relu()
    assert y.tolist() == [[0.5, 0]]
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [[1 + 0.25, -0.25]]


def test_what_is_not_finite_is_no_gradient_of_a_condition() -> None:
    x = torch.tensor([[1.0]], requires_grad=True)
    y = choose(step(x, x > 0), torch.tensor([-torch.inf, 1.0]), torch.tensor([3.0, 2.0]))
    (gradient,) = torch.autograd.grad(y, x, torch.ones(1, 2))
    assert gradient.tolist() == [[-0.25]]


def test_a_bool_has_no_gradient_and_integers_are_chosen_as_they_are() -> None:
    condition = torch.tensor([True, False])
    y = choose(condition, torch.tensor([1, 2]), torch.tensor([3, 4]))
    assert y.tolist() == [1, 4]
    assert y.dtype == torch.int64


def test_smooth_forward_a_step_holds_from_one_half_on() -> None:
    d = torch.tensor([[-3.0, -1.0, 1.0, 3.0]], requires_grad=True)
    with smoothing("both"):
        y = step(d, d > 0)
        assert truth(y).tolist() == [[False, False, True, True]]
        chosen = choose(y, torch.full((4,), 10.0), torch.zeros(4))
    torch.testing.assert_close(y.detach(), (1 + d.detach() / (2 + d.detach().abs())) / 2)
    torch.testing.assert_close(chosen, 10 * y)


def test_smooth_forward_what_is_not_chosen_and_not_finite_spoils_no_gradient() -> None:
    x = torch.tensor([[-1.0, 0.5, 2.0]], requires_grad=True)
    with smoothing("both"):
        y = choose(step(x, x > 0), x.log(), torch.zeros(1))
    assert y[0, 0] == 0
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.isfinite().all()
    assert gradient[0, 1:].all()
