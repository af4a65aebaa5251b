"""Factorization: each layer as a chain of smaller ones, whose product is near its weight.

`convolution_forms.py` and `linear_forms.py` are the forms. Each sees a weight as an array, which `tensor_train.py`
makes a chain of cores; `ranks.py` chooses how many channels join them. `same_function.py` proves the result. A layer
whose factors would be no smaller stays, with a reason.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ....runtime.errors import CompressionError
from ...recipe.factorization import Factorization
from ..account import row
from ..compressed import Compressed, StepReport
from ..context import Context
from ..cost import costs, weighted_kinds
from ..layer_names import by_layer, named
from ..probe import check_images
from .convolution_forms import ConvolutionForm
from .factors import Factors, put
from .forms import Form
from .linear_forms import LinearSvd, LinearTrain
from .obstacles import obstacles
from .ranks import ranks_by_energy, ranks_by_parameters
from .same_function import assert_same_function
from .tensor_train import balanced, contracted, decompose, spectra

__all__ = ["factorize", "least_shares"]


def factorize(module: nn.Module, settings: Factorization, context: Context) -> Compressed:
    """Put chains of smaller layers in the places of convolutions and linear layers.

    Grouped convolutions, layers of other types and factors of an earlier step stay; so do layers whose factors would
    have as many parameters as they have. The rows of `Compressed.layers` are those of the layers of `module`, with the
    sums of their factors.

    Args:
        module: takes float [N, C, H, W] in [0, 1], gives logits [N, K]; left as it is.
        settings: `share` of "parameters" is of a layer's weight and bias, and is never exceeded; `share` of "energy"
            is what each bond of a layer keeps of its squared singular values. In `per_layer` a name goes before a
            pattern ("features.*"), a later pattern before an earlier one.
        context: `check_images` are for the proof; without, 4 random ones of a fixed seed. Without `train`, layers that
            keep their energy only as they are, are no error.

    Returns:
        The factorized module, on the same device, in the same mode and with the same `requires_grad`. The checks are
        `relative_error`, the norm of all changes of weights in units of the weights' norm, `largest_relative_error`,
        that of the layer that changed most, and `max_abs_difference`, the largest difference of a logit from the
        network whose weights are the products.

    Raises:
        CompressionError: a setting names no layer, a layer cannot be made as small as asked, nothing becomes smaller,
            or the factors are not the layers that they stand for.
    """
    dense = copy.deepcopy(module)
    images = check_images(dense, context.input_shape, context.check_images)
    before = costs(dense, input_shape=context.input_shape)
    names = list(weighted_kinds(before))
    kept = named(settings.keep, names, "keep")
    asked = by_layer(settings.per_layer, names)
    reasons = obstacles(dense, before, conv=settings.conv, linear=settings.linear)
    reasons |= dict.fromkeys(kept, "kept as asked")
    stays = dict(reasons)
    found: dict[str, _Product] = {}
    for number, name in enumerate(names, start=1):
        context.training.progress("factorize", number, len(names), name)
        if name not in reasons:
            product = _product(name, dense, settings, asked.get(name, settings.share), device=context.training.device)
            if product is None:
                reasons[name] = _no_gain(settings, asked.get(name, settings.share))
            else:
                found[name] = product
    # which ranks keep an energy is not known of weights that will still be trained
    rehearsed = settings.rank_by == "energy" and context.train is None
    _refuse(settings, names, stays if rehearsed else reasons)
    factorized = copy.deepcopy(dense)
    for name, product in found.items():
        put(factorized, name, product.factors)
    weights = {name: product.weight for name, product in found.items()}
    difference = assert_same_function(dense, factorized, weights=weights, images=images)
    after = costs(factorized, input_shape=context.input_shape)
    return Compressed(
        module=factorized,
        layers=tuple(row(name, cost, after, reason=reasons.get(name, "")) for name, cost in before.items()),
        steps=(
            StepReport(
                method=settings.method,
                settings=settings.account,
                checks={
                    "relative_error": _relative(list(found.values())),
                    "largest_relative_error": max((_relative([product]) for product in found.values()), default=0.0),
                    "max_abs_difference": difference,
                    "check_images": float(len(images)),
                },
            ),
        ),
    )


def least_shares(module: nn.Module, settings: Factorization, context: Context) -> dict[str, float]:
    """The share of its parameters that rank 1 needs, of each layer that can be factorized at all.

    Args:
        module, settings, context: as in `factorize`; of the settings the forms and `keep` count.
    """
    found = costs(module, input_shape=context.input_shape)
    names = list(weighted_kinds(found))
    stays = named(settings.keep, names, "keep")
    stays |= obstacles(module, found, conv=settings.conv, linear=settings.linear).keys()
    shares = {}
    for name in names:
        if name in stays:
            continue
        layer = module.get_submodule(name)
        assert isinstance(layer, (nn.Conv2d, nn.Linear))
        form = _form(layer, settings)
        least, whole = form.parameters((1,) * (len(form.sizes) - 1)), layer.weight.numel()
        fixed = 0 if layer.bias is None else layer.bias.numel()
        if least < whole:
            shares[name] = (least + fixed) / (whole + fixed)
    return shares


@dataclass(frozen=True, kw_only=True, slots=True)
class _Product:
    """A layer's factors.

    Attributes:
        factors: what takes its place.
        weight: the weight that they stand for, float64.
        change: the squared norm of what the weight lost.
        energy: the squared norm of the weight.
    """

    factors: Factors
    weight: Tensor
    change: float
    energy: float


def _product(name: str, dense: nn.Module, settings: Factorization, share: float, *, device: str) -> _Product | None:
    """The factors of one layer; None where they would be no smaller than it is.

    Raises:
        CompressionError: rank 1 has more parameters than are asked for.
    """
    layer = dense.get_submodule(name)
    assert isinstance(layer, (nn.Conv2d, nn.Linear))
    weight = layer.weight.detach().to(device, torch.float64)
    form = _form(layer, settings)
    values = spectra(form.array(weight))
    fixed = 0 if layer.bias is None else layer.bias.numel()
    if settings.rank_by == "energy":
        ranks = ranks_by_energy(values, form.sizes, share)
    else:
        ones = (1,) * len(values)
        if form.parameters(ones) >= weight.numel():
            return None
        budget = math.floor(share * (weight.numel() + fixed)) - fixed
        fitting = ranks_by_parameters(values, form.sizes, budget, parameters=form.parameters)
        if fitting is None:
            raise _too_small(name, share, form.parameters(ones) + fixed, weight.numel() + fixed)
        ranks = fitting
    if form.parameters(ranks) >= weight.numel():
        return None
    form, ranks = form.without_full_ranks(ranks)
    cores = balanced(decompose(form.array(weight), ranks))
    product = form.weight(contracted(cores))
    return _Product(
        factors=form.factors(cores, layer),
        weight=product,
        change=float((weight - product).square().sum()),
        energy=float(weight.square().sum()),
    )


def _form(layer: nn.Conv2d | nn.Linear, settings: Factorization) -> Form:
    if isinstance(layer, nn.Conv2d):
        return ConvolutionForm.of(layer.weight, settings.conv)
    return LinearSvd.of(layer.weight) if settings.linear == "svd" else LinearTrain.of(layer.weight, settings.cores)


def _relative(products: Sequence[_Product]) -> float:
    """The norm of what the weights lost in units of their own norm."""
    energy = sum(product.energy for product in products)
    return math.sqrt(sum(product.change for product in products) / energy) if energy else 0.0


def _no_gain(settings: Factorization, share: float) -> str:
    asked = f"that keep a share of {share:g} of its energy " if settings.rank_by == "energy" else ""
    return f"its factors {asked}would be no smaller than it is"


def _refuse(settings: Factorization, names: Sequence[str], reasons: Mapping[str, str]) -> None:
    """Raise where a layer that `per_layer` names stays, or all do."""
    for name in names:
        if name in settings.per_layer and name in reasons:
            raise CompressionError(
                f"per_layer asks to factorize {name!r}, which cannot be",
                expected="a layer that becomes smaller",
                got=reasons[name],
                fix=f"take {name!r} out of per_layer",
            )
    if all(name in reasons for name in names):
        raise CompressionError(
            "no layer of this network can be factorized",
            got="; ".join(f"{name}: {reasons[name]}" for name in names[:3]),
            fix="another form, a smaller share, or no step of the method factorize",
        )


def _too_small(name: str, share: float, least: int, whole: int) -> CompressionError:
    return CompressionError(
        f"no rank makes {name!r} as small as a share of {share:g} of its parameters",
        expected=f"a share of {math.ceil(1000 * least / whole) / 1000:g} or more, which is rank 1",
        got=f"{share:g}, {math.floor(share * whole)} of {whole} parameters",
        fix=f"a larger share for it in per_layer, or keep = [{name!r}]",
    )
