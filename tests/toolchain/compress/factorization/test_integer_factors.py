"""Factorized networks are integers to the last layer: twin and engine give the same logits, alone and in a build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hardtemper
from hardtemper.export.lower import lower
from hardtemper.export.proofs.executed_kernels import inspect_kernels
from hardtemper.export.proofs.parity import check_parity
from hardtemper.export.quantization.quantize import quantize
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.errors import CompressionError
from hardtemper.toolchain.compress.context import Context
from hardtemper.toolchain.compress.factorization.factorize import factorize
from hardtemper.toolchain.models.cnn8 import CNN8
from hardtemper.toolchain.pipeline.pipeline import build
from hardtemper.toolchain.recipe.factorization import Factorization
from hardtemper.toolchain.recipe.read import with_overrides

FORMS = [("channel", "svd"), ("spatial", "svd"), ("tucker", "svd"), ("tensor-train", "tensor-train")]


@pytest.mark.parametrize(("conv", "linear"), FORMS)
def test_twin_and_engine_are_one_function(conv: Any, linear: Any) -> None:
    torch.manual_seed(0)
    net = CNN8(8, hidden=32, image_size=16)
    net.train()(torch.rand(64, 1, 16, 16))  # statistics for the norms behind the factors
    settings = Factorization(conv=conv, linear=linear, share=0.6)
    factors = factorize(net.eval(), settings, Context(input_shape=(1, 16, 16))).module
    images = np.random.default_rng(0).integers(0, 256, (96, 1, 16, 16), np.uint8)
    integer = quantize(lower(factors, input_shape=(1, 16, 16)), images[:32])
    twin = Twin(integer.model, shadow=integer.shadow)
    model = twin.to_onnx()
    parity = check_parity(model, images, twin=twin)
    assert (parity.engine_logits, parity.unoptimized_logits, parity.exposed_logits) == (0, 0, 0)
    assert parity.exact
    assert inspect_kernels(model).integer_share == 1.0


@pytest.mark.slow
@pytest.mark.parametrize(("conv", "linear"), FORMS)
def test_a_build(settings: dict[str, Any], tmp_path: Path, conv: str, linear: str) -> None:
    step = {"method": "factorize", "conv": conv, "linear": linear, "share": 0.6}
    recipe = with_overrides(settings, {"compress": [step], "robust": False, "model.width": 8})
    made = build(recipe, out=tmp_path / "out")
    compressed = made.stages.compressed
    assert compressed.parameters_after <= 0.6 * compressed.parameters_before + 200  # the norms stay
    assert made.stages.kernels.integer_share == 1.0
    found = hardtemper.verify(tmp_path / "out", images=16)
    assert found.parity.engine_logits == 0
    manifest = made.bundle.manifest
    assert [layer["name"] for layer in manifest.layers] == [row.name for row in compressed.layers]
    (done,) = manifest.proofs["compression"]["steps"]
    assert done["method"] == "factorize"
    assert done["checks"]["relative_error"] < 1


def test_a_share_that_no_rank_meets_is_refused_before_training(settings: dict[str, Any], tmp_path: Path) -> None:
    def progress(task: str, *_: object) -> None:
        assert task != "train"

    recipe = with_overrides(settings, {"compress": [{"method": "factorize", "share": 0.001}]})
    with pytest.raises(CompressionError, match=r"no rank makes 'features\.0' as small"):
        build(recipe, out=tmp_path / "out", progress=progress)
