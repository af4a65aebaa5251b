"""What a search may change, as numbers, and the recipe that a set of these numbers stands for.

    kept share of layer i = max(floor_i, exp(-scale * rate_i))

The sampler chooses `rate_i` in [0.05, 1], how fast a layer gives way; `fit.py` finds the scale at which the budget is
met. So a candidate meets its budget by construction, and what is learned is where to remove and not how much. The
sampler also chooses a method and bits for each layer, and `target`, the share of the budget that a candidate uses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..recipe.compression_methods import STEPS
from ..recipe.read import with_overrides
from ..recipe.recipe import Recipe
from ..recipe.search_space import SEARCHED, SearchedMethod
from .budget import Budget

__all__ = ["Knob", "Space", "searched_methods"]

_SLOWEST, _MIDDLE = 0.05, 0.5
_DIGITS = 1e4

Values = Mapping[str, Any]
"""By name: "target", "rate LAYER", "method LAYER", "weight_bits LAYER", ..."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Knob:
    """A layer that can be compressed, with those that are tied to it.

    Attributes:
        name: the layer's.
        floors: the least share that each method can leave of it, in (0, 1).
    """

    name: str
    floors: Mapping[SearchedMethod, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """The candidates of one search.

    Attributes:
        recipe: what every candidate shares.
        budget: of the search.
        knobs: in the network's order.
        layers: names of all convolutions and linear layers.
        inner: names of the layers whose bits are searched.
    """

    recipe: Recipe
    budget: Budget
    knobs: tuple[Knob, ...]
    layers: tuple[str, ...]
    inner: tuple[str, ...]

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest of each number but `target`."""
        return {f"rate {knob.name}": (_SLOWEST, 1.0) for knob in self.knobs}

    @property
    def choices(self) -> dict[str, tuple[Any, ...]]:
        """What each choice is from; without those that have one answer."""
        search = self.recipe.search
        bits = {key: getattr(search, key) for key in ("weight_bits", "activation_bits", "sharing_bits")}
        return {
            **{f"method {knob.name}": tuple(knob.floors) for knob in self.knobs if len(knob.floors) > 1},
            **{f"{key} {name}": found for key, found in bits.items() if len(found) > 1 for name in self.inner},
        }

    @property
    def first(self) -> dict[str, Any]:
        """All layers alike: the first method, the most bits."""
        choices = {name: found[0] if isinstance(found[0], str) else max(found) for name, found in self.choices.items()}
        return {**dict.fromkeys(self.ranges, _MIDDLE), **choices}

    def method(self, values: Values, knob: Knob) -> SearchedMethod:
        """What compresses a layer; the first that can where there is no choice."""
        chosen: SearchedMethod = values.get(f"method {knob.name}", next(iter(knob.floors)))
        return chosen

    def largest_scale(self, values: Values) -> float:
        """Where every layer is at its floor."""
        return max(
            math.log(1 / knob.floors[self.method(values, knob)]) / float(values[f"rate {knob.name}"])
            for knob in self.knobs
        )

    def recipe_of(self, values: Values, scale: float) -> Recipe:
        """The recipe of a candidate, with the trainings of `recipe`.

        Args:
            values: of every name in `ranges`, and in `choices` unless the first will do.
            scale: 0 removes nothing.
        """
        left: dict[SearchedMethod, dict[str, float]] = {method: {} for method in SEARCHED}
        for knob in self.knobs:
            method = self.method(values, knob)
            kept = max(knob.floors[method], math.exp(-scale * values[f"rate {knob.name}"]))
            if kept < 1:
                left[method][knob.name] = kept
        mine = {*searched_methods(self.recipe), *(("sharing",) if self.recipe.search.sharing_bits else ())}
        steps = [self._step(method, kept) for method, kept in left.items() if kept]
        steps += [step.model_dump(mode="json") for step in self.recipe.compress if step.method not in mine]
        if self.recipe.search.sharing_bits:
            factorized = left["factorize"]
            bits = {
                f"{name}.*" if name in factorized else name: found
                for name, found in self._bits("sharing_bits", values).items()
            }
            steps.append(self._template("sharing") | {"conv_bits": 8, "linear_bits": 8, "per_layer": bits})
        settings = self.recipe.model_dump(mode="json", exclude_none=True, exclude={"search"}) | {"compress": steps}
        quantize = settings["quantize"]
        for key in ("weight_bits", "activation_bits"):
            quantize[f"layer_{key}"] |= self._bits(key, values)
        if self.budget.key == "size_kib" and self.recipe.bundle.pack == "auto":
            settings["bundle"]["pack"] = "always"
        return with_overrides(settings, {})

    def _bits(self, key: str, values: Values) -> dict[str, int]:
        """Of each inner layer, where they are searched."""
        found = getattr(self.recipe.search, key)
        return {name: values.get(f"{key} {name}", found[0]) for name in self.inner} if found else {}

    def _step(self, method: SearchedMethod, kept: Mapping[str, float]) -> dict[str, Any]:
        step = self._template(method)
        if method == "factorize":
            shares = {name: min(math.ceil(_DIGITS * share) / _DIGITS, 1.0) for name, share in kept.items()}
            keep = [name for name in self.layers if name not in shares]
            return step | {"rank_by": "parameters", "per_layer": shares, "keep": keep}
        sparsities = {name: math.floor(_DIGITS * (1 - share)) / _DIGITS for name, share in kept.items()}
        own = {"pattern": ""} if method == "weights" else {}
        return step | own | {"sparsity": 0.0, "scope": "layer", "per_layer": sparsities}

    def _template(self, method: str) -> dict[str, Any]:
        """The recipe's own step of a method, whose other settings count; else its defaults."""
        own = [step for step in self.recipe.compress if step.method == method]
        return (own[0] if own else STEPS[method].model_validate({"method": method})).model_dump(
            mode="json", exclude_none=True
        )


def searched_methods(recipe: Recipe) -> tuple[SearchedMethod, ...]:
    """What may compress a layer: as the recipe's section `search` says, or those that the recipe uses, or filters."""
    used = {step.method for step in recipe.compress}
    return recipe.search.methods or tuple(method for method in SEARCHED if method in used) or ("filters",)
