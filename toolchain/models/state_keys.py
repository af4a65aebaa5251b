"""The keys of a state dict, brought to those of a network.

Wrappers put a prefix before every key: "module." (DataParallel, and torch's AveragedModel with its counter
`n_averaged`), "_orig_mod." (torch.compile), "model." (Lightning, or a network of `source.py` that was saved with its
normalization), and others of the user's own. Rule: a prefix is taken off where every key of the network stands behind
it, and none without. What has another prefix is left out, and said.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ...runtime.errors import ModelError
from .checkpoint_file import shown

__all__ = ["fit_keys"]

_KNOWN = ("module.", "_orig_mod.", "model.")


def fit_keys(
    state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], *, origin: str
) -> tuple[dict[str, torch.Tensor], str]:
    """`state` with the prefix taken off behind which it holds the network.

    Args:
        state: tensors by name.
        own: the network's. A batch norm's `num_batches_tracked` need not be in `state`.
        origin: where `state` came from, for errors.

    Returns:
        The tensors, as they are where no prefix fits, and what was done, in words; "" where nothing was.

    Raises:
        ModelError: several prefixes fit and none is one of those that wrappers are known to put.
    """
    needed = [key for key in own if not key.endswith("num_batches_tracked")]
    if not needed or all(key in state for key in needed):
        return dict(state), ""
    ends = [key.removesuffix(needed[0]) for key in state if key.endswith(f".{needed[0]}")]
    fitting = [prefix for prefix in ends if all(prefix + key in state for key in needed)]
    known = [prefix for prefix in fitting if not _without(prefix)]
    if len(fitting) > 1 and not known:
        raise ModelError(
            f"the weights of {origin} hold the network {len(fitting)} times",
            expected="one prefix of its keys",
            got=shown(sorted(fitting)),
            fix="save the weights of one alone: torch.save(model.state_dict(), path)",
        )
    if not fitting:
        return _without_shared(state, own), ""
    prefix = min(known or fitting, key=len)
    rest = [key for key in state if not key.startswith(prefix)]
    words = f"keys behind {prefix!r}" + (f", {len(rest)} others left out: {shown(rest)}" if rest else "")
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}, words


def _without(prefix: str) -> str:
    """What is left of a prefix without those of `_KNOWN`."""
    while known := next(filter(prefix.startswith, _KNOWN), ""):
        prefix = prefix.removeprefix(known)
    return prefix


def _without_shared(state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the known prefixes that all keys share: those of another network, which an error will name."""
    result = dict(state)

    def is_added(prefix: str) -> bool:
        return all(key.startswith(prefix) for key in result) and not any(key.startswith(prefix) for key in own)

    while result and (prefix := next(filter(is_added, _KNOWN), "")):
        result = {key.removeprefix(prefix): value for key, value in result.items()}
    return result
