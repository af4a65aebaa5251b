"""The last layers, found in graphs of known layers."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from hardtemper.export.float_pixels import float_pixels
from hardtemper.export.lower import lower
from hardtemper.export.quantization.quantize import quantize
from hardtemper.export.twin.twin import Twin
from hardtemper.toolchain.study.pictures.hidden_layers import last_layers


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 5)
    ).eval()


def test_results_are_read_behind_the_activation_of_float_and_integer_graphs() -> None:
    module = network()
    graph = lower(module, input_shape=(1, 8, 8))
    pixels = np.random.default_rng(0).integers(0, 256, (64, 1, 8, 8), dtype=np.uint8)
    images = torch.from_numpy(pixels).float() / 255
    real = float_pixels(graph)
    with torch.no_grad():
        wanted = {2: module[:4](images), 3: module(images)}
        for model, atol in ((real, 1e-4), (quantize(graph, pixels).model, 0.1)):
            names = last_layers(model.graph, 2)
            assert list(names) == [2, 3]
            found = Twin(model).results(images, names.values())
            for number, name in names.items():
                torch.testing.assert_close(found[name], wanted[number], atol=atol, rtol=0)


def test_there_are_no_more_than_there_are() -> None:
    model = quantize(lower(network(), input_shape=(1, 8, 8)), np.zeros((4, 1, 8, 8), np.uint8)).model
    assert list(last_layers(model.graph, 9)) == [1, 2, 3]


def onnx_bytes(model: object) -> bytes:
    import onnx_ir as ir

    assert isinstance(model, ir.Model)
    return ir.to_proto(model).SerializeToString()
