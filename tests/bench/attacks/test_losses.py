from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from hardtemper.bench.attacks.losses import ce, dlr, dlr_targeted, margin, margin_targeted, objective, rivals
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.runtime.errors import ModelError, RecipeError

LOGITS = torch.tensor([[3.0, 1.0, -2.0, 0.5], [0.0, 4.0, 1.0, 2.0], [1.0, 1.0, 0.0, -1.0]])
Y = torch.tensor([0, 3, 1])
T = torch.tensor([2, 1, 0])


def test_ce() -> None:
    z = LOGITS.double().numpy()
    expected = [float(np.log(np.exp(row).sum()) - row[label]) for row, label in zip(z, Y.tolist(), strict=True)]
    torch.testing.assert_close(ce(LOGITS, Y), torch.tensor(expected))


def test_margin() -> None:
    assert margin(LOGITS, Y).tolist() == [-2.0, 2.0, 0.0]


def test_dlr_is_equation_6() -> None:
    # -(z_y - max_{k != y} z_k) / (z_(1) - z_(3))
    torch.testing.assert_close(dlr(LOGITS, Y), torch.tensor([-2 / (3 - 0.5), 2 / (4 - 1), 0.0]))


def test_dlr_targeted_is_equation_7() -> None:
    # -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2)
    expected = torch.tensor([-5 / (3 + 0.75), 2 / (4 - 0.5), 0.0])
    torch.testing.assert_close(dlr_targeted(LOGITS, Y, T), expected)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_dlr_ignores_scale_and_shift(scale: float) -> None:
    torch.testing.assert_close(dlr(LOGITS * scale + 5, Y), dlr(LOGITS, Y), rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(dlr_targeted(LOGITS * scale + 5, Y, T), dlr_targeted(LOGITS, Y, T), rtol=1e-2, atol=1e-3)


def test_equal_logits_give_finite_losses() -> None:
    flat = torch.zeros(1, 4, requires_grad=True)
    for value in (dlr(flat, Y[:1]), dlr_targeted(flat, Y[:1], T[:1])):
        (grad,) = torch.autograd.grad(value.sum(), flat)
        assert value.isfinite().all()
        assert grad.isfinite().all()


def test_rivals_leave_the_right_class_out() -> None:
    assert rivals(LOGITS, Y).argmax(1).tolist() == [1, 1, 0]


def test_too_few_classes() -> None:
    with pytest.raises(ModelError, match="at least 3 classes; got: 2"):
        dlr(LOGITS[:, :2], Y.clamp(max=1))
    with pytest.raises(ModelError, match="at least 4 classes; got: 3"):
        dlr_targeted(LOGITS[:, :3], Y.clamp(max=2), T)


def test_unknown_classes() -> None:
    for loss in (ce, margin, dlr, rivals, partial(margin_targeted, target=T), partial(dlr_targeted, target=T)):
        with pytest.raises(ModelError, match="expected: classes from 0 to 3; got: 4"):
            loss(LOGITS, Y + 1)
        with pytest.raises(ModelError, match="expected: classes from 0 to 3; got: -1"):
            loss(LOGITS, Y - 1)
    with pytest.raises(ModelError, match="expected: classes from 0 to 3; got: 5"):
        margin_targeted(LOGITS, Y, T + 3)
    for loss in (ce, margin, rivals):
        with pytest.raises(ModelError, match="expected: logits of 2 classes or more; got: 1"):
            loss(LOGITS[:, :1], 0 * Y)
    assert ce(LOGITS[:0], Y[:0]).shape == (0,)


def test_labels_may_be_shares_of_each_class() -> None:
    shares = torch.nn.functional.one_hot(Y, 4).float()
    torch.testing.assert_close(ce(LOGITS, shares), ce(LOGITS, Y))


def test_margin_targeted() -> None:
    assert margin_targeted(LOGITS, Y, T).tolist() == [-5.0, 2.0, 0.0]


def test_objective_without_a_target_is_the_loss() -> None:
    for name, loss in (("ce", ce), ("margin", margin), ("dlr", dlr)):
        assert objective(name, ThreatModel("linf", 0.1)) is loss


def test_objective_towards_a_target() -> None:
    threat = ThreatModel("linf", 0.1, target=2)
    torch.testing.assert_close(objective("ce", threat)(LOGITS, Y), LOGITS.log_softmax(1)[:, 2])
    assert objective("margin", threat)(LOGITS, Y).tolist() == [-5.0, -3.0, -1.0]  # z_t - max_{k != t} z_k
    # (z_t - max_{k != t} z_k) / (z_(1) - (z_(3) + z_(4)) / 2): equation 7 from whoever is ahead, y or another
    expected = torch.tensor([-5 / (3 + 0.75), -3 / (4 - 0.5), -1 / (1 + 0.5)])
    torch.testing.assert_close(objective("dlr", threat)(LOGITS, Y), expected)


def test_objective_refuses() -> None:
    with pytest.raises(RecipeError, match="expected: ce, margin, dlr; got: 'mse'"):
        objective("mse", ThreatModel("linf", 0.1))
    with pytest.raises(ModelError, match="a class below 4; got: 4"):
        objective("ce", ThreatModel("linf", 0.1, target=4))(LOGITS, Y)
