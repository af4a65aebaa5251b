"""Weights from a file into a network, key by key, or an error that names the keys.

Files: `.safetensors`, or what `torch.save(model.state_dict(), path)` writes, read with `weights_only=True`: no code in
a checkpoint ever runs. A training script's dictionary is opened where it holds the weights as "state_dict",
"model_state_dict", "model" or "net". Prefixes that all keys share are taken off: "module." (DataParallel), "_orig_mod."
(torch.compile) and "model." (a network of `source.py` that was saved with its normalization), in any order.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...runtime.errors import MissingExtraError, ModelError

__all__ = ["load_weights", "read_checkpoint"]

_CONTAINERS = ("state_dict", "model_state_dict", "model", "net")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_SHOWN = 3


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """The tensors in a checkpoint, by name, on the CPU.

    Raises:
        ModelError: missing, damaged, holding Python objects, or no dictionary of tensors.
        MissingExtraError: safetensors is needed and not installed.
    """
    if not os.path.isfile(path):  # noqa: PTH113 - unlike Path.is_file it says no to a name that no system can hold
        raise ModelError(f"the checkpoint {path} does not exist", expected="a .safetensors file or a torch file")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if isinstance(content, Mapping):
        content = next((content[key] for key in _CONTAINERS if isinstance(content.get(key), Mapping)), content)
    if not isinstance(content, Mapping) or not content or not all(map(torch.is_tensor, content.values())):
        raise ModelError(
            f"the checkpoint {path} holds no state dict",
            expected="a dictionary of tensors",
            got=_describe(content),
            fix="save the weights alone: torch.save(model.state_dict(), path)",
        )
    return {str(key): value for key, value in content.items()}


def load_weights(module: nn.Module, state: Mapping[str, torch.Tensor], *, origin: str) -> None:
    """Copy `state` into `module`; every key and shape must fit.

    Args:
        module: the network, changed in place.
        state: tensors by name. A batch norm's `num_batches_tracked` may be missing (PyTorch before 0.4.1 had none).
        origin: where the tensors came from, for errors.

    Raises:
        ModelError: missing or unexpected keys, tensors that are quantized, sparse, complex or without values, other
            shapes, or values that are not finite.
    """
    own = module.state_dict()
    state = _strip(state, own)
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    if missing or unexpected:
        problems = {"missing": missing, "unexpected": unexpected}
        raise ModelError(
            f"the weights of {origin} are of another network",
            expected=f"{len(own)} tensors as in {type(module).__name__}",
            got="; ".join(f"{len(keys)} {what} keys: {_first(keys)}" for what, keys in problems.items() if keys),
            fix="give the model, width and number of classes that the checkpoint was trained with",
        )
    foreign = [f"{key} ({kind})" for key, value in state.items() if (kind := _foreign(value))]
    if foreign:
        raise ModelError(
            f"{len(foreign)} tensors of {origin} are no plain numbers",
            expected="dense tensors of floats or integers",
            got=_first(foreign),
            fix="save the weights of the float network, before it is quantized or made sparse",
        )
    wrong = [key for key, value in state.items() if value.shape != own[key].shape]
    if wrong:
        raise ModelError(
            f"{len(wrong)} tensors of {origin} have another shape",
            expected=_first([f"{key} {list(own[key].shape)}" for key in wrong]),
            got=_first([f"{key} {list(state[key].shape)}" for key in wrong]),
            fix="give the width, input channels and number of classes that the checkpoint was trained with",
        )
    broken = [key for key, value in state.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise ModelError(f"{len(broken)} tensors of {origin} are not finite", got=_first(broken))
    module.load_state_dict(dict(state), strict=False)


def _read_safetensors(path: Path) -> Any:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise MissingExtraError("safetensors", extra="build", feature="reading .safetensors") from None
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Weights only load failed" not in str(error):
            raise _damaged(path, error) from error
        raise ModelError(
            f"the checkpoint {path} is damaged or holds Python objects, and those are never unpickled",
            expected="tensors only",
            fix="save the weights alone: torch.save(model.state_dict(), path)",
        ) from error
    except Exception as error:  # torch.load raises RuntimeError, EOFError, OSError, KeyError, ValueError, ...
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"the checkpoint {path} cannot be read",
        expected="a whole .safetensors file, or a file that torch.save wrote",
        got=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
        fix="copy or save the file again",
    )


def _strip(state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    result = dict(state)

    def is_added(prefix: str) -> bool:
        return all(key.startswith(prefix) for key in result) and not any(key.startswith(prefix) for key in own)

    while result and (prefix := next(filter(is_added, _PREFIXES), "")):
        result = {key.removeprefix(prefix): value for key, value in result.items()}
    return result


def _foreign(value: torch.Tensor) -> str:
    """What kind of tensor it is, if none whose values can be copied and compared."""
    if value.is_meta:
        return "meta"
    if value.is_nested or value.layout != torch.strided:
        return "nested" if value.is_nested else str(value.layout).removeprefix("torch.")
    return "" if value.dtype in _FLOATS + _INTEGERS else str(value.dtype).removeprefix("torch.")


def _describe(content: object) -> str:
    if isinstance(content, Mapping):
        return f"a dictionary with {_first(list(map(str, content)))}" if content else "an empty dictionary"
    return type(content).__name__


def _first(items: list[str]) -> str:
    return ", ".join(items[:_SHOWN]) + (", ..." if len(items) > _SHOWN else "")
