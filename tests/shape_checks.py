"""What the tests check of every call: the shapes and dtypes that annotations name, with jaxtyping and beartype.

Rule: mypy checks every annotation before the code runs; here only those that hold an array are checked, which mypy
cannot. So a test may hand a wrong type to a function that answers it with an error of its own, and a function without
arrays stays the very function that ships, with its own frame on the stack.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any, get_args

import jaxtyping
from beartype import beartype

__all__ = ["CHECKED", "check_arrays", "install", "names_an_array"]

CHECKED = ("hardtemper.bench.attacks", "hardtemper.export", "hardtemper.runtime")
"""The packages whose calls are checked."""


def install() -> None:
    """Check the calls of every function of `CHECKED`; before the first of them is imported."""
    assert not [name for name in sys.modules if name.startswith(CHECKED)]
    jaxtyping.jaxtyped = _where_arrays_are_named(jaxtyping.jaxtyped)
    jaxtyping.install_import_hook(CHECKED, "shape_checks.check_arrays")


def check_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, checked against those of its annotations that hold an array."""
    function.__annotations__ = {name: hint for name, hint in function.__annotations__.items() if names_an_array(hint)}
    return beartype(function)


def names_an_array(hint: object) -> bool:
    """Whether a jaxtyping array stands anywhere in `hint`."""
    if inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(names_an_array(part) for part in get_args(hint))


def _where_arrays_are_named(jaxtyped: Callable[..., Any]) -> Callable[..., Any]:
    def decorator(*, typechecker: object) -> Callable[[Any], Any]:
        def decorate(target: Any) -> Any:
            return jaxtyped(target, typechecker=typechecker) if _names_arrays(target) else target

        return decorate

    return decorator


def _names_arrays(target: Any) -> bool:
    """Whether a function or a class has an annotation that holds an array."""
    names = vars(sys.modules[target.__module__])
    return any(names_an_array(_evaluated(hint, names)) for hint in inspect.get_annotations(target).values())


def _evaluated(hint: object, names: dict[str, Any]) -> object:
    """Annotations are text (PEP 563); one with a name that only mypy sees holds no array."""
    try:
        return eval(hint, names) if isinstance(hint, str) else hint
    except NameError:
        return None
