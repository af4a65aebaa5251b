"""One epoch of stochastic gradient descent, with or without an adversary.

The adversary searches against the network in evaluation mode; the outer step is SGD with the batch statistics live.
Free adversarial training (Shafahi et al. 2019, arXiv:1904.12843, algorithm 1) replays each batch `replays` times, and
one backward pass moves both the weights and the perturbation, which the next batch takes over.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...bench.attacks.threat.geometry import ball_of
from ...bench.data.dataset import Part
from ...runtime.errors import ModelError
from ..recipe.adversary import Adversary
from ..recipe.training import Training
from .augment import augmented
from .averaging import Average
from .cached_teacher import CachedTeacher
from .inner_maximization import adversarial_images, gradient_misalignment
from .lipschitz import lipschitz_penalty
from .norm_penalty import add_norm_penalty
from .objectives.objective import Objective
from .schedule import learning_rate_share
from .training_context import TrainingContext
from .update_rule import UpdateRule
from .weight_perturbation import perturbed_weights

__all__ = ["EpochRunner"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EpochRunner:
    """What stays the same from step to step of one training.

    Attributes:
        module: what is trained, on `context.device`.
        optimizer: of its parameters.
        settings: of the stage.
        stage: its name, for progress and random numbers.
        context: the seed, the device and the progress.
        adversary, objective: both None in standard training.
        teacher: what a distillation learns from.
        average: takes the weights in; None where none is asked for.
        classes: K, where images are mixed and labels become shares of classes; else 0.
        steps_per_epoch: whole batches in the training images.
        autocast: makes the context to compute in.
        rule: what else happens at every step; None: nothing.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    settings: Training
    stage: str
    context: TrainingContext
    adversary: Adversary | None
    objective: Objective | None
    teacher: CachedTeacher | None
    average: Average | None
    classes: int
    steps_per_epoch: int
    autocast: Callable[[], AbstractContextManager[object]]
    rule: UpdateRule | None = None

    @property
    def device(self) -> torch.device:
        return torch.device(self.context.device)

    def epoch(self, train: Part, number: int) -> tuple[float, float]:
        """One pass over the images: mean loss and seconds."""
        settings, started = self.settings, time.perf_counter()
        generator = torch.Generator().manual_seed(_seed(self.context.seed, self.stage, number))
        torch.manual_seed(_seed(self.context.seed, f"{self.stage}/dropout", number))
        order = torch.randperm(len(train), generator=generator)
        images, labels = (torch.from_numpy(array).to(self.device) for array in (train.images, train.labels))
        free = _Free(self, images.shape[1:]) if self.adversary is not None and self.adversary.replays > 1 else None
        total = 0.0
        self.module.train()
        for index in range(self.steps_per_epoch):
            where = order[index * settings.batch_size : (index + 1) * settings.batch_size].sort().values.to(self.device)
            x, y = images[where].float().div_(255), labels[where]
            step = (number - 1) * self.steps_per_epoch + index
            x, y = augmented(x, y, settings, classes=self.classes, generator=generator)
            self._set_learning_rate(step)
            if self.teacher is not None:
                self.teacher.open(x, where)
            loss = free(x, y) if free is not None else self._step(x, y, generator)
            total += loss
            if not np.isfinite(total):
                raise self._diverged(number, expected="a finite loss", got=str(loss))
            if index % 20 == 19 or index + 1 == self.steps_per_epoch:
                text = f"epoch {number}/{settings.epochs}, loss {total / (index + 1):.3f}"
                self.context.progress(self.stage, step + 1, settings.epochs * self.steps_per_epoch, text)
        # the last step's weights made no loss yet
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.module.parameters()):
            raise self._diverged(number, expected="finite weights", got="NaN or infinity")
        if self.average is not None and settings.average == "swa" and number > settings.unaveraged:
            self.average.add(self.module)
        return total / self.steps_per_epoch, time.perf_counter() - started

    def _diverged(self, number: int, *, expected: str, got: str) -> ModelError:
        return ModelError(
            f"{self.stage} diverged in epoch {number}",
            expected=expected,
            got=got,
            fix="lower the learning rate or set gradient_clip",
        )

    def _set_learning_rate(self, step: int) -> None:
        settings = self.settings
        share = learning_rate_share(
            settings.schedule,
            step=step,
            steps=settings.epochs * self.steps_per_epoch,
            steps_per_epoch=self.steps_per_epoch,
            warmup=settings.warmup,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * share

    def _step(self, x: Tensor, y: Tensor, generator: torch.Generator) -> float:
        adversary, objective = self.adversary, self.objective
        if adversary is None or objective is None:
            return self.descend(lambda: self._standard(x, y))
        with self.autocast():
            x_adv = adversarial_images(self.module, x, y, adversary=adversary, objective=objective, generator=generator)
        module = self.module

        def outer() -> Tensor:
            with self.autocast():
                return objective.outer(module, x, x_adv, y)

        def aligned() -> Tensor:
            threat = adversary.ball
            # in float32: a second derivative of bfloat16 products is noise
            penalty = gradient_misalignment(module, x, y, threat=threat, generator=generator)
            return outer() + adversary.grad_align * penalty

        if not adversary.weight_perturbation:
            return self.descend(aligned if adversary.grad_align else outer)
        with perturbed_weights(module, outer, adversary.weight_perturbation):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self._regularized(aligned() if adversary.grad_align else outer())
            loss.backward()  # type: ignore[no-untyped-call]
        self.update()
        return float(loss.detach())

    def _standard(self, x: Tensor, y: Tensor) -> Tensor:
        with self.autocast():
            return F.cross_entropy(self.module(x).float(), y, label_smoothing=self.settings.label_smoothing)

    def descend(self, loss_of: Callable[[], Tensor]) -> float:
        """One step of the optimizer on a loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._regularized(loss_of())
        loss.backward()  # type: ignore[no-untyped-call]
        self.update()
        return float(loss.detach())

    def _regularized(self, loss: Tensor) -> Tensor:
        beta = self.settings.lipschitz
        return loss + beta * lipschitz_penalty(self.module) if beta else loss

    def update(self) -> None:
        """Clip the gradients that are there, step, and take the weights into their average."""
        if self.settings.norm_penalty:
            add_norm_penalty(self.module, self.settings.norm_penalty)
        if self.rule is not None:
            self.rule.with_gradients()
        if self.settings.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.settings.gradient_clip)
        self.optimizer.step()
        if self.rule is not None:
            self.rule.stepped()
        if self.average is not None and self.settings.average == "ema":
            self.average.add(self.module)


class _Free:
    """The inner loop of free adversarial training; each epoch starts with a perturbation of 0."""

    def __init__(self, run: EpochRunner, shape: torch.Size) -> None:
        assert run.adversary is not None
        self.run = run
        self.replays = run.adversary.replays
        self.threat = run.adversary.ball
        self.delta = torch.zeros(run.settings.batch_size, *shape, device=run.device)

    def __call__(self, x: Tensor, y: Tensor) -> float:
        run, threat, ball = self.run, self.threat, ball_of(self.threat)
        total = 0.0
        for _ in range(self.replays):
            x_adv = ball.project(x + self.delta, x).requires_grad_()

            def loss_of(x_adv: Tensor = x_adv) -> Tensor:
                with run.autocast():
                    logits = run.module(x_adv).float()
                return F.cross_entropy(logits, y, label_smoothing=run.settings.label_smoothing)

            total += run.descend(loss_of)
            assert x_adv.grad is not None
            if threat.norm == "linf":
                # as published, clip to the epsilon ball but not to [0, 1]: the next image may still allow the step
                moved = self.delta + threat.epsilon * x_adv.grad.sign()
                self.delta = moved.clamp_(-threat.epsilon, threat.epsilon)
            else:
                self.delta = ball.project(ball.step(x_adv.detach(), x_adv.grad, threat.epsilon), x) - x
        return total / self.replays


def _seed(seed: int, stage: str, epoch: int) -> int:
    """63 bits that depend on all three and on nothing else."""
    digest = hashlib.sha256(f"{seed}/{stage}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
