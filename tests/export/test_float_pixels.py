"""The float graph of pixels against the network itself."""

from __future__ import annotations

import numpy as np
import onnxruntime
import torch
from torch import nn

from hardtemper.export.float_pixels import float_pixels
from hardtemper.export.lower import lower


def test_pixels_are_divided_by_255() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5)).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (7, 3, 8, 8), dtype=np.uint8)
    model = float_pixels(lower(net, input_shape=(3, 8, 8)))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (given,) = session.get_inputs()
    (logits,) = session.run(None, {given.name: pixels})
    assert given.type == "tensor(uint8)"
    with torch.no_grad():
        wanted = net(torch.from_numpy(pixels).float() / 255).numpy()
    np.testing.assert_allclose(logits, wanted, atol=1e-5)
