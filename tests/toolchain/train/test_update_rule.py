"""A rule is called around every step, and its state is in the checkpoints: an interrupted training goes on alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from hardtemper.bench.data.dataset import Part
from hardtemper.toolchain.recipe.training import Training
from hardtemper.toolchain.train.finetune import finetune
from hardtemper.toolchain.train.training_context import TrainingContext


class Nudge:
    """Pushes weights by a gradient that grows with the steps, and keeps them small."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.calls, self.steps = module, [], 0  # type: ignore[var-annotated]

    def with_gradients(self) -> None:
        self.calls.append("gradients")
        for weight in self.module.parameters():
            assert weight.grad is not None
            weight.grad.add_(0.001 * self.steps)

    def stepped(self) -> None:
        self.calls.append("stepped")
        self.steps += 1
        with torch.no_grad():
            for weight in self.module.parameters():
                weight.clamp_(-0.2, 0.2)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps = state["steps"]


class Kept:
    """Checkpoints in memory; `stop` ends the training after so many."""

    def __init__(self, stop: int) -> None:
        self.stored: list[dict[str, Any]] = []
        self.stop = stop

    def load(self, stage: str) -> dict[str, Any] | None:
        return self.stored[-1] if self.stored else None

    def save(self, stage: str, checkpoint: Mapping[str, Any]) -> None:
        self.stored.append(dict(torch.load(_stored(checkpoint), weights_only=True)))
        if len(self.stored) == self.stop:
            raise KeyboardInterrupt


def _stored(checkpoint: Mapping[str, Any]) -> Any:
    import io

    content = io.BytesIO()
    torch.save(dict(checkpoint), content)
    content.seek(0)
    return content


def test_it_is_called_around_every_step(net: Callable[..., nn.Sequential], train: Part) -> None:
    module = net(dropout=0)
    rule = Nudge(module)
    settings = Training(epochs=2, batch_size=32, learning_rate=0.1)
    finetune(module, train.head(96), None, settings, stage="t", context=TrainingContext(), rule=rule)
    assert rule.calls == ["gradients", "stepped"] * 6
    assert all(weight.abs().max() <= 0.2 for weight in module.parameters())


def test_an_interrupted_training_goes_on_alike(net: Callable[..., nn.Sequential], train: Part) -> None:
    settings = Training(epochs=3, batch_size=32, learning_rate=0.1, momentum=0.9)
    whole, part = net(), train.head(96)
    finetune(whole, part, None, settings, stage="t", context=TrainingContext(), rule=Nudge(whole))
    kept = Kept(stop=2)
    try:
        first = net()
        finetune(first, part, None, settings, stage="t", context=TrainingContext(checkpoints=kept), rule=Nudge(first))
    except KeyboardInterrupt:
        pass
    assert len(kept.stored) == 2
    again = net()
    rule = Nudge(again)
    finetune(again, part, None, settings, stage="t", context=TrainingContext(checkpoints=kept), rule=rule)
    assert rule.calls == ["gradients", "stepped"] * 3
    state = again.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in whole.state_dict().items())
