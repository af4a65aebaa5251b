"""Recipe: everything a build does, seeds included. TOML on disk, flags override, unknown keys refused by name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ...runtime.errors import RecipeError
from .adversary import Adversary
from .bundle_files import BundleFiles
from .compression_base import CompressionStep
from .compression_methods import CompressionSteps
from .filter_pruning import FilterPruning
from .inputs import DataSource, Model
from .quantization import Quantization
from .search_space import SearchSpace
from .section import Section
from .training import FineTuning, TeacherTraining, Training, TwinTraining

__all__ = ["Recipe"]


class Recipe(Section):
    """A build.

    Raises:
        pydantic.ValidationError: an unknown key or a value out of range; `load_recipe` turns it into a RecipeError.
    """

    name: str = Field("classifier", pattern=r"^\w[\w .+-]*$", description="the bundle's name, and its folder's")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="every random number of the build comes from it")
    robust: bool = Field(False, description="fine-tune against the adversary")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where training runs; auto: a GPU if any")
    data: DataSource = DataSource()
    model: Model = Model()
    train: Training = Training()
    compress: CompressionSteps = (FilterPruning(),)
    adversary: Adversary = Adversary()
    teacher: TeacherTraining = TeacherTraining()
    finetune: FineTuning = FineTuning()
    quantize: Quantization = Quantization()
    finetune_twin: TwinTraining = TwinTraining()
    bundle: BundleFiles = BundleFiles()
    search: SearchSpace = SearchSpace()

    @model_validator(mode="after")
    def _whole_labels(self) -> Recipe:
        objective = self.adversary.objective
        soft = self.adversary.distils and (objective != "ard" or self.adversary.weight in (None, 1))
        for section, settings in (("finetune", self.finetune), ("finetune_twin", self.finetune_twin)):
            if self.robust and settings.cutmix and objective in ("mart", "mmr"):
                raise RecipeError(
                    f"{section}.cutmix mixes labels, but {objective} needs one label an image",
                    expected="0",
                    got=repr(settings.cutmix),
                )
            if self.robust and settings.label_smoothing and soft:
                raise RecipeError(
                    f"{section}.label_smoothing: {objective} learns from the teacher and not from labels",
                    expected="0",
                    got=repr(settings.label_smoothing),
                )
        return self

    @model_validator(mode="after")
    def _can_be_done(self) -> Recipe:
        stages = (self.train, self.finetune, self.finetune_twin)
        if self.robust and not any(stage.epochs and stage.against == "adversary" for stage in stages):
            raise RecipeError(
                "robust = true without an epoch against the adversary",
                expected="finetune.epochs or finetune_twin.epochs of 1 or more, or train.against adversary",
                fix="more epochs, or robust = false (--standard)",
            )
        for section in ("train", "finetune", "finetune_twin", "teacher"):
            if not self.data.heldout and getattr(self, section).patience:
                raise RecipeError(f"{section}.patience needs held-out images", expected="data.heldout > 0", got="0")
        if self.holds_zeros and self.quantize.has_signs:
            raise RecipeError(
                "weights of one bit are -1 and +1, so that no pruned weight could stay zero",
                expected="quantize.weight_bits of 2 or more for every layer",
                got="1",
                fix="2 bits, or method = 'filters', which removes weights",
            )
        return self

    @model_validator(mode="after")
    def _can_learn_thresholds(self) -> Recipe:
        if not self.learns_thresholds:
            return self
        key, zero = "finetune_twin.threshold_learning_rate", "0: thresholds stay as calibrated"
        if self.quantize.scales != "power-of-two":
            raise RecipeError(
                f"{key}: thresholds are learned as powers of two",
                expected="quantize.scales = 'power-of-two'",
                got=repr(self.quantize.scales),
                fix=zero,
            )
        if any(step.method == "sharing" for step in self.compress):
            raise RecipeError(
                f"{key}: shared values are in units of each channel's scale, which then would move",
                expected=zero,
                got=repr(self.finetune_twin.threshold_learning_rate),
                fix="leave out the step sharing",
            )
        return self

    @model_validator(mode="after")
    def _in_order(self) -> Recipe:
        later = [step.on_integers for step in self.compress]
        if later != sorted(later):
            step = self.compress[later.index(True)].method
            raise RecipeError(
                f"[[compress]]: {step} works on the integer graph, so it comes last",
                expected=f"{step} behind every step on the network",
                got=", ".join(step.method for step in self.compress),
            )
        return self

    @property
    def network_steps(self) -> tuple[CompressionStep, ...]:
        """The compression steps on the network."""
        return tuple(step for step in self.compress if not step.on_integers)

    @property
    def integer_steps(self) -> tuple[CompressionStep, ...]:
        """The compression steps on the integer graph."""
        return tuple(step for step in self.compress if step.on_integers)

    @property
    def opponent(self) -> Adversary | None:
        """The adversary of the build; None in a standard build."""
        return self.adversary if self.robust else None

    def opponent_of(self, stage: Training) -> Adversary | None:
        """What a stage of this recipe is trained against; None for clean images."""
        return self.opponent if stage.against == "adversary" else None

    @property
    def learns_thresholds(self) -> bool:
        """The scales of the twin are trained with its weights."""
        return self.finetune_twin.epochs > 0 and self.finetune_twin.threshold_learning_rate > 0

    @property
    def holds_zeros(self) -> bool:
        """Whether weights that a compression step set to zero stay zero behind it."""
        return any(step.holds_zeros for step in self.compress)

    @property
    def packs(self) -> bool:
        """The integer graph is stored packed, where that is smaller."""
        gains = self.quantize.packs or any(step.packs for step in self.compress if step.changes_network)
        return self.bundle.pack == "always" or (self.bundle.pack == "auto" and gains)

    @property
    def has_weights(self) -> bool:
        """The network is trained already: a checkpoint or a .pt2 file is given."""
        return self.model.checkpoint is not None or self.model.name.endswith(".pt2")

    @property
    def trains_teacher(self) -> bool:
        """The dense network becomes the teacher, because the objective needs one and none is given."""
        distils = self.robust and self.adversary.distils and self.adversary.teacher is None
        stages = (self.finetune, self.finetune_twin)
        return distils and any(stage.epochs and stage.against == "adversary" for stage in stages)
