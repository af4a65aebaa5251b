"""What a bench run does: one frozen object, checked before any work.

The paper is "Adversarial Fine-tuning of Compressed Neural Networks for Joint Improvement of Robustness and Efficiency".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..runtime.backends.table import PROCESSOR_BACKENDS
from ..runtime.errors import RecipeError
from .attacks.presets import choose_attacks, mentions
from .attacks.threat.threat_model import ThreatModel

__all__ = ["BenchSettings", "default_threat"]

_MOST = 2**63


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return _whole(value) or isinstance(value, float)


def _names(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) for name in value)


_Kind = tuple[str, Callable[[Any], bool]]
_WHOLE: _Kind = ("a whole number", _whole)
_COUNT: _Kind = ("a whole number, or None", lambda value: value is None or _whole(value))
_SWITCH: _Kind = ("True or False", lambda value: isinstance(value, bool))
_KINDS: Mapping[str, _Kind] = {
    "backends": ("a tuple of names, as text", _names),
    "batches": ("a tuple of whole numbers", lambda value: isinstance(value, tuple) and all(map(_whole, value))),
    "threads": _COUNT,
    "warmup": _WHOLE,
    "repeats": _WHOLE,
    "min_seconds": ("a number", _number),
    "clean_images": _COUNT,
    "robust": _SWITCH,
    "images": _COUNT,
    "preset": ("names of attacks, as text", lambda value: isinstance(value, str)),
    "threat": ("a ThreatModel, or None", lambda value: value is None or isinstance(value, ThreatModel)),
    "dense": _SWITCH,
    "sequential": ("True, False or None", lambda value: value is None or isinstance(value, bool)),
    "transfer": ("a tuple of paths, as text", _names),
    "curves": _SWITCH,
    "corruptions": _SWITCH,
    "seed": _WHOLE,
}
"""What each setting must be, and whether a value is; ranges are checked behind it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchSettings:
    """What a bench run does.

    Attributes:
        backends: whose engines are measured, side by side: one or more of `PROCESSOR_BACKENDS`.
        batches: images a call, for latency and memory; each 1 or more.
        threads: threads within an operator, for latency and memory, no more than there are cores; None for every core.
            Accuracies use every core.
        warmup: calls before the timed ones, 0 or more.
        repeats: timed calls at least, 1 or more.
        min_seconds: timed seconds at least, for each batch size and all engines together; finite.
        clean_images: test images for clean accuracy, at most; None for all of them.
        robust: whether to attack.
        images: test images to attack and to corrupt, at most; None for all of them.
        preset: which attacks, one name or several with commas between them (`presets.py`).
        threat: None for `default_threat`.
        dense: measure a bundle's dense float network beside its engine.
        sequential: attack only images that withstood the attacks before (`evaluate.py`); None for the preset's own
            choice, which is to do so where it would take hours otherwise.
        transfer: other bundles and ONNX files to make candidates on.
        curves: measure how robust accuracy depends on radius and steps, minimal perturbations and CLEVER scores, on
            some of the attacked images.
        corruptions: measure accuracy under common corruptions, on test images drawn like those that are attacked.
        seed: 0 to 2^63 - 1; draws the test images and everything random in the attacks.

    Raises:
        RecipeError: a setting is of another type, or out of range.
    """

    backends: tuple[str, ...] = ("onnxruntime",)
    batches: tuple[int, ...] = (1, 64)
    threads: int | None = 1
    warmup: int = 10
    repeats: int = 50
    min_seconds: float = 1.0
    clean_images: int | None = None
    robust: bool = True
    images: int | None = 500
    preset: str = "default"
    threat: ThreatModel | None = None
    dense: bool = True
    sequential: bool | None = None
    transfer: tuple[str, ...] = ()
    curves: bool = False
    corruptions: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, (expected, fits) = getattr(self, field.name), _KINDS[field.name]
            if not fits(value):
                raise RecipeError(f"bench: {field.name}", expected=expected, got=repr(value))
        counts = {
            "threads": self.threads,
            "repeats": self.repeats,
            "images": self.images,
            "clean_images": self.clean_images,
            **{f"batches[{index}]": batch for index, batch in enumerate(self.batches)},
        }
        for name, count in counts.items():
            if count is not None and count < 1:
                raise RecipeError(f"bench: {name}", expected="1 or more", got=str(count))
        for name, least in (("warmup", self.warmup), ("seed", self.seed), ("min_seconds", self.min_seconds)):
            if not 0 <= least < _MOST:
                raise RecipeError(f"bench: {name}", expected="0 or more, and less than 2^63", got=str(least))
        if not self.batches or len(set(self.batches)) < len(self.batches):
            got = ", ".join(str(batch) for batch in self.batches) or "none"
            raise RecipeError("bench: batches", expected="one or more, all different", got=got)
        known = set(self.backends) & {*PROCESSOR_BACKENDS}
        if not known or len(known) < len(self.backends):
            expected, got = f"one or more of {', '.join(PROCESSOR_BACKENDS)}", ", ".join(self.backends) or "none"
            raise RecipeError("bench: backends", expected=f"{expected}, all different", got=got)
        if self.threat is not None and self.threat.pixel_radius < 1:
            raise RecipeError(
                f"bench: the threat model {self.threat} holds no other 8-bit image",
                expected="a radius of 1/255 or more",
            )
        if self.threads is not None:  # the engine takes no more, and no more shall be said to have run
            object.__setattr__(self, "threads", min(self.threads, os.cpu_count() or 1))
        choose_attacks(self.preset, ThreatModel("linf", 0.1))  # an unknown name is refused before any work

    @property
    def remaining_only(self) -> bool:
        """`sequential`, decided."""
        return mentions(self.preset, "standard", "full") if self.sequential is None else self.sequential

    @property
    def wants_curves(self) -> bool:
        """Whether curves were asked for; the preset "full" has them."""
        return self.curves or mentions(self.preset, "full")

    def to_dict(self, threat: ThreatModel) -> dict[str, Any]:
        """As JSON values; `threat` is the one that was used."""
        lists = {name: list(value) for name, value in asdict(self).items() if isinstance(value, tuple)}
        return asdict(self) | lists | {"threat": str(threat), "sequential": self.remaining_only}


def default_threat(input_shape: tuple[int, int, int]) -> ThreatModel:
    """The paper's radius: 0.1 on gray images (its Fashion-MNIST), 8/255 on colour images (its CIFAR-10)."""
    return ThreatModel("linf", 0.1 if input_shape[0] == 1 else 8 / 255)
