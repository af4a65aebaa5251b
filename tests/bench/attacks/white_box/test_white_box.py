"""What all gradient attacks have in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hardtemper.bench.attacks.threat.geometry import ball_of
from hardtemper.bench.attacks.threat.threat_model import Norm, ThreatModel
from hardtemper.bench.attacks.white_box.apgd import apgd
from hardtemper.bench.attacks.white_box.bim import bim
from hardtemper.bench.attacks.white_box.bpda import bpda
from hardtemper.bench.attacks.white_box.carlini_wagner import carlini_wagner
from hardtemper.bench.attacks.white_box.deepfool import deepfool
from hardtemper.bench.attacks.white_box.fab import fab
from hardtemper.bench.attacks.white_box.fgsm import fgsm
from hardtemper.bench.attacks.white_box.multi_targeted import multi_targeted
from hardtemper.bench.attacks.white_box.pgd import pgd
from hardtemper.bench.attacks.white_box.r_fgsm import r_fgsm
from hardtemper.bench.attacks.white_box.surrogate import surrogate
from hardtemper.bench.attacks.white_box.wrm import wrm
from hardtemper.runtime.errors import ModelError, RecipeError


def stepping(attack: Callable[..., Tensor], **settings: Any) -> Callable[..., Tensor]:
    """The attack with 5 steps of epsilon / 3."""
    return lambda *data, threat, **more: attack(
        *data, threat=threat, steps=5, step_size=threat.epsilon / 3, **settings, **more
    )


ATTACKS: dict[str, Callable[..., Tensor]] = {
    "fgsm": fgsm,
    "fgsm-rs": partial(fgsm, random_start=True),
    "r-fgsm": r_fgsm,
    "bim": bim,
    "pgd-ce": stepping(pgd, random_start=True),
    "pgd-margin": stepping(pgd, random_start=True, loss="margin", restarts=2),
    "pgd-dlr": stepping(pgd, random_start=True, loss="dlr", early_stop=False),
    "apgd-ce": partial(apgd, steps=7),
    "apgd-dlr": partial(apgd, steps=7, loss="dlr"),
    "apgd-t": partial(apgd, steps=7, loss="dlr-targeted", targets=2),
    "bpda": partial(bpda, steps=7),
    "surrogate": partial(surrogate, steps=7, noise=0.5),
    "multi-targeted": stepping(multi_targeted, targets=2),
    "wrm": partial(wrm, gamma=0.5),
}
DISTANCES: dict[str, Callable[..., Tensor]] = {
    "fab": partial(fab, steps=3),
    "fab-t": partial(fab, steps=3, targeted=True),
    "deepfool": partial(deepfool, steps=3),
    "c&w": partial(carlini_wagner, steps=3, searches=1),
}
TARGETED = [name for name in ATTACKS if name != "multi-targeted"]
NORMS: dict[str, tuple[Norm, ...]] = {"bim": ("linf",), "deepfool": ("linf", "l2"), "c&w": ("l2",)}  # others: all
LARGEST: dict[Norm, float] = {"linf": 1, "l2": 6, "l1": 40}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", [*ATTACKS, *DISTANCES])
@settings(max_examples=30, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32), bright=st.sampled_from([-60, 0, 100]))
def test_stays_in_the_ball(name: str, data: st.DataObject, seed: int, bright: int) -> None:
    norm = data.draw(st.sampled_from(NORMS.get(name, tuple(LARGEST))))
    threat = ThreatModel(norm, data.draw(st.floats(0, LARGEST[norm])))
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(18, 8), nn.ReLU(), nn.Linear(8, 5))
    pixels = (torch.randint(-40, 296, (6, 2, 3, 3)) + bright).clamp(0, 255).byte()
    x = pixels.float() / 255
    y = model(x).argmax(1)
    found = (ATTACKS | DISTANCES)[name](model, x, y, threat=threat, generator=seeded(seed), batch_size=4)
    order = {"linf": math.inf, "l2": 2, "l1": 1}[threat.norm]
    assert (torch.linalg.vector_norm((found - x).flatten(1), order, dim=1) <= threat.epsilon * (1 + 1e-5) + 1e-6).all()
    assert found.min() >= 0
    assert found.max() <= 1
    adversarial = ball_of(threat).to_pixels(found, pixels)
    assert threat.contains(adversarial.numpy(), pixels.numpy()).all()


ONE_STEP: dict[str, Callable[..., Tensor]] = {
    "fgsm": fgsm,
    "r-fgsm": partial(r_fgsm, random_share=0),
    "bim": bim,  # of one level
    "pgd": partial(pgd, steps=1, step_size=1 / 255, random_start=False),
    "wrm": partial(wrm, steps=1, gamma=1e-9),
}
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ce": lambda right, ranked: ranked.logsumexp(1) - right,
    "margin": lambda right, ranked: ranked[:, 1] - right,
    "dlr": lambda right, ranked: (ranked[:, 1] - right) / (ranked[:, 0] - ranked[:, 2]),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ONE_STEP)
def test_a_step_is_along_the_gradient_of_the_loss(name: str, loss: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(18, 8), nn.Tanh(), nn.Linear(8, 5)).double()
    x = torch.randint(60, 196, (40, 2, 3, 3)).double() / 255
    y, leaf = model(x).argmax(1), x.clone().requires_grad_()
    ranked = model(leaf).sort(1, descending=True).values  # right as they are: y's is the first
    (grad,) = torch.autograd.grad(LOSSES[loss](ranked[:, 0], ranked).sum(), leaf)
    found = ONE_STEP[name](model, x, y, threat=ThreatModel("linf", 1 / 255), loss=loss)
    torch.testing.assert_close(found, x + grad.sign() / 255, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "text"),
    [(name, text) for name in TARGETED for text in ("linf:0.3", "l2:2", "l1:12") if name != "bim" or text[:2] == "li"],
)
def test_reaches_the_target_on_a_linear_model(linear: nn.Module, name: str, text: str) -> None:
    threat = ThreatModel.parse(f"{text}->3")
    x = torch.randint(60, 196, (60, 3, 4, 4), generator=seeded()) / 255
    linear[1].bias.data = -linear[1].weight.data.sum(1) / 2  # grey is on every boundary, so all classes occur
    y = linear(x).argmax(1)
    found = ATTACKS[name](linear, x, y, threat=threat, generator=seeded())
    others = y != 3
    assert 30 < others.sum() < 60
    assert torch.equal(found[~others], x[~others])  # images of the target's class are not attacked
    assert (linear(found).argmax(1) == 3).all()


@pytest.mark.parametrize("name", [*ATTACKS, *DISTANCES])
def test_a_model_of_one_class_is_refused(name: str) -> None:
    x, y = torch.rand(3, 1, 1, 1), torch.zeros(3, dtype=torch.int64)
    norm: Norm = "l2" if name == "c&w" else "linf"
    with pytest.raises(ModelError, match=r"expected: (logits of 2 classes or more|at least 3 classes); got: 1"):
        (ATTACKS | DISTANCES)[name](nn.Flatten(), x, y, threat=ThreatModel(norm, 0.1), generator=seeded())


@pytest.mark.parametrize(  # for the others such an image is wrong as it is
    "name",
    [name for name in ATTACKS | DISTANCES if name not in ("apgd-ce", "apgd-dlr", "bpda", "surrogate", "wrm", "c&w")],
)
def test_labels_that_are_no_classes_are_refused(linear: nn.Module, name: str) -> None:
    x, y = torch.rand(3, 3, 4, 4), torch.tensor([0, 5, 1])
    with pytest.raises(ModelError, match="expected: classes from 0 to 4; got: 5"):
        (ATTACKS | DISTANCES)[name](linear, x, y, threat=ThreatModel("linf", 0.1), generator=seeded())


@pytest.mark.parametrize("name", [*ATTACKS, *DISTANCES])
def test_batches_of_no_images_are_refused(linear: nn.Module, name: str) -> None:
    x = torch.rand(3, 3, 4, 4)
    norm: Norm = "l2" if name == "c&w" else "linf"
    for size in (0, -1):
        with pytest.raises(RecipeError, match="expected: batch_size >= 1; got: "):
            (ATTACKS | DISTANCES)[name](
                linear, x, linear(x).argmax(1), threat=ThreatModel(norm, 0.1), generator=seeded(), batch_size=size
            )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (name, text)
        for name in ATTACKS
        for text in ("linf:0.08", "l2:0.75", "l1:5", "linf:0.08->2")
        if not (name == "bim" and text[:2] != "li") and not (name == "multi-targeted" and "->" in text)
    ],
)
def test_reproducible_and_leaves_the_model_as_found(task: Any, name: str, text: str) -> None:
    threat = ThreatModel.parse(text)
    x, y = task.x[:24], task.y[:24]
    state = {key: value.clone() for key, value in task.model.state_dict().items()}
    a, b = (ATTACKS[name](task.model, x, y, threat=threat, generator=seeded(1)) for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(x, task.x[:24])
    assert not torch.equal(a, x)
    assert all(torch.equal(value, state[key]) for key, value in task.model.state_dict().items())


@pytest.mark.parametrize("name", ATTACKS)
def test_no_images(task: Any, name: str) -> None:
    found = ATTACKS[name](task.model, task.x[:0], task.y[:0], threat=ThreatModel("linf", 0.1))
    assert found.shape == task.x[:0].shape
