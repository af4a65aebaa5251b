"""One function, whatever runs it: all logits of small networks, bit for bit, on every engine that is at hand.

The twin is compared with ONNX Runtime on this processor (optimized, and node for node), with OpenVINO as it fuses the
graph, and with ONNX Runtime on an emulated 64-bit Arm. Nothing but the logits is an output: exposed activations would
stop the fusions that are asked about.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from hardtemper.export.lower import lower
from hardtemper.export.proofs.parity import check_parity
from hardtemper.export.quantization.operators.matrix import ROWS
from hardtemper.export.quantization.quantize import quantize
from hardtemper.export.quantization.scheme import Scheme, Sums
from hardtemper.export.twin.twin import Twin
from hardtemper.tests.engines.networks import NETWORKS

FOLDER = Path(__file__).parent
ARM64 = Path(os.environ.get("ARM64_PYTHON", f"{sys.prefix}/arm64/python"))
"""Where `make test` puts it."""


class Case(NamedTuple):
    model: onnx.ModelProto
    images: NDArray[np.uint8]
    logits: NDArray[np.float32]
    """The twin's."""


def make(name: str, sums: Sums = "exact", bits: int = 8) -> Case:
    torch.manual_seed(0)
    module = NETWORKS[name]().eval()
    for layer in module.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            torch.nn.init.kaiming_normal_(layer.weight)
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.integers(0, 256, (64, 3, 4, 4)), np.ones((3, 3)))
    images = np.clip(smooth + rng.normal(0, 30, smooth.shape), 0, 255).astype(np.uint8)
    scheme = Scheme(sums=sums, weight_bits=bits, activation_bits=bits)
    model = quantize(lower(module, input_shape=(3, 12, 12)), images, scheme=scheme).model
    with torch.no_grad():
        logits = Twin(model)(torch.from_numpy(images).float() / 255).numpy()
    assert len(np.unique(logits, axis=0)) == len(images) or bits < 4  # no activation is dead
    return Case(model, images, logits)


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    return {name: make(name) for name in NETWORKS}


def in_openvino(case: Case, batch: int | None) -> NDArray[np.float32]:
    """Logits as the backend's own fusions give them, for a graph of any batch or of one batch alone."""
    import openvino

    core = openvino.Core()
    graph = core.read_model(case.model.SerializeToString())
    if batch is not None:
        graph.reshape([batch, 3, 12, 12])
    compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})
    size = batch or len(case.images)
    starts = range(0, len(case.images), size)  # a result is overwritten by the next one's
    return np.concatenate([compiled([case.images[start : start + size]])[0].copy() for start in starts])


@pytest.fixture(scope="module")
def plain() -> Case:
    """A network with plain sums."""
    return make("inverted", "plain")


@pytest.fixture(scope="module")
def arm64(cases: dict[str, Case], plain: Case, tmp_path_factory: Any) -> dict[str, NDArray[np.float32]]:
    """Logits of all cases, from one emulated process."""
    folder = tmp_path_factory.mktemp("arm64")
    if not ARM64.is_file():
        pytest.fail(f"no 64-bit Arm Python; `bash {FOLDER}/prepare_arm64.sh {ARM64.parent}` makes it", pytrace=False)
    for name, case in {**cases, "plain": plain}.items():
        (folder / f"{name}.onnx").write_bytes(case.model.SerializeToString())
        np.save(folder / f"{name}.images.npy", case.images)
    command = [str(ARM64), str(FOLDER / "arm64_child.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("aarch64 onnxruntime")
    return {name: np.load(folder / f"{name}.logits.npy") for name in (*cases, "plain")}


def test_every_operator_is_in_a_network(cases: dict[str, Case]) -> None:
    found = {node.op_type for case in cases.values() for node in case.model.graph.node}
    made = {name for name, row in ROWS.items() if row.handling not in ("float", "rounded")}
    assert {"Exp", "ReduceSumSquare"} <= found  # of Softmax and LayerNormalization
    assert made - found == {"Identity", "Relu"}  # the one is taken out, the other is the end of a grid, or a Clip


@pytest.mark.parametrize("name", NETWORKS)
def test_onnxruntime(name: str, cases: dict[str, Case]) -> None:
    parity = check_parity(cases[name].model, cases[name].images)
    assert parity.exact, parity


@pytest.mark.parametrize("batch", [None, 1, 32])
@pytest.mark.parametrize("name", NETWORKS)
def test_openvino(name: str, batch: int | None, cases: dict[str, Case]) -> None:
    assert int((in_openvino(cases[name], batch) != cases[name].logits).sum()) == 0


@pytest.mark.parametrize("bits", [4, 2, 1])
@pytest.mark.parametrize("name", ["residual", "inverted", "rows", "branches", "gates", "attention"])
def test_few_bits(name: str, bits: int) -> None:
    """On both engines: a Clip of integers fuses with nothing, and changes nothing else."""
    case = make(name, bits=bits)
    assert check_parity(case.model, case.images).exact
    assert int((in_openvino(case, None) != case.logits).sum()) == 0


@pytest.mark.parametrize("name", NETWORKS)
def test_arm64(name: str, cases: dict[str, Case], arm64: dict[str, NDArray[np.float32]]) -> None:
    assert int((arm64[name] != cases[name].logits).sum()) == 0


def test_plain_sums_are_the_reason(plain: Case, arm64: dict[str, NDArray[np.float32]]) -> None:
    """What exact sums are for: plain ones are exact in ONNX Runtime on x86, and no further."""
    assert check_parity(plain.model, plain.images).exact
    assert (in_openvino(plain, None) != plain.logits).any()
    assert (arm64["plain"] != plain.logits).any()
