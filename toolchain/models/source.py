"""Where a network comes from: this package's own, torchvision's, the user's code, or a `.pt2` file.

`load_source` gives one module that takes pixels / 255 and gives logits, with normalization inside. It runs the module
once: a wrong input shape, number of classes or fixed batch is found before training.
"""

from __future__ import annotations

import copy
import difflib
import itertools
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...bench.data.factory import as_reference, call_factory, is_reference
from ...bench.data.physical_memory import check_memory
from ...runtime.errors import ModelError
from ..recipe.inputs import Model
from .checkpoint import load_weights, read_checkpoint
from .cnn8 import CNN8
from .exported_program import load_exported
from .logits import return_logits
from .normalize import preprocess
from .torchvision import build_torchvision, names

__all__ = ["Source", "check_training", "load_source"]

_WIDTH, _HIDDEN = 48, 128
_OPTIONS = ("width", "hidden", "stem", "pretrained", "checkpoint")
_CHECKPOINTS = {".safetensors", ".pt", ".pth", ".ckpt", ".bin"}
_OTHER_FLOATS = re.compile(r"\b(double|half|(c10::)?bfloat16|float64|float16|dtype)\b", re.IGNORECASE)
"""What PyTorch's errors say where a layer's numbers are not float32."""


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
        settings: which network: "cnn8", a torchvision classifier ("resnet18", "mobilenet_v2", "vgg16", ...), a `.pt2`
            file, or `package.module:factory`, which is called without arguments and returns a module. `width` and
            `hidden` (48 and 128 if not given) are for cnn8 only, `stem` for torchvision's ResNets, `pretrained` for
            torchvision's classifiers, where a last layer for other classes starts anew. `checkpoint` fits the network
            in every key, and is not for a `.pt2`.
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
    _check_norms(module, settings.name)
    for count in (2, 3):  # a fixed batch axis takes only one of them
        _run(module, settings.name, (count, *input_shape), len(classes))
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

    if model == "cnn8":
        allow("width", "hidden", "checkpoint")
        return _cnn8(input_shape, classes, settings.width, settings.hidden)
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


def _cnn8(
    input_shape: tuple[int, int, int], classes: int, width: int | None, hidden: int | None
) -> tuple[nn.Module, str]:
    channels, height, side = input_shape
    width = _WIDTH if width is None else width
    hidden = _HIDDEN if hidden is None else hidden
    if height != side:
        raise ModelError("cnn8 takes square images", expected="H = W", got=str(input_shape), fix="give an image size")
    with torch.device("meta"):  # numbers without memory
        size = CNN8(width, hidden=hidden, channels=channels, classes=classes, image_size=side)
    check_memory(
        f"cnn8 of width {width}, hidden {hidden}, takes",
        sum(parameter.nbytes for parameter in size.parameters()),
        error=ModelError,
        fix="give a smaller width",
    )
    module = CNN8(width, hidden=hidden, channels=channels, classes=classes, image_size=side)
    return module, f"cnn8 of width {width}, hidden {hidden}"


def _from_factory(reference: str) -> nn.Module:
    network = call_factory(reference, ModelError)
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"{reference} did not return a network", expected="a torch.nn.Module", got=type(network).__name__
        )
    return network.cpu()


def _check_name(model: str) -> None:
    known = ("cnn8", *names())
    if model in known:
        return
    expected = "cnn8, a torchvision classifier, a .pt2 file, or package.module:factory"
    if Path(model).suffix in _CHECKPOINTS:
        raise ModelError(
            f"{model} is a checkpoint: weights without a network",
            expected=expected,
            fix="name the network and give this file as its checkpoint",
        )
    near = difflib.get_close_matches(model.lower(), known, n=1, cutoff=0.4)
    fix = as_reference(model) or (f"did you mean {near[0]!r}?" if near else "")
    raise ModelError(f"unknown model {model!r}", expected=expected, fix=fix)


def _run(module: nn.Module, name: str, shape: tuple[int, ...], classes: int) -> None:
    try:
        with torch.no_grad():
            logits = module(torch.zeros(shape))
    except Exception as error:  # whatever the network's layers raise on a shape that they do not take
        raise ModelError(
            f"{name} does not run on images of this shape",
            expected=f"a network for float32 {list(shape)}",
            got=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
            fix=_fix(module, name, str(error), shape[0]),
        ) from error
    got = f"{logits.dtype} {list(logits.shape)}" if isinstance(logits, torch.Tensor) else type(logits).__name__
    if not isinstance(logits, torch.Tensor) or logits.shape != (shape[0], classes) or not logits.is_floating_point():
        raise ModelError(
            f"{name} does not give one logit a class",
            expected=f"float logits [{shape[0]}, {classes}] for {shape[0]} images and {classes} classes",
            got=got,
            fix=_logits_fix(logits, shape[0], classes),
        )
    if not bool(torch.isfinite(logits).all()):
        raise ModelError(f"{name} gives logits that are not finite", expected="finite logits on images of zeros")


def _check_norms(module: nn.Module, name: str) -> None:
    """Refuse batch norms that have no statistics of their own: an image's logits would depend on those beside it."""
    for path, layer in module.named_modules():
        if isinstance(layer, _BatchNorm) and layer.running_mean is None:
            raise ModelError(
                f"{name}: the batch norm {path!r} takes its statistics from the batch, in evaluation too",
                expected="one with running statistics: an image's logits may not depend on the images beside it",
                got="track_running_stats=False",
                fix="track_running_stats=True",
            )


def _logits_fix(logits: object, count: int, classes: int) -> str:
    sizes = list(logits.shape) if isinstance(logits, torch.Tensor) else []
    left = [size for size in sizes[1:] if size != 1]
    if sizes[:1] == [count] and not left:
        return (
            "one logit (a binary classifier with a sigmoid): return torch.cat([-z, z], 1), z [N, 1] before the sigmoid"
        )
    if sizes[:1] == [count] and left == [classes]:
        return "return torch.flatten(logits, 1)"
    return "give the network as many outputs as the data set has classes"


def check_training(module: nn.Module, name: str, input_shape: tuple[int, int, int], *, images: int) -> None:
    """Run a copy of `module` forward and backward in training mode, on `images` black images.

    Raises:
        ModelError: it fails, gives something else than logits [N, K], or has nothing to train.
    """
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ModelError(
            f"{name} has no parameter to train",
            expected="parameters that require gradients",
            fix="unfreeze them, or train nothing (--epochs 0 --standard --set train.epochs=0)",
        )
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            logits = copy.deepcopy(module).train()(torch.zeros(images, *input_shape))
            if not isinstance(logits, torch.Tensor) or logits.dim() != 2:
                raise TypeError(f"{type(logits).__name__} instead of logits [N, K]")
            logits.float().sum().backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever the user's layers raise
        raise ModelError(
            f"{name} does not train",
            expected=f"one tensor of logits in training mode too, differentiable, for batches of {images}",
            got=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
            fix="return the logits alone in training too; batch norm on 1x1 maps needs batches of 2 or more",
        ) from error


def _fix(module: nn.Module, name: str, error: str, count: int) -> str:
    exported = Path(name).suffix == ".pt2"
    numbers = itertools.chain(module.parameters(), module.buffers())
    if _OTHER_FLOATS.search(error) or any(x.is_floating_point() and x.dtype != torch.float32 for x in numbers):
        return f"export {name} again from model.float()" if exported else "give the network in float32: network.float()"
    if exported:
        return f"export {name} again for this image size, with a batch dimension that may vary (dynamic_shapes)"
    if count > 2:
        return "give a network that takes any number of images"
    return "give an image size that the network takes, or another network (stem 'cifar' for ResNets on small images)"
