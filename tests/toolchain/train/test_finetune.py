"""Training: reproducible, resumable at every epoch, and it gives back the best epoch."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hardtemper.bench.data.dataset import Part
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.errors import DataError
from hardtemper.toolchain.recipe.adversary import Adversary
from hardtemper.toolchain.recipe.training import Training, TwinTraining
from hardtemper.toolchain.train import finetune as module_under_test
from hardtemper.toolchain.train.finetune import Trained, finetune
from hardtemper.toolchain.train.heldout import score
from hardtemper.toolchain.train.training_context import TrainingContext

PGD2 = Adversary(threat="linf:0.1", steps=2, step_size=0.06)
EVERYTHING = Training(
    epochs=3,
    batch_size=64,
    learning_rate=0.05,
    schedule="one-cycle",
    momentum=0.9,
    weight_decay=1e-3,
    label_smoothing=0.1,
    gradient_clip=1.0,
    flip=True,
)
ON_THE_TWIN = TwinTraining(epochs=3, batch_size=64, learning_rate=0.01)


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def outcome(trained: Trained) -> list[tuple[Any, ...]]:
    return [(e.number, e.loss, e.clean, e.robust) for e in trained.epochs] + [(trained.kept,)]


class Interruption(Exception):  # noqa: N818 - no error: what Ctrl-C or a kill does
    pass


class Disk:
    """A `save` that keeps the last checkpoint as bytes and is interrupted behind the epoch `stop`."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop, self.content, self.epochs = stop, b"", [0]

    def __call__(self, checkpoint: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        self.content = buffer.getvalue()
        self.epochs.append(len(checkpoint["epochs"]))
        if self.epochs[-1] == self.stop:
            raise Interruption

    def read(self) -> dict[str, Any]:
        checkpoint: dict[str, Any] = torch.load(io.BytesIO(self.content), weights_only=True)
        return checkpoint


def test_it_learns(tune: Callable[..., Trained]) -> None:
    trained = tune(Training(epochs=3, batch_size=32, learning_rate=0.05, momentum=0.9))
    assert [epoch.number for epoch in trained.epochs] == [1, 2, 3]
    assert trained.epochs[-1].loss < trained.epochs[0].loss
    clean = trained.epochs[trained.kept - 1].clean
    assert clean is not None
    assert clean > 0.9
    assert trained.epochs[0].robust is None
    assert not trained.module.training


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("adversary", [None, PGD2])
def test_one_seed_one_result(tune: Callable[..., Trained], adversary: Adversary | None, precision: str) -> None:
    settings = EVERYTHING.model_copy(update={"precision": precision, "epochs": 2})
    first = tune(settings, adversary=adversary)
    torch.rand(17)  # nothing comes from torch's own generator
    second = tune(settings, adversary=adversary)
    assert same(weights(first.module), weights(second.module))
    assert outcome(first) == outcome(second)
    for other in ({"seed": 6}, {"stage": "other"}):
        assert not same(weights(first.module), weights(tune(settings, adversary=adversary, **other).module))


@pytest.mark.parametrize("stop", [1, 2, 3])
@pytest.mark.parametrize("adversary", [None, PGD2])
def test_interrupted_and_resumed_is_not_interrupted(
    net: Callable[..., nn.Sequential], tune: Callable[..., Trained], adversary: Adversary | None, stop: int
) -> None:
    """Momentum, dropout, mirroring, the schedule and the best epoch all go on where they stopped."""
    whole = tune(EVERYTHING, adversary=adversary)
    disk = Disk(stop)
    with pytest.raises(Interruption):
        tune(EVERYTHING, adversary=adversary, save=disk)
    torch.manual_seed(99)
    resumed = tune(EVERYTHING, module=net(seed=1), adversary=adversary, resume=disk.read())
    assert same(weights(resumed.module), weights(whole.module))
    assert outcome(resumed) == outcome(whole)


ROBUST = {"threat": "linf:0.1", "steps": 2, "step_size": 0.06}
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "ema": ({"average": "ema", "ema_decay": 0.9}, ROBUST),
    "swa": ({"average": "swa", "swa_start": 0.0}, ROBUST),
    "swa at the end": ({"average": "swa"}, None),
    "every augmentation": ({"shift": 1, "cutout": 2, "cutmix": 1.0}, ROBUST),
    "n-fgsm": ({}, {"threat": "linf:0.1", "attack": "n-fgsm", "grad_align": 0.2}),
    "free": ({"average": "ema"}, {"threat": "linf:0.1", "replays": 2}),
    "trades": ({"cutmix": 0.5}, {**ROBUST, "objective": "trades"}),
    "mart": ({}, {**ROBUST, "objective": "mart"}),
    "mmr": ({}, {"threat": "linf:0.1", "attack": "fgsm", "objective": "mmr"}),
    "awp": ({"average": "swa"}, {**ROBUST, "weight_perturbation": 0.01}),
    "adaad": ({}, {**ROBUST, "objective": "adaad"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_training_resumes_to_the_same_bytes(
    net: Callable[..., nn.Sequential], tune: Callable[..., Trained], kind: str
) -> None:
    more, against = KINDS[kind]
    settings = EVERYTHING.model_copy(update={"batch_size": 128, **more})
    adversary = None if against is None else Adversary(**against)
    options: dict[str, Any] = {"adversary": adversary, "teacher": net(seed=8).eval().requires_grad_(False)}
    whole = tune(settings, **options)
    for stop in (1, 2):
        disk = Disk(stop)
        with pytest.raises(Interruption):
            tune(settings, save=disk, **options)
        torch.manual_seed(99)
        resumed = tune(settings, module=net(seed=1), resume=disk.read(), **options)
        assert same(weights(resumed.module), weights(whole.module))
        assert outcome(resumed) == outcome(whole)
    assert not same(weights(whole.module), weights(tune(EVERYTHING.model_copy(update={"batch_size": 128})).module))


def states_behind_epochs(tune: Callable[..., Trained], settings: Training) -> list[dict[str, Tensor]]:
    """What training is at behind each epoch, averages or not."""
    found: list[dict[str, Tensor]] = []
    tune(settings, save=lambda checkpoint: found.append({k: v.clone() for k, v in checkpoint["module"].items()}))
    return found


def judged(
    tune: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch, settings: Training
) -> list[dict[str, Tensor]]:
    """The weights that each epoch is judged by, and at last those that come back; the last epoch's are the best."""
    found: list[dict[str, Tensor]] = []

    def measure(module: nn.Module, *_: Any, **__: Any) -> tuple[float, None]:
        found.append(weights(module))
        return len(found) / 10, None

    monkeypatch.setattr(module_under_test, "held_out_accuracy", measure)
    last = weights(tune(settings).module)
    return [*found, last]


def close(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-6)


def mean_of(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {
        key: torch.stack([state[key] for state in states]).mean(0) if last.is_floating_point() else last
        for key, last in states[-1].items()
    }


@pytest.mark.parametrize(("start", "first"), [(0.0, 1), (0.5, 3), (0.9, 4)])
def test_epochs_are_judged_by_the_mean_of_the_last(
    tune: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch, start: float, first: int
) -> None:
    """Averaging changes what is kept, not what training goes on with."""
    plain = EVERYTHING.model_copy(update={"epochs": 4, "batch_size": 128})
    behind = states_behind_epochs(tune, plain)
    settings = plain.model_copy(update={"average": "swa", "swa_start": start})
    assert all(map(same, states_behind_epochs(tune, settings), behind))
    found = judged(tune, monkeypatch, settings)
    for number in range(1, 5):
        close(found[number - 1], mean_of(behind[first - 1 : number]) if number >= first else behind[number - 1])
    assert same(found[4], found[3])


def test_epochs_are_judged_by_the_moving_average(
    tune: Callable[..., Trained], net: Callable[..., nn.Sequential], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One batch an epoch, so that behind every epoch is behind every step."""
    plain = EVERYTHING.model_copy(update={"epochs": 4, "batch_size": 512})
    behind = states_behind_epochs(tune, plain)
    found = judged(tune, monkeypatch, plain.model_copy(update={"average": "ema", "ema_decay": 0.25}))
    average = weights(net())
    for t, state in enumerate(behind, start=1):
        d = min(0.25, (1 + t) / (10 + t))
        average = {
            key: d * average[key] + (1 - d) * value if value.is_floating_point() else value
            for key, value in state.items()
        }
        close(found[t - 1], average)
    assert same(found[4], found[3])


def test_the_average_of_a_twin_is_a_twin(tune: Callable[..., Trained], twin: Callable[[], Twin], train: Part) -> None:
    plain = ON_THE_TWIN.model_copy(update={"epochs": 1, "keep_best": False})
    trained = tune(plain.model_copy(update={"average": "ema"}), module=twin(), adversary=PGD2)
    assert isinstance(trained.module, Twin)
    averaged = trained.module
    assert all(bool(torch.isfinite(parameter).all()) for parameter in averaged.parameters())
    images = torch.from_numpy(train.images[:50]).float() / 255
    with torch.no_grad():
        assert torch.equal(Twin(averaged.to_onnx())(images), averaged(images))
    assert not same(weights(averaged), weights(tune(plain, module=twin(), adversary=PGD2).module))


@pytest.mark.parametrize("objective", ["ard", "rslad", "adaad"])
def test_a_student_comes_to_say_what_its_teacher_says(
    net: Callable[..., nn.Sequential], tune: Callable[..., Trained], heldout: Part, objective: str
) -> None:
    """The teacher takes classes for their neighbours: whoever agrees with it has not learned from the labels."""
    learning = Training(epochs=3, batch_size=32, learning_rate=0.05, momentum=0.9)
    taught = tune(learning).module

    class Wrong(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = taught(x).roll(1, 1)
            return logits

    teacher = Wrong().eval()
    before = weights(taught)
    adversary = Adversary(**{**ROBUST, "threat": "linf:0.02", "step_size": 0.01}, objective=objective)
    settings = learning.model_copy(update={"keep_best": False})
    student = tune(settings, module=net(seed=4), adversary=adversary, teacher=teacher).module
    images = torch.from_numpy(heldout.images).float() / 255
    with torch.no_grad():
        assert (student(images).argmax(1) == teacher(images).argmax(1)).float().mean() > 0.85
    assert same(weights(taught), before)


def test_interrupted_within_an_epoch(tune: Callable[..., Trained]) -> None:
    whole = tune(EVERYTHING)
    disk = Disk()

    def press_ctrl_c(task: str, done: int, total: int, text: str) -> None:
        assert (task, total) == ("test", 24)
        assert text.startswith(f"epoch {-(-done // 8)}/3, loss ")
        if done > 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(EVERYTHING, save=disk, progress=press_ctrl_c)
    assert disk.epochs == [0, 1]
    assert same(weights(tune(EVERYTHING, resume=disk.read()).module), weights(whole.module))


@pytest.mark.parametrize("stop", [1, 2])
def test_a_twin_resumes_too(tune: Callable[..., Trained], twin: Callable[[], Twin], stop: int) -> None:
    options: dict[str, Any] = {"adversary": PGD2, "baseline": True}
    whole, disk = tune(ON_THE_TWIN, module=twin(), **options), Disk(stop)
    with pytest.raises(Interruption):
        tune(ON_THE_TWIN, module=twin(), save=disk, **options)
    resumed = tune(ON_THE_TWIN, module=twin(), resume=disk.read(), **options)
    assert same(weights(resumed.module), weights(whole.module))
    assert outcome(resumed) == outcome(whole)
    assert isinstance(resumed.module, Twin)
    assert isinstance(whole.module, Twin)
    assert resumed.module.to_onnx().SerializeToString(deterministic=True) == whole.module.to_onnx().SerializeToString(
        deterministic=True
    )


def test_a_finished_training_is_only_read(
    net: Callable[..., nn.Sequential], tune: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    whole = tune(EVERYTHING, save=disk)
    monkeypatch.setattr(module_under_test, "held_out_accuracy", None)  # would fail
    again = tune(EVERYTHING, module=net(seed=1), resume=disk.read(), save=Disk(1))
    assert same(weights(again.module), weights(whole.module))
    assert again.epochs == whole.epochs


def scripted(monkeypatch: pytest.MonkeyPatch, scores: list[tuple[float, float | None]]) -> None:
    """Let the held-out accuracies be these."""
    left = iter(scores)
    monkeypatch.setattr(module_under_test, "held_out_accuracy", lambda *_, **__: next(left))


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([(0.5, None), (0.9, None), (0.7, None), (0.8, None)], 2),
        ([(0.9, None), (0.9, None), (0.9, None), (0.9, None)], 1),
        ([(0.1, None), (0.2, None), (0.3, None), (0.4, None)], 4),
        ([(0.9, 0.1), (0.5, 0.4), (0.6, 0.4), (1.0, 0.2)], 3),
        ([(0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0)], 1),
    ],
)
@pytest.mark.parametrize("keep_best", [True, False])
def test_the_best_epoch_is_kept(
    tune: Callable[..., Trained],
    monkeypatch: pytest.MonkeyPatch,
    scores: list[tuple[float, float | None]],
    kept: int,
    keep_best: bool,
) -> None:
    scripted(monkeypatch, scores)
    behind: list[dict[str, Tensor]] = []
    settings = EVERYTHING.model_copy(update={"epochs": 4, "batch_size": 256, "keep_best": keep_best})
    trained = tune(settings, save=lambda checkpoint: behind.append(copy.deepcopy(checkpoint["module"])))
    kept = kept if keep_best else 4
    assert trained.kept == kept
    assert same(weights(trained.module), behind[kept - 1])
    assert [(epoch.clean, epoch.robust) for epoch in trained.epochs] == scores


def test_without_held_out_images_the_last_epoch_is_kept(
    net: Callable[..., nn.Sequential], train: Part, heldout: Part
) -> None:
    nobody = Part(
        images=heldout.images[:0],
        labels=heldout.labels[:0],
        name="heldout",
        indices=heldout.indices[:0],
        split="train",
    )
    kept = []
    for held in (None, nobody):
        settings = EVERYTHING.model_copy(update={"patience": 1})
        trained = finetune(net(), train, held, settings, stage="t", context=TrainingContext(seed=0), baseline=True)
        assert (trained.kept, len(trained.epochs), trained.epochs[0].clean) == (3, 3, None)
        kept.append(weights(trained.module))
    assert same(*kept)


@pytest.mark.parametrize(
    ("patience", "scores", "expected"),
    [
        (2, [0.5, 0.6, 0.6, 0.5, 0.9], (4, 2)),
        (1, [0.5, 0.4, 0.9], (2, 1)),
        (3, [0.5, 0.4, 0.4, 0.6, 0.5, 0.5], (6, 4)),
        (0, [0.9, 0.1, 0.1, 0.1, 0.1, 0.1], (6, 1)),
    ],
)
def test_patience(
    tune: Callable[..., Trained],
    monkeypatch: pytest.MonkeyPatch,
    patience: int,
    scores: list[float],
    expected: tuple[int, int],
) -> None:
    """`expected` is how many epochs there are, and which is kept."""
    scripted(monkeypatch, [(score, None) for score in scores])
    disk = Disk()
    settings = EVERYTHING.model_copy(update={"epochs": 6, "batch_size": 256, "patience": patience})
    trained = tune(settings, save=disk)
    assert (len(trained.epochs), trained.kept) == expected
    again = tune(settings, resume=disk.read())  # what stopped stays stopped
    assert outcome(again) == outcome(trained)


@pytest.mark.parametrize(("patience", "epochs"), [(0, 6), (1, 5)])
def test_what_is_no_average_yet_is_not_given_back(
    tune: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch, patience: int, epochs: int
) -> None:
    scripted(monkeypatch, [(score, None) for score in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)])
    settings = EVERYTHING.model_copy(
        update={"epochs": 6, "batch_size": 256, "average": "swa", "swa_start": 0.5, "patience": patience}
    )
    trained = tune(settings)
    assert (trained.kept, len(trained.epochs)) == (4, epochs)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ((0.1, 0.5001), (0.9, 0.5)),
        ((0.9, 0.5), (0.1, 0.5)),
        ((0.1, 1 / 2000), (0.9, 0.0)),
        ((0.9, None), (0.8, None)),
    ],
)
def test_robust_accuracy_decides_and_clean_accuracy_between_equals(
    better: tuple[float, float | None], worse: tuple[float, float | None]
) -> None:
    assert score(*better) > score(*worse)


def test_training_that_only_hurts_gives_the_module_back(tune: Callable[..., Trained], twin: Callable[[], Twin]) -> None:
    module = twin()
    before = weights(module)
    settings = ON_THE_TWIN.model_copy(update={"learning_rate": 100.0, "schedule": "constant", "epochs": 2})
    saved = Disk()
    trained = tune(settings, module=module, baseline=True, adversary=PGD2, save=saved)
    assert (trained.kept, len(trained.epochs)) == (0, 2)
    assert same(weights(trained.module), before)
    assert not same(saved.read()["module"], before)
    assert tune(settings, module=twin(), adversary=PGD2).kept == 1


def test_no_epochs_no_change(net: Callable[..., nn.Sequential], tune: Callable[..., Trained]) -> None:
    module = net()
    before = weights(module)
    trained = tune(Training(epochs=0), module=module, baseline=True)
    assert (trained.epochs, trained.kept) == ((), 0)
    assert same(weights(module), before)
    assert trained.to_json() == {"epochs": [], "kept": 0}


def test_fewer_images_than_a_batch(tune: Callable[..., Trained]) -> None:
    with pytest.raises(DataError, match="at least 513 images; got: 512"):
        tune(Training(epochs=1, batch_size=513))
