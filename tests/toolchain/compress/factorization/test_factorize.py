"""Factorize real networks: the budget, the account, what stays and why, and the steps before and behind."""

from __future__ import annotations

import copy
import json
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hardtemper.bench.data.dataset import Part
from hardtemper.runtime.errors import CompressionError
from hardtemper.toolchain.compress.chain import compress
from hardtemper.toolchain.compress.compressed import Compressed, LayerReport
from hardtemper.toolchain.compress.context import Context
from hardtemper.toolchain.compress.factorization.factorize import factorize, least_shares
from hardtemper.toolchain.compress.factorization.factors import Factors
from hardtemper.toolchain.models.cnn8 import CNN8
from hardtemper.toolchain.recipe.compression_base import CompressionStep
from hardtemper.toolchain.recipe.factorization import Factorization
from hardtemper.toolchain.recipe.filter_pruning import FilterPruning
from hardtemper.toolchain.recipe.weight_pruning import WeightPruning
from hardtemper.toolchain.train.training_context import TrainingContext

CONTEXT = Context(input_shape=(1, 16, 16))
IMAGES = Part(
    images=np.zeros((2, 1, 16, 16), np.uint8),
    labels=np.zeros(2, np.int64),
    name="train",
    indices=np.arange(2),
    split="train",
)
TRAINED = Context(input_shape=(1, 16, 16), train=IMAGES)
LAYERS = [f"features.{k}" for k in (0, 3, 7, 10, 14, 17)] + ["classifier.1", "classifier.3"]
CONVS = ["channel", "spatial", "tucker", "tensor-train"]
LINEARS = ["svd", "tensor-train"]


@pytest.fixture(scope="module")
def dense() -> nn.Module:
    torch.manual_seed(0)
    return CNN8(8, hidden=32, image_size=16).eval()


def rows(result: Compressed) -> dict[str, LayerReport]:
    return {row.name: row for row in result.layers}


def sizes(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("share", [0.75, 0.5, 0.3])
@pytest.mark.parametrize("linear", LINEARS)
@pytest.mark.parametrize("conv", CONVS)
def test_no_layer_has_more_parameters_than_its_share(dense: nn.Module, conv: Any, linear: Any, share: float) -> None:
    result = factorize(dense, Factorization(conv=conv, linear=linear, share=share, keep=("features.0",)), CONTEXT)
    for name in LAYERS[1:]:
        row = rows(result)[name]
        assert row.reason == ""
        assert row.parameters_after <= share * row.parameters_before
        assert row.channels_after == row.channels_before
        assert isinstance(result.module.get_submodule(name), Factors)
        assert sizes(result.module.get_submodule(name)) == row.parameters_after
    assert (result.parameters_before, result.parameters_after) == (sizes(dense), sizes(result.module))
    assert result.steps[0].checks["max_abs_difference"] < 1e-5


@pytest.mark.parametrize("conv", CONVS)
def test_one_rank_more_would_be_too_many_where_there_is_one_bond(dense: nn.Module, conv: Any) -> None:
    result = factorize(dense, Factorization(conv=conv, share=0.5), CONTEXT)
    first, second = result.module.classifier[1]
    rank = first.out_features
    row = rows(result)["classifier.1"]
    assert row.parameters_after == rank * (first.in_features + second.out_features) + 32
    assert row.parameters_after + first.in_features + second.out_features > 0.5 * row.parameters_before


def test_counts_by_hand(dense: nn.Module) -> None:
    result = factorize(dense, Factorization(conv="spatial", per_layer={"features.7": 0.25}), CONTEXT)
    down, across = result.module.features[7]  # 8 -> 16 channels, 3 x 3, no bias, on 8 x 8 pixels
    rank = int(0.25 * 8 * 16 * 9 / (3 * 8 + 3 * 16))
    assert (tuple(down.weight.shape), tuple(across.weight.shape)) == ((rank, 8, 3, 1), (16, rank, 1, 3))
    row = rows(result)["features.7"]
    assert (row.parameters_before, row.parameters_after) == (1152, rank * 72)
    assert (row.macs_before, row.macs_after) == (1152 * 64, rank * 72 * 64)


@pytest.mark.parametrize("conv", CONVS)
def test_the_error_falls_with_the_share(dense: nn.Module, conv: Any) -> None:
    errors = [
        factorize(dense, Factorization(conv=conv, share=share), CONTEXT).steps[0].checks["relative_error"]
        for share in (0.4, 0.6, 0.8, 0.95)
    ]
    assert errors == sorted(errors, reverse=True)
    assert 0 < errors[-1] < errors[0] < 1


@pytest.mark.parametrize("energy", [0.6, 0.9])
def test_by_energy(dense: nn.Module, energy: float) -> None:
    result = factorize(dense, Factorization(conv="channel", rank_by="energy", share=energy), CONTEXT)
    for name in LAYERS:
        weight = dense.get_submodule(name).weight.detach().flatten(1).numpy()
        kept = np.cumsum(np.linalg.svd(weight, compute_uv=False) ** 2) / np.sum(weight**2)
        rank = int(np.searchsorted(kept, energy)) + 1
        row = rows(result)[name]
        if row.reason:
            assert rank * sum(weight.shape) >= weight.size
            assert (
                row.reason == f"its factors that keep a share of {energy} of its energy would be no smaller than it is"
            )
            assert row.parameters_after == row.parameters_before
        else:
            assert len(result.module.get_submodule(name)[0].weight) == rank
    assert result.steps[0].checks["largest_relative_error"] ** 2 <= 1 - energy + 1e-6


def test_the_report(dense: nn.Module) -> None:
    settings = Factorization(per_layer={"features.*": 0.6, "features.3": 0.4}, keep=("classifier.3",))
    result = factorize(dense, settings, CONTEXT)
    found = rows(result)
    assert list(found) == [name for name, layer in dense.named_modules() if list(layer.parameters(recurse=False))]
    assert found["classifier.3"].reason == "kept as asked"
    assert found["features.1"].reason == "it is neither a convolution nor a linear layer"
    shares = {name: found[name].parameters_after / found[name].parameters_before for name in LAYERS}
    assert shares["features.3"] <= 0.4 < shares["features.17"] <= 0.6
    (step,) = json.loads(json.dumps(result.steps_json()))
    assert step["method"] == "factorize"
    assert Factorization(**step["settings"]) == settings
    assert set(step["checks"]) == {"relative_error", "largest_relative_error", "max_abs_difference", "check_images"}


def test_the_relative_error_is_that_of_the_weights(dense: nn.Module) -> None:
    result = factorize(dense, Factorization(conv="none", keep=("classifier.3",)), CONTEXT)
    first, second = result.module.classifier[1]
    weight = dense.classifier[1].weight.detach()
    lost = float((second.weight.detach() @ first.weight.detach() - weight).norm() / weight.norm())
    assert result.steps[0].checks["relative_error"] == pytest.approx(lost, rel=1e-4)
    assert result.steps[0].checks["largest_relative_error"] == pytest.approx(lost, rel=1e-4)


def test_the_given_module_is_left_as_it_is_and_its_modes_are_kept() -> None:
    net = CNN8(8, hidden=32, image_size=16).train()
    net.features[0].weight.requires_grad_(False)
    net.features[3].eval()
    state, before = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    result = factorize(net, Factorization(), CONTEXT)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert not any(parameter.requires_grad for parameter in result.module.features[0].parameters())
    assert all(parameter.requires_grad for parameter in result.module.features[7].parameters())
    assert [layer.training for layer in result.module.features[3]] == [False, False, False]
    assert all(layer.training for layer in result.module.features[7])
    result.module(torch.rand(4, 1, 16, 16)).sum().backward()
    assert all(p.grad is not None for p in result.module.parameters() if p.requires_grad)


def test_same_request_same_result(dense: nn.Module) -> None:
    one, other = (factorize(dense, Factorization(), CONTEXT) for _ in range(2))
    assert (one.layers, one.steps) == (other.layers, other.steps)
    state = other.module.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in one.module.state_dict().items())


def test_a_layer_that_is_called_twice_under_two_names_stays_one() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(8, 8, 3, padding=1)
            self.again = self.first
            self.stem, self.head = nn.Conv2d(1, 8, 3), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.head(self.again(self.first(self.stem(x))).mean((2, 3)))
            return y

    result = factorize(Twice().eval(), Factorization(linear="none"), CONTEXT)
    assert result.module.again is result.module.first
    assert isinstance(result.module.again, Factors)
    assert result.parameters_after == sizes(result.module)


@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize("linear", LINEARS)
def test_filters_before_and_behind(dense: nn.Module, conv: Any, linear: Any) -> None:
    """The account is about the dense network's layers, and its sums are those of the network that comes out."""
    half, low = FilterPruning(sparsity=0.25), Factorization(conv=conv, linear=linear, share=0.7)
    orders: list[list[CompressionStep]] = [[half, low], [low, half], [low, half, half]]
    for steps in orders:
        result = compress(dense, steps, CONTEXT)
        found = rows(result)
        assert set(LAYERS) <= set(found)
        assert all("." not in name.removeprefix("features.").removeprefix("classifier.") for name in found)
        assert (result.parameters_before, result.parameters_after) == (sizes(dense), sizes(result.module))
        pruned = 6 if steps.count(half) == 1 else 4
        assert (found["features.3"].channels_before, found["features.3"].channels_after) == (8, pruned)
        assert len(found["features.3"].removed) == 8 - pruned
        assert found["features.4"].removed == found["features.3"].removed  # the norm behind it
        assert found["features.3"].reason == ""
        assert found["classifier.3"].channels_after == 10
        assert found["features.3"].macs_after < found["features.3"].macs_before
        assert result.module(torch.rand(2, 1, 16, 16)).shape == (2, 10)


def test_weights_of_factors_become_zeros(dense: nn.Module) -> None:
    result = compress(dense, [Factorization(share=0.6), WeightPruning(sparsity=0.5)], CONTEXT)
    for name in LAYERS:
        row = rows(result)[name]
        weights = [layer.weight for layer in result.module.get_submodule(name)]
        assert row.weights == sum(weight.numel() for weight in weights)
        assert row.zeros == sum(round(0.5 * weight.numel()) for weight in weights)
        assert row.parameters_after == sizes(result.module.get_submodule(name))


def test_factors_of_an_earlier_step_stay(dense: nn.Module) -> None:
    steps = [Factorization(conv="spatial", linear="none", share=0.6), Factorization(conv="none", share=0.5)]
    result = compress(dense, steps, CONTEXT)
    alone = factorize(dense, steps[0], CONTEXT)
    found = rows(result)
    for name in LAYERS[:6]:
        assert found[name].parameters_after == rows(alone)[name].parameters_after
        assert found[name].reason == ""
    assert isinstance(result.module.classifier[1], Factors)
    with pytest.raises(CompressionError, match=r"no layer.*features.0.0: it is a factor of an earlier step"):
        compress(dense, [Factorization(), Factorization()], CONTEXT)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"share": 0.01},
            r"no rank makes 'features\.0' as small as a share of 0\.01 of its parameters; expected: a sh",
        ),
        (
            {"per_layer": {"features.3": 0.02}},
            r"no rank makes 'features\.3' as small.*expected: a share of 0\.044 or ",
        ),
        ({"conv": "none", "linear": "none"}, r"no layer of this network can be factorized; got: features\.0: conv = "),
        ({"keep": ("*",)}, r"no layer of this network can be factorized; got: features\.0: kept as asked"),
        ({"rank_by": "energy", "share": 1.0}, r"no layer of this network.*would be no smaller than it is"),
        ({"keep": ("stem",)}, r"keep names no convolution or linear layer"),
        ({"per_layer": {"stem*": 0.5}}, r"per_layer names no convolution or linear layer"),
        (
            {"per_layer": {"features.0": 0.5}, "keep": ("features.*",)},
            r"per_layer asks to factorize 'features\.0', whi",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(dense: nn.Module, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CompressionError, match=message) as caught:
        factorize(dense, Factorization(**settings), TRAINED)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 400


def test_before_training_nobody_knows_which_ranks_keep_an_energy(dense: nn.Module) -> None:
    settings = Factorization(rank_by="energy", share=1.0, per_layer={"features.3": 0.999})
    result = factorize(dense, settings, CONTEXT)
    assert result.parameters_after == result.parameters_before
    assert result.steps[0].checks["relative_error"] == result.steps[0].checks["largest_relative_error"] == 0
    with pytest.raises(CompressionError, match=r"per_layer asks to factorize 'features\.3'"):
        factorize(dense, settings, TRAINED)


def test_a_layer_that_no_rank_makes_smaller_stays() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 8, 5), nn.Flatten(), nn.Linear(1152, 8)).eval()
    result = factorize(net, Factorization(), CONTEXT)
    assert rows(result)["0"].reason == "its factors would be no smaller than it is"
    assert type(result.module[0]) is nn.Conv2d


def test_check_images_are_used(dense: nn.Module) -> None:
    context = Context(input_shape=(1, 16, 16), check_images=torch.rand(9, 1, 16, 16))
    assert factorize(dense, Factorization(), context).steps[0].checks["check_images"] == 9


def test_progress_counts_the_layers(dense: nn.Module) -> None:
    seen: list[tuple[str, int, int, str]] = []
    context = Context(input_shape=(1, 16, 16), training=TrainingContext(progress=lambda *event: seen.append(event)))
    factorize(dense, Factorization(), context)
    assert [event[1:] for event in seen] == [(k, 8, name) for k, name in enumerate(LAYERS, start=1)]


@pytest.mark.parametrize(("conv", "linear"), [("tucker", "svd"), ("spatial", "tensor-train"), ("channel", "none")])
def test_the_least_share_of_a_layer_is_rank_1(conv: str, linear: str) -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.Flatten(), nn.Linear(16 * 16, 10))
    context = Context(input_shape=(3, 8, 8))
    settings = Factorization.model_validate({"conv": conv, "linear": linear})
    shares = least_shares(module, settings, context)
    assert list(shares) == (["0", "2"] if linear == "none" else ["0", "2", "4"])
    for name, share in shares.items():
        for asked, fits in ((share + 1e-9, True), (share - 1e-3, False)):
            one = settings.model_copy(update={"share": 1.0, "per_layer": {name: asked}})
            one = one.model_copy(update={"keep": tuple(other for other in ("0", "2", "4") if other != name)})
            with nullcontext() if fits else pytest.raises(CompressionError, match="no rank makes"):
                factorize(module, one, context)
