"""The zoo's graphs: each is the network with a defense that an image may notice, and not another network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn

from hardtemper.export.twin.operators.random import NOISE
from hardtemper.export.twin.twin import Twin
from hardtemper.toolchain.studies.defenses import DEFENSES, defended

SHAPE = (1, 12, 12)


@pytest.fixture(scope="module")
def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(144, 20), nn.ReLU(), nn.Linear(20, 6)]
    return nn.Sequential(*layers).eval().requires_grad_(False)


@pytest.mark.parametrize("name", DEFENSES)
def test_a_defense_runs_and_its_twin_is_onnxruntimes(name: str, network: nn.Sequential) -> None:
    model = defended(network, SHAPE, DEFENSES[name])
    x = np.random.default_rng(0).integers(0, 256, (5, *SHAPE)).astype(np.float32) / 255
    (expected,) = ort.InferenceSession(model.SerializeToString()).run(None, {"image": x})
    assert expected.shape == (5, 6)
    with torch.no_grad():
        found = Twin(model)(torch.from_numpy(x)).numpy()
    if not NOISE.isdisjoint(node.op_type for node in model.graph.node):
        assert found.shape == expected.shape
        return
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-3)  # ONNX Runtime has no softmax in float16


def test_without_a_defense_it_is_the_network(network: nn.Sequential) -> None:
    model = defended(network, SHAPE, DEFENSES["none"])
    x = torch.rand(3, *SHAPE)
    (found,) = ort.InferenceSession(model.SerializeToString()).run(None, {"image": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), network(x))


def test_the_block_transform_without_rounding_is_nothing(network: nn.Sequential) -> None:
    fine = replace(DEFENSES["jpeg"], constants={"n": np.float32(1e6)})
    x = torch.rand(2, *SHAPE)
    session = ort.InferenceSession(defended(network, SHAPE, fine).SerializeToString())
    (found,) = session.run(None, {"image": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), network(x), rtol=1e-3, atol=1e-3)
