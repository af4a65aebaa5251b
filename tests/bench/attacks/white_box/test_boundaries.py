from __future__ import annotations

import pytest
import torch
from torch import nn

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.boundaries import closest, heights_and_normals, likeliest, towards
from hardtemper.runtime.errors import ModelError

LINF = ThreatModel("linf", 0.1)


def test_of_a_linear_model(linear: nn.Module) -> None:
    torch.manual_seed(0)
    x = torch.rand(5, 3, 4, 4)
    z = linear(x).detach()
    y = z.argmax(1)
    boundaries, classes = likeliest(z, y, 3, LINF)
    order = z.argsort(dim=1, descending=True)
    assert torch.equal(classes, order[:, 1:4])
    weight = linear[1].weight.detach()
    for batch_size in (2, 128):
        logits, heights, normals = heights_and_normals(
            linear, x, y, classes, boundaries=boundaries, batch_size=batch_size
        )
        torch.testing.assert_close(logits, z)
        torch.testing.assert_close(heights, z.gather(1, classes) - z.amax(1, keepdim=True))
        torch.testing.assert_close(normals, weight[classes] - weight[y].unsqueeze(1))


def test_of_a_target(linear: nn.Module) -> None:
    torch.manual_seed(0)
    x = torch.rand(5, 3, 4, 4)
    z = linear(x).detach()
    z[:, 2] = -9
    boundaries, classes = likeliest(z, z.argmax(1), 3, ThreatModel("linf", 0.1, target=2))
    assert torch.equal(classes, torch.full((5, 1), 2))
    torch.testing.assert_close(boundaries(z, z.argmax(1), classes), -9 - z.amax(1, keepdim=True))


def test_there_are_no_more_than_all_others(linear: nn.Module) -> None:
    z = linear(torch.rand(2, 3, 4, 4))
    assert likeliest(z, z.argmax(1), 99, LINF)[1].shape == (2, 4)


def test_closest() -> None:
    heights = torch.tensor([[-1.0, -2.0], [-1.0, -2.0]])
    normals = torch.tensor([[[1.0, 0.0], [3.0, 3.0]], [[1.0, 0.0], [0.5, 0.0]]])
    height, w = closest(heights, normals, "linf")  # distances 1, 1/3; 1, 4
    assert height.tolist() == [-2, -1]
    assert w.tolist() == [[3, 3], [1, 0]]


def test_no_gradient() -> None:
    x, y = torch.zeros(1, 1, 1, 3), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ModelError, match="fix: attack the twin"):
        heights_and_normals(lambda x: x.detach().flatten(1), x, y, y.unsqueeze(1), boundaries=towards, batch_size=1)
