"""Weight sharing on the integers of a graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import hardtemper
from hardtemper.bench.data.dataset import Part
from hardtemper.export.lower import lower
from hardtemper.export.quantization.quantize import IntegerGraph, quantize
from hardtemper.export.quantization.scheme import Scheme
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.errors import CompressionError
from hardtemper.toolchain.compress.sharing.integer_weights import integer_weights
from hardtemper.toolchain.compress.sharing.share import share_weights
from hardtemper.toolchain.pipeline.pipeline import build
from hardtemper.toolchain.recipe.read import with_overrides
from hardtemper.toolchain.recipe.training import TwinTraining
from hardtemper.toolchain.recipe.weight_sharing import WeightSharing
from hardtemper.toolchain.train.finetune import Trained


def codes(model: onnx.ModelProto) -> dict[str, Any]:
    return {weights.layer: weights.codes for weights in integer_weights(model)}


def with_zeros(graph: IntegerGraph, share: float) -> IntegerGraph:
    """Half of the weights pruned, as codes and as floats."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    shadow = dict(graph.shadow)
    rng = np.random.default_rng(0)
    for weights in integer_weights(model):
        left = rng.random(weights.codes.shape) >= share
        (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == weights.initializer)
        tensor.CopyFrom(numpy_helper.from_array(weights.codes * left, tensor.name))
        shadow[tensor.name] = shadow[tensor.name] * left.astype(np.float32)
    return replace(graph, model=model, shadow=shadow)


@pytest.mark.parametrize("zeros", [0.0, 0.5])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5])
def test_the_budget_is_met_and_zeros_stay(integer: IntegerGraph, bits: int, zeros: float) -> None:
    given = with_zeros(integer, zeros)
    before = codes(given.model)
    result = share_weights(given, WeightSharing(conv_bits=bits, linear_bits=bits))
    after = codes(result.graph.model)
    for name, shared in after.items():
        assert len(np.unique(shared)) == min(2**bits, len(np.unique(before[name])))
        assert (shared[before[name] == 0] == 0).all()
    assert codes(given.model)["0"] is not after["0"]
    assert all(np.array_equal(before[name], now) for name, now in codes(given.model).items()), "left as it is"
    again = share_weights(result.graph, WeightSharing(conv_bits=bits, linear_bits=bits))
    assert all(np.array_equal(after[name], now) for name, now in codes(again.graph.model).items()), "idempotent"


def test_the_account(integer: IntegerGraph) -> None:
    before = codes(integer.model)
    result = share_weights(integer, WeightSharing())
    conv, linear = result.tensors
    assert (conv.name, conv.kind, conv.bits, conv.reason) == (
        "0",
        "conv",
        8,
        "codes of 8 bits take no more than 256 values",
    )
    assert (conv.values_after, conv.error) == (conv.values_before, 0)
    assert (linear.name, linear.kind, linear.bits, linear.weights, linear.reason) == ("6", "linear", 5, 256, "")
    assert (linear.values_before, linear.values_after) == (len(np.unique(before["6"])), 32)
    assert linear.error == pytest.approx(((before["6"].astype(float) - codes(result.graph.model)["6"]) ** 2).mean())
    (step,) = result.steps
    assert step.settings["linear_bits"] == 5
    assert step.checks == {"shared": 256, "weights": 292, "most_values": 32, "index_bytes": 32 + 5 * 256 / 8}
    kept = share_weights(integer, WeightSharing(keep=("6",)))
    assert [row.reason for row in kept.tensors] == [conv.reason, "kept as asked"]
    assert not kept.clusters


def test_narrower_codes_take_few_values_by_themselves(integer: IntegerGraph) -> None:
    (linear,) = (weights for weights in integer_weights(integer.model) if weights.kind == "linear")
    narrow = replace(integer, weight_bits={linear.initializer: 5})
    result = share_weights(narrow, WeightSharing())
    assert result.tensors[1].reason == "codes of 5 bits take no more than 32 values"
    assert not result.clusters
    assert list(share_weights(narrow, WeightSharing(linear_bits=4)).clusters) == [linear.initializer]


def test_the_error_falls_with_the_bits(integer: IntegerGraph) -> None:
    errors = [share_weights(integer, WeightSharing(per_layer={"6": bits})).tensors[1].error for bits in range(1, 8)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 100


def test_the_twin_starts_at_the_shared_integers(integer: IntegerGraph) -> None:
    result = share_weights(with_zeros(integer, 0.5), WeightSharing(conv_bits=2, linear_bits=3))
    twin = Twin(result.graph.model, shadow=result.graph.shadow)
    assert set(result.clusters) <= set(twin.parameter_names)
    for name, clusters in result.clusters.items():
        parameter = twin.get_parameter(twin.parameter_names[name]).detach()
        assert np.array_equal(parameter.numpy(), result.graph.shadow[name])
        assert clusters.project(parameter).equal(parameter)
    assert twin.to_onnx().SerializeToString(deterministic=True) == result.graph.model.SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize(("average", "scales"), [("none", "power-of-two"), ("ema", "power-of-two"), ("ema", "free")])
def test_clusters_and_zeros_hold_while_the_twin_is_trained(
    net: Callable[..., Any], train: Part, tune: Callable[..., Trained], average: str, scales: Any
) -> None:
    scheme = Scheme(scales=scales)
    integer = quantize(lower(net().eval(), input_shape=(1, 8, 8)), train.images[:64], scheme=scheme)
    result = share_weights(with_zeros(integer, 0.5), WeightSharing(conv_bits=3, linear_bits=3))
    before = codes(result.graph.model)
    twin = Twin(result.graph.model, shadow=result.graph.shadow)
    clusters = {twin.parameter_names[name]: found for name, found in result.clusters.items()}
    learning = TwinTraining(
        epochs=2, batch_size=32, learning_rate=0.02, weight_decay=1e-3, average=average, keep_best=False
    )
    tune(learning, module=twin, clusters=clusters, stage="fine-tune twin")
    after = codes(twin.to_onnx())
    assert any(not np.array_equal(before[name], now) for name, now in after.items())
    for name, now in after.items():
        assert (now[before[name] == 0] == 0).all()
        for value in np.unique(before[name]):
            assert len(np.unique(now[before[name] == value])) == 1, "weights that shared a value still do"
        assert len(np.unique(now)) <= 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"per_layer": {"0": 6}}, "6 bits are 64 values, more than '0' has weights; expected: at most 5 bits; got: 6"),
        ({"per_layer": {"5": 4}}, "per_layer names no convolution or linear layer"),
        ({"keep": ("classifier.*",)}, "keep names no convolution or linear layer"),
    ],
)
def test_what_does_not_fit(integer: IntegerGraph, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CompressionError) as raised:
        share_weights(integer, WeightSharing(**settings))
    assert message in str(raised.value)


@pytest.mark.usefixtures("lower_once")
def test_sparse_and_shared_weights_make_a_small_file(settings: dict[str, Any], tmp_path: Path) -> None:
    """Deep compression's three stages: the rule holds up to the shipped integers, in a file below equation 6."""
    settings["model"] |= {"width": 16, "hidden": 64}
    settings["train"]["epochs"] = settings["finetune"]["epochs"] = 1
    settings["compress"] = [
        {"method": "weights", "sparsity": 0.6},
        {"method": "sharing", "conv_bits": 3, "linear_bits": 2},
    ]
    made = build(with_overrides(settings, {}), out=tmp_path / "out")
    manifest = made.bundle.manifest
    network, sharing = manifest.proofs["compression"]["steps"]
    rows = manifest.proofs["compression"]["tensors"]
    assert (network["method"], sharing["method"]) == ("weights", "sharing")
    assert len(rows) == 8
    assert all(row["values_after"] == (8 if row["kind"] == "conv" else 4) for row in rows)
    shipped = codes(onnx.load_model_from_string(made.bundle.graph().content))
    for row in rows:
        assert len(np.unique(shipped[row["name"]])) <= row["values_after"]
        assert (shipped[row["name"]] == 0).sum() >= row["zeros"] >= 0.59 * row["weights"]
    assert len(made.stages.twin.epochs) == 1
    stored = manifest.proofs["storage"]
    skeleton = stored["onnx_bytes"] - sharing["checks"]["weights"]
    assert manifest.graph == "model.onnx.packed"
    assert stored["bytes"] < 0.35 * stored["onnx_bytes"]
    assert stored["bytes"] < sharing["checks"]["index_bytes"] + 0.3 * skeleton
    result = hardtemper.verify(made.bundle.path, images=32)
    result.gate()
    assert (result.exact, result.proof_logits) == (True, 0)


@pytest.mark.usefixtures("lower_once")
def test_too_many_values_are_found_before_any_training(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["compress"] = [{"method": "sharing", "conv_bits": 6}]
    seen: list[str] = []
    with pytest.raises(CompressionError, match=r"6 bits are 64 values, more than 'features\.0' has weights"):
        build(with_overrides(settings, {}), out=tmp_path / "out", progress=lambda task, *_: seen.append(task))
    assert not {"train", "fine-tune"} & set(seen)
