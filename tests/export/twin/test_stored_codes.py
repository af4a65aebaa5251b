from __future__ import annotations

import pytest
import torch

from hardtemper.export.twin.stored_codes import Codes, codes_of

ZERO = torch.zeros(())


def test_signs_and_their_gradient() -> None:
    """By hand: w / s of -1.5, -1, -0.25, 0, 0.5, 1 and 1.25 at s = 1/2."""
    w = torch.tensor([-0.75, -0.5, -0.125, 0.0, 0.25, 0.5, 0.625], requires_grad=True)
    n = codes_of(torch.tensor([1, -1], dtype=torch.int8), ZERO, 1).rounded(w, torch.tensor(0.5), ZERO)
    assert n.tolist() == [-1, -1, -1, 1, 1, 1, 1]
    n.sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [0, 2, 2, 2, 2, 2, 0]


def test_two_bits_and_their_gradient() -> None:
    """By hand: halves round to even, 1.5 is beyond the last code and has no gradient."""
    w = torch.tensor([-2.0, -1.0, -0.5, 0.25, 0.5, 0.75, 1.25, 1.5], requires_grad=True)
    n = codes_of(torch.tensor([1, 0], dtype=torch.int8), ZERO, 2).rounded(w, torch.tensor(1.0), ZERO)
    assert n.tolist() == [-1, -1, 0, 0, 0, 1, 1, 1]
    n.sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [0, 1, 1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("integers", "zero", "bits", "expected"),
    [
        (torch.tensor([127, -3], dtype=torch.int8), 0, None, Codes(-127, 127)),
        (torch.tensor([-128, 3], dtype=torch.int8), 0, None, Codes(-128, 127)),
        (torch.tensor([63, -3], dtype=torch.int8), 0, None, Codes(-63, 63)),
        (torch.tensor([63, -3], dtype=torch.int8), 0, 8, Codes(-127, 127)),
        (torch.tensor([3, -3], dtype=torch.int8), 0, 4, Codes(-7, 7)),
        (torch.tensor([3, -3], dtype=torch.int8), 2, None, Codes(-128, 127)),
        (torch.tensor([3, 4], dtype=torch.uint8), 0, None, Codes(0, 255)),
        (torch.tensor([1, -1], dtype=torch.int8), 0, 1, Codes(-1, 1, signs=True)),
    ],
)
def test_which_integers(integers: torch.Tensor, zero: int, bits: int | None, expected: Codes) -> None:
    assert codes_of(integers, torch.tensor(float(zero)), bits) == expected


def test_a_shadow_rounds_to_the_integers() -> None:
    integers, step = torch.tensor([-1, 1, 1, 1], dtype=torch.int8), torch.tensor(0.5)
    given = torch.tensor([-0.1, 3.0, -0.2, 0.3])  # the third does not round to its integer
    found = codes_of(integers, ZERO, 1).shadow(integers, step, ZERO, given=given)
    assert found is not None
    assert torch.allclose(found, torch.tensor([-0.1, 0.5, 0.5, 0.3]))
    assert codes_of(integers, ZERO, 1).shadow(integers, step, ZERO, given=None).tolist() == [-0.5, 0.5, 0.5, 0.5]  # type: ignore[union-attr]


def test_no_shadow_of_what_float32_does_not_hold() -> None:
    integers = torch.tensor([2**24 + 1], dtype=torch.int32)
    assert codes_of(integers, ZERO, None).shadow(integers, torch.tensor(1.0), ZERO, given=None) is None
