"""torchvision's classifiers, fitted to the data: number of classes, gray images, small images, pretrained weights.

* Gray images: the first convolution takes one channel. Its pretrained weights are the sum over the colours,
  w'_o = sum_c w_oc: the smaller network gives on a gray image what the large one gives on that image repeated three
  times (timm does the same). An average would give a third of it, and no batch norm after it would fit.
* Small images: `stem="cifar"` replaces a ResNet's 7 x 7, stride 2 convolution and its max-pool by one 3 x 3 convolution
  of stride 1 (He et al., Deep residual learning for image recognition, section 4.2).
* Pretrained weights are for ImageNet's 1000 classes: a last layer of another size starts anew, and says so.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ...bench.data.vision import torchvision
from ...runtime.errors import ModelError
from .checkpoint import Checkpoint, load_weights, read_checkpoint
from .state_keys import fit_keys

__all__ = ["Stem", "build_torchvision", "names"]

Stem = Literal["imagenet", "cifar"]

_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # training-time heads of GoogLeNet and Inception, never built here


def names() -> tuple[str, ...]:
    """The names of torchvision's classifiers."""
    models = torchvision().models
    return tuple(models.list_models(module=models))


def build_torchvision(
    name: str, *, channels: int, classes: int, stem: Stem = "imagenet", pretrained: str | Path | None = None
) -> tuple[nn.Module, str]:
    """Build one of `names()`.

    Args:
        name: one of `names()`.
        channels: channels of the image, 1 or 3.
        classes: K, the number of classes.
        stem: "cifar" for small images, ResNets only.
        pretrained: None for new weights, a name of torchvision's ("DEFAULT", "IMAGENET1K_V1"; downloaded), or a file.

    Returns:
        The network, float [N, C, H, W] -> logits [N, K], and what it was made from, in words.

    Raises:
        ModelError: the stem does not apply, or the weights are unknown, cannot be had or do not fit.
    """
    models = torchvision().models
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": True}
    module = models.get_model(name, weights=None, num_classes=classes, **options)
    first = _first_convolution(module)
    notes = [f"torchvision {name}"]
    if channels != module.get_submodule(first).in_channels:
        _replace_convolution(module, first, in_channels=channels)
    if stem == "cifar":
        if not isinstance(module, models.ResNet):
            raise ModelError(
                f"the stem 'cifar' does not apply to {name}",
                expected="a ResNet",
                fix="give larger images, or leave the stem",
            )
        _replace_convolution(module, first, in_channels=channels, kernel_size=3, stride=1, padding=1)
        module.maxpool = nn.Identity()
        notes.append("stem of 3 x 3, stride 1, no max-pool")
    if pretrained is None:
        notes.append("new weights")
    else:
        found, origin = _pretrained(name, pretrained)
        state, prefix = fit_keys(found.tensors, module.state_dict(), origin=origin)
        if hasattr(module, "transform_input") and not os.path.isfile(pretrained):  # noqa: PTH113 - see runtime/bundle/reader.py
            module.transform_input = True  # torchvision's weights of GoogLeNet and Inception expect it
        fitted = _fit(state, module, first)
        words = [found.words, prefix, load_weights(module, state, origin=origin)]
        notes += ["; ".join(filter(None, (f"weights {origin}", *words))), *fitted]
    return module, ", ".join(notes)


def _pretrained(name: str, pretrained: str | Path) -> tuple[Checkpoint, str]:
    known = torchvision().models.get_model_weights(name).__members__
    if str(pretrained) not in known:
        if os.path.isfile(pretrained):  # noqa: PTH113
            return read_checkpoint(Path(pretrained)), str(pretrained)
        near = difflib.get_close_matches(str(pretrained), known, n=1)
        raise ModelError(
            f"unknown weights {str(pretrained)!r} for {name}",
            expected=f"{', '.join(known)}, or a checkpoint file",
            fix=f"did you mean {near[0]!r}?" if near else "",
        )
    try:
        state = known[str(pretrained)].get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash is a RuntimeError
        raise ModelError(
            f"downloading the weights {pretrained} of {name} failed",
            got=str(error),
            fix="check the network, or give a checkpoint file",
        ) from error
    return Checkpoint(dict(state), ""), f"{name} {pretrained}"


def _fit(state: dict[str, torch.Tensor], module: nn.Module, first: str) -> list[str]:
    """Change `state` in place so that it loads; tell what was changed. New layers keep their new weights."""
    own = module.state_dict()
    notes = []
    for key in [key for key in state if key.startswith(_AUXILIARY) and key not in own]:
        del state[key]
    weight = f"{first}.weight"
    if weight in state and state[weight].shape != own[weight].shape:
        if state[weight].shape[2:] == own[weight].shape[2:] and own[weight].shape[1] == 1:
            state[weight] = state[weight].sum(dim=1, keepdim=True)
            notes.append(f"{first} summed to one channel")
        elif state[weight].shape[2:] != own[weight].shape[2:]:
            state[weight] = own[weight]
            notes.append(f"{first} anew")
    head = _last_layer(module)
    keys = [key for key in (f"{head}.weight", f"{head}.bias") if key in state and key in own]
    if any(state[key].shape[1:] == own[key].shape[1:] and len(state[key]) != len(own[key]) for key in keys):
        state.update({key: own[key] for key in keys})
        notes.append(f"{head} anew")
    return notes


def _first_convolution(module: nn.Module) -> str:
    return next(str(name) for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d))


def _last_layer(module: nn.Module) -> str:
    return [str(name) for name, layer in module.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))][-1]


def _replace_convolution(module: nn.Module, name: str, **changes: int) -> None:
    old = module.get_submodule(name)
    assert isinstance(old, nn.Conv2d)
    options: dict[str, Any] = {
        "in_channels": old.in_channels,
        "kernel_size": old.kernel_size,
        "stride": old.stride,
        "padding": old.padding,
    }
    new = nn.Conv2d(out_channels=old.out_channels, bias=old.bias is not None, **(options | changes))
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    parent, _, attribute = name.rpartition(".")
    setattr(module.get_submodule(parent), attribute, new)
