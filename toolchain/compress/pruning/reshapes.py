"""Which reshapes leave channels where they can be followed.

    [N, C, ...]  -> [N, C, ...]        channel c stays channel c
    [N, C, H, W] -> [N, C * H * W]     channel c becomes the features c * H * W to (c + 1) * H * W - 1
    [N, C * H * W] -> [N, C, H, W]     the same backwards

Any other, such as [N, C, H, W] -> [N, g, C / g, H, W] of a channel shuffle (Zhang et al. 2018, ShuffleNet) or of
attention heads, gives channels a place that depends on how many there are. Autograd keeps the shape that a reshape
took, and not what it gave, so that torch-pruning guesses: here the shapes are noted while the network runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch_pruning.dependency import index_mapping

__all__ = ["Reshapes"]

_Shapes = tuple[tuple[int, ...], tuple[int, ...]]


class Reshapes(TorchFunctionMode):
    """Notes, within the block, the shape that each function of torch took and gave, by its node in autograd's graph."""

    def __init__(self) -> None:
        super().__init__()
        self._shapes: dict[Any, _Shapes] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        x = args[0] if args else (kwargs or {}).get("input")
        if isinstance(result, Tensor) and isinstance(x, Tensor) and result.grad_fn is not None:
            self._shapes.setdefault(result.grad_fn, (tuple(x.shape), tuple(result.shape)))
        return result

    def mixes(self, grad_fn: Any) -> bool:
        """Whether the function behind `grad_fn` is known to be a reshape after which channels cannot be followed."""
        shapes = self._shapes.get(grad_fn)
        return shapes is not None and shapes[0][:2] != shapes[1][:2] and not _flattens(*shapes)

    @contextmanager
    def mapped(self) -> Iterator[None]:
        """Within the block torch-pruning maps the channels of the second and third kind of reshape, and of no other:
        there it would multiply channels, or divide by zero."""
        update = index_mapping.update_reshape_index_mapping

        def update_or_leave(graph: Any, node: Any) -> None:
            shapes = self._shapes.get(node.grad_fn)
            if shapes is not None and _flattens(*shapes):
                update(graph, node)

        index_mapping.update_reshape_index_mapping = update_or_leave
        try:
            yield
        finally:
            index_mapping.update_reshape_index_mapping = update


def _flattens(before: tuple[int, ...], behind: tuple[int, ...]) -> bool:
    """Whether one of the shapes is the other, of one image a row."""
    return len({len(before), len(behind)} - {2}) == 1 and any(
        one == (other[0], math.prod(other[1:])) for one, other in ((before, behind), (behind, before))
    )
