"""Adversarially trained model compression: pruning, factorization and shared values in one adversarial training.

    min  E max f(theta; x', y)   over  W = UV + C,   ||U||_0 + ||V||_0 + ||C||_0 <= k,   |U|_0, |V|_0, |C|_0 <= 2^b

Gui et al. 2019 (arXiv:1902.03538), eqs. 3 and 4. ||.||_0 counts nonzeros, of all layers together, and |.|_0 the values
beside 0, of each part. With `factors = false` W is C alone: the paper's adversarial l0 pruning. Its other baselines are
recipes of other methods. Size is counted as in its section 3.1: bits of the nonzeros, and 32 bits for every value.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ....runtime.errors import CompressionError
from ...recipe.atmc_settings import Atmc
from ...train.finetune import finetune
from ..account import row
from ..compressed import Compressed, StepReport
from ..context import Context
from ..cost import LayerCost, costs, weighted_kinds
from ..factorization.factors import put
from ..factorization.obstacles import obstacles
from ..layer_names import named
from .admm import Admm
from .parts import gradients, hold_constants, parts
from .sum_of_product import SumOfProduct

__all__ = ["atmc"]

_OTHERS = "weights of convolutions and linear layers take part, no others"

_WORD = 32
"""Bits of an uncompressed weight, and of one of the values."""


def atmc(module: nn.Module, settings: Atmc, context: Context) -> Compressed:
    """Train `module` under the constraints; in a rehearsal only apply them.

    Args:
        module: float [N, C, H, W] in [0, 1] -> logits [N, K]; left as it is.
        settings: k, b and ADMM's.
        context: images, adversary, and how to train.

    Returns:
        The network, whose layers are `SumOfProduct`s; the checks are `nonzeros`, `most_nonzeros` (k), `size_bits` and
        `dense_size_bits`, both without biases and norms.

    Raises:
        CompressionError: a setting names no layer, k is less than one weight a layer, or nothing is left of a layer.
    """
    made = copy.deepcopy(module)
    before = costs(made, input_shape=context.input_shape)
    reasons = _left_alone(made, before, settings)
    layers = [name for name, why in reasons.items() if not why]
    weights = sum(made.get_submodule(name).get_parameter("weight").numel() for name in layers)
    k = round(settings.nonzeros * weights)
    if k < len(layers) or not layers:
        raise CompressionError(
            f"atmc.nonzeros = {settings.nonzeros:g} leaves less than one weight a layer",
            expected=f"at least {len(layers)} of {weights} weights",
            got=str(k),
            fix="more nonzeros",
        )
    if settings.factors:
        for name in layers:
            put(made, name, _factors(made.get_submodule(name), settings))
    rule = Admm(
        lambda: parts(made, layers),
        lambda: gradients(made, layers),
        k=k,
        clusters=None if settings.bits is None else 2**settings.bits,
        rho=settings.rho,
        interval=settings.interval,
        constant=lambda: hold_constants(made),
    )
    if context.train is not None:
        place = next(made.parameters()).device
        finetune(
            made,
            context.train,
            context.heldout,
            context.finetune.model_copy(update={"epochs": settings.epochs, "average": "none"}),
            stage=context.stage("atmc"),
            context=context.training,
            adversary=None if context.adversary is None else context.adversary.plain,
            rule=rule,
        )
        made.to(place)
    rule.finish()
    if context.train is not None:
        _refuse_emptied(made, layers)
    found = parts(made, layers)
    nonzeros = sum(int((part != 0).sum()) for part in found)
    values = 0 if settings.bits is None else sum(len(torch.unique(part[part != 0])) for part in found)
    after = costs(made, input_shape=context.input_shape)
    checks = {
        "nonzeros": nonzeros,
        "most_nonzeros": k,
        "size_bits": nonzeros * (settings.bits or _WORD) + values * _WORD,
        "dense_size_bits": weights * _WORD,
    }
    return Compressed(
        module=made,
        layers=tuple(row(name, cost, after, reason=reasons.get(name, _OTHERS)) for name, cost in before.items()),
        steps=(
            StepReport(
                method=settings.method,
                settings=settings.account,
                checks={name: float(value) for name, value in checks.items()},
            ),
        ),
    )


def _factors(layer: nn.Module, settings: Atmc) -> SumOfProduct:
    """W = UV + C of a layer."""
    assert isinstance(layer, (nn.Conv2d, nn.Linear))
    most = min(layer.weight.flatten(1).shape)
    made = SumOfProduct(layer, max(1, round(settings.rank * most)))
    return made.requires_grad_(layer.weight.requires_grad)


def _left_alone(module: nn.Module, found: Mapping[str, LayerCost], settings: Atmc) -> dict[str, str]:
    """Of each convolution and linear layer why it stays as it is; "" if it takes part."""
    kinds = weighted_kinds(found)
    kept = named(settings.keep, kinds, "keep")
    stay = obstacles(module, found, conv="channel", linear="svd") if settings.factors else {}
    return {name: "kept as asked" if name in kept else stay.get(name, "") for name in kinds}


def _refuse_emptied(module: nn.Module, layers: list[str]) -> None:
    for name in layers:
        layer = module.get_submodule(name)
        if isinstance(layer, SumOfProduct):
            u, v, c = layer.parts(*layer.weights)
            product: Tensor = u.flatten(1) @ v.flatten(1) + c.flatten(1)
        else:
            product = layer.get_parameter("weight")
        if not torch.any(product):
            raise CompressionError(
                f"atmc left no weight of {name!r}",
                expected="at least one weight left of each layer",
                got="0",
                fix=f"more nonzeros, or keep = [{name!r}]",
            )
