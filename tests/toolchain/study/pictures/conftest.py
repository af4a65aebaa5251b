"""Finished networks of known weights, float and integer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.data.load import load_dataset
from hardtemper.export.float_pixels import float_pixels
from hardtemper.export.lower import lower
from hardtemper.export.quantization.quantize import quantize
from hardtemper.toolchain.study.pictures.study_picture import Finished, FinishedNetwork


@pytest.fixture(scope="session")
def small_networks(npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Two cells, "a" and "b", each as a network and as an engine; of b's convolution 9 of 27 weights are zero."""
    data = load_dataset(str(npz), heldout=0, calibration=32)
    networks, folder = [], tmp_path_factory.mktemp("small-networks")
    for number, key in enumerate("ab"):
        torch.manual_seed(number)
        net = nn.Sequential(nn.Conv2d(1, 3, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(147, 4)).eval()
        if key == "b":
            with torch.no_grad():
                net[0].weight[1] = 0
        graph = lower(net, input_shape=(1, 16, 16))
        models = {
            "network": float_pixels(graph),
            "engine": quantize(graph, data.calibration.images).model,
        }
        graphs = {subject: folder / f"{key}.{subject}.onnx" for subject in models}
        for subject, model in models.items():
            graphs[subject].write_bytes(model.SerializeToString())
        threat = ThreatModel.parse("linf:0.1")
        networks.append(FinishedNetwork(key=key, label=f"f_{key}", seed=0, graphs=graphs, threat=threat))
    return Finished(networks=tuple(networks), data=lambda seed: data, images=8)
