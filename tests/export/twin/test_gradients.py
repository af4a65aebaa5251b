"""Leaking gradients against hand-written leaky networks; the forward pass stays what it is, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardtemper.export.quantization.quantize import IntegerGraph
from hardtemper.export.twin.gradients import leak, leaking
from hardtemper.export.twin.twin import Twin
from hardtemper.export.twin.values.levels import gradient_dtype

CLAMPS: dict[str, tuple[Callable[[Tensor], Tensor], float, float]] = {
    "nn.ReLU": (nn.ReLU(), 0, torch.inf),
    "nn.ReLU in place": (nn.ReLU(inplace=True), 0, torch.inf),
    "F.relu in place by position": (lambda x: F.relu(x, True), 0, torch.inf),
    "F.hardtanh in place by position": (lambda x: F.hardtanh(x, -1, 1, True), -1, 1),
    "relu_": (lambda x: x.relu_(), 0, torch.inf),
    "torch.relu": (torch.relu, 0, torch.inf),
    "nn.ReLU6": (nn.ReLU6(), 0, 6),
    "nn.Hardtanh in place": (nn.Hardtanh(-1, 2, inplace=True), -1, 2),
    "clamp": (lambda x: x.clamp(-2, 1.5), -2, 1.5),
    "clamp by name": (lambda x: torch.clamp(x, min=-2), -2, torch.inf),
}


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("name", CLAMPS)
def test_what_is_outside_passes_the_share(name: str, share: float) -> None:
    clamp, low, high = CLAMPS[name]
    x = torch.linspace(-9, 9, 61).requires_grad_()
    with leaking(share):
        y = clamp(x * 1)
    weights = torch.arange(61.0)
    (gradient,) = torch.autograd.grad(y @ weights, x)
    assert torch.equal(y, x.detach().clamp(low, high))
    inside = (x >= low) & (x <= high)
    torch.testing.assert_close(gradient, torch.where(inside, weights, weights * share))


def test_whoever_reads_the_tensor_after_an_operator_in_place_sees_its_result() -> None:
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    y = x * 1
    with leaking(0.25):
        F.relu(y, inplace=True)
    assert y.tolist() == [0, 2]
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [0.25, 1]


def test_a_network_is_the_leaky_one_backwards() -> None:
    torch.manual_seed(0)
    hard = nn.Sequential(nn.Linear(6, 20), nn.ReLU(inplace=True), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 3))
    x = torch.randn(40, 6, requires_grad=True)
    with leaking(0.1):
        logits = hard(x)
    assert torch.equal(logits, hard(x))
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), x)
    # the leaky network's backward pass at the activations of the hard one, by hand
    first = hard[0](x)
    second = hard[2](first.relu())
    back = hard[4].weight[0] * torch.where(second > 0, 1.0, 0.1)
    back = back @ hard[2].weight * torch.where(first > 0, 1.0, 0.1)
    torch.testing.assert_close(gradient, back @ hard[0].weight)


def test_nothing_leaks_outside_of_it_or_without_gradients() -> None:
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    with leaking(0.3):
        assert leak() == 0.3
    with pytest.raises(RuntimeError), leaking(0.3):
        x.relu().backward()  # not a number
    assert leak() == 0
    assert torch.autograd.grad(x.relu().sum(), x)[0].tolist() == [0, 1]
    with torch.no_grad(), leaking(0.3):
        assert x.relu().tolist() == [0, 2]


def test_both_plans_of_a_twin_leak_alike(residual_integer: IntegerGraph) -> None:
    """Between them lie the precision of the byte layers' gradients and, at 0 and 255 exactly, the clamp's own edge."""
    twin = Twin(residual_integer.model)
    images = torch.randint(0, 256, (16, *twin.input_shape), generator=torch.Generator().manual_seed(0)) / 255
    found = {}
    for share in (0.0, 0.2):
        for on_bytes in (True, False):
            twin.requires_grad_(not on_bytes)
            x = images.clone().requires_grad_()
            with leaking(share):
                logits = twin(x)
            found[share, on_bytes] = logits.detach(), torch.autograd.grad(logits[:, 0].sum(), x)[0].flatten(1)
    logits = [logits for logits, _ in found.values()]
    assert all(torch.equal(logits[0], other) for other in logits)
    least = 0.99 if gradient_dtype() == torch.float32 else 0.97
    for share in (0.0, 0.2):
        assert F.cosine_similarity(found[share, True][1], found[share, False][1]).median() > least
    assert F.cosine_similarity(found[0.0, True][1], found[0.2, True][1]).median() < 0.97
