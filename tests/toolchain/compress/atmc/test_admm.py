"""ADMM's updates by hand, and both projections."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hardtemper.toolchain.compress.atmc.admm import Admm, keep_largest


def test_the_largest_of_all_tensors_together_stay() -> None:
    tensors = [torch.tensor([[3.0, -1.0], [0.5, 2.0]]), torch.tensor([-2.5, 0.1])]
    keep_largest(tensors, 3)
    assert [tensor.tolist() for tensor in tensors] == [[[3.0, 0.0], [0.0, 2.0]], [-2.5, 0.0]]
    again = [tensor.clone() for tensor in tensors]
    keep_largest(again, 3)
    assert all(torch.equal(one, other) for one, other in zip(again, tensors, strict=True))
    keep_largest(again, 100)
    assert all(torch.equal(one, other) for one, other in zip(again, tensors, strict=True))


def rule(weight: nn.Parameter, **settings: object) -> Admm:
    given: dict[str, object] = {"k": 3, "clusters": 1, "rho": 0.5, "interval": 1, "constant": lambda: None, **settings}

    def gradients() -> list[Tensor | None]:
        return [weight.grad]

    return Admm(lambda: [weight], gradients, **given)  # type: ignore[arg-type]


def test_two_steps_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([4.0, 2.0, -0.1, 3.0]))
    weight.grad = torch.zeros(4)
    admm = rule(weight)
    admm.with_gradients()
    assert not weight.grad.any()  # theta' = theta and u = 0 at first
    admm.stepped()
    assert weight.tolist() == [4.0, 2.0, 0.0, 3.0]
    # theta' = ZeroKmeans(4, 2, 0, 3) = (3, 3, 0, 3), u = theta - theta' = (1, -1, 0, 0)
    admm.with_gradients()
    torch.testing.assert_close(weight.grad, 0.5 * 2 * torch.tensor([1.0, -1.0, 0.0, 0.0]))
    admm.stepped()
    state = admm.state_dict()
    # ZeroKmeans(5, 1, 0, 3), from 3: 1 is nearer to 0, and the mean of 5 and 3 is 4
    torch.testing.assert_close(state["values"][0], torch.tensor([4.0, 0.0, 0.0, 4.0]))
    torch.testing.assert_close(state["duals"][0], torch.tensor([1.0, 1.0, 0.0, -1.0]))


def test_the_end_meets_both_constraints_and_a_state_goes_on() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(200))
    admm = rule(weight, k=50, clusters=4, interval=2)
    for _ in range(4):
        weight.grad = torch.randn(200)
        admm.with_gradients()
        with torch.no_grad():
            weight -= 0.1 * weight.grad
        admm.stepped()
    other = rule(nn.Parameter(weight.detach().clone()), k=50, clusters=4, interval=2)
    other.load_state_dict(admm.state_dict())
    for one, another in zip(admm.state_dict().values(), other.state_dict().values(), strict=True):
        assert str(one) == str(another)
    assert int((weight != 0).sum()) == 50
    admm.finish()
    assert int((weight != 0).sum()) <= 50
    assert 1 < len(weight[weight != 0].unique()) <= 4


def test_without_values_only_nonzeros_are_held() -> None:
    weight = nn.Parameter(torch.tensor([4.0, 2.0, -0.1, 3.0]))
    weight.grad = torch.ones(4)
    admm = rule(weight, clusters=None, k=2)
    admm.stepped()
    admm.with_gradients()
    admm.finish()
    assert weight.tolist() == [4.0, 0.0, 0.0, 3.0]
    assert weight.grad.tolist() == [1.0, 1.0, 1.0, 1.0]
