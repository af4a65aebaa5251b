from __future__ import annotations

import torch

from hardtemper.export.twin.noise import draw_normal, draw_uniform, drawn_from

CPU = torch.device("cpu")


def test_draws_can_be_repeated_inside_and_are_new_every_time() -> None:
    def draws() -> list[torch.Tensor]:
        with drawn_from(torch.Generator().manual_seed(3)):
            return [draw_normal((4,), CPU), draw_normal((4,), CPU), draw_uniform((4,), CPU)]

    first, second = draws(), draws()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])


def test_elsewhere_they_are_torchs_own() -> None:
    torch.manual_seed(5)
    drawn = draw_normal((4,), CPU), draw_uniform((4,), CPU)
    torch.manual_seed(5)
    assert torch.equal(drawn[0], torch.randn(4))
    assert torch.equal(drawn[1], torch.rand(4))
