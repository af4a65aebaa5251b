"""Every way to a network, and a clean error for every way that fails."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hardtemper.bench.data import physical_memory
from hardtemper.runtime.errors import InputError, ModelError
from hardtemper.toolchain.models.cnn8 import CNN8
from hardtemper.toolchain.models.normalize import Preprocess
from hardtemper.toolchain.models.source import load_source
from hardtemper.toolchain.recipe.inputs import Model

GRAY, COLOUR = (1, 28, 28), (3, 32, 32)
TEN = tuple("0123456789")

MODULE = """
import torch
from torch import nn
import {torchvision}

def tiny():
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10))

class Two(nn.Module):
    def forward(self, x):
        return {{"logits": x.flatten(1)[:, :10]}}

class NotFinite(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :10] / 0

class Classes(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :10].long()

class Pairs(nn.Module):
    def forward(self, x):
        return x.reshape(2, -1)[:, :10]

class Scaled(nn.Module):
    def forward(self, x):
        return x.flatten(1) @ torch.ones(784, 10).double()

class Softmax(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = tiny()
    def forward(self, x):
        return self.body(x).softmax(1)

class Map(nn.Module):
    def forward(self, x):
        return x.mean((2, 3), keepdim=True).repeat(1, 10, 1, 1)

class OneLogit(nn.Module):
    def forward(self, x):
        return x.mean((1, 2, 3), keepdim=True).flatten(1)

def of_the_batch(): return nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), tiny())
def double(): return tiny().double()
def half(): return nn.Sequential(nn.BatchNorm2d(1), tiny()).half()
def number(): return 3
def failing(): raise ValueError("no")
""".format(torchvision="torchvision")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "users_own_model.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    sys.modules.pop("users_own_model", None)


def load(model: str, *, input_shape: Any = GRAY, classes: Any = TEN, seed: int = 0, **settings: Any) -> Any:
    return load_source(Model(name=model, **settings), input_shape=input_shape, classes=classes, seed=seed)


def test_cnn8() -> None:
    source = load("cnn8", width=4, hidden=16)
    assert isinstance(source.module, CNN8)
    assert not source.module.training
    assert (source.input_shape, source.classes, source.name) == (GRAY, TEN, "cnn8")
    assert source.origin == "cnn8 of width 4, hidden 16"
    assert source.module.features[0].out_channels == 4
    assert load("cnn8").origin == "cnn8 of width 48, hidden 128"


def test_this_packages_networks_have_sizes() -> None:
    assert load("vit", width=1, depth=2).origin == "vit of width 1, depth 2"
    assert load("wide_resnet50", width=1).origin == "wide_resnet50 of width 1"
    with pytest.raises(ModelError, match="vit takes no hidden; expected: width, depth, checkpoint"):
        load("vit", hidden=8)
    with pytest.raises(ModelError, match="cnn8 takes no depth"):
        load("cnn8", depth=2)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("cnn8", {"width": 2, "input_shape": COLOUR}),
        ("resnet18", {"stem": "cifar"}),
        ("resnet18", {"input_shape": COLOUR}),
        ("mobilenet_v2", {"input_shape": COLOUR, "classes": ("cat", "dog")}),
        ("squeezenet1_1", {"input_shape": (3, 40, 60)}),
        ("users_own_model:tiny", {}),
    ],
)
@pytest.mark.parametrize("normalize", ["none", "imagenet", ([0.5], [0.25])])
def test_models_run(model: str, options: dict[str, Any], normalize: Any) -> None:
    source = load(model, normalize=normalize, **options)
    images = torch.rand(3, *source.input_shape)
    assert source.module(images).shape == (3, len(source.classes))
    if normalize == "none":
        assert not isinstance(source.module, nn.Sequential) or "preprocess" not in dict(source.module.named_children())
    else:
        assert [name for name, _ in source.module.named_children()] == ["preprocess", "model"]
        assert isinstance(source.module.preprocess, Preprocess)
        network = source.module.model
        torch.testing.assert_close(source.module(images), network(source.module.preprocess(images)))


def test_the_seed_decides_the_weights() -> None:
    first, second = (load("cnn8", width=2).module.state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_new_weights_come_from_the_seed_and_leave_torchs_generator_alone() -> None:
    def weights(**options: Any) -> torch.Tensor:
        found: torch.Tensor = load("cnn8", width=2, **options).module.features[0].weight
        return found

    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = weights()
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(weights(seed=0), first)
    assert not torch.equal(weights(seed=1), first)
    torch.manual_seed(5)
    by_hand = CNN8(2, hidden=128, channels=1, classes=10, image_size=28)
    assert torch.equal(weights(seed=5), by_hand.features[0].weight)


def test_a_network_that_does_not_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(physical_memory, "physical_bytes", lambda: 2**20)
    with pytest.raises(ModelError, match=r"cnn8 of width 64, hidden 128, takes more memory .*; fix: give a smaller"):
        load("cnn8", width=64, hidden=128)
    load("cnn8", width=2, hidden=8)


def test_checkpoints(folder: Path) -> None:
    trained = load("cnn8", width=2, normalize="imagenet").module
    for name, state in {"plain": trained.model.state_dict(), "whole": trained.state_dict()}.items():
        path = folder / f"{name}.pth"
        torch.save(state, path)
        for normalize in ("imagenet", "none"):
            source = load("cnn8", width=2, checkpoint=path, normalize=normalize)
            network = source.module.model if normalize == "imagenet" else source.module
            assert torch.equal(network.classifier[3].weight, trained.model.classifier[3].weight)
            words = "; keys behind 'model.'" if name == "whole" else ""
            assert source.origin == f"cnn8 of width 2, hidden 128, checkpoint {path}{words}"


def test_a_factory_with_a_checkpoint(folder: Path) -> None:
    path = folder / "tiny.pth"
    state = {"1.weight": torch.zeros(10, 784), "1.bias": torch.arange(10.0)}
    torch.save(state, path)
    source = load("users_own_model:tiny", checkpoint=path)
    assert torch.equal(source.module(torch.rand(1, *GRAY))[0], torch.arange(10.0))
    assert source.origin == f"factory users_own_model:tiny, checkpoint {path}"


@pytest.mark.parametrize("normalize", ["none", "imagenet"])
def test_a_softmax_is_taken_off(normalize: Any) -> None:
    source = load("users_own_model:Softmax", normalize=normalize)
    assert source.dropped == ("softmax",)
    assert not torch.allclose(source.module(torch.rand(2, *GRAY)).sum(1), torch.ones(2))
    assert load("users_own_model:tiny").dropped == ()


def test_an_exported_program(folder: Path) -> None:
    torch.manual_seed(0)
    model = CNN8(2).eval()
    for name, count in (("any", 2), ("one", 1), ("two", 2), ("four", 4)):
        shapes = ({0: torch.export.Dim("batch", min=1)},) if name == "any" else None
        program = torch.export.export(model, (torch.zeros(count, *GRAY),), dynamic_shapes=shapes)
        torch.export.save(program, folder / f"{name}.pt2")
    double = torch.export.export(copy.deepcopy(model).double(), (torch.zeros(1, *GRAY).double(),))
    torch.export.save(double, folder / "double.pt2")
    source = load("any.pt2", normalize="imagenet")
    images = torch.rand(3, *GRAY)
    torch.testing.assert_close(source.module(images), model((images - 0.449) / 0.226))
    with pytest.raises(
        ModelError, match=r"does not run on images of this shape; .*; fix: export any.pt2 again for this image size"
    ):
        load("any.pt2", input_shape=(1, 32, 32))
    for name in ("one", "two", "four"):
        with pytest.raises(
            ModelError, match=rf"fix: export {name}\.pt2 again .* batch dimension .* \(dynamic_shapes\)"
        ):
            load(f"{name}.pt2")
    with pytest.raises(ModelError, match=r"fix: export double\.pt2 again from model\.float\(\)"):
        load("double.pt2")


BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "near a torchvision name": ("resnet81", {}, "unknown model 'resnet81'; .*; fix: did you mean 'resnet18'?"),
    "capitals": ("ResNet18", {}, "fix: did you mean 'resnet18'?"),
    "near ours": ("cnn-8", {}, "fix: did you mean 'cnn8'?"),
    "near nothing": (
        "xyzzy",
        {},
        "unknown model 'xyzzy'; expected: cnn8, lenet, vgg16-small, vit, wide_resnet50, a torchvision classifier, a",
    ),
    "a file": ("users_own_model.py:tiny", {}, "users_own_model.py is a file; .*; fix: write 'users_own_model:tiny'"),
    "a path": ("./mine:net", {}, "unknown model './mine:net'; .*; fix: write 'mine:net'"),
    "a file by path": ("/a/mine.py:net", {}, "unknown model '/a/mine.py:net'; .*; fix: write 'mine:net' and run in /a"),
    "a checkpoint": ("weights.safetensors", {}, "is a checkpoint: weights without a network"),
    "absent .pt2": ("absent.pt2", {}, "absent.pt2 does not exist"),
    "width of another": ("resnet18", {"width": 8}, "resnet18 takes no width; expected: stem, pretrained, checkpoint"),
    "stem of cnn8": ("cnn8", {"stem": "cifar"}, "cnn8 takes no stem; expected: width, hidden, checkpoint"),
    "two options": ("users_own_model:tiny", {"width": 1, "stem": "cifar"}, "takes no width and no stem"),
    "a checkpoint for .pt2": ("x.pt2", {"checkpoint": Path("x")}, "x.pt2 takes no checkpoint"),
    "absent checkpoint": ("cnn8", {"checkpoint": Path("absent.pth")}, "absent.pth does not exist"),
    "oblong cnn8": ("cnn8", {"input_shape": (1, 28, 32)}, "cnn8 takes square images"),
    "two channels": ("cnn8", {"input_shape": (2, 28, 28)}, "not the shape of an image"),
    "two sides": ("cnn8", {"input_shape": (28, 28)}, "not the shape of an image"),
    "normalization": (
        "cnn8",
        {"normalize": ((0.5,), (0.0,))},
        "a mean and a std of 1 or 1 finite values each, std above 0",
    ),
    "images too small": ("vgg11", {"input_shape": (3, 16, 16)}, r"vgg11 does not run .*; expected: .*\[2, 3, 16, 16\]"),
    "another input": ("users_own_model:tiny", {"input_shape": COLOUR}, "tiny does not run on images of this shape"),
    "another output": ("users_own_model:tiny", {"classes": ("a", "b")}, r"float logits \[2, 2\].*got: .*\[2, 10\]"),
    "a dictionary": ("users_own_model:Two", {}, "does not give one logit a class; .*; got: dict"),
    "maps of one pixel": ("users_own_model:Map", {}, r"got: .*\[2, 10, 1, 1\]; fix: return torch.flatten\(logits, 1\)"),
    "one logit": (
        "users_own_model:OneLogit",
        {"classes": ("a", "b")},
        r"\[2, 1\]; fix: one logit .*torch.cat\(\[-z, z",
    ),
    "batch norm of the batch": (
        "users_own_model:of_the_batch",
        {},
        "batch norm '0' takes its statistics from the batch",
    ),
    "whole numbers": ("users_own_model:Classes", {}, r"got: torch.int64 \[2, 10\]"),
    "not finite": ("users_own_model:NotFinite", {}, "gives logits that are not finite"),
    "float64": ("users_own_model:double", {}, r"does not run .*; fix: give the network in float32: network\.float\(\)"),
    "float16": ("users_own_model:half", {}, r"fix: give the network in float32: network\.float\(\)"),
    "float64 inside": ("users_own_model:Scaled", {}, r"fix: give the network in float32: network\.float\(\)"),
    "batches of two": ("users_own_model:Pairs", {}, r"logit a class; expected: float logits \[3, 10\] .*: .*\[2, 10\]"),
    "no network": ("users_own_model:number", {}, "did not return a network; expected: a torch.nn.Module; got: int"),
    "failing": ("users_own_model:failing", {}, "users_own_model:failing failed; got: ValueError: no"),
    "no module": ("absent_module:f", {}, "no module named 'absent_module'"),
    "no factory": ("users_own_model:absent", {}, "users_own_model has no 'absent'"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_failures_are_told(case: tuple[str, dict[str, Any], str]) -> None:
    model, options, message = case
    with pytest.raises(ModelError, match=message) as caught:
        load(model, **options)
    assert isinstance(caught.value, InputError)
