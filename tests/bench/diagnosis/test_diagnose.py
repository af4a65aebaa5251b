"""Low clean accuracies: the reason is found and named, and nothing is made of what is no sign."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.data.dataset import Dataset, Splits, divide
from hardtemper.bench.diagnosis.diagnose import Diagnosis, diagnose
from hardtemper.bench.robustness.case import Case
from hardtemper.bench.robustness.clean_accuracy import measure_clean_accuracy
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings
from hardtemper.runtime.engine import open_onnx

K, SHAPE = 5, (3, 8, 8)
SIZE = int(np.prod(SHAPE))
Pixels = NDArray[np.uint8]


def pictures(n: int, seed: int) -> Pixels:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, 3, 2, 2)).repeat(4, 2).repeat(4, 3)
    noisy = coarse + rng.normal(0, 10, (n, *SHAPE))
    return noisy.round().clip(0, 255).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class Net:
    """tanh(W x + b) twice on x = what it was trained on; not linear, so a wrong range gives other classes."""

    first: NDArray[np.float32]
    bias: NDArray[np.float32]
    last: NDArray[np.float32]

    def __call__(self, x: NDArray[Any]) -> NDArray[np.float32]:
        hidden = np.tanh(x.reshape(len(x), -1) @ self.first + self.bias)
        return np.asarray(hidden @ self.last, np.float32)

    def onnx(self, *, dtype: int = TensorProto.FLOAT, batch: int | str = "N", scale: float = 1.0) -> bytes:
        nodes = [
            helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["float", "scale"], ["x"]),
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("Gemm", ["flat", "first", "bias"], ["a"]),
            helper.make_node("Tanh", ["a"], ["b"]),
            helper.make_node("MatMul", ["b", "last"], ["logits"]),
        ]
        constants = {"first": self.first, "bias": self.bias, "last": self.last, "scale": np.float32(scale)}
        made = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("image", dtype, [batch, *SHAPE])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, K])],
            [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()],
        )
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return bytes(model.SerializeToString())


def fitted(x: NDArray[Any]) -> Net:
    """Random, with hidden units that are centred and of unit size on x, and classes that occur alike."""
    rng = np.random.default_rng(4)
    flat = x.reshape(len(x), -1)
    first = rng.normal(size=(SIZE, 32))
    out = flat @ first
    first = first / out.std(0)
    bias = -(flat @ first).mean(0)
    last = rng.normal(size=(32, K))
    return Net(first=first.astype(np.float32), bias=bias.astype(np.float32), last=last.astype(np.float32))


def dataset(
    labels: Callable[[Pixels], NDArray[np.int64]], names: tuple[str, ...] = ("0", "1", "2", "3", "4")
) -> Dataset:
    train, test = pictures(300, 1), pictures(80, 2)
    splits = Splits(
        name="pictures",
        classes=names,
        train_images=train,
        train_labels=labels(train),
        test_images=test,
        test_labels=labels(test),
        source="drawn",
    )
    return divide(splits, heldout=0, calibration=0, seed=0)


def ask(path: Path, data: Dataset) -> Diagnosis:
    engine = open_onnx(path)
    case = Case(
        engine=engine,
        twin=None,
        images=data.test.images,
        labels=data.test.labels,
        threat=ThreatModel("linf", 0.1),
    )
    return diagnose(measure_clean_accuracy(case), engine, data, seed=0)


def affine(mean: Any, std: Any) -> Callable[[Pixels], NDArray[Any]]:
    return lambda pixels: (pixels / 255 - np.reshape(mean, (1, -1, 1, 1))) / np.reshape(std, (1, -1, 1, 1))


FORMS: dict[str, tuple[Callable[[Pixels], NDArray[Any]], str]] = {
    "ImageNet": (affine([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), "normalization"),
    "CIFAR-100": (affine([0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762]), "normalization"),
    "-1 to 1": (affine([0.5], [0.5]), "values from -1 to 1|normalization"),
    "0 to 255": (affine([0.0], [1 / 255]), "pixels from 0 to 255"),
    "-128 to 127": (affine([128 / 255], [1 / 255]), "pixels from -128 to 127"),
    "Caffe": (
        lambda pixels: affine([103.939 / 255, 116.779 / 255, 123.68 / 255], [1 / 255])(pixels[:, ::-1]),
        "Caffe's pixels less their means|BGR",
    ),
    "BGR": (lambda pixels: pixels[:, ::-1] / 255, "BGR instead of RGB"),
    "exchanged": (lambda pixels: pixels.swapaxes(2, 3) / 255, "height and width exchanged"),
    "inverted": (lambda pixels: 1 - pixels / 255, "inverted pixels"),
    "BGR and ImageNet": (
        lambda pixels: affine([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])(pixels[:, ::-1]),
        "BGR instead of RGB",
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_the_form_that_the_network_expects_is_named(name: str, model_file: Callable[[bytes], Path]) -> None:
    form, words = FORMS[name]
    net = fitted(form(pictures(300, 1)))
    found = ask(model_file(net.onnx()), dataset(lambda images: net(form(images)).argmax(1)))
    assert found.alarm.raised
    (line,) = found.notes
    assert re.search(f"with [^.]*({words})", line), line
    share = re.search(r"it would be ([\d.]+) % of 300 training images", line)
    assert share is not None
    assert float(share[1]) > 80
    assert "What to do: put " in line
    assert len(line.splitlines()) == 1


def test_a_graph_of_pixels_is_asked_about_moved_pixels_only(model_file: Callable[[bytes], Path]) -> None:
    form, _ = FORMS["BGR"]
    net = fitted(form(pictures(300, 1)))
    data = dataset(lambda images: net(form(images)).argmax(1))
    found = ask(model_file(net.onnx(dtype=TensorProto.UINT8, scale=1 / 255)), data)
    assert "with BGR instead of RGB it would be " in found.notes[0]
    net = fitted(FORMS["ImageNet"][0](pictures(300, 1)))
    labels = np.random.default_rng(0).integers(0, K, 5000)
    data = dataset(lambda images: labels[: len(images)])
    found = ask(model_file(net.onnx(dtype=TensorProto.UINT8)), data)
    assert (
        "tried on 300 training images: BGR instead of RGB, height and width exchanged, inverted pixels"
        in found.notes[0]
    )


@pytest.mark.parametrize("batch", [1, 7])
def test_a_graph_of_a_fixed_batch(batch: int, model_file: Callable[[bytes], Path]) -> None:
    form, _ = FORMS["0 to 255"]
    net = fitted(form(pictures(300, 1)))
    found = ask(model_file(net.onnx(batch=batch)), dataset(lambda images: net(form(images)).argmax(1)))
    assert "with pixels from 0 to 255 it would be 100.0 %" in found.notes[0]


NAMES = ("1", "10", "11", "2", "3")


def plain(images: Pixels) -> NDArray[Any]:
    return images / 255


@pytest.mark.parametrize(
    ("label_of", "words"),
    [
        ([0, 3, 4, 1, 2], "sorted by number"),
        ([4, 3, 2, 1, 0], "reversed"),
        ([1, 0, 2, 3, 4], "class 0 is 10, 1 is 1"),
    ],
)
def test_classes_in_another_order(label_of: list[int], words: str, model_file: Callable[[bytes], Path]) -> None:
    """In the last one most of the classes are where they should be."""
    net = fitted(plain(pictures(300, 1)))
    found = ask(model_file(net.onnx()), dataset(lambda images: np.array(label_of)[net(plain(images)).argmax(1)], NAMES))
    assert found.alarm.raised
    (line,) = found.notes
    assert "with the classes in another order it would be 100.0 % of " in line
    assert words in line
    assert "bring the data's classes into the network's order" in line


def test_normalization_and_order_at_once(model_file: Callable[[bytes], Path]) -> None:
    form, _ = FORMS["ImageNet"]
    net = fitted(form(pictures(300, 1)))
    found = ask(model_file(net.onnx()), dataset(lambda images: 4 - net(form(images)).argmax(1)))
    assert re.search("with .*normalization.* and the classes in another order it would be", found.notes[0])


def test_where_nothing_helps_it_says_what_was_tried(model_file: Callable[[bytes], Path]) -> None:
    net = fitted(plain(pictures(300, 1)))
    guessed = np.random.default_rng(3).integers(0, K, 300)
    found = ask(model_file(net.onnx()), dataset(lambda images: guessed[: len(images)]))
    assert found.alarm.raised
    (line,) = found.notes
    assert "is near chance (20 %)" in line
    for word in (
        "ImageNet's normalization",
        "pixels from 0 to 255",
        "BGR",
        "another order of the classes",
        "none gives",
    ):
        assert word in line


def test_a_network_that_says_one_class_to_everything(model_file: Callable[[bytes], Path]) -> None:
    net = fitted(plain(pictures(300, 1)))
    dead = Net(first=net.first * 0, bias=net.bias * 0, last=net.last)
    rare = np.where(np.random.default_rng(0).random(300) < 0.15, 1, 0)
    found = ask(model_file(dead.onnx()), dataset(lambda images: rare[: len(images)]))
    assert found.alarm.raised, "85 % are right, and none of the others"
    assert re.match(r"clean accuracy 8\d\.\d %, and every image is taken for class 0; tried on ", found.notes[0])


def test_test_labels_of_another_kind(model_file: Callable[[bytes], Path]) -> None:
    net = fitted(plain(pictures(300, 1)))
    guessed = np.random.default_rng(3).integers(0, K, 80)
    data = dataset(lambda images: net(plain(images)).argmax(1) if len(images) == 300 else guessed)
    found = ask(model_file(net.onnx()), data)
    assert "100.0 % of 300 training images are right: test and training data are unlike" in found.notes[0]


@pytest.mark.parametrize("n", [1, 2, 80])
def test_a_network_that_fits_says_nothing(n: int, model_file: Callable[[bytes], Path]) -> None:
    net = fitted(plain(pictures(300, 1)))
    data = dataset(lambda images: net(plain(images)).argmax(1))
    found = ask(model_file(net.onnx()), replace(data, test=data.test.head(n)))
    assert (found.notes, found.alarm.raised) == ((), False)


def test_one_wrong_image_is_no_chance(model_file: Callable[[bytes], Path]) -> None:
    net = fitted(plain(pictures(300, 1)))
    data = dataset(
        lambda images: net(plain(images)).argmax(1) if len(images) == 300 else 4 - net(plain(images)).argmax(1)
    )
    found = ask(model_file(net.onnx()), replace(data, test=data.test.head(1)))
    assert (found.notes, found.alarm.raised) == ((), False)


def test_one_class_alone_says_nothing(model_file: Callable[[bytes], Path]) -> None:
    net = fitted(plain(pictures(300, 1)))
    found = ask(model_file(net.onnx()), dataset(lambda images: np.full(len(images), 3)))
    assert (found.notes, found.alarm.raised) == ((), False)


def test_an_honest_network_of_60_per_cent_says_nothing(model_file: Callable[[bytes], Path]) -> None:
    net = fitted(plain(pictures(300, 1)))
    rng = np.random.default_rng(0)

    def noisy(images: Pixels) -> NDArray[np.int64]:
        labels = net(plain(images)).argmax(1)
        return np.where(rng.random(len(labels)) < 0.5, rng.integers(0, K, len(labels)), labels)

    found = ask(model_file(net.onnx()), dataset(noisy))
    assert (found.notes, found.alarm.raised) == ((), False)


def test_the_figures_of_such_a_run_are_marked(model_file: Callable[[bytes], Path]) -> None:
    form, _ = FORMS["ImageNet"]
    net = fitted(form(pictures(300, 1)))
    data = dataset(lambda images: net(form(images)).argmax(1))
    fast = BenchSettings(batches=(1,), warmup=0, repeats=1, min_seconds=0, preset="pgd-20", images=20)
    report = run_bench(model_file(net.onnx()), data, fast)
    (subject,) = report.subjects
    assert any("normalization" in note for note in subject.notes)
    for name in ("clean-accuracy", "robust-accuracy"):
        found = [m for m in subject.measurements if m.name == name][-1]
        assert "data mismatch" in str(found.settings["alarms"])
    assert "model: alarm data mismatch" in report.doubts


def test_the_snippet_of_the_documents_mends_it(
    model_file: Callable[[bytes], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form, _ = FORMS["ImageNet"]
    net = fitted(form(pictures(300, 1)))
    data = dataset(lambda images: net(form(images)).argmax(1))
    assert ask(model_file(net.onnx()), data).alarm.raised
    page = Path(__file__).parents[3] / "docs" / "troubleshooting.md"
    (snippet,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(snippet, {})
    mended = open_onnx(tmp_path / "normalized.onnx")
    assert (mended.predict(data.test.images) == data.test.labels).all()
    assert not ask(tmp_path / "normalized.onnx", data).alarm.raised
