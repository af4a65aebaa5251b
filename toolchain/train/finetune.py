"""Standard and adversarial training, on a float module or on the integer twin.

    min_theta  E_(x, y)  max_{||delta|| <= epsilon}  l(f_theta(x + delta), y)

Madry et al. 2018, eq. 2.1. Every epoch draws its random numbers from (seed, stage, epoch) alone, and a checkpoint is
written behind each: an interrupted run resumes to the same result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...bench.attacks.access import Model
from ...bench.attacks.white_box.gradient import frozen
from ...bench.data.dataset import Part
from ...runtime.errors import DataError
from ...runtime.progress import ProgressCallback, silent
from ..recipe.adversary import Adversary
from ..recipe.training import Training
from .averaging import average_of
from .cached_teacher import CachedTeacher
from .epoch import EpochRunner
from .heldout import held_out_accuracy, score
from .objectives.choose import objective_of
from .precision import autocast

__all__ = ["Epoch", "Trained", "finetune"]

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
    settings: Training,
    *,
    adversary: Adversary | None,
    seed: int,
    stage: str,
    teacher: Model | None = None,
    baseline: bool = False,
    device: str = "cpu",
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
        teacher: what a distillation learns from, images -> logits; on `device`.
        baseline: the module as it comes takes part in the choice, as epoch 0.
        device: "cpu" or "cuda": where to train; the module comes back on the CPU.
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
    place = torch.device(device)
    module.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        [p for p in module.parameters() if p.requires_grad],
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
        weight_decay=settings.weight_decay,
    )
    average = average_of(module, settings)
    smoothing = settings.label_smoothing
    precision = autocast(settings.precision, place.type)
    cached = None if teacher is None else CachedTeacher(teacher, train, settings, device=place, autocast=precision)
    run = EpochRunner(
        module,
        optimizer,
        settings=settings,
        adversary=adversary,
        objective=None if adversary is None else objective_of(adversary, smoothing=smoothing, teacher=cached),
        teacher=cached,
        average=average,
        classes=_classes(module, train, place) if settings.cutmix else 0,
        device=place,
        seed=seed,
        stage=stage,
        steps_per_epoch=steps_per_epoch,
        autocast=precision,
        progress=progress,
    )

    def measure(part: Part) -> tuple[float, float | None]:
        return held_out_accuracy(module, part, adversary, precision, seed=seed, batch_size=settings.batch_size)

    history: list[Epoch] = []
    best: dict[str, Any] = {"score": -1.0, "epoch": 0, "state": None}
    unaveraged = settings.unaveraged
    keep_best = settings.keep_best and heldout is not None and len(heldout) > 0
    if resume is not None:
        module.load_state_dict(resume["module"])
        optimizer.load_state_dict(resume["optimizer"])
        if average is not None:
            average.load_state_dict(resume["average"])
        history, best = [Epoch(**epoch) for epoch in resume["epochs"]], resume["best"]
    elif baseline and keep_best and heldout is not None:
        measured = measure(heldout)
        best = {"score": score(*measured), "epoch": 0, "state": _copy(module)}
    for number in range(len(history) + 1, settings.epochs + 1):
        if keep_best and settings.patience and len(history) - max(best["epoch"], unaveraged) >= settings.patience:
            break
        loss, seconds = run.epoch(train, number)
        own = average.swap(module) if average is not None and average.count else None
        clean = robust = None
        if heldout is not None and len(heldout):
            clean, robust = measure(heldout)
        history.append(Epoch(number=number, loss=loss, clean=clean, robust=robust, seconds=seconds))
        if not keep_best or (number > unaveraged and score(clean, robust) > best["score"]):
            best = {"score": score(clean, robust), "epoch": number, "state": _copy(module)}
        if own is not None:
            module.load_state_dict(own)
        if save is not None:
            save(
                {
                    "module": module.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "average": None if average is None else average.state_dict(),
                    "epochs": [asdict(epoch) for epoch in history],
                    "best": best,
                }
            )
    module.load_state_dict(best["state"])
    module.to("cpu").eval()
    return Trained(module=module, epochs=tuple(history), kept=best["epoch"])


def _classes(module: nn.Module, train: Part, place: torch.device) -> int:
    with torch.no_grad(), frozen(module):
        logits: Tensor = module(torch.from_numpy(train.images[:1]).to(place).float() / 255)
    return logits.shape[1]


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in module.state_dict().items()}
