"""The training sections of a recipe: one frozen model each, with a description and a range for every key.

Defaults of the training settings are those of "Adversarial Fine-tuning of Compressed Neural Networks", section 4 and
appendix A.1: SGD without momentum, learning rate 0.1 and 0.01 from the fifth epoch on, three epochs of fine-tuning,
PGD with 20 steps of 0.01 in an l-inf ball of 0.1.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ...runtime.errors import RecipeError
from .section import Factor, Positive, Section

__all__ = ["FineTuning", "TeacherTraining", "Training", "TwinTraining"]


_LEAST_CUTMIX = 0.01
"""Powers of uniforms to 1 / alpha would all be zero in float64 much below."""


class Training(Section):
    """Stochastic gradient descent on the network as a float module, batch norm live."""

    epochs: Annotated[int, Field(ge=0)] = Field(20, description="passes over the training images")
    batch_size: Annotated[int, Field(ge=1)] = Field(128, description="images a step")
    learning_rate: Positive = Field(0.1, description="largest learning rate")
    schedule: Literal["paper", "constant", "cosine", "one-cycle"] = Field(
        "paper", description="paper: a tenth from the fifth epoch on; one-cycle: linear up to the peak and down to zero"
    )
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(0.2, description="share of the steps before one-cycle's peak")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="momentum; Nesterov's where not 0")
    weight_decay: Factor = Field(0.0, description="l2 penalty's factor")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="share of a label spread over all")
    gradient_clip: Positive | None = Field(None, description="largest l2 norm of the gradient")
    lipschitz: Factor = Field(
        0.0, description="defensive quantization's beta: weights near an isometry; 3e-4 published"
    )
    flip: bool = Field(False, description="mirror each image left to right with probability 1/2")
    shift: Annotated[int, Field(ge=0)] = Field(0, description="move each image by up to so many pixels each way")
    cutout: Annotated[int, Field(ge=0)] = Field(0, description="side in pixels of a black square in each image")
    cutmix: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="alpha in CutMix's Beta(alpha, alpha), 0.01 or more; 0: none"
    )
    average: Literal["none", "ema", "swa"] = Field(
        "none", description="give back averaged weights: ema over steps, swa over the last epochs"
    )
    ema_decay: Annotated[float, Field(gt=0, lt=1)] = Field(0.999, description="decay of ema at each step")
    swa_start: Annotated[float, Field(ge=0, lt=1)] = Field(0.5, description="share of the epochs before swa")
    norm_penalty: Factor = Field(
        0.0, description="l1 penalty's factor on the scales of batch norms: network slimming, for criterion norm-scale"
    )
    against: Literal["clean", "adversary"] = Field(
        "clean", description="adversary: adversarial training, in a recipe with robust = true"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 products where the processor has them"
    )
    patience: Annotated[int, Field(ge=0)] = Field(
        0, description="stop after so many epochs without a better held-out accuracy; 0: train to the end"
    )
    keep_best: bool = Field(True, description="give back the epoch of best held-out accuracy (robust where robust)")

    @model_validator(mode="after")
    def _can_be_done(self) -> Training:
        if 0 < self.cutmix < _LEAST_CUTMIX:
            raise RecipeError("cutmix is too small to draw from", expected="0, or 0.01 to 1", got=repr(self.cutmix))
        if self.patience and not self.keep_best:
            raise RecipeError(
                f"patience = {self.patience} needs keep_best",
                expected="keep_best = true",
                got="false",
            )
        return self

    @property
    def unaveraged(self) -> int:
        """Epochs before swa begins. Their weights are not averaged, so none of them is given back."""
        return int(self.swa_start * self.epochs) if self.average == "swa" else 0


class FineTuning(Training):
    """The same after compression: three epochs, so that the paper's schedule never leaves its first learning rate."""

    epochs: Annotated[int, Field(ge=0)] = Field(3, description="passes over the training images")
    schedule: Literal["paper", "constant", "cosine", "one-cycle"] = Field("constant", description="see train.schedule")
    against: Literal["clean", "adversary"] = Field("adversary", description="see train.against")


class TwinTraining(Training):
    """Fine-tuning on the integer twin: appendix A.1's settings for quantized networks. Always in float32."""

    epochs: Annotated[int, Field(ge=0)] = Field(0, description="passes over `images` training images; 0: leave out")
    images: Annotated[int, Field(ge=1)] | None = Field(None, description="training images an epoch; all by default")
    learning_rate: Positive = Field(0.01, description="largest learning rate")
    schedule: Literal["paper", "constant", "cosine", "one-cycle"] = Field("cosine", description="see train.schedule")
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="share of the steps before one-cycle's peak")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="momentum; Nesterov's where not 0")
    gradient_clip: Positive | None = Field(1.0, description="largest l2 norm of the gradient")
    against: Literal["clean", "adversary"] = Field("adversary", description="see train.against")
    precision: Literal["float32"] = Field("float32", description="the integers need it")
    threshold_learning_rate: Factor = Field(
        0.0, description="trained quantization thresholds: Adam's rate for their log2; 0.01 published; 0: as calibrated"
    )

    @model_validator(mode="after")
    def _holds_its_layers(self) -> TwinTraining:
        if self.lipschitz:
            raise RecipeError(
                "finetune_twin.lipschitz: the penalty is of a float network's layers",
                expected="0",
                got=repr(self.lipschitz),
                fix="finetune.lipschitz, or train.lipschitz",
            )
        return self


class TeacherTraining(Training):
    """Adversarial training of the dense network, from its standard weights, for objectives that need a teacher."""

    epochs: Annotated[int, Field(ge=1)] = Field(10, description="passes over the training images")
    schedule: Literal["paper", "constant", "cosine", "one-cycle"] = Field("one-cycle", description="see train.schedule")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="momentum; Nesterov's where not 0")
    weight_decay: Factor = Field(5e-4, description="l2 penalty's factor")
    against: Literal["adversary"] = Field("adversary", description="a teacher is robust")
