"""Weights from a file into a network, key by key, or an error that names the keys.

A training script's dictionary holds the weights among other things. Rule: they are under the first of `_PLAIN` that is
there, else under the first of `_AVERAGED`, else the dictionary itself if it holds tensors, else under the only key that
holds tensors. What was chosen and what was left out is said in one line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ...runtime.errors import ModelError
from ...runtime.printable import printable
from .checkpoint_file import StandIn, read_file, shown
from .state_keys import fit_keys

__all__ = ["Checkpoint", "load_weights", "read_checkpoint"]

_PLAIN = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params")
_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "params_ema", "ema")
_DEEPEST = 4
"""Dictionaries within dictionaries; a hostile one holds itself."""
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The weights in a file: tensors by name, on the CPU, and what was chosen and left out, in words ("" for all)."""

    tensors: dict[str, torch.Tensor]
    words: str


def read_checkpoint(path: Path) -> Checkpoint:
    """The weights in a checkpoint.

    Raises:
        ModelError: missing, damaged, holding what cannot be read without running it, or no dictionary of tensors.
        MissingExtraError: safetensors is needed and not installed.
    """
    content = read_file(path)
    way = _way(content)
    if way is None:
        raise ModelError(
            f"the checkpoint {path} holds no state dict",
            expected="a dictionary of tensors",
            got=_describe(content),
            fix="save the weights alone: torch.save(model.state_dict(), path)",
        )
    left_out: list[str] = []
    for key in way:
        left_out += [_name(other, content[other]) for other in content if other != key]
        content = content[key]
    left_out += [_name(key, value) for key, value in content.items() if not torch.is_tensor(value)]
    chosen = f"the weights under {printable('.'.join(way))!r}" if way else "its tensors"
    # every name, for among them may be another set of weights
    words = f"{chosen}, not {', '.join(left_out[:12])}{', ...' if len(left_out) > 12 else ''}" if left_out else ""
    return Checkpoint({str(key): value for key, value in content.items() if torch.is_tensor(value)}, words)


def load_weights(module: nn.Module, state: Mapping[str, torch.Tensor], *, origin: str) -> str:
    """Copy `state` into `module`; every key and shape must fit.

    Args:
        module: the network, changed in place.
        state: tensors by name. A batch norm's `num_batches_tracked` may be missing (PyTorch before 0.4.1 had none).
        origin: where the tensors came from, for errors.

    Returns:
        What was not copied plainly, in words; "" where nothing is to say.

    Raises:
        ModelError: missing or unexpected keys, tensors that are quantized, sparse, complex or without values, other
            shapes, or values that are not finite.
    """
    own = module.state_dict()
    state, words = fit_keys(state, own, origin=origin)
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    if missing or unexpected:
        problems = {"missing": missing, "unexpected": unexpected}
        raise ModelError(
            f"the weights of {origin} are of another network",
            expected=f"{len(own)} tensors as in {type(module).__name__}",
            got="; ".join(f"{len(keys)} {what} keys: {shown(keys)}" for what, keys in problems.items() if keys),
            fix="give the model, width and number of classes that the checkpoint was trained with",
        )
    foreign = [f"{key} ({kind})" for key, value in state.items() if (kind := _foreign(value))]
    if foreign:
        raise ModelError(
            f"{len(foreign)} tensors of {origin} are no plain numbers",
            expected="dense tensors of floats or integers",
            got=shown(foreign),
            fix="save the weights of the float network, before it is quantized or made sparse",
        )
    wrong = [key for key, value in state.items() if value.shape != own[key].shape]
    if wrong:
        raise ModelError(
            f"{len(wrong)} tensors of {origin} have another shape",
            expected=shown([f"{key} {list(own[key].shape)}" for key in wrong]),
            got=shown([f"{key} {list(state[key].shape)}" for key in wrong]),
            fix="give the width, input channels and number of classes that the checkpoint was trained with",
        )
    broken = [key for key, value in state.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise ModelError(f"{len(broken)} tensors of {origin} are not finite", got=shown(broken))
    narrow = [key for key, value in state.items() if value.dtype != own[key].dtype]
    kinds = sorted({str(state[key].dtype).removeprefix("torch.") for key in narrow})
    module.load_state_dict(dict(state), strict=False)
    converted = f"{len(narrow)} tensors of {', '.join(kinds)} converted to the network's types" if narrow else ""
    return "; ".join(filter(None, (words, converted)))


def _way(content: object, depth: int = 0) -> tuple[str, ...] | None:
    """The keys that lead to the weights; None where there are none, or several that nobody can choose from."""
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return None
    for key in (*_PLAIN, *_AVERAGED):
        if (inner := _way(content.get(key), depth + 1)) is not None:
            return (key, *inner)
    if any(map(torch.is_tensor, content.values())):
        return ()
    others = [key for key, value in content.items() if isinstance(key, str) and _is_state(value)]
    return (others[0],) if len(others) == 1 else None


def _is_state(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(map(torch.is_tensor, value.values()))


def _foreign(value: torch.Tensor) -> str:
    """What kind of tensor it is, if none whose values can be copied and compared."""
    if value.is_meta:
        return "meta"
    if value.is_nested or value.layout != torch.strided:
        return "nested" if value.is_nested else str(value.layout).removeprefix("torch.")
    return "" if value.dtype in _FLOATS + _INTEGERS else str(value.dtype).removeprefix("torch.")


def _describe(content: object) -> str:
    if isinstance(content, StandIn):
        return f"an object of the class {printable(content.called)}, and such are never unpickled"
    if not isinstance(content, Mapping):
        return type(content).__name__
    names = shown(_name(key, value) for key, value in content.items())
    return f"a dictionary with {names}" if content else "an empty dictionary"


def _name(key: object, value: object) -> str:
    kind = f" ({printable(value.called)})" if isinstance(value, StandIn) else ""
    return (printable(key) if isinstance(key, str) else f"a key of type {type(key).__name__}") + kind
