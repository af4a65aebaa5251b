"""The section `adversary` of a recipe: the attack of adversarial fine-tuning, and its objective."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ...bench.attacks.threat.threat_model import ThreatModel
from ...runtime.errors import RecipeError
from .section import Factor, Positive, Section

__all__ = ["DISTILLING", "Adversary", "ObjectiveName"]

ObjectiveName = Literal["adversarial", "trades", "mart", "mmr", "ard", "rslad", "adaad"]
DISTILLING: tuple[ObjectiveName, ...] = ("ard", "rslad", "adaad")
"""The objectives that learn from a robust teacher."""


class Adversary(Section):
    """The attack of adversarial training, and the objective that training minimizes with it."""

    threat: str = Field("linf:0.1", description="norm:epsilon, epsilon in units of pixel / 255, such as linf:8/255")
    objective: ObjectiveName = Field(
        "adversarial", description="what the network minimizes; ard, rslad and adaad learn from a robust teacher"
    )
    weight: Factor | None = Field(
        None,
        description="beta of trades, lambda of mart and mmr, share of the adversarial part in distillation",
    )
    teacher: Path | None = Field(
        None, description="bundle or ONNX file to learn from; without it the dense network is trained, see `teacher`"
    )
    temperature: Annotated[float, Field(ge=0.01, le=1000)] = Field(1.0, description="temperature of ard's soft labels")
    attack: Literal["fgsm", "n-fgsm", "pgd"] = Field(
        "pgd", description="fgsm, n-fgsm: one step from a random start; pgd: `steps` steps"
    )
    steps: Annotated[int, Field(ge=1, le=10_000)] = Field(20, description="gradient steps of pgd")
    step_size: Positive | None = Field(
        None,
        description="in epsilon's units; by default 2 epsilon / steps, fgsm 1.25 epsilon, n-fgsm epsilon",
    )
    training_epsilon: Annotated[float, Field(gt=0)] | None = Field(
        None, description="radius of the ball that training searches in; the threat's own by default"
    )
    random_start: bool = Field(True, description="start at a random point of the ball instead of the image")
    replays: Annotated[int, Field(ge=1, le=1000)] = Field(
        1,
        description="2 or more: free adversarial training with so many steps on each batch",
    )
    grad_align: Factor = Field(0.0, description="weight of GradAlign's penalty; 0: none")
    weight_perturbation: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="gamma of adversarial weight perturbation (AWP), such as 0.005; 0: none"
    )

    @field_validator("threat")
    @classmethod
    def _readable(cls, text: str) -> str:
        threat = ThreatModel.parse(text)
        if threat.target is not None:
            raise RecipeError("training has no targeted adversary", expected="norm:epsilon", got=repr(text))
        if not threat.epsilon:
            raise RecipeError("an adversary needs a radius above 0", expected="epsilon > 0", got=repr(text))
        return str(threat)

    @model_validator(mode="after")
    def _goes_together(self) -> Adversary:
        _ = self.ball  # a radius out of range is refused
        if self.replays > 1 and (self.objective != "adversarial" or self.weight_perturbation or self.grad_align):
            raise RecipeError(
                f"adversary.replays = {self.replays} is free adversarial training",
                expected="objective adversarial, and neither grad_align nor weight_perturbation",
                fix="adversary.replays = 1",
            )
        if self.objective == "trades" and not self.random_start and self.attack != "n-fgsm":
            raise RecipeError(
                "trades needs a random start: its loss has no gradient at the image itself",
                expected="adversary.random_start = true",
                got="false",
            )
        if self.attack == "n-fgsm" and not self.threat.startswith("linf:"):
            raise RecipeError("n-fgsm draws its noise from a linf ball", expected="linf:epsilon", got=self.threat)
        if self.attack == "n-fgsm" and not self.random_start:
            raise RecipeError(
                "n-fgsm always starts at a random point", expected="adversary.random_start = true", got="false"
            )
        if self.replays > 1 and self.attack != "pgd":
            raise RecipeError(
                f"adversary.replays = {self.replays} is free adversarial training, which has its own one-step attack",
                expected='adversary.attack = "pgd"',
                got=self.attack,
            )
        for key, given, used in (
            ("weight", self.weight is not None, self.objective != "adversarial"),
            ("temperature", self.temperature != 1, self.objective == "ard"),
            ("teacher", self.teacher is not None, self.distils),
        ):
            if given and not used:
                raise RecipeError(
                    f"objective {self.objective} does not use adversary.{key}",
                    expected="another objective, or the key left out",
                    got=repr(getattr(self, key)),
                )
        if self.distils and self.weight is not None and self.weight > 1:
            raise RecipeError(
                f"adversary.weight of {self.objective} is a share", expected="0 to 1", got=repr(self.weight)
            )
        return self

    @property
    def plain(self) -> Adversary:
        """The same attack for plain adversarial training: what a teacher is trained against."""
        return Adversary(**self.model_dump(exclude={"objective", "weight", "teacher", "temperature"}))

    @property
    def ball(self) -> ThreatModel:
        """The ball that training searches."""
        threat = ThreatModel.parse(self.threat)
        return threat if self.training_epsilon is None else replace(threat, epsilon=self.training_epsilon)

    @property
    def distils(self) -> bool:
        """Whether the objective learns from a teacher."""
        return self.objective in DISTILLING
