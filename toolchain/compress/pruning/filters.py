"""Filter pruning: remove the filters of smallest l1-norm, so that the tensors really shrink.

"we sort the filters by the values s_j and leave out those with the minimum l1-norm. Note that each time a filter is
removed, the output features of the next layer and the corresponding kernels in the next layer are removed."
    (Adversarial fine-tuning of compressed neural networks, section 3.1; s_j = ||F_j||_1, after Li et al. 2017, Pruning
    filters for efficient convnets)

`coupling.py` says which channels go together, `importance.py` and `selection.py` which of them go, `equivalence.py`
proves the result. Where it is wrong, `unfollowed.py` finds the layers that are left alone instead.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from ....runtime.errors import CompressionError
from ...recipe.filter_pruning import FilterPruning
from ..account import row
from ..compressed import Compressed, StepReport
from ..context import Context
from ..cost import costs, is_weighted, weighted_kinds
from ..probe import check_images
from .coupling import Coupling, trace
from .equivalence import assert_equals_masked
from .groups import UNFOLLOWED, ChannelGroup, Unit, gather
from .importance import FilterScores, filter_scores, norm_scales
from .rounds import in_rounds
from .scores.by_criterion import weight_scores
from .selection import select
from .unfollowed import unfollowed

__all__ = ["prune_filters"]


def prune_filters(module: nn.Module, settings: FilterPruning, context: Context) -> Compressed:
    """Prune the filters of least score, and prove that the smaller network equals the masked dense one.

    Layers whose channels are tied (residual adds, depthwise convolutions) are pruned together, by the sum of their
    scores. The layer that gives the logits is never pruned; its input shrinks. Layers whose channels cannot be followed
    (to a channel shuffle, say) stay too. `Compressed.layers` says for every layer what was removed, or why nothing was.

    Args:
        module: takes float [N, C, H, W] in [0, 1], gives logits [N, K]; left as it is.
        settings: `sparsity` is rounded to whole filters. In `per_layer` a name goes before a pattern ("features.*"), a
            later pattern before an earlier one; tied layers take the one that is given to any of them, and these layers
            are always ranked by themselves. `scope` "layer" removes the fraction from every layer; "global" ranks the
            filters of all layers together, by their score per weight, and may leave as little as one filter of a layer.
            `round_to` is the width of a SIMD register, say. `keep` holds all layers that are tied to the named ones.
        context: `check_images` are for the proof; without, 4 random ones of a fixed seed. Scores that look at images,
            and the training between rounds, take the rest.

    Returns:
        The pruned module, on the same device, in the same mode and with the same `requires_grad`;
        `checks["max_abs_difference"]` is the largest difference of a logit from the masked network's.

    Raises:
        CompressionError: a setting names no layer, a layer would be emptied, nothing can be pruned, or the result is
            not the masked dense network.
    """
    before = trace(copy.deepcopy(module), input_shape=context.input_shape).groups if settings.rounds > 1 else ()

    def once(given: nn.Module, share: FilterPruning) -> Compressed:
        return _prune(given, share, context, before)

    return in_rounds(module, settings, context, once)


def _prune(
    module: nn.Module, settings: FilterPruning, context: Context, dense_groups: Sequence[ChannelGroup]
) -> Compressed:
    """One round; sparsities are shares of `dense_groups`, or of the module's own groups where there are none."""
    input_shape = context.input_shape
    dense = copy.deepcopy(module)
    images = check_images(dense, input_shape, context.check_images)
    before = costs(dense, input_shape=input_shape)
    kinds = weighted_kinds(before)
    removal = _Removal(dense, trace(copy.deepcopy(module), input_shape=input_shape), images)
    groups = removal.coupling.groups
    scores = _scores(dense, kinds, settings, context)
    while True:
        selection = select(groups, scores=scores, kinds=kinds, settings=settings, before=dense_groups)
        try:
            hardened, difference = removal(selection.removed)
            break
        except CompressionError:
            wrong = unfollowed(groups, selection.removed, is_right=removal.is_right)
            if not wrong:
                raise
            groups = tuple(replace(group, obstacle=UNFOLLOWED) if group in wrong else group for group in groups)
    outputs = gather(unit.outputs for unit in selection.removed)
    _restore(hardened, dense)
    after = costs(hardened, input_shape=input_shape)
    layers = tuple(
        row(
            name,
            cost,
            after,
            reason="" if name in outputs else selection.reasons.get(name, _unreached(cost.kind)),
            removed=outputs.get(name, ()),
        )
        for name, cost in before.items()
    )
    return Compressed(
        module=hardened,
        layers=layers,
        steps=(
            StepReport(
                method=settings.method,
                settings=settings.account,
                checks={"max_abs_difference": difference, "check_images": float(len(images))},
            ),
        ),
    )


def _scores(
    dense: nn.Module, kinds: Mapping[str, str], settings: FilterPruning, context: Context
) -> dict[str, FilterScores]:
    modules = dict(dense.named_modules())
    if settings.criterion == "norm-scale":
        return norm_scales(modules)
    found = weight_scores(dense, dict.fromkeys(kinds, settings.sparsity), settings, context)
    return {name: filter_scores(modules[name], values) for name, values in found.items()}


@dataclass(frozen=True, slots=True)
class _Removal:
    """Removes units from a copy of `dense`, and proves the result on `images`."""

    dense: nn.Module
    coupling: Coupling
    images: Tensor

    def __call__(self, units: Sequence[Unit]) -> tuple[nn.Module, float]:
        """The smaller network, and the largest difference of a logit from the masked one's."""
        hardened = copy.deepcopy(self.dense)
        self.coupling.remove(units, hardened)
        outputs, inputs = gather(unit.outputs for unit in units), gather(unit.inputs for unit in units)
        difference = assert_equals_masked(self.dense, hardened, outputs=outputs, inputs=inputs, images=self.images)
        return hardened, difference

    def is_right(self, units: Sequence[Unit]) -> bool:
        try:
            self(units)
        except CompressionError:
            return False
        return True


def _unreached(kind: str) -> str:
    if is_weighted(kind):
        return "the forward pass does not reach it"
    return "it follows no convolution that could be pruned"


def _restore(hardened: nn.Module, dense: nn.Module) -> None:
    """Mode and `requires_grad` of the dense network; no gradients."""
    modes = {name: layer.training for name, layer in dense.named_modules()}
    for name, layer in hardened.named_modules():
        layer.training = modes[name]
    trained = {name: parameter.requires_grad for name, parameter in dense.named_parameters()}
    for name, parameter in hardened.named_parameters():
        parameter.requires_grad_(trained[name])
        parameter.grad = None
