"""The sections of a recipe, checked: one frozen model each, a description and a range for every key.

Defaults of the training settings are those of "Adversarial Fine-tuning of Compressed Neural Networks", section 4 and
appendix A.1: SGD without momentum, learning rate 0.1 and 0.01 from the fifth epoch on, three epochs of fine-tuning,
PGD with 20 steps of 0.01 in an l-inf ball of 0.1.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ..bench.attacks.threat import ThreatModel
from ..bench.data.resize import LARGEST_SIZE
from ..runtime.errors import RecipeError

__all__ = [
    "DISTILLING",
    "Adversary",
    "Compression",
    "DataSource",
    "FineTuning",
    "Model",
    "Quantization",
    "Section",
    "TeacherTraining",
    "Training",
    "TwinTraining",
]


DISTILLING = ("ard", "rslad", "adaad")
"""The objectives that learn from a robust teacher."""
_LARGE = 1e6
"""More than any sensible rate or weight, and small enough for float32."""
_Positive = Annotated[float, Field(gt=0, le=_LARGE)]
_Factor = Annotated[float, Field(ge=0, le=_LARGE)]
_LEAST_CUTMIX = 0.01
"""Powers of uniforms to 1 / alpha would all be zero in float64 much below."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSource(Section):
    """Where the images come from and how the training split is divided."""

    name: str = Field("fashion-mnist", description="data set name, image folder, .npz file or package.module:factory")
    root: Path | None = Field(None, description="folder to look in first for a data set given by name")
    image_size: Annotated[int, Field(ge=8, le=LARGEST_SIZE)] | None = Field(
        None, description="side in pixels to resize every image to"
    )
    heldout: Annotated[int, Field(ge=0)] = Field(2000, description="training images held out for early stopping")
    calibration: Annotated[int, Field(ge=1)] = Field(512, description="training images that calibrate quantizers")
    download: bool = Field(False, description="download a named data set where no folder holds it")


class Model(Section):
    """Which network."""

    name: str = Field("cnn8", description="cnn8, a torchvision classifier, a .pt2 file or package.module:factory")
    width: Annotated[int, Field(ge=1)] | None = Field(None, description="channels of cnn8's first block")
    hidden: Annotated[int, Field(ge=1)] | None = Field(None, description="units of cnn8's hidden linear layer")
    stem: Literal["imagenet", "cifar"] | None = Field(None, description="first layers of a torchvision ResNet")
    pretrained: str | None = Field(None, description="weights to start from, by torchvision's name or file")
    checkpoint: Path | None = Field(None, description="trained weights; standard training is then skipped")
    normalize: Literal["none", "imagenet"] | tuple[tuple[float, ...], tuple[float, ...]] = Field(
        "none", description="none, imagenet or [means, deviations] of pixels / 255"
    )


class Adversary(Section):
    """The attack that training runs against, and what training makes of it."""

    threat: str = Field("linf:0.1", description="norm:epsilon, epsilon in units of pixel / 255, such as linf:8/255")
    objective: Literal["adversarial", "trades", "mart", "mmr", "ard", "rslad", "adaad"] = Field(
        "adversarial", description="what the network minimizes; ard, rslad and adaad learn from a robust teacher"
    )
    weight: _Factor | None = Field(
        None,
        description="beta of trades, lambda of mart and mmr, share of the adversarial part in distillation",
    )
    teacher: Path | None = Field(
        None, description="bundle or ONNX file to learn from; without it the dense network is trained, see `teacher`"
    )
    temperature: Annotated[float, Field(ge=0.01, le=1000)] = Field(1.0, description="of ard's soft labels")
    attack: Literal["fgsm", "n-fgsm", "pgd"] = Field(
        "pgd", description="fgsm, n-fgsm: one step from a random start; pgd: `steps` steps"
    )
    steps: Annotated[int, Field(ge=1)] = Field(20, description="gradient steps of pgd")
    step_size: _Positive | None = Field(
        None,
        description="in units of epsilon's; by default 2 epsilon / steps, 1.25 epsilon for fgsm, epsilon for n-fgsm",
    )
    training_epsilon: Annotated[float, Field(gt=0)] | None = Field(
        None, description="radius of the ball that training searches in; the threat's own by default"
    )
    random_start: bool = Field(True, description="start at a random point of the ball instead of the image")
    replays: Annotated[int, Field(ge=1)] = Field(
        1, description="2 or more: free adversarial training, each batch so many times, one gradient for both sides"
    )
    grad_align: _Factor = Field(0.0, description="weight of GradAlign's penalty; 0: none")
    weight_perturbation: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="gamma of adversarial weight perturbation (AWP), such as 0.005; 0: none"
    )

    @field_validator("threat")
    @classmethod
    def _readable(cls, text: str) -> str:
        threat = ThreatModel.parse(text)
        if threat.target is not None:
            raise RecipeError("training against a targeted adversary", expected="norm:epsilon", got=repr(text))
        if not threat.epsilon:
            raise RecipeError("an adversary in a ball of radius 0", expected="epsilon > 0", got=repr(text))
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
                "the loss that the adversary of trades raises is flat at the image itself",
                expected="adversary.random_start = true",
                got="false",
            )
        if self.attack == "n-fgsm" and not self.threat.startswith("linf:"):
            raise RecipeError("the noise of n-fgsm is a linf ball's", expected="linf:epsilon", got=self.threat)
        if self.attack == "n-fgsm" and not self.random_start:
            raise RecipeError(
                "n-fgsm is a random start and one step", expected="adversary.random_start = true", got="false"
            )
        if self.replays > 1 and self.attack != "pgd":
            raise RecipeError(
                f"adversary.replays = {self.replays} is free adversarial training, which makes its own one-step attack",
                expected="adversary.attack left alone",
                got=self.attack,
            )
        for key, given, used in (
            ("weight", self.weight is not None, self.objective != "adversarial"),
            ("temperature", self.temperature != 1, self.objective == "ard"),
            ("teacher", self.teacher is not None, self.distils),
        ):
            if given and not used:
                raise RecipeError(
                    f"adversary.{key} says nothing to the objective {self.objective}",
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
        """What training searches in."""
        threat = ThreatModel.parse(self.threat)
        return threat if self.training_epsilon is None else replace(threat, epsilon=self.training_epsilon)

    @property
    def distils(self) -> bool:
        """Whether the objective learns from a teacher."""
        return self.objective in DISTILLING


class Training(Section):
    """Stochastic gradient descent on the network as a float module, batch norm live."""

    epochs: Annotated[int, Field(ge=0)] = Field(20, description="passes over the training images")
    batch_size: Annotated[int, Field(ge=1)] = Field(128, description="images a step")
    learning_rate: _Positive = Field(0.1, description="largest learning rate")
    schedule: Literal["paper", "constant", "cosine", "one-cycle"] = Field(
        "paper", description="paper: a tenth from the fifth epoch on; one-cycle: linear up to the peak and down to zero"
    )
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(0.2, description="share of the steps before one-cycle's peak")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="momentum; Nesterov's where not 0")
    weight_decay: _Factor = Field(0.0, description="l2 penalty's factor")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="share of a label spread over all")
    gradient_clip: _Positive | None = Field(None, description="largest l2 norm of the gradient")
    flip: bool = Field(False, description="mirror each image left to right with probability 1/2")
    shift: Annotated[int, Field(ge=0)] = Field(0, description="move each image by up to so many pixels each way")
    cutout: Annotated[int, Field(ge=0)] = Field(0, description="side in pixels of a black square in each image")
    cutmix: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="alpha in CutMix's Beta(alpha, alpha), 0.01 or more; 0: none"
    )
    average: Literal["none", "ema", "swa"] = Field(
        "none", description="give back averaged weights: ema over steps, swa over the last epochs"
    )
    ema_decay: Annotated[float, Field(gt=0, lt=1)] = Field(0.999, description="of ema, a step")
    swa_start: Annotated[float, Field(ge=0, lt=1)] = Field(0.5, description="share of the epochs before swa begins")
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
                f"patience = {self.patience} stops behind the best epoch", expected="keep_best = true", got="false"
            )
        return self

    @property
    def unaveraged(self) -> int:
        """Epochs before swa begins; their weights are no average, so they are not given back."""
        return int(self.swa_start * self.epochs) if self.average == "swa" else 0


class FineTuning(Training):
    """The same after compression: three epochs, so that the paper's schedule never leaves its first learning rate."""

    epochs: Annotated[int, Field(ge=0)] = Field(3, description="passes over the training images")
    schedule: Literal["paper", "constant", "cosine", "one-cycle"] = Field("constant", description="see train.schedule")


class TwinTraining(Training):
    """Fine-tuning on the integer twin: appendix A.1's settings for quantized networks. Always in float32."""

    epochs: Annotated[int, Field(ge=0)] = Field(0, description="passes over `images` training images; 0: leave out")
    images: Annotated[int, Field(ge=1)] | None = Field(None, description="training images an epoch; all by default")
    learning_rate: _Positive = Field(0.01, description="largest learning rate")
    schedule: Literal["paper", "constant", "cosine", "one-cycle"] = Field("cosine", description="see train.schedule")
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="share of the steps before one-cycle's peak")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="momentum; Nesterov's where not 0")
    gradient_clip: _Positive | None = Field(1.0, description="largest l2 norm of the gradient")
    precision: Literal["float32"] = Field("float32", description="the integers need it")


class TeacherTraining(Training):
    """Adversarial training of the dense network, from its standard weights, for objectives that need a teacher."""

    epochs: Annotated[int, Field(ge=1)] = Field(10, description="passes over the training images")
    schedule: Literal["paper", "constant", "cosine", "one-cycle"] = Field("one-cycle", description="see train.schedule")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="momentum; Nesterov's where not 0")
    weight_decay: _Factor = Field(5e-4, description="l2 penalty's factor")


class Compression(Section):
    """l1-norm filter pruning; section 3.1 of the paper."""

    sparsity: Annotated[float, Field(ge=0, lt=1)] = Field(0.8, description="share of filters removed from each layer")
    per_layer: dict[str, Annotated[float, Field(ge=0, lt=1)]] = Field(
        default_factory=dict, description="other sparsities by layer name or pattern"
    )
    scope: Literal["layer", "global"] = Field("layer", description="rank filters within a layer or over all layers")
    round_to: Annotated[int, Field(ge=1)] = Field(1, description="round kept channels up to a multiple")
    linear: bool = Field(False, description="prune neurons of hidden linear layers too")
    keep: tuple[str, ...] = Field((), description="names or patterns of layers to leave alone")


class Quantization(Section):
    """See export/scheme.py."""

    target: Literal["cpu", "tensorrt"] = Field("cpu", description="what the integers are for; tensorrt: symmetric int8")
    scales: Literal["power-of-two", "free"] = Field("power-of-two", description="power-of-two is exact everywhere")
    observer: Literal["minmax", "histogram", "percentile", "mse"] = Field("mse", description="how ranges are chosen")
    percentile: Annotated[float, Field(gt=50, le=100)] = Field(99.99, description="values kept, in percent")
    weight_bits: Literal[7, 8] = Field(8, description="7 for processors without VNNI")
    integer_share: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="gate: least share of MACs that must run in integer kernels"
    )
