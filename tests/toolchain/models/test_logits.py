"""Networks that end in a softmax, and some that only look so."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardtemper.export.lower import lower
from hardtemper.toolchain.models.exported_program import load_exported
from hardtemper.toolchain.models.logits import return_logits

IMAGES = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A linear classifier with something behind its logits."""

    def __init__(self, head: Callable[[Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
        self.head = head

    def forward(self, x: Tensor) -> Any:
        return self.head(self.body(x))


class Trains(Net):
    """The softmax in evaluation only."""

    def forward(self, x: Tensor) -> Any:
        return self.body(x) if self.training else self.head(self.body(x))


HEADS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[str, ...]]] = {
    "F.log_softmax": (lambda z: F.log_softmax(z, dim=1), ("log_softmax",)),
    "Tensor.log_softmax": (lambda z: z.log_softmax(-1), ("log_softmax",)),
    "torch.softmax": (lambda z: torch.softmax(z, 1), ("softmax",)),
    "Tensor.softmax by name": (lambda z: z.softmax(dim=-1), ("softmax",)),
    "all by name": (lambda z: F.softmax(input=z, dim=1), ("softmax",)),
    "nn.LogSoftmax": (nn.LogSoftmax(1), ("log_softmax",)),
    "nn.Softmax": (nn.Softmax(dim=-1), ("softmax",)),
    "special": (lambda z: torch.special.log_softmax(z, 1), ("special_log_softmax",)),
    "sigmoid": (torch.sigmoid, ("sigmoid",)),
    "nn.Sigmoid": (nn.Sigmoid(), ("sigmoid",)),
    "nn.LogSigmoid": (nn.LogSigmoid(), ("log_sigmoid",)),
    "log of softmax": (lambda z: z.softmax(1).log(), ("softmax", "log")),
    "exp of log_softmax": (lambda z: z.log_softmax(1).exp(), ("log_softmax", "exp")),
    "twice": (nn.Sequential(nn.Softmax(1), nn.LogSoftmax(1)), ("softmax", "log_softmax")),
    "dropout and identity behind": (nn.Sequential(nn.Softmax(1), nn.Dropout(), nn.Identity()), ("softmax", "dropout")),
    "maps": (lambda z: nn.Softmax2d()(z[..., None, None]).flatten(1), ("softmax",)),
    "maps, squeezed": (lambda z: z[..., None, None].softmax(1).squeeze(-1).squeeze(-1), ("softmax",)),
    "a view and a cast": (lambda z: z.softmax(1).view(-1, 5).float(), ("softmax",)),
}


@pytest.mark.parametrize(("head", "dropped"), HEADS.values(), ids=HEADS)
def test_the_logits_are_returned(head: Callable[[Tensor], Tensor], dropped: tuple[str, ...]) -> None:
    module = Net(head).eval()
    logits, given = module.body(IMAGES), module(IMAGES)
    names = list(module.state_dict())
    assert return_logits(module, IMAGES[:2]) == dropped
    assert torch.equal(module(IMAGES), logits)
    assert torch.equal(given.argmax(1), logits.argmax(1))
    assert (type(module).__name__, list(module.state_dict()), isinstance(module, Net)) == ("Net", names, True)
    copied = copy.deepcopy(module)
    assert torch.equal(copied.train()(IMAGES), copied.body(IMAGES))


@pytest.mark.parametrize(("head", "dropped"), HEADS.values(), ids=HEADS)
def test_the_graph_gives_the_logits(head: Callable[[Tensor], Tensor], dropped: tuple[str, ...]) -> None:
    module = Net(head).eval()
    logits = module.body(IMAGES).detach().numpy()
    return_logits(module, IMAGES[:2])
    model = lower(module, input_shape=(3, 4, 4)).model
    assert not {node.op_type for node in model.graph.node} & {"Exp", "Log", "LogSoftmax", "Sigmoid", "Softmax"}
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"image": IMAGES.numpy()})[0], logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("factor", [0.5, 3])
@pytest.mark.parametrize("side", ["before", "behind"])
def test_a_temperature_stays(factor: float, side: str) -> None:
    module = Net(lambda z: (z / factor).softmax(1) if side == "before" else factor * z.softmax(1)).eval()
    logits = module.body(IMAGES)
    assert return_logits(module, IMAGES[:2]) == ("softmax",)
    assert torch.equal(module(IMAGES), logits / factor if side == "before" else logits * factor)


def test_a_saturated_softmax_hides_no_gradient() -> None:
    module = Net(lambda z: (1e4 * z).softmax(1)).eval()
    images = IMAGES.clone().requires_grad_()
    labels = module(images).argmax(1)
    assert not torch.autograd.grad(F.cross_entropy(module(images), labels), images)[0].any()
    return_logits(module, IMAGES[:2])
    wrong = (labels + 1) % 5
    assert torch.autograd.grad(F.cross_entropy(module(images), wrong), images)[0].any()


def half_and_half(z: Tensor) -> Tensor:
    return 0.5 * z.softmax(1) + 0.5 * z.flip(1).softmax(1)


def written_to(z: Tensor) -> Tensor:
    p = z.softmax(1)
    p[:, 0] = 0
    return p


def turned_over(z: Tensor) -> Tensor:
    p = z.softmax(1)
    return p.mul_(-1)


OTHERS: dict[str, Callable[[Tensor], Any]] = {
    "nothing": lambda z: z,
    "dropout": nn.Dropout(),
    "a temperature alone": lambda z: z / 2,
    "over the images": lambda z: z.softmax(0),
    "softmin": lambda z: F.softmin(z, dim=1),
    "written in place": lambda z: torch.sigmoid_(z * 1),
    "written in place by a method": lambda z: (z * 1).sigmoid_(),
    "negative": lambda z: -z.softmax(1),
    "a negative factor": lambda z: -2 * z.softmax(1),
    "weights": lambda z: z.softmax(1) * torch.tensor([1.0, 2, 3, 4, 5]),
    "a mean of two": half_and_half,
    "written to": written_to,
    "turned over": turned_over,
    "a gate": lambda z: z * torch.sigmoid(z),
    "attention": lambda z: (z[:, :, None].softmax(-1) @ z[:, None, :]).sum(1),
    "log alone": lambda z: z.exp().log(),
    "two results": lambda z: (z.softmax(1), z),
}


@pytest.mark.parametrize("head", OTHERS.values(), ids=OTHERS)
def test_what_ends_in_something_else_stays(head: Callable[[Tensor], Any]) -> None:
    module = Net(head).eval()
    kind, given = type(module), module(IMAGES)
    assert return_logits(module, IMAGES[:2]) == ()
    assert type(module) is kind
    assert torch.equal(*(found[0] if isinstance(found, tuple) else found for found in (module(IMAGES), given)))


def test_a_softmax_in_evaluation_only() -> None:
    module = Trains(lambda z: z.softmax(1)).eval()
    assert return_logits(module, IMAGES[:2]) == ("softmax",)
    for mode in (True, False):
        assert torch.equal(module.train(mode)(IMAGES), module.body(IMAGES))


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec:FutureWarning")  # torch 2.13's own
@pytest.mark.parametrize("head", ["log_softmax", "softmax"])
def test_an_exported_program(head: str, tmp_path: Path) -> None:
    network = Net(nn.LogSoftmax(1) if head == "log_softmax" else nn.Softmax(1)).eval()
    shapes = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(network, (IMAGES,), dynamic_shapes=shapes), tmp_path / "net.pt2")
    module = load_exported(tmp_path / "net.pt2")
    assert return_logits(module, IMAGES[:2]) == (head,)
    assert torch.equal(module(IMAGES), network.body(IMAGES))
    assert {node.op_type for node in lower(module, input_shape=(3, 4, 4)).model.graph.node} == {"Flatten", "Gemm"}


def test_a_result_of_inference_mode() -> None:
    module = Net(nn.Softmax(1)).eval()
    return_logits(module, IMAGES[:2])
    with torch.inference_mode():
        assert torch.equal(module(IMAGES), module.body(IMAGES))
