"""Who teaches: a bundle, an ONNX file, or the dense network after adversarial training."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import hardtemper
from hardtemper.bench.data.dataset import Dataset, Part
from hardtemper.bench.data.load import load_dataset
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.bundle.reader import read_bundle
from hardtemper.runtime.engine import open_onnx
from hardtemper.runtime.errors import BundleError, DataError, InputError, ModelError, RecipeError
from hardtemper.runtime.files.onnx_file import read_onnx
from hardtemper.runtime.progress import ProgressCallback, silent
from hardtemper.toolchain.pipeline.checkpoints import StageCheckpoints, Workspace
from hardtemper.toolchain.pipeline.pipeline import build
from hardtemper.toolchain.pipeline.teacher import load_teacher, train_teacher
from hardtemper.toolchain.recipe.adversary import Adversary
from hardtemper.toolchain.recipe.read import with_overrides
from hardtemper.toolchain.recipe.recipe import Recipe
from hardtemper.toolchain.recipe.training import TeacherTraining
from hardtemper.toolchain.train.finetune import finetune
from hardtemper.toolchain.train.training_context import TrainingContext


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture
def data(npz: Path) -> Dataset:
    return load_dataset(str(npz), heldout=64, calibration=32)


@pytest.mark.parametrize("kind", ["bundle", "file"])
def test_a_given_teacher_is_the_engines_twin(tiny: Any, data: Dataset, kind: str) -> None:
    teacher = load_teacher(tiny.path if kind == "bundle" else tiny.path / "dense.onnx", data).twin
    assert isinstance(teacher, Twin)
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    engine = hardtemper.load(tiny.path) if kind == "bundle" else open_onnx(tiny.path / "dense.onnx")
    x = torch.from_numpy(data.test.images).float() / 255
    x.requires_grad_()
    logits = teacher(x)
    np.testing.assert_allclose(logits.detach().numpy(), engine(data.test.images), rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad(logits.square().sum(), x)  # adaad goes through the teacher
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
def test_a_teacher_that_ends_in_a_softmax_gives_its_logits(
    tiny: Any, data: Dataset, operator: str, tmp_path: Path
) -> None:
    model = onnx.load(tiny.path / "dense.onnx")
    logits = model.graph.output[0].name
    model.graph.node.append(onnx.helper.make_node(operator, [logits], ["p"], axis=1))
    model.graph.output[0].name = "p"
    onnx.save(model, tmp_path / "teacher.onnx")
    images = torch.from_numpy(data.test.images).float() / 255
    with torch.no_grad():
        given = load_teacher(tmp_path / "teacher.onnx", data).twin(images)
        assert torch.equal(given, load_teacher(tiny.path / "dense.onnx", data).twin(images))


def dataset_of(data: Dataset, shape: tuple[int, int, int], classes: int) -> Dataset:
    part = Part(
        images=np.zeros((2, *shape), np.uint8),
        labels=np.zeros(2, np.int64),
        name="other",
        indices=np.arange(2, dtype=np.int64),
        split="train",
    )
    names = tuple(str(index) for index in range(classes))
    return Dataset(
        name="other", classes=names, train=part, heldout=part, calibration=part, test=part, source=data.source
    )


@pytest.mark.parametrize(
    ("shape", "classes", "expected"),
    [
        ((1, 16, 16), 5, "the classes do not fit {}; expected: 4 classes, as the network's logits; got: 5"),
        ((3, 16, 16), 4, "the images do not fit {}; expected: [N, 1, 16, 16]; got: [N, 3, 16, 16]"),
        ((1, 8, 8), 4, "the images do not fit {}; expected: [N, 1, 16, 16]; got: [N, 1, 8, 8]"),
    ],
)
def test_a_teacher_of_something_else(
    tiny: Any, data: Dataset, shape: tuple[int, int, int], classes: int, expected: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        load_teacher(tiny.path, dataset_of(data, shape, classes))
    message = str(caught.value)
    fix = "name a teacher of the same images and classes, in the same order"
    assert message == f"adversary.teacher: other: {expected.format(tiny.path)}; fix: {fix}"
    assert "\n" not in message


@pytest.mark.parametrize(("kind", "error"), [("nothing", ModelError), ("text", ModelError), ("folder", BundleError)])
def test_a_teacher_that_cannot_be_read(tmp_path: Path, data: Dataset, kind: str, error: type[InputError]) -> None:
    path = tmp_path / "teacher.onnx"
    if kind == "text":
        path.write_text("no network")
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(error, match=r"teacher\.onnx") as caught:
        load_teacher(path, data)
    assert "\n" not in str(caught.value)


@pytest.fixture
def dense(data: Dataset) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(196, 4)
    )


RECIPE = Recipe(
    robust=True,
    adversary=Adversary(threat="linf:0.1", attack="fgsm", objective="ard", weight=0.5, temperature=4.0),
    teacher=TeacherTraining(epochs=3, batch_size=64, learning_rate=0.05, keep_best=False),
)


def context(work: Workspace, *, mark: str = "m", progress: ProgressCallback = silent) -> TrainingContext:
    checkpoints = StageCheckpoints(work, {"teacher": mark})
    return TrainingContext(seed=RECIPE.seed, progress=progress, checkpoints=checkpoints)


def test_the_dense_network_becomes_the_teacher(tmp_path: Path, data: Dataset, dense: nn.Module) -> None:
    """By plain adversarial training of a copy."""
    before = weights(dense)
    teacher = train_teacher(RECIPE, dense, data, context(Workspace(tmp_path))).module
    assert same(weights(dense), before)
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    plain = Adversary(threat="linf:0.1", attack="fgsm")
    own = TrainingContext(seed=0)
    finetune(dense, data.train, data.heldout, RECIPE.teacher, stage="teacher", context=own, adversary=plain)
    assert same(weights(teacher), weights(dense))


def test_an_interrupted_teacher_goes_on(tmp_path: Path, data: Dataset, dense: nn.Module) -> None:
    whole = train_teacher(RECIPE, dense, data, context(Workspace(tmp_path / "whole")))
    seen: list[str] = []

    def press(task: str, done: int, total: int, text: str) -> None:
        seen.append(text.split(",", maxsplit=1)[0])
        if text.startswith("epoch 2/3"):
            raise KeyboardInterrupt

    work = Workspace(tmp_path / "work")
    with pytest.raises(KeyboardInterrupt):
        train_teacher(RECIPE, dense, data, context(work, progress=press))
    assert [path.name for path in work.folder.iterdir()] == ["teacher.pt"]
    with pytest.raises(KeyboardInterrupt):
        train_teacher(RECIPE, dense, data, context(work, progress=press))
    assert seen == ["epoch 1/3", "epoch 2/3", "epoch 2/3"]
    resumed = train_teacher(RECIPE, dense, data, context(work))
    assert same(weights(resumed.module), weights(whole.module))
    with pytest.raises(KeyboardInterrupt):
        train_teacher(RECIPE, dense, data, context(work, mark="of other things", progress=press))
    assert seen[3:] == ["epoch 1/3", "epoch 2/3"]


class Stop(Exception):  # noqa: N818 - ends a build where the test has seen enough
    pass


def stages(recipe: Recipe, out: Path, last: str) -> list[str]:
    """The stages that report, until `last` does."""
    seen: list[str] = []

    def watch(task: str, *_: Any) -> None:
        seen.append(task)
        if task == last:
            raise Stop

    with pytest.raises(Stop):
        build(recipe, out=out, progress=watch)
    return list(dict.fromkeys(seen))


@pytest.fixture
def distilling(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        **settings,
        "adversary": {**settings["adversary"], "objective": "rslad"},
        "teacher": {"epochs": 2, "batch_size": 32, "learning_rate": 0.05},
    }


@pytest.mark.usefixtures("lower_once")
def test_a_student_of_the_dense_network(tiny: Any, distilling: dict[str, Any], data: Dataset, tmp_path: Path) -> None:
    """The whole build, from the checkpoint of the same dense network: it fits, since distilling touches it not."""
    shutil.copytree(tiny.path.with_name("tiny.work"), tmp_path / "out.work")
    recipe = with_overrides(distilling, {})
    seen: list[str] = []
    made = build(recipe, out=tmp_path / "out", keep_work=True, progress=lambda task, *_: seen.append(task))
    order = list(dict.fromkeys(seen))
    assert "train" not in order
    assert order.index("teacher") < order.index("fine-tune") < order.index("fine-tune twin")
    assert (tmp_path / "out.work" / "teacher.pt").exists()
    assert made.stages.twin.epochs[0].robust is not None
    engine = hardtemper.load(tmp_path / "out")
    assert (engine.predict(data.test.images) == data.test.labels).mean() > 0.7
    manifest = read_bundle(tmp_path / "out").manifest
    assert with_overrides(dict(manifest.provenance.recipe), {}) == recipe
    assert len(manifest.proofs["training"]["teacher"]["epochs"]) == 2
    shutil.copytree(tmp_path / "out.work", tmp_path / "other.work")
    other = with_overrides(distilling, {"adversary.objective": "adaad", "adversary.weight": 0.9})
    assert "teacher" not in stages(other, tmp_path / "other", "fine-tune")  # the same one teaches another way


def test_a_teacher_with_the_classes_in_another_order(tiny: Any, data: Dataset) -> None:
    turned = dataclasses.replace(data, classes=data.classes[::-1])
    with pytest.raises(RecipeError, match=r"^adversary\.teacher: .* in another order"):
        load_teacher(tiny.path, turned)
    assert isinstance(load_teacher(tiny.path / "dense.onnx", turned).twin, Twin)  # a bare graph names no classes


@pytest.mark.usefixtures("lower_once")
def test_a_student_of_a_bundle(
    tiny: Any, distilling: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny.path.with_name("tiny.work"), tmp_path / "out.work")
    taught: list[Any] = []

    def noting(module: nn.Module, *arguments: Any, teacher: Any = None, **options: Any) -> Any:
        taught.append(teacher)
        return finetune(module, *arguments, teacher=teacher, **options)

    monkeypatch.setattr("hardtemper.toolchain.pipeline.stages.finetune", noting)
    recipe = with_overrides(distilling, {"adversary.teacher": str(tiny.path)})
    assert "teacher" not in stages(recipe, tmp_path / "out", "fine-tune")
    assert isinstance(taught[-1], Twin)
    standard = with_overrides(distilling, {"robust": False})
    assert "teacher" not in stages(standard, tmp_path / "out", "fine-tune")
    assert taught[-1] is None


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"adversary.teacher": "/no/such/bundle"}, ModelError, "/no/such/bundle"),
        ({"teacher.batch_size": 999}, DataError, "teacher.batch_size: too few training images for one batch"),
    ],
)
def test_a_teacher_that_cannot_be_is_found_before_training(
    distilling: dict[str, Any], tmp_path: Path, changes: dict[str, Any], error: type[InputError], message: str
) -> None:
    def unwanted(*_: Any) -> None:
        raise AssertionError("nothing may be trained before")

    with pytest.raises(error) as caught:
        build(with_overrides(distilling, changes), out=tmp_path / "out", progress=unwanted)
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", ["bundle", "file"])
def test_a_teacher_that_is_swapped_after_it_was_read_does_not_teach(
    tiny: Any, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = Path(shutil.copytree(tiny.path, tmp_path / "tiny"))
    graph = folder / ("model.onnx" if kind == "bundle" else "dense.onnx")
    before, given = load_teacher(folder if kind == "bundle" else graph, data), read_onnx(graph)

    def swapping(graph_read: Any, **how: Any) -> Any:
        graph.write_bytes((folder / ("dense.onnx" if kind == "bundle" else "model.onnx")).read_bytes())
        return open_onnx(graph_read, **how)

    monkeypatch.setattr("hardtemper.toolchain.pipeline.teacher.open_onnx", swapping)
    teacher = load_teacher(folder if kind == "bundle" else graph, data)
    assert graph.read_bytes() != given.content
    assert teacher.graph_sha256 == before.graph_sha256 == given.digest
    x = torch.from_numpy(data.test.images).float() / 255
    assert torch.equal(teacher.twin(x), before.twin(x))
