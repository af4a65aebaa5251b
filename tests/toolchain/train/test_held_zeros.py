"""Zeros that are held do not move, whatever moves weights; all others are trained as before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hardtemper.bench.data.dataset import Part
from hardtemper.export.lower import lower
from hardtemper.export.quantization.quantize import quantize
from hardtemper.export.quantization.scheme import Scheme
from hardtemper.export.twin.twin import Twin
from hardtemper.toolchain.recipe.adversary import Adversary
from hardtemper.toolchain.recipe.training import Training, TwinTraining
from hardtemper.toolchain.train.finetune import finetune
from hardtemper.toolchain.train.held_zeros import held_zeros
from hardtemper.toolchain.train.training_context import TrainingContext

MOVERS: dict[str, dict[str, Any]] = {
    "momentum and decay": {"momentum": 0.9, "weight_decay": 0.01},
    "averages": {"momentum": 0.9, "average": "ema", "ema_decay": 0.9},
    "clipping": {"gradient_clip": 0.1},
}
ADVERSARIES = {
    "standard": None,
    "adversarial": Adversary(attack="fgsm"),
    "perturbed weights": Adversary(attack="fgsm", weight_perturbation=0.1),
    "free": Adversary(replays=2),
    "aligned": Adversary(attack="fgsm", grad_align=0.2),
}


@pytest.fixture
def sparse(net: Callable[..., nn.Sequential]) -> nn.Sequential:
    module = net(dropout=0)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                layer.weight[torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(0)) < 0.5] = 0
    return module


def weights(module: nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in module.parameters() if weight.ndim > 1]


@pytest.mark.parametrize("mover", MOVERS)
@pytest.mark.parametrize("adversary", ADVERSARIES)
def test_zeros_stay_and_the_rest_moves(sparse: nn.Sequential, train: Part, mover: str, adversary: str) -> None:
    before = weights(sparse)
    settings = Training(epochs=2, batch_size=32, learning_rate=0.05, schedule="constant", **MOVERS[mover])
    opponent = ADVERSARIES[adversary]
    part, context = train.head(64), TrainingContext()
    finetune(sparse, part, None, settings, stage="t", context=context, adversary=opponent, hold_zeros=True)
    for old, new in zip(before, weights(sparse), strict=True):
        assert torch.equal(old == 0, new == 0)
        assert (old != new)[old != 0].float().mean() > 0.9


def test_without_it_they_move(sparse: nn.Sequential, train: Part) -> None:
    before = weights(sparse)
    settings = Training(epochs=1, batch_size=32, learning_rate=0.05)
    finetune(sparse, train.head(64), None, settings, stage="t", context=TrainingContext())
    assert all((new != 0)[old == 0].any() for old, new in zip(before, weights(sparse), strict=True))


def test_they_stay_on_the_twin_and_in_its_graph(sparse: nn.Sequential, train: Part) -> None:
    integer = quantize(lower(sparse.eval(), input_shape=train.images.shape[1:]), train.images[:32], scheme=Scheme())
    twin = Twin(integer.model, shadow=integer.shadow)
    before = weights(twin)
    codes = {name: array for name, array in _codes(twin).items() if array.ndim > 1}
    settings = TwinTraining(epochs=1, batch_size=32, learning_rate=0.1)
    finetune(twin, train.head(64), None, settings, stage="t", context=TrainingContext(), hold_zeros=True)
    after = weights(twin)
    assert len(before) >= 2
    for old, new in zip(before, after, strict=True):
        assert (old == 0).float().mean() > 0.4
        assert torch.equal(old == 0, new == 0)
    trained = _codes(twin)
    assert any((codes[name] != trained[name]).any() for name in codes)
    zeros = sum(int((array == 0).sum()) for name, array in trained.items() if name in codes)
    assert zeros >= sum(int((old == 0).sum()) for old in before)


def _codes(twin: Twin) -> dict[str, np.ndarray[Any, Any]]:
    import onnx

    return {
        stored.name: onnx.numpy_helper.to_array(stored)
        for stored in twin.to_onnx().graph.initializer
        if stored.data_type == onnx.TensorProto.INT8
    }


def test_a_weight_that_is_zero_as_a_whole_is_trained() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.zeros(1, 2, 3))
            self.pruned = nn.Parameter(torch.tensor([[0.0, 1.0]]))

    module = Net()
    with held_zeros(module):
        (module.token.sum() + module.pruned.sum()).backward()  # type: ignore[no-untyped-call]
    assert module.token.grad.eq(1).all()  # type: ignore[union-attr]
    assert module.pruned.grad.tolist() == [[0.0, 1.0]]  # type: ignore[union-attr]
    module.pruned.grad = None
    module.pruned.sum().backward()  # type: ignore[no-untyped-call]
    assert module.pruned.grad.tolist() == [[1.0, 1.0]]  # outside the block nothing is held
