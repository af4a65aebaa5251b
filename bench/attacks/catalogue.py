"""Every attack by name, with the settings that it has unless a preset says otherwise.

    pgd-20            20 steps of 0.01 (epsilon / 10 in other norms) on the cross-entropy from x itself, the last
                      iterate counts: as in "Adversarial Fine-tuning of Compressed Neural Networks for Joint Improvement
                      of Robustness and Efficiency"
    pgd-ce, -cw, -dlr 50 steps of epsilon / 10 from random points, 5 restarts; cross-entropy, margin (Carlini & Wagner),
                      difference of logits ratio
    apgd-ce, apgd-t, fab-t, square
                      the four of AutoAttack (Croce & Hein 2020, arXiv:2003.01690) with its settings: 100 steps, 9
                      targets, 5000 queries; in l1 5 restarts and 5 targets, as in its code

White-box attacks search on the twin; black-box ones ask the engine itself. Where an attack does not fit a threat model
or a number of classes, its maker says why instead of giving a plan.

To add an attack: a file in `white_box` or `black_box` with a function of the file's name (see `access`), and a row in
`ATTACKS`. Presets, error messages and tests read this table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from ..measurement import Setting
from .black_box.hop_skip_jump import hop_skip_jump
from .black_box.nes import nes
from .black_box.square import square
from .black_box.zoo import zoo
from .result import AttackResult
from .threat.threat_model import ThreatModel
from .white_box.apgd import apgd
from .white_box.bim import bim
from .white_box.bpda import bpda
from .white_box.carlini_wagner import carlini_wagner
from .white_box.deepfool import deepfool
from .white_box.fab import fab
from .white_box.fgsm import fgsm
from .white_box.multi_targeted import multi_targeted
from .white_box.on_pixels import attack_pixels
from .white_box.pgd import pgd
from .white_box.r_fgsm import r_fgsm
from .white_box.surrogate import surrogate
from .white_box.wrm import wrm

__all__ = ["ATTACKS", "AttackPlan", "Maker", "on_twin", "transfer"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackPlan:
    """One attack, ready to run on anything.

    Attributes:
        name: what it is called in a report.
        target: what the search asks: the differentiable "twin" (white-box), the "engine" (scores only), or another
            model by name (transfer).
        search: called as search(model or engine, images, labels, threat=, seed=, **settings).
        settings: the attack's own.
    """

    name: str
    target: str
    search: Callable[..., AttackResult]
    settings: Mapping[str, Setting]

    def with_settings(self, **settings: Setting) -> AttackPlan:
        """The same attack with some settings changed."""
        return replace(self, settings={**self.settings, **settings})


Maker = Callable[[ThreatModel, int], AttackPlan | str]
"""make(threat, classes) -> the plan, or why there is none."""


def transfer(model: str, threat: ThreatModel) -> AttackPlan:
    """Candidates that are searched on another model, far beyond its decision: the loss is raised to the last step.

    Points right where the other model's decision flips break a third model less often.
    """
    settings: dict[str, Setting] = {
        "steps": 50,
        "step_size": threat.epsilon / 10,
        "random_start": True,
        "early_stop": False,
    }
    return on_twin(f"transfer-{model}", pgd, target=model, **settings)


def on_twin(name: str, attack: Callable[..., Tensor], *, target: str = "twin", **settings: Setting) -> AttackPlan:
    """A white-box attack, by function."""
    return AttackPlan(name=name, target=target, search=partial(attack_pixels, name, attack), settings=settings)


def _on_engine(name: str, attack: Callable[..., AttackResult], **settings: Setting) -> AttackPlan:
    return AttackPlan(name=name, target="engine", search=attack, settings=settings)


def _pgd_20(threat: ThreatModel, _: int) -> AttackPlan:
    # the paper's 0.01 in both of its balls, 0.1 and 8/255; in others no step that stays inside or leaps over the ball
    epsilon = threat.epsilon
    step_size = max(epsilon / 10, min(0.01, epsilon / 2)) if threat.norm == "linf" else epsilon / 10
    return on_twin("pgd-20", pgd, steps=20, step_size=step_size, random_start=False, early_stop=False)


def _too_few(loss: str, threat: ThreatModel, classes: int) -> str:
    """Why a loss cannot be computed; "" where it can."""
    needed = 4 if loss == "dlr-targeted" or (loss == "dlr" and threat.target is not None) else 3
    if not loss.startswith("dlr") or classes >= needed:
        return ""
    return f"the difference of logits ratio compares {needed} logits here and there are {classes} classes"


def _pgd(name: str, loss: str, threat: ThreatModel, classes: int) -> AttackPlan | str:
    step_size = threat.epsilon / 10
    plan = on_twin(name, pgd, loss=loss, steps=50, step_size=step_size, random_start=True, restarts=5)
    return _too_few(loss, threat, classes) or plan


def _apgd(name: str, loss: str, threat: ThreatModel, classes: int) -> AttackPlan | str:
    towards_each = loss == "dlr-targeted"
    plan = on_twin(name, apgd, loss=loss, steps=100, restarts=5 if threat.norm == "l1" and not towards_each else 1)
    if towards_each:
        plan = plan.with_settings(targets=5 if threat.norm == "l1" else 9)
    return _too_few(loss, threat, classes) or plan


def _only_in(norms: tuple[str, ...], plan: AttackPlan, threat: ThreatModel, _: int) -> AttackPlan | str:
    return plan if threat.norm in norms else f"it knows {' and '.join(norms)} only"


def _multi_targeted(threat: ThreatModel, _: int) -> AttackPlan | str:
    if threat.target is not None:
        return "it chooses the classes it aims at itself, and the threat model names one"
    return on_twin("multi-targeted", multi_targeted, steps=100, step_size=threat.epsilon / 10, targets=9)


def _hop_skip_jump(threat: ThreatModel, classes: int) -> AttackPlan | str:
    if threat.target is not None:
        return "it starts from images of the target's class, and those are not among the attacked ones"
    return _only_in(("linf", "l2"), _on_engine("hop-skip-jump", hop_skip_jump, queries=5000), threat, classes)


ATTACKS: Mapping[str, Maker] = {
    "pgd-20": _pgd_20,
    "pgd-ce": partial(_pgd, "pgd-ce", "ce"),
    "pgd-cw": partial(_pgd, "pgd-cw", "margin"),
    "pgd-dlr": partial(_pgd, "pgd-dlr", "dlr"),
    "apgd-ce": partial(_apgd, "apgd-ce", "ce"),
    "apgd-dlr": partial(_apgd, "apgd-dlr", "dlr"),
    "apgd-t": partial(_apgd, "apgd-t", "dlr-targeted"),
    "bpda": lambda *_: on_twin("bpda", bpda, leak=0.05, steps=100, restarts=3),
    "surrogate": lambda *_: on_twin("surrogate", surrogate, passes="both", noise=0.25, steps=100, restarts=2),
    "surrogate-backward": lambda *_: on_twin(
        "surrogate-backward", surrogate, passes="backward", noise=0.1, steps=100, restarts=2
    ),
    "fab": lambda *_: on_twin("fab", fab, steps=100),
    "fab-t": lambda *_: on_twin("fab-t", fab, targeted=True, targets=9, steps=100),
    "multi-targeted": _multi_targeted,
    "bim": partial(_only_in, ("linf",), on_twin("bim", bim)),
    "fgsm": lambda *_: on_twin("fgsm", fgsm),
    "r-fgsm": lambda *_: on_twin("r-fgsm", r_fgsm),
    "deepfool": partial(_only_in, ("linf", "l2"), on_twin("deepfool", deepfool, steps=50)),
    "cw": partial(_only_in, ("l2",), on_twin("cw", carlini_wagner, steps=200, searches=6)),
    "wrm": lambda *_: on_twin("wrm", wrm, gamma=0.1),
    "hop-skip-jump": _hop_skip_jump,
    "nes": partial(_only_in, ("linf", "l2"), _on_engine("nes", nes, queries=5000)),
    "zoo": partial(_only_in, ("linf", "l2"), _on_engine("zoo", zoo, queries=5000)),
    "square": lambda *_: _on_engine("square", square, queries=5000),
}
"""White-box attacks first. A sequential run keeps this order, and so counts the images that only queries broke."""
