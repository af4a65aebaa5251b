"""A network that ends in a softmax, as one that gives logits.

    argmax softmax(z) = argmax log_softmax(z) = argmax sigmoid(z) = argmax z
    log_softmax(log_softmax(z)) = log_softmax(z)

so no class changes where what stands behind the logits z is dropped, nor any cross-entropy for log_softmax. Through a
softmax or sigmoid, which saturates, neither training nor an attack would see a gradient: such a network is trained,
attacked, proved and shipped on z.

How: whatever way a module calls them, `torch.overrides.TorchFunctionMode` sees each function of torch with what it
takes and gives. If the module's result is that of a softmax, what this was computed from is returned in its place.
Reshapes, casts, positive factors and dropout behind the softmax are followed. The module becomes an instance of a
subclass, as `torch.nn.utils.parametrize` does it, so that the names of its layers and weights stay.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["return_logits"]

_OVER_CLASSES = frozenset({"softmax", "log_softmax", "special_softmax", "special_log_softmax"})
_EACH = frozenset({"sigmoid", "special_expit", "log_sigmoid", "logsigmoid"})
_BEHIND = frozenset({"exp", "log", "dropout", "alpha_dropout", "feature_dropout"})
"""Dropped as well, but only behind one of the others."""
_MOVES = frozenset({"contiguous", "clone", "flatten", "float", "reshape", "squeeze", "to", "view"})
"""Carried out on the logits instead."""
_SCALES = frozenset({"mul", "multiply", "div", "divide", "true_divide"})


def return_logits(module: nn.Module, images: Tensor) -> tuple[str, ...]:
    """Let `module` return its logits where it ends in a softmax, log_softmax or sigmoid; else it stays as it is.

    Args:
        module: in evaluation mode.
        images: float [N, C, H, W] that it is run on to find out.

    Returns:
        What is dropped, in the order in which it was computed: ("softmax", "log"); empty where nothing is.
    """
    watch = _Watch()
    with torch.no_grad(), watch:
        result = module(images)
    dropped = watch.behind_logits(result)
    if dropped:
        module.__class__ = _giving_logits(type(module))
    return dropped


def _giving_logits(kind: type[nn.Module]) -> type[nn.Module]:
    @functools.wraps(kind.forward)  # torch.export reads the names of its arguments
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        with _Watch() as watch:
            result = kind.forward(self, *args, **kwargs)
        return watch.logits(result)

    return type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__, "__doc__": kind.__doc__})


class _Watch(TorchFunctionMode):
    """Remembers of every result of a softmax the logits that it was computed from."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[int, _Head] = {}

    def logits(self, result: Any) -> Any:
        """What `result` was computed from, `result` itself where it comes from no softmax."""
        head = self._find(result)
        return result if head is None else head.logits

    def behind_logits(self, result: Any) -> tuple[str, ...]:
        head = self._find(result)
        return () if head is None else head.dropped

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        x = args[0] if args else kwargs.get("input")
        if isinstance(result, Tensor) and isinstance(x, Tensor):
            # an operator of an exported program is called "softmax.int", or "_softmax.default"; "softmax_" writes to x
            name = getattr(func, "__name__", "").partition(".")[0].lstrip("_").removesuffix("__")
            found = self._behind(func, name, x, args[1:], {k: v for k, v in kwargs.items() if k != "input"})
            if found is not None:
                self._seen[id(result)] = _Head(result, *found)
        return result

    def _behind(
        self, func: Any, name: str, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Tensor, tuple[str, ...]] | None:
        """The logits behind func(x), and the functions between; None where it is about something else."""
        before = self._find(x)
        logits, dropped = (x, ()) if before is None else (before.logits, before.dropped)
        if name in _EACH or (name in _OVER_CLASSES and _is_over_classes(x, args, kwargs)):
            return logits, (*dropped, name)
        if before is None:
            return None
        if name in _BEHIND:
            return logits, (*dropped, name)
        if name in _MOVES or (name in _SCALES and _is_positive(args, kwargs)):
            return func(logits, *args, **kwargs), dropped
        return None

    def _find(self, value: Any) -> _Head | None:
        head = self._seen.get(id(value))
        return head if head is not None and head.is_current() else None


class _Head:
    """A result behind logits. It is held, so that no other tensor comes to have its id.

    Args:
        result: of the softmax, or of what stands behind it.
        logits: what it was computed from.
        dropped: the functions between them.
    """

    def __init__(self, result: Tensor, logits: Tensor, dropped: tuple[str, ...]) -> None:
        self.logits, self.dropped = logits, dropped
        self._result, self._versions = result, (_version(result), _version(logits))

    def is_current(self) -> bool:
        """Whether neither was written to since."""
        return self._versions == (_version(self._result), _version(self.logits))


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _is_over_classes(x: Tensor, rest: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a softmax of [N, K], or [N, K, 1, 1], runs over K."""
    axis = kwargs.get("dim", rest[0] if rest else None)
    if axis is None:
        axis = 0 if x.dim() in (0, 1, 3) else 1  # torch's own choice
    if not isinstance(axis, int) or x.dim() < 2 or axis % x.dim() == 0:
        return False
    return all(size == 1 for index, size in enumerate(x.shape) if index not in (0, axis % x.dim()))


def _is_positive(rest: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    factor = rest[0] if rest else kwargs.get("other")
    return isinstance(factor, (int, float)) and factor > 0
