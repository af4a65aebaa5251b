"""Where a network comes from: this package's own, torchvision's, the user's code, or a `.pt2` file.

`load_source` gives one module that takes pixels / 255 and gives logits, with normalization inside. It runs the module
once: a wrong input shape, number of classes or fixed batch is found before training.
"""

from __future__ import annotations

import difflib
import functools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from ...bench.data.factory import as_reference, call_factory, is_reference
from ...bench.data.physical_memory import check_memory
from ...runtime.errors import ModelError
from ..recipe.inputs import Model
from .checkpoint import load_weights, read_checkpoint
from .cnn8 import CNN8
from .exported_program import load_exported
from .first_run import check_running
from .lenet import LeNet
from .logits import return_logits
from .normalize import preprocess
from .torchvision import build_torchvision, names
from .vgg16_small import VGG16Small
from .vision_transformer import vision_transformer
from .wide_resnet50 import WideResNet50

__all__ = ["Source", "load_source"]


class _Own(NamedTuple):
    """A network of this package: what makes it, the sizes that it has by default, whether it is made for one image size
    (the last pooling of others takes maps of any size)."""

    make: Callable[..., nn.Module]
    sizes: dict[str, int]
    for_one_size: bool = True


_OWN = {
    "cnn8": _Own(CNN8, {"width": 48, "hidden": 128}),
    "lenet": _Own(LeNet, {"width": 20, "hidden": 500}),
    "vgg16-small": _Own(VGG16Small, {"width": 64, "hidden": 512}),
    "vit": _Own(vision_transformer, {"width": 64, "depth": 12}),
    "wide_resnet50": _Own(WideResNet50, {"width": 64}, for_one_size=False),
}
_OPTIONS = ("width", "hidden", "depth", "stem", "pretrained", "checkpoint")
_CHECKPOINTS = {".safetensors", ".pt", ".pth", ".ckpt", ".bin"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Source:
    """A network that runs.

    Attributes:
        module: float32 [N, C, H, W] in [0, 1] -> logits float32 [N, K], in evaluation mode. With normalization it is a
            Sequential of `preprocess` and `model`, else the network itself.
        input_shape: (C, H, W).
        classes: K names.
        name: the model as it was asked for.
        origin: what the network and its weights were made from, in words.
        dropped: functions behind its logits that were taken off, see `return_logits`.
    """

    module: nn.Module
    input_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    name: str
    origin: str
    dropped: tuple[str, ...] = ()


def load_source(settings: Model, *, input_shape: tuple[int, int, int], classes: Sequence[str], seed: int) -> Source:
    """Build or load a network, and run it on two images of zeros and on three.

    Args:
        settings: which network: "cnn8", "lenet", "vgg16-small", "vit", "wide_resnet50", a torchvision classifier
            ("resnet18", "mobilenet_v2", ...), a `.pt2` file, or `package.module:factory`, which is called without
            arguments and returns a module. `width` is for the first five, `hidden` for the first three, `depth` for
            vit, `stem` for torchvision's ResNets, `pretrained` for torchvision's classifiers, where a last layer for
            other classes starts anew. `checkpoint` fits the network in every key, and is not for a `.pt2`.
        input_shape: (C, H, W), C = 1 or 3.
        classes: K names.
        seed: of new weights. torch's global generator is seeded with it while the network is made, and is afterwards
            what it was before.

    Raises:
        ModelError: unknown, damaged, an option that does not apply, weights that do not fit, or a network that does not
            take such images, in batches of any size, or give K logits.
        MissingExtraError: a package is missing that this network needs.
    """
    if len(input_shape) != 3 or input_shape[0] not in (1, 3) or min(input_shape) < 1:
        raise ModelError("not the shape of an image", expected="(C, H, W), C = 1 or 3", got=str(input_shape))
    first = preprocess(settings.normalize, input_shape[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, origin = _network(settings, input_shape, len(classes))
    if settings.checkpoint is not None:
        found = read_checkpoint(settings.checkpoint)
        words = [found.words, load_weights(network, found.tensors, origin=str(settings.checkpoint))]
        origin += "; ".join(filter(None, (f", checkpoint {settings.checkpoint}", *words)))
    module = network if first is None else nn.Sequential(OrderedDict(preprocess=first, model=network))
    module.eval()
    check_running(module, settings.name, input_shape, classes=len(classes))
    return Source(
        module=module,
        input_shape=input_shape,
        classes=tuple(classes),
        name=settings.name,
        origin=origin,
        dropped=return_logits(module, torch.zeros(2, *input_shape)),
    )


def _network(settings: Model, input_shape: tuple[int, int, int], classes: int) -> tuple[nn.Module, str]:
    """The network and what it was made from."""
    model = settings.name

    def allow(*names: str) -> None:
        given = [name for name in _OPTIONS if getattr(settings, name) is not None and name not in names]
        if given:
            raise ModelError(
                f"{model} takes no {' and no '.join(given)}",
                expected=", ".join(names) or "none of these options",
                fix=f"leave out {', '.join(given)}",
            )

    if model in _OWN:
        allow(*_OWN[model].sizes, "checkpoint")
        return _own(settings, input_shape, classes)
    if Path(model).suffix == ".pt2":
        allow()
        return load_exported(Path(model)), f"exported program {model}"
    if is_reference(model):
        allow("checkpoint")
        return _from_factory(model), f"factory {model}"
    _check_name(model)
    allow("stem", "pretrained", "checkpoint")
    stem = settings.stem or "imagenet"
    return build_torchvision(model, channels=input_shape[0], classes=classes, stem=stem, pretrained=settings.pretrained)


def _own(settings: Model, input_shape: tuple[int, int, int], classes: int) -> tuple[nn.Module, str]:
    channels, height, side = input_shape
    model = settings.name
    own = _OWN[model]
    given = {key: getattr(settings, key) for key in own.sizes}
    sizes = own.sizes | {key: value for key, value in given.items() if value is not None}
    words = f"{model} of {', '.join(f'{key} {value}' for key, value in sizes.items())}"
    if height != side:
        raise ModelError(
            f"{model} takes square images", expected="H = W", got=str(input_shape), fix="give an image size"
        )
    if own.for_one_size:
        sizes["image_size"] = side
    make = functools.partial(own.make, **sizes, channels=channels, classes=classes)
    with torch.device("meta"):  # numbers without memory
        parameters = sum(parameter.nbytes for parameter in make().parameters())
    check_memory(f"{words}, takes", parameters, error=ModelError, fix="give a smaller width")
    return make(), words


def _from_factory(reference: str) -> nn.Module:
    network = call_factory(reference, ModelError)
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"{reference} did not return a network", expected="a torch.nn.Module", got=type(network).__name__
        )
    return network.cpu()


def _check_name(model: str) -> None:
    known = (*_OWN, *names())
    if model in known:
        return
    expected = f"{', '.join(_OWN)}, a torchvision classifier, a .pt2 file, or package.module:factory"
    if Path(model).suffix in _CHECKPOINTS:
        raise ModelError(
            f"{model} is a checkpoint: weights without a network",
            expected=expected,
            fix="name the network and give this file as its checkpoint",
        )
    near = difflib.get_close_matches(model.lower(), known, n=1, cutoff=0.4)
    fix = as_reference(model) or (f"did you mean {near[0]!r}?" if near else "")
    raise ModelError(f"unknown model {model!r}", expected=expected, fix=fix)
