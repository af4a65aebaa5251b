"""torchvision's classifiers, fitted to gray images, small images and other classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import nn

from hardtemper.bench.data.vision import torchvision
from hardtemper.runtime.errors import ModelError
from hardtemper.toolchain.models.torchvision import build_torchvision, names

NET = "shufflenet_v2_x0_5"  # the smallest of them with batch norms


def reference(name: str = NET, **options: Any) -> Any:
    torch.manual_seed(5)
    return torchvision().models.get_model(name, weights=None, **options)


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    path = tmp_path / "imagenet.pth"
    torch.save(reference().state_dict(), path)
    return path


def images(channels: int = 3, size: int = 32) -> torch.Tensor:
    return torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(0))


def test_names_are_classifiers() -> None:
    assert {"resnet18", "mobilenet_v2", "vgg16", "squeezenet1_1"} <= set(names())
    assert not [name for name in names() if "rcnn" in name or "quantized" in name or "raft" in name]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_1", "mobilenet_v3_small", NET])
@pytest.mark.parametrize("channels", [1, 3])
def test_channels_and_classes(name: str, channels: int) -> None:
    module, origin = build_torchvision(name, channels=channels, classes=7)
    assert module.eval()(images(channels)).shape == (2, 7)
    assert origin == f"torchvision {name}, new weights"


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_are_not_built(name: str) -> None:
    with torch.device("meta"):
        module, _ = build_torchvision(name, channels=3, classes=7)
    assert not [key for key in module.state_dict() if "aux" in key.lower()]


def test_without_options_it_is_torchvisions_own() -> None:
    torch.manual_seed(5)
    module, _ = build_torchvision(NET, channels=3, classes=1000)
    for key, value in reference().state_dict().items():
        assert torch.equal(module.state_dict()[key], value)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_cifar_stem(channels: int) -> None:
    module, origin = build_torchvision("resnet18", channels=channels, classes=10, stem="cifar")
    stem = module.get_submodule("conv1")
    assert isinstance(stem, nn.Conv2d)
    assert (stem.in_channels, stem.out_channels, stem.kernel_size) == (channels, 64, (3, 3))
    assert (stem.stride, stem.padding, stem.bias) == ((1, 1), (1, 1), None)
    features = nn.Sequential(*list(module.eval().children())[:5])
    assert features(images(channels)).shape == (2, 64, 32, 32)
    assert "stem of 3 x 3" in origin


def test_the_cifar_stem_is_for_resnets() -> None:
    with pytest.raises(ModelError, match="the stem 'cifar' does not apply to mobilenet_v2; expected: a ResNet"):
        build_torchvision("mobilenet_v2", channels=3, classes=10, stem="cifar")


def test_pretrained_weights_load_whole(pretrained: Path) -> None:
    module, origin = build_torchvision(NET, channels=3, classes=1000, pretrained=pretrained)
    assert torch.equal(module.eval()(images()), reference().eval()(images()))
    assert origin == f"torchvision {NET}, weights {pretrained}"


def test_another_number_of_classes_keeps_all_but_the_last_layer(pretrained: Path) -> None:
    torch.manual_seed(1)
    module, origin = build_torchvision(NET, channels=3, classes=7, pretrained=str(pretrained))
    assert origin.endswith(", fc anew")
    own, original = module.state_dict(), reference().state_dict()
    assert all(torch.equal(own[key], original[key]) for key in own if not key.startswith("fc."))
    torch.manual_seed(1)
    fresh, _ = build_torchvision(NET, channels=3, classes=7)
    assert torch.equal(own["fc.weight"], fresh.state_dict()["fc.weight"])


def test_gray_images_get_what_the_same_image_in_colour_gets(pretrained: Path) -> None:
    module, origin = build_torchvision(NET, channels=1, classes=1000, pretrained=pretrained)
    assert origin.endswith(", conv1.0 summed to one channel")
    gray = images(1)
    torch.testing.assert_close(module.eval()(gray), reference().eval()(gray.expand(-1, 3, -1, -1)))


def test_pretrained_weights_with_the_cifar_stem(tmp_path: Path) -> None:
    path = tmp_path / "resnet18.pth"
    torch.save(reference("resnet18").state_dict(), path)
    module, origin = build_torchvision("resnet18", channels=3, classes=10, stem="cifar", pretrained=path)
    assert "conv1 anew" in origin
    assert "fc anew" in origin
    assert torch.equal(module.state_dict()["layer1.0.conv1.weight"], reference("resnet18").layer1[0].conv1.weight)


def test_auxiliary_heads_of_pretrained_weights_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = reference("googlenet", aux_logits=True, init_weights=False).state_dict()
    assert any(key.startswith("aux1.") for key in state)
    enum = torchvision().models.get_model_weights("googlenet")
    monkeypatch.setattr(enum, "get_state_dict", lambda self, **options: state)
    module, origin = build_torchvision("googlenet", channels=3, classes=10, pretrained="DEFAULT")
    assert module.transform_input is True
    assert origin == "torchvision googlenet, weights googlenet DEFAULT, fc anew"


def test_weights_that_fit_in_no_way(tmp_path: Path, pretrained: Path) -> None:
    with pytest.raises(ModelError, match="are of another network"):
        build_torchvision("squeezenet1_1", channels=3, classes=7, pretrained=pretrained)
    state = reference().state_dict()
    state["conv5.0.weight"] = state["conv5.0.weight"][:, :5]
    path = tmp_path / "other.pth"
    torch.save(state, path)
    with pytest.raises(ModelError, match=r"have another shape; expected: conv5.0.weight"):
        build_torchvision(NET, channels=3, classes=7, pretrained=path)


def test_unknown_weights() -> None:
    with pytest.raises(ModelError, match="unknown weights 'IMAGENET1K_V3' for resnet50") as caught:
        build_torchvision("resnet50", channels=3, classes=10, pretrained="IMAGENET1K_V3")
    assert "IMAGENET1K_V1, IMAGENET1K_V2" in caught.value.expected
    assert caught.value.fix.startswith("did you mean 'IMAGENET1K_V")


def test_a_download_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, **options: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torchvision().models.get_model_weights(NET), "get_state_dict", fail)
    with pytest.raises(ModelError, match=f"downloading the weights DEFAULT of {NET} failed; got: .*no network"):
        build_torchvision(NET, channels=3, classes=10, pretrained="DEFAULT")
