"""Networks that look robust and are not: each withstands plain PGD, and none gets past the verdict and its alarms.

The defenses are those that Athalye et al. 2018 (arXiv:1802.00420) and Carlini et al. 2019 (arXiv:1902.06705) name:
a saturated softmax, an input quantizer without gradient, randomness; and an INT8 network with huge logits. A network
that was trained against FGSM-RS raises no alarm.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from hardtemper.bench.attacks.presets import choose_attacks
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.fgsm import fgsm
from hardtemper.bench.data.dataset import Dataset, Splits, divide
from hardtemper.bench.report.report import SubjectReport
from hardtemper.bench.report.text import report_lines, report_table
from hardtemper.bench.robustness.alarm import Alarm
from hardtemper.bench.robustness.alarm_checks import look_for_alarms
from hardtemper.bench.robustness.case import Case
from hardtemper.bench.robustness.evaluate import evaluate_robustness
from hardtemper.bench.robustness.random_engine import DRAWS
from hardtemper.bench.robustness.verdict import RobustnessResult
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings
from hardtemper.toolchain.studies.defenses import DEFENSES, defended

THREAT = ThreatModel("linf", 0.1)
CLASSES = 5

Pixels = NDArray[np.uint8]


def draw(count: int, seed: int, side: int = 8) -> tuple[Pixels, NDArray[np.int64]]:
    """Coarse patterns, dimmed and noisy, on grey images of `side` x `side`."""
    patterns = np.random.default_rng(7).normal(size=(CLASSES, 1, 4, 4)).repeat(side // 4, 2).repeat(side // 4, 3)
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    noise = rng.normal(0, 20, (count, 1, side, side))
    images = 127 + 32 * patterns[labels] * rng.uniform(0.5, 1, (count, 1, 1, 1)) + noise
    return images.round().clip(0, 255).astype(np.uint8), labels.astype(np.int64)


def train(*, robust: bool, side: int = 8) -> nn.Module:
    torch.manual_seed(0)
    pixels, labels = draw(3000, seed=0, side=side)
    x, y = torch.from_numpy(pixels).float() / 255, torch.from_numpy(labels)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * side**2, CLASSES),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4 if robust else 2):
        for batch in torch.randperm(len(x)).split(64):
            images = x[batch]
            if robust:
                images = fgsm(model, images, y[batch], threat=THREAT, random_start=True, generator=generator)
            optimizer.zero_grad()
            F.cross_entropy(model(images), y[batch]).backward()
            optimizer.step()
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    return train(robust=False)


@pytest.fixture(scope="module")
def hardened() -> nn.Module:
    return train(robust=True)


@pytest.fixture(scope="module")
def images() -> tuple[Pixels, NDArray[np.int64]]:
    return draw(60, seed=1)


def judge(
    model: Callable[[Tensor], Tensor], images: tuple[Pixels, NDArray[np.int64]], attacks: str = "default"
) -> tuple[RobustnessResult, dict[str, Alarm]]:
    def engine(pixels: Pixels) -> NDArray[np.float32]:
        with torch.no_grad():
            return model(torch.from_numpy(pixels).float() / 255).numpy()

    plans = choose_attacks(attacks, THREAT, classes=CLASSES).plans
    case = Case(engine=engine, twin=model, images=images[0], labels=images[1], threat=THREAT)
    result = evaluate_robustness(case, plans)
    return result, {alarm.name: alarm for alarm in look_for_alarms(case, result).alarms}


def raised(alarms: dict[str, Alarm]) -> set[str]:
    return {name for name, alarm in alarms.items() if alarm.raised}


def looks_robust(result: RobustnessResult) -> bool:
    """Whether PGD-20 alone would say so."""
    pgd = {outcome.plan.name: outcome for outcome in result.attacks}["pgd-20"]
    return pgd.robust > 0.9 * result.clean > 0.8 * result.n


def saturated(model: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: 1e5 * model(x)


def quantized_input(model: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: model((x * 15).round() / 15)


def noisy(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Random rounding: the noise hides the levels, the levels hide the gradient."""
    return lambda x: model((x * 15 + torch.rand_like(x)).floor() / 15)


def test_the_network_itself_is_not_robust(plain: nn.Module, images: Any) -> None:
    result, alarms = judge(plain, images)
    assert result.clean > 54
    assert result.robust.sum() < 3
    assert raised(alarms) == set(), "broken honestly"


def test_a_sound_network_raises_no_alarm(hardened: nn.Module, images: Any) -> None:
    result, alarms = judge(hardened, images)
    assert 15 < result.robust.sum() < result.clean
    assert raised(alarms) == set()
    assert set(alarms) == {
        "without gradients",
        "flat loss",
        "zero gradient",
        "large epsilon",
        "more steps",
        "random",
        "twin differs",
    }


def test_a_saturated_softmax(plain: nn.Module, images: Any) -> None:
    result, alarms = judge(saturated(plain), images)
    assert looks_robust(result)
    assert result.robust.sum() < 3, "the difference of logits ratio does not see the scale"
    assert "zero gradient" in raised(alarms)
    _, alarms = judge(saturated(plain), images, "paper")
    assert raised(alarms) >= {"zero gradient", "flat loss", "large epsilon"}


def test_an_input_quantizer_without_gradient(plain: nn.Module, images: Any) -> None:
    result, alarms = judge(quantized_input(plain), images)
    assert looks_robust(result)
    assert result.robust.sum() < 0.5 * result.clean, "queries break what gradients do not"
    assert raised(alarms) >= {"zero gradient", "flat loss", "large epsilon", "without gradients"}


def test_noise(plain: nn.Module, images: Any) -> None:
    torch.manual_seed(3)
    result, alarms = judge(noisy(plain), images)
    assert looks_robust(result)
    assert "random" in raised(alarms)


# ------------------------------------------------------------------------------------------------- the same as files


def graph(model: nn.Module, *, first: list[Any] = [], last: list[Any] = []) -> onnx.ModelProto:  # noqa: B006
    """The network as float ONNX; `first` makes "x" of "image", `last` makes "logits" of "scores"."""
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    nodes = [
        *(first or [helper.make_node("Identity", ["image"], ["x"])]),
        helper.make_node("Conv", ["x", "0.weight", "0.bias"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "2.weight", "2.bias"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "5.weight", "5.bias"], ["scores" if last else "logits"], transB=1),
        *last,
    ]
    made = helper.make_graph(
        nodes,
        "defended",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in state.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


HUGE = np.float32(1e5)


@pytest.fixture
def dataset(images: Any) -> Dataset:
    return as_dataset(images)


def as_dataset(images: Any) -> Dataset:
    splits = Splits(
        name="patterns",
        classes=tuple(str(k) for k in range(CLASSES)),
        train_images=images[0][:CLASSES],
        train_labels=np.arange(CLASSES),
        test_images=images[0],
        test_labels=images[1],
        source="drawn",
    )
    return divide(splits, heldout=0, calibration=0, seed=0)


def bench(path: Path, dataset: Dataset) -> tuple[SubjectReport, str]:
    settings = BenchSettings(batches=(1,), warmup=0, repeats=1, min_seconds=0, threat=THREAT)
    report = run_bench(path, dataset, settings)
    (subject,) = report.subjects
    cells = {str(cell) for column in report_table(report).columns for cell in column.cells}
    return subject, "\n".join([*report_lines(report), *cells])


def test_an_int8_network_with_huge_logits(
    plain: nn.Module,
    dataset: Dataset,
    tmp_path: Path,
    quantize_static: Callable[..., None],
    value: Callable[..., float],
) -> None:
    """Quantized by ONNX Runtime; the scale is applied to what comes out."""
    onnx.save(graph(plain), tmp_path / "float.onnx")
    quantize_static(tmp_path / "float.onnx", tmp_path / "int8.onnx", dataset.test.images, per_channel=False)
    model = onnx.load(tmp_path / "int8.onnx")
    for node in model.graph.node:
        node.output[:] = ["scores" if name == "logits" else name for name in node.output]
    model.graph.node.append(helper.make_node("Mul", ["scores", "huge"], ["logits"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(HUGE), "huge"))
    onnx.save(model, tmp_path / "int8.onnx")
    subject, said = bench(tmp_path / "int8.onnx", dataset)
    clean = value(subject, "clean-accuracy")
    assert value(subject, "robust-accuracy", attack="pgd-20") > 0.9 * clean > 80
    assert value(subject, "robust-accuracy", attack="union") < 10
    assert "model: ALARM, zero gradient: " in said
    assert re.search(r"% \[.*\] ALARM: .*zero gradient", said), "beside the figure"


def test_noise_in_a_file_is_judged_by_votes_and_raises_the_alarm(
    plain: nn.Module, dataset: Dataset, tmp_path: Path, value: Callable[..., float]
) -> None:
    noise = helper.make_node("RandomNormalLike", ["image"], ["noise"], scale=0.05)
    onnx.save(graph(plain, first=[noise, helper.make_node("Add", ["image", "noise"], ["x"])]), tmp_path / "noise.onnx")
    subject, said = bench(tmp_path / "noise.onnx", dataset)
    assert subject.find("alarm", alarm="random", raised=True) is not None
    union = subject.find("robust-accuracy", attack="union")
    assert union is not None
    assert union.settings["draws"] == DRAWS
    assert union.value < 10
    assert value(subject, "clean-accuracy") > 80
    assert "random" in str(union.settings["alarms"])
    assert "twin differs" not in str(union.settings["alarms"])
    assert "model: ALARM, random: " in said
    assert re.search(r"% \[.*\] ALARM: .*random", said), "beside the figure"


# --------------------------------------------------------------------------------------- the zoo of the study, in small

FEW, SIDE = 16, 20


@pytest.fixture(scope="module")
def larger() -> nn.Module:
    return train(robust=False, side=SIDE)


@pytest.fixture(scope="module")
def undefended(larger: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> float:
    return zoo_union(larger, "none", tmp_path_factory.mktemp("zoo"))


def zoo_union(model: nn.Module, name: str, folder: Path) -> float:
    """What is left of one of the zoo, in per cent."""
    assert isinstance(model, nn.Sequential)
    onnx.save(defended(model, (1, SIDE, SIDE), DEFENSES[name]), folder / "defended.onnx")
    images = draw(60, seed=1, side=SIDE)
    few = {"batches": (1,), "warmup": 0, "repeats": 1, "min_seconds": 0, "threads": 1}
    settings = BenchSettings(threat=THREAT, preset="apgd-ce", images=FEW, clean_images=FEW, **few)  # type: ignore[arg-type]
    (subject,) = run_bench(folder / "defended.onnx", as_dataset(images), settings).subjects
    assert subject.robustness is not None
    assert subject.robustness.clean > 0.8 * FEW
    return float(100 * subject.robustness.robust.mean())


# four levels are worth something: the study has them on real pictures
@pytest.mark.parametrize("name", [name for name in DEFENSES if name not in ("none", "floor, four levels")])
def test_a_defense_of_the_zoo_leaves_what_the_network_without_it_has(
    name: str, larger: nn.Module, undefended: float, tmp_path: Path
) -> None:
    """By gradients alone: no query helps the attack and what follows an alarm."""
    assert zoo_union(larger, name, tmp_path) <= undefended + 100 / FEW
