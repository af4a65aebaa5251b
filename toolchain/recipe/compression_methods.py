"""The list `[[compress]]` of a recipe: compression steps, carried out in order.

`STEPS` is the table of the methods' settings. A step names its method in the key `method`, by which pydantic chooses
the settings (a union discriminated by that key, made from the table).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from ...runtime.errors import RecipeError
from .atmc_settings import Atmc
from .compression_base import CompressionStep
from .factorization import Factorization
from .filter_pruning import FilterPruning
from .weight_pruning import WeightPruning
from .weight_sharing import WeightSharing

__all__ = ["STEPS", "CompressionSteps", "check_steps", "step_key", "unknown_method"]

_SETTINGS: tuple[type[CompressionStep], ...] = (FilterPruning, WeightPruning, Factorization, Atmc, WeightSharing)
STEPS: Mapping[str, type[CompressionStep]] = MappingProxyType(
    {str(settings.model_fields["method"].default): settings for settings in _SETTINGS}
)
"""Settings of each compression method, by the method's name."""


class _ByMethod:
    """The union of `STEPS`, discriminated by the key `method`; unlike pydantic's own it may have a single member."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {name: handler.generate_schema(settings) for name, settings in STEPS.items()}
        return core_schema.tagged_union_schema(choices, discriminator="method")


def check_steps(value: Any) -> Any:
    """The value of the key `compress`, if it is a list of steps that name known methods.

    Raises:
        RecipeError: a table instead of a list, or a step with no method or an unknown one.
    """
    if not isinstance(value, list) or not all(isinstance(step, Mapping) for step in value):
        example = '[[compress]] with method = "filters", sparsity = 0.5'
        got = "a table, [compress]" if isinstance(value, Mapping) else repr(value)
        raise RecipeError("recipe key 'compress'", expected=f"a list of steps: {example}", got=got)
    for step in value:
        method = step.get("method")
        if method is None:
            raise RecipeError("a step of [[compress]] names no method", expected=_known(), fix='method = "filters"')
        if not isinstance(method, str) or method not in STEPS:
            raise unknown_method(method)
    return value


def unknown_method(method: object) -> RecipeError:
    """The error for a name that is not in the table."""
    return RecipeError("unknown compression method", expected=_known(), got=repr(method))


def step_key(steps: Any, name: str) -> str:
    """The dotted key of the setting `name` of a step, such as "compress.filters.sparsity" for "sparsity".

    Args:
        steps: the value of a recipe's key `compress`; None where it has none.
        name: of the setting. The recipe's steps that have it go before other methods.

    Raises:
        RecipeError: steps of several methods have it, or no method has.
    """
    having = [method for method, settings in STEPS.items() if name in settings.model_fields]
    given = {step["method"] for step in check_steps(steps)} if steps is not None else set()
    found = [f"compress.{method}.{name}" for method in having if method in given]
    if len(found) > 1:
        raise RecipeError(f"several steps of [[compress]] have a {name}", expected=f"--set {' or '.join(found)}")
    if not having:
        raise RecipeError(f"no compression method has a {name}", expected=_known())
    return found[0] if found else f"compress.{having[0]}.{name}"


def _known() -> str:
    return f"one of {', '.join(STEPS)}"


CompressionSteps = tuple[Annotated[CompressionStep, _ByMethod()], ...]
"""The steps of a recipe."""
