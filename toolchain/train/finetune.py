"""Standard and adversarial training, on a float module or on the integer twin.

    min_theta  E_(x, y)  max_{||delta|| <= epsilon}  l(f_theta(x + delta), y)

Madry et al. 2018, eq. 2.1. Every epoch draws its random numbers from (seed, stage, epoch) alone, and a checkpoint is
written after each: an interrupted run resumes to the same result.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...bench.attacks.access import Model
from ...bench.attacks.white_box.gradient import frozen
from ...bench.data.dataset import Part
from ...runtime.errors import DataError
from ..recipe.adversary import Adversary
from ..recipe.training import Training
from .averaging import average_of
from .cached_teacher import CachedTeacher
from .epoch import EpochRunner
from .held_clusters import Clusters, held_clusters, project
from .held_zeros import held_zeros
from .heldout import held_out_accuracy, score
from .objectives.choose import objective_of
from .precision import autocast
from .training_context import TrainingContext
from .update_rule import UpdateRule

__all__ = ["Epoch", "Trained", "finetune"]


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
    stage: str,
    context: TrainingContext,
    adversary: Adversary | None = None,
    teacher: Model | None = None,
    baseline: bool = False,
    hold_zeros: bool = False,
    rule: UpdateRule | None = None,
    clusters: Mapping[str, Clusters] | None = None,
) -> Trained:
    """Train `module` in place.

    Args:
        module: float [N, C, H, W] in [0, 1] -> logits [N, K]; a network or a `Twin`.
        train: images to learn from.
        heldout: images to choose the epoch by; None or empty keeps the last epoch.
        settings: of the float stage or of the twin's.
        stage: name of the stage, for progress, random numbers and checkpoints.
        context: the seed, the device, the progress and the checkpoints of the build. Training goes on after the epoch
            of the checkpoint that it finds, and stores one after every epoch.
        adversary: None for standard training.
        teacher: what a distillation learns from, images -> logits; on `context.device`.
        baseline: the module as it comes takes part in the choice, as epoch 0.
        hold_zeros: weights that are exactly 0 stay so; see `held_zeros`.
        rule: what else happens at every step.
        clusters: of a twin, weights that go on sharing values, by parameter; see `held_clusters`.

    Raises:
        ModelError: the loss became NaN or infinite.
        DataError: fewer training images than one batch.
    """
    if settings.epochs == 0:
        return Trained(module=module, epochs=(), kept=0)
    run = _runner(
        module, train, settings, stage=stage, context=context, adversary=adversary, teacher=teacher, rule=rule
    )
    held = heldout if heldout is not None and len(heldout) else None

    def measure(part: Part) -> tuple[float, float | None]:
        return held_out_accuracy(
            module, part, adversary, run.autocast, seed=context.seed, batch_size=settings.batch_size
        )

    history = _History(settings, choose=settings.keep_best and held is not None)
    found = context.checkpoints.load(stage)
    if found is not None:
        _resume(run, history, found)
    elif baseline and history.choose and held is not None:
        history.best = {"score": score(*measure(held)), "epoch": 0, "state": _copy(module)}
    average = run.average
    for number in range(len(history.epochs) + 1, settings.epochs + 1):
        if history.out_of_patience:
            break
        with held_zeros(module) if hold_zeros else nullcontext(), held_clusters(module, clusters or {}):
            loss, seconds = run.epoch(train, number)
        own = average.swap(module) if average is not None and average.count else None
        clean, robust = (None, None) if held is None else measure(held)
        history.add(Epoch(number=number, loss=loss, clean=clean, robust=robust, seconds=seconds), module)
        if own is not None:
            module.load_state_dict(own)
        context.checkpoints.save(stage, _checkpoint(run, history))
    module.load_state_dict(history.best["state"])
    project(module, clusters or {})
    module.to("cpu").eval()
    return Trained(module=module, epochs=tuple(history.epochs), kept=history.best["epoch"])


def _runner(
    module: nn.Module,
    train: Part,
    settings: Training,
    *,
    stage: str,
    context: TrainingContext,
    adversary: Adversary | None,
    teacher: Model | None,
    rule: UpdateRule | None,
) -> EpochRunner:
    """Move the module to its device and make what its training needs."""
    steps_per_epoch = len(train) // settings.batch_size
    if steps_per_epoch == 0:
        raise DataError("training", expected=f"at least {settings.batch_size} images", got=str(len(train)))
    place = torch.device(context.device)
    module.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        [p for p in module.parameters() if p.requires_grad],
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
        weight_decay=settings.weight_decay,
    )
    precision = autocast(settings.precision, place.type)
    cached = None if teacher is None else CachedTeacher(teacher, train, settings, device=place, autocast=precision)
    smoothing = settings.label_smoothing
    return EpochRunner(
        module=module,
        optimizer=optimizer,
        settings=settings,
        stage=stage,
        context=context,
        adversary=adversary,
        objective=None if adversary is None else objective_of(adversary, smoothing=smoothing, teacher=cached),
        teacher=cached,
        average=average_of(module, settings),
        classes=_classes(module, train, place) if settings.cutmix else 0,
        steps_per_epoch=steps_per_epoch,
        autocast=precision,
        rule=rule,
    )


class _History:
    """The epochs of one training, and the best of them so far.

    Args:
        settings: of the stage.
        choose: the best epoch is kept; otherwise the last one.
    """

    def __init__(self, settings: Training, *, choose: bool) -> None:
        self._settings = settings
        self.choose = choose
        self.epochs: list[Epoch] = []
        self.best: dict[str, Any] = {"score": -1.0, "epoch": 0, "state": None}

    def add(self, epoch: Epoch, module: nn.Module) -> None:
        """Append an epoch; the module holds the weights that it would be kept for."""
        self.epochs.append(epoch)
        scored = score(epoch.clean, epoch.robust)
        averaged = epoch.number > self._settings.unaveraged
        if not self.choose or (averaged and scored > self.best["score"]):
            self.best = {"score": scored, "epoch": epoch.number, "state": _copy(module)}

    @property
    def out_of_patience(self) -> bool:
        """Whether so many epochs came after the best one that training stops."""
        patience, since = self._settings.patience, max(self.best["epoch"], self._settings.unaveraged)
        return bool(self.choose and patience and len(self.epochs) - since >= patience)


def _checkpoint(run: EpochRunner, history: _History) -> dict[str, Any]:
    return {
        "module": run.module.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "average": None if run.average is None else run.average.state_dict(),
        "rule": None if run.rule is None else run.rule.state_dict(),
        "epochs": [asdict(epoch) for epoch in history.epochs],
        "best": history.best,
    }


def _resume(run: EpochRunner, history: _History, checkpoint: Mapping[str, Any]) -> None:
    run.module.load_state_dict(checkpoint["module"])
    run.optimizer.load_state_dict(checkpoint["optimizer"])
    if run.average is not None:
        run.average.load_state_dict(checkpoint["average"])
    if run.rule is not None:
        run.rule.load_state_dict(checkpoint["rule"])
    history.epochs, history.best = [Epoch(**epoch) for epoch in checkpoint["epochs"]], checkpoint["best"]


def _classes(module: nn.Module, train: Part, place: torch.device) -> int:
    with torch.no_grad(), frozen(module):
        logits: Tensor = module(torch.from_numpy(train.images[:1]).to(place).float() / 255)
    return logits.shape[1]


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in module.state_dict().items()}
