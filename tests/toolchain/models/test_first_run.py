"""What `load_source` asks of a network is in its own tests, with networks from files."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hardtemper.runtime.errors import ModelError
from hardtemper.toolchain.models.first_run import check_running, check_training


class Head(nn.Module):
    """Gives the mean of the pixels in a shape of its own."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return (self.factor * x.mean((1, 2, 3))).reshape(-1, *[1 for _ in self.shape]).expand(-1, *self.shape)


@pytest.mark.parametrize(
    ("shape", "fix"),
    [
        ((1,), r"\[2, 1\]; fix: one logit .*torch.cat\(\[-z, z\], 1\)"),
        ((), r"\[2\]; fix: one logit .*torch.cat"),
        ((1, 1, 1), r"\[2, 1, 1, 1\]; fix: one logit"),
        ((3, 1, 1), r"\[2, 3, 1, 1\]; fix: return torch.flatten\(logits, 1\)"),
        ((4,), r"\[2, 4\]; fix: give the network as many outputs"),
        ((3, 2, 2), r"\[2, 3, 2, 2\]; fix: give the network as many outputs"),
    ],
)
def test_results_of_another_shape(shape: tuple[int, ...], fix: str) -> None:
    with pytest.raises(ModelError, match=fix):
        check_running(Head(*shape), "net", (3, 4, 4), classes=3)


def test_what_runs() -> None:
    check_running(Head(3), "net", (3, 4, 4), classes=3)


def test_images_may_not_depend_on_one_another() -> None:
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(48, track_running_stats=False), nn.Linear(48, 3)).eval()
    with pytest.raises(ModelError, match="net: the batch norm '1' takes its statistics from the batch"):
        check_running(net, "net", (3, 4, 4), classes=3)


def test_training_leaves_the_network_as_it_was() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 3)).eval()
    check_training(net, "net", (3, 4, 4), images=2)
    assert not net.training
    assert net[0].num_batches_tracked == 0
    with pytest.raises(ModelError, match="net has no parameter to train"):
        check_training(net.requires_grad_(False), "net", (3, 4, 4), images=2)
