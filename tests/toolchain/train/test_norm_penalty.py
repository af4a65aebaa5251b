"""Network slimming's penalty against the derivative of lambda * sum |gamma|, and what it does to scales."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from hardtemper.bench.data.dataset import Part
from hardtemper.toolchain.recipe.training import Training
from hardtemper.toolchain.train.finetune import finetune
from hardtemper.toolchain.train.norm_penalty import add_norm_penalty
from hardtemper.toolchain.train.training_context import TrainingContext


def test_it_is_the_gradient_of_the_penalized_loss(net: Callable[..., nn.Sequential], train: Part) -> None:
    module = net(dropout=0).train()
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    nn.init.uniform_(norms[0].weight, -1, 1)
    x, y = torch.from_numpy(train.images[:32]).float() / 255, torch.from_numpy(train.labels[:32])
    F.cross_entropy(module(x), y).backward()  # type: ignore[no-untyped-call]
    add_norm_penalty(module, 0.3)
    found = {name: weight.grad.clone() for name, weight in module.named_parameters() if weight.grad is not None}
    module.zero_grad()
    whole = F.cross_entropy(module(x), y) + 0.3 * sum(norm.weight.abs().sum() for norm in norms)
    whole.backward()  # type: ignore[no-untyped-call]
    for name, weight in module.named_parameters():
        torch.testing.assert_close(found[name], weight.grad, rtol=1e-4, atol=1e-6)


def test_scales_shrink_the_more_the_larger_it_is(net: Callable[..., nn.Sequential], train: Part) -> None:
    sizes = []
    for factor in (0.0, 0.1, 1.0):
        module = net(dropout=0)
        settings = Training(epochs=1, batch_size=32, learning_rate=0.01, norm_penalty=factor)
        finetune(module, train.head(128), None, settings, stage="t", context=TrainingContext())
        norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
        sizes.append(sum(float(norm.weight.detach().abs().sum()) for norm in norms))
    assert sizes[0] > sizes[1] > sizes[2]
