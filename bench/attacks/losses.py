"""What an attack raises, one value an image: high where the model errs.

    ce                -log softmax(z)_y
    margin            max_{k != y} z_k - z_y                              (> 0: misclassified; Carlini & Wagner 2017)
    dlr               -(z_y - max_{k != y} z_k) / (z_(1) - z_(3))         (Croce & Hein 2020, eq. 6)

and towards a class t:

    ce                log softmax(z)_t
    margin            z_t - max_{k != t} z_k                              (> 0: taken for t)
    margin_targeted   z_t - z_y                                           (Gowal et al. 2019)
    dlr_targeted      -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2)        (Croce & Hein 2020, eq. 7)
    dlr               -(max_{k != t} z_k - z_t) / (z_(1) - (z_(3) + z_(4)) / 2)

z_(i) is the i-th largest logit. The difference of logits ratio ignores shift and scale of the logits, so a large logit
scale cannot starve its gradient as it does that of the cross-entropy.

A model of one class, and labels that are no class of the model, are refused with a ModelError. Labels on a GPU are not
checked: every step would wait for the answer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ...runtime.errors import ModelError, RecipeError
from ...runtime.shapes import Float, Int64
from .threat.threat_model import ThreatModel

__all__ = ["Loss", "ce", "dlr", "dlr_targeted", "margin", "margin_targeted", "objective", "rivals"]

Logits = Float[Tensor, "n k"]
Classes = Int64[Tensor, " n"]
Values = Float[Tensor, " n"]

Loss = Callable[..., Values]
"""loss(logits, labels, *more labels) -> one value an image."""

_NO_ZERO = 1e-12  # as published: keeps the ratio finite where the leading logits are equal


def objective(name: str, threat: ThreatModel) -> Loss:
    """The loss that an attacker raises: away from the right class or, with a target, towards it.

    Args:
        name: "ce", "margin" or "dlr".
        threat: its target, if any, is the class to raise.

    Returns:
        A function of the logits and the right classes.

    Raises:
        RecipeError: no such loss.
        ModelError: when called, `threat.target` is not one of the model's classes.
    """
    losses: dict[str, Loss] = {"ce": ce, "margin": margin, "dlr": dlr}
    if name not in losses:
        raise RecipeError("unknown loss of an attack", expected=", ".join(losses), got=repr(name))
    if (target := threat.target) is None:
        return losses[name]

    def towards(logits: Logits, y: Classes) -> Values:
        if target >= logits.shape[1]:
            raise ModelError(
                "the threat model's target is no class of the model",
                expected=f"a class below {logits.shape[1]}",
                got=str(target),
            )
        wanted = torch.full_like(y, target)
        if name == "dlr":  # raise the target above its best rival, at first y
            return dlr_targeted(logits, rivals(logits, wanted).argmax(1), wanted)
        return -losses[name](logits, wanted)

    return towards


def ce(logits: Logits, y: Classes | Float[Tensor, "n k"]) -> Values:
    """Cross-entropy; labels are classes, or shares of each class."""
    _refuse_unknown(logits, y)
    return F.cross_entropy(logits, y, reduction="none")


def margin(logits: Logits, y: Classes) -> Values:
    """The best wrong logit less the right one."""
    return rivals(logits, y).max(1).values - _at(logits, y)


def margin_targeted(logits: Logits, y: Classes, target: Classes) -> Values:
    """The logit of the class `target` less the right one."""
    return _at(logits, target) - _at(logits, y)


def dlr(logits: Logits, y: Classes) -> Values:
    """Difference of logits ratio.

    Raises:
        ModelError: fewer than 3 classes.
    """
    top = _top(logits, 3, "dlr")
    return margin(logits, y) / (top[:, 0] - top[:, 2] + _NO_ZERO)


def dlr_targeted(logits: Logits, y: Classes, target: Classes) -> Values:
    """Difference of logits ratio towards the class `target`.

    Raises:
        ModelError: fewer than 4 classes.
    """
    top = _top(logits, 4, "dlr-targeted")
    return margin_targeted(logits, y, target) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + _NO_ZERO)


def rivals(logits: Logits, y: Classes) -> Logits:
    """The logits with the right class's at minus infinity."""
    _refuse_unknown(logits, y)
    return logits.scatter(1, y.unsqueeze(1), -torch.inf)


def _at(logits: Tensor, classes: Tensor) -> Tensor:
    _refuse_unknown(logits, classes)
    return logits.gather(1, classes.unsqueeze(1)).squeeze(1)


def _refuse_unknown(logits: Tensor, labels: Tensor) -> None:
    count = logits.shape[1]
    if count < 2:
        raise ModelError(
            "a model of one class cannot be attacked", expected="logits of 2 classes or more", got=str(count)
        )
    if labels.device.type != "cpu" or labels.is_floating_point() or not len(labels):
        return
    least, most = (int(label) for label in labels.aminmax())
    if least < 0 or most >= count:
        raise ModelError(
            "a label is no class of the model",
            expected=f"classes from 0 to {count - 1}",
            got=str(least if least < 0 else most),
            fix="attack a model that was trained on these labels",
        )


def _top(logits: Tensor, count: int, name: str) -> Tensor:
    if logits.shape[1] < count:
        raise ModelError(
            f"the loss {name} compares the {count} largest logits",
            expected=f"at least {count} classes",
            got=str(logits.shape[1]),
            fix="attack with the loss ce or margin",
        )
    return logits.topk(count, dim=1).values
