"""A network is run before it is used: what its layers cannot do shows in one line, and before any training."""

from __future__ import annotations

import copy
import itertools
import re
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...runtime.errors import ModelError

__all__ = ["check_running", "check_training"]

_OTHER_FLOATS = re.compile(r"\b(double|half|(c10::)?bfloat16|float64|float16|dtype)\b", re.IGNORECASE)
"""What PyTorch's errors say where a layer's numbers are not float32."""


def check_running(module: nn.Module, name: str, input_shape: tuple[int, int, int], *, classes: int) -> None:
    """Run `module` in evaluation mode on two black images and on three.

    Raises:
        ModelError: it fails, takes one of the two batches only, gives no finite float logits [N, K], or mixes images.
    """
    _check_norms(module, name)
    for count in (2, 3):  # a fixed batch axis takes only one of them
        _run(module, name, (count, *input_shape), classes)


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
