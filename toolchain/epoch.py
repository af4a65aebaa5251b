"""One epoch of stochastic gradient descent, with or without an adversary.

The inner maximum is FGSM with a random start (Wong et al. 2020) or PGD (Madry et al. 2018), against the network in
evaluation mode; the outer step is SGD with the batch statistics live.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..bench.attacks.pgd import pgd
from ..bench.attacks.threat import ThreatModel
from ..bench.data.dataset import Part
from ..runtime.errors import ModelError
from ..runtime.progress import ProgressCallback
from .precision import autocast
from .recipe import Adversary, Training, TwinTraining
from .schedule import learning_rate_share

__all__ = ["EpochRunner"]


class EpochRunner:
    """What stays the same from step to step of one training; the arguments are those of `finetune`."""

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        settings: Training | TwinTraining,
        adversary: Adversary | None,
        seed: int,
        stage: str,
        steps_per_epoch: int,
        progress: ProgressCallback,
    ) -> None:
        self.module = module
        self.optimizer = optimizer
        self.settings = settings
        self.adversary = adversary
        self.threat = ThreatModel.parse(adversary.threat) if adversary is not None else None
        self.seed = seed
        self.stage = stage
        self.steps_per_epoch = steps_per_epoch
        self.progress = progress
        # the twin's integers need float32; a float module may multiply in bfloat16
        self.autocast = autocast(settings.precision) if isinstance(settings, Training) else nullcontext

    def epoch(self, train: Part, number: int) -> tuple[float, float]:
        """One pass over the images: mean loss and seconds."""
        settings, started = self.settings, time.perf_counter()
        generator = torch.Generator().manual_seed(_seed(self.seed, self.stage, number))
        torch.manual_seed(_seed(self.seed, f"{self.stage}/dropout", number))
        order = torch.randperm(len(train), generator=generator).numpy()
        total = 0.0
        self.module.train()
        for index in range(self.steps_per_epoch):
            where = np.sort(order[index * settings.batch_size : (index + 1) * settings.batch_size])
            x = torch.from_numpy(train.images[where]).float().div_(255)
            y = torch.from_numpy(train.labels[where])
            loss = self._step(x, y, (number - 1) * self.steps_per_epoch + index, generator)
            total += loss
            if not np.isfinite(total):
                raise self._diverged(number, expected="a finite loss", got=str(loss))
            if index % 20 == 19 or index + 1 == self.steps_per_epoch:
                done = (number - 1) * self.steps_per_epoch + index + 1
                text = f"epoch {number}/{settings.epochs}, loss {total / (index + 1):.3f}"
                self.progress(self.stage, done, settings.epochs * self.steps_per_epoch, text)
        # the last step's weights made no loss yet
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.module.parameters()):
            raise self._diverged(number, expected="finite weights", got="NaN or infinity")
        return total / self.steps_per_epoch, time.perf_counter() - started

    def _diverged(self, number: int, *, expected: str, got: str) -> ModelError:
        return ModelError(
            f"{self.stage} diverged in epoch {number}",
            expected=expected,
            got=got,
            fix="lower the learning rate or set gradient_clip",
        )

    def _step(self, x: Tensor, y: Tensor, step: int, generator: torch.Generator) -> float:
        settings = self.settings
        if getattr(settings, "flip", False):
            mirrored = torch.rand(len(x), generator=generator) < 0.5
            x[mirrored] = x[mirrored].flip(3)
        share = learning_rate_share(
            settings.schedule,
            step=step,
            steps=settings.epochs * self.steps_per_epoch,
            steps_per_epoch=self.steps_per_epoch,
            warmup=settings.warmup,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * share
        with self.autocast():
            if self.adversary is not None:
                x = self._attack(x, y, generator)
            logits = self.module(x).float()
            loss = F.cross_entropy(logits, y, label_smoothing=getattr(settings, "label_smoothing", 0.0))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if settings.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.module.parameters(), settings.gradient_clip)
        self.optimizer.step()
        return float(loss.detach())

    def _attack(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        assert self.adversary is not None
        assert self.threat is not None
        one_step = self.adversary.attack == "fgsm"
        default = 1.25 * self.threat.epsilon if one_step else 2.5 * self.threat.epsilon / self.adversary.steps
        return pgd(
            self.module,
            x,
            y,
            threat=self.threat,
            steps=1 if one_step else self.adversary.steps,
            step_size=self.adversary.step_size or default,
            random_start=self.adversary.random_start,
            generator=generator,
            early_stop=False,
            batch_size=len(x),
        )


def _seed(seed: int, stage: str, epoch: int) -> int:
    """63 bits that depend on all three and on nothing else."""
    digest = hashlib.sha256(f"{seed}/{stage}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
