from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.apgd_steps import Halving, Sparsity, checkpoints


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (100, [22, 41, 57, 70, 80, 87, 93, 99]),  # the paper's p_j, in hundredths
        (20, [5, 9, 12, 14, 16, 18, 19, 20]),
        (1, [1]),
    ],
)
def test_checkpoints(steps: int, expected: list[int]) -> None:
    assert checkpoints(steps) == expected


def walk(rule: Halving, steps: range, rises: list[int], best: list[float]) -> list[bool]:
    """Steps up to a checkpoint, in the first `rises` of which an image's loss rises: who is sent back."""
    x = torch.zeros(len(rises), 1, 1, 1)
    for turn, step in enumerate(steps):
        back = rule.stalled(step, x, x, torch.tensor(rises) > turn, torch.tensor(best))
        assert (back is None) == (step != steps[-1])
    assert back is not None
    return [bool(image) for image in back]


def test_a_step_is_halved_where_the_loss_rose_in_three_quarters_of_the_steps_or_fewer() -> None:
    rule = Halving(ThreatModel("linf", 0.1), torch.zeros(4), 100)
    assert walk(rule, range(1, 23), [0, 16, 17, 22], [1.0] * 4) == [True, True, False, False]  # of 22: 16.5
    assert walk(rule, range(23, 42), [19, 15, 14, 0], [2.0] * 4) == [False, False, True, True]  # of 19: 14.25
    assert walk(rule, range(42, 58), [13, 12, 13, 12], [3.0] * 4) == [False, True, False, True]  # of 16: 12
    torch.testing.assert_close(rule.step_size, 0.2 / torch.tensor([2.0, 4.0, 2.0, 4.0]))


def test_a_step_is_halved_every_other_time_while_the_best_stays() -> None:
    # Image 1 finds a new best before the third checkpoint, and none after.
    rule = Halving(ThreatModel("l2", 1.0), torch.zeros(2), 100)
    always = [100, 100]
    assert walk(rule, range(1, 23), always, [0.0, 0.0]) == [False, False]  # rule (2) starts at the second
    assert walk(rule, range(23, 42), always, [0.0, 0.0]) == [True, True]
    assert walk(rule, range(42, 58), always, [0.0, 0.5]) == [False, False]
    assert walk(rule, range(58, 71), always, [0.0, 0.5]) == [True, True]
    assert walk(rule, range(71, 81), always, [0.0, 0.6]) == [False, False]
    assert walk(rule, range(81, 88), always, [0.0, 0.7]) == [True, False]
    torch.testing.assert_close(rule.step_size, torch.tensor([0.25, 0.5]))


def test_halving_remembers_the_images_that_are_left() -> None:
    rule = Halving(ThreatModel("linf", 0.5), torch.zeros(3), 100)
    walk(rule, range(1, 23), [0, 22, 0], [0.0, 0.0, 1.0])
    rule.keep(torch.tensor([False, True, True]))
    assert walk(rule, range(23, 42), [19, 19], [0.0, 1.0]) == [True, False]
    torch.testing.assert_close(rule.step_size, torch.tensor([0.5, 0.5]))


def changed(*counts: int) -> Tensor:
    """Images of 30 black pixels, of which so many are not."""
    return (torch.arange(30) < torch.tensor(counts).unsqueeze(1)).float().view(-1, 1, 5, 6)


@pytest.mark.parametrize(("steps", "every"), [(100, 4), (40, 1), (50, 2), (10, 1)])
def test_sparsity_is_looked_at_25_times(steps: int, every: int) -> None:
    x = changed(0)
    rule = Sparsity(ThreatModel("l1", 1.0), x, changed(30), steps)
    back = [rule.stalled(step, x, x, torch.ones(1) > 0, torch.zeros(1)) for step in range(1, steps + 1)]
    assert [step for step, found in enumerate(back, 1) if found is not None] == list(range(every, steps + 1, every))


def test_a_step_is_shortened_until_the_best_point_is_sparser() -> None:
    x, unused = changed(0, 0, 0), torch.zeros(3)
    rule = Sparsity(ThreatModel("l1", 3.0), x, changed(30, 30, 0), 25)

    def stalled(step: int, *counts: int) -> list[bool]:
        back = rule.stalled(step, x, changed(*counts), unused > 0, unused)
        assert back is not None
        return [bool(image) for image in back]

    torch.testing.assert_close(rule.step_size, torch.tensor([3.0, 3.0, 3.0]))
    assert rule.sparsity.tolist() == [20, 20, 1]  # of nothing changed, one pixel moves all the same
    assert stalled(1, 29, 29, 4) == [False, False, False]  # 0.95 * 30 = 28.5
    torch.testing.assert_close(rule.step_size, torch.tensor([2.0, 2.0, 2.0]))
    assert rule.sparsity.tolist() == [20, 20, 3]  # 19.3, 2.7
    assert stalled(2, 28, 27, 4) == [False, True, False]  # 0.95 * 29 = 27.55
    torch.testing.assert_close(rule.step_size, torch.tensor([4 / 3, 3.0, 4 / 3]))
    assert rule.sparsity.tolist() == [19, 18, 3]
    rule.keep(torch.tensor([True, True, False]))
    x, unused = x[:2], unused[:2]
    for step in range(3, 9):
        assert stalled(step, 28, 27) == [False, False]
    torch.testing.assert_close(rule.step_size, torch.tensor([0.3, 0.3]))  # a tenth of epsilon at least
    assert stalled(9, 26, 26) == [True, False]  # 26.6 and 25.65
    torch.testing.assert_close(rule.step_size, torch.tensor([3.0, 0.3]))
