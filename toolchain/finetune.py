"""Standard and adversarial training, on a float module or on the integer twin.

    min_theta  E_(x, y)  max_{||delta|| <= epsilon}  l(f_theta(x + delta), y)

Madry et al. 2018, eq. 2.1; the inner maximum by FGSM with a random start (Wong et al. 2020) or PGD, against the network
in evaluation mode. Every epoch draws its random numbers from (seed, stage, epoch) alone, and a checkpoint is written
behind each: an interrupted run resumes to the same result.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..bench.attacks.pgd import pgd
from ..bench.attacks.threat import ThreatModel
from ..bench.data.dataset import Part
from ..runtime.errors import DataError, ModelError
from ..runtime.progress import ProgressCallback, silent
from .precision import autocast
from .recipe import Adversary, Training, TwinTraining
from .schedule import learning_rate_share

__all__ = ["Epoch", "Trained", "finetune", "held_out_accuracy"]

_HELD_OUT_STEPS = 10
"""Steps of the PGD that measures held-out robust accuracy; step size epsilon / 4."""

Save = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """One epoch.

    Attributes:
        number: from 1.
        loss: mean training loss.
        clean: held-out accuracy in [0, 1]; None without held-out images.
        robust: held-out accuracy under PGD-10, in [0, 1]; None in standard training.
        seconds: training time, evaluation left out.
    """

    number: int
    loss: float
    clean: float | None
    robust: float | None
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What training gave.

    Attributes:
        module: the module, trained in place.
        epochs: what happened.
        kept: number of the epoch whose weights the module holds; 0 where it was not trained.
    """

    module: nn.Module
    epochs: tuple[Epoch, ...]
    kept: int

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        return {"epochs": [asdict(epoch) for epoch in self.epochs], "kept": self.kept}


def finetune(
    module: nn.Module,
    train: Part,
    heldout: Part | None,
    settings: Training | TwinTraining,
    *,
    adversary: Adversary | None,
    seed: int,
    stage: str,
    baseline: bool = False,
    resume: dict[str, Any] | None = None,
    save: Save | None = None,
    progress: ProgressCallback = silent,
) -> Trained:
    """Train `module` in place.

    Args:
        module: float [N, C, H, W] in [0, 1] -> logits [N, K]; a network or a `Twin`.
        train: images to learn from.
        heldout: images to choose the epoch by; None or empty keeps the last epoch.
        settings: of the float stage or of the twin's.
        adversary: None for standard training.
        seed: every random number comes from it, the stage and the epoch.
        stage: name of the stage, for progress and random numbers.
        baseline: the module as it comes takes part in the choice, as epoch 0.
        resume: a checkpoint that `save` was given; training goes on behind it.
        save: called with a checkpoint behind every epoch.

    Raises:
        ModelError: the loss became NaN or infinite.
        DataError: fewer training images than one batch.
    """
    steps_per_epoch = len(train) // settings.batch_size
    if settings.epochs == 0:
        return Trained(module=module, epochs=(), kept=0)
    if steps_per_epoch == 0:
        raise DataError("training", expected=f"at least {settings.batch_size} images", got=str(len(train)))
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        [p for p in module.parameters() if p.requires_grad],
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
        weight_decay=getattr(settings, "weight_decay", 0.0),
    )
    run = _Run(
        module,
        optimizer,
        settings=settings,
        adversary=adversary,
        seed=seed,
        stage=stage,
        steps_per_epoch=steps_per_epoch,
        progress=progress,
    )
    history: list[Epoch] = []
    best: dict[str, Any] = {"score": -1.0, "epoch": 0, "state": None}
    keep_best = getattr(settings, "keep_best", True) and heldout is not None and len(heldout) > 0
    if resume is not None:
        module.load_state_dict(resume["module"])
        optimizer.load_state_dict(resume["optimizer"])
        history, best = [Epoch(**epoch) for epoch in resume["epochs"]], resume["best"]
    elif baseline and keep_best and heldout is not None:
        measured = held_out_accuracy(module, heldout, adversary, run.autocast, seed=seed)
        best = {"score": _score(*measured), "epoch": 0, "state": _copy(module)}
    patience = getattr(settings, "patience", 0)
    for number in range(len(history) + 1, settings.epochs + 1):
        if keep_best and patience and len(history) - best["epoch"] >= patience:
            break
        loss, seconds = run.epoch(train, number)
        clean = robust = None
        if heldout is not None and len(heldout):
            clean, robust = held_out_accuracy(module, heldout, adversary, run.autocast, seed=seed)
        history.append(Epoch(number=number, loss=loss, clean=clean, robust=robust, seconds=seconds))
        if not keep_best or _score(clean, robust) > best["score"]:
            best = {"score": _score(clean, robust), "epoch": number, "state": _copy(module)}
        if save is not None:
            save(
                {
                    "module": module.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "epochs": [asdict(epoch) for epoch in history],
                    "best": best,
                }
            )
    module.load_state_dict(best["state"])
    module.eval()
    return Trained(module=module, epochs=tuple(history), kept=best["epoch"])


def _score(clean: float | None, robust: float | None) -> float:
    """What the best epoch has most of: robust accuracy, and clean accuracy between equals."""
    return (clean or 0.0) if robust is None else robust + 1e-3 * (clean or 0.0)


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in module.state_dict().items()}


def held_out_accuracy(
    module: nn.Module,
    part: Part,
    adversary: Adversary | None,
    precision: Callable[[], AbstractContextManager[object]] = nullcontext,
    *,
    seed: int,
) -> tuple[float, float | None]:
    """Accuracy on `part`, clean and (with an adversary) under PGD-10 with a random start; both in [0, 1]."""
    module.eval()
    right = stood = 0
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, len(part), 500):
        x = torch.from_numpy(part.images[start : start + 500]).float() / 255
        y = torch.from_numpy(part.labels[start : start + 500])
        with precision():
            with torch.no_grad():
                good = module(x).argmax(1) == y
            right += int(good.sum())
            if adversary is None or not good.any():
                continue
            threat = ThreatModel.parse(adversary.threat)
            x, y = x[good], y[good]
            x_adv = pgd(
                module,
                x,
                y,
                threat=threat,
                steps=_HELD_OUT_STEPS,
                step_size=threat.epsilon / 4,
                random_start=True,
                generator=generator,
            )
            with torch.no_grad():
                stood += int((module(x_adv).argmax(1) == y).sum())
    return right / len(part), None if adversary is None else stood / len(part)


class _Run:
    """One training: what stays the same from step to step."""

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
                raise ModelError(
                    f"{self.stage} diverged in epoch {number}",
                    expected="a finite loss",
                    got=str(loss),
                    fix="lower the learning rate or set gradient_clip",
                )
            if index % 20 == 19 or index + 1 == self.steps_per_epoch:
                done = (number - 1) * self.steps_per_epoch + index + 1
                text = f"epoch {number}/{settings.epochs}, loss {total / (index + 1):.3f}"
                self.progress(self.stage, done, settings.epochs * self.steps_per_epoch, text)
        return total / self.steps_per_epoch, time.perf_counter() - started

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
