"""Products of matrices, whatever their axes are called and in whatever order they stand; other sums stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest

from hardtemper.export.passes.einsum_to_matmul import EinsumToMatMul
from hardtemper.tests.export.passes.pass_cases import Case, check_case, some

SIZES = {"a": 2, "b": 3, "i": 4, "j": 5, "k": 6}
PRODUCTS = {  # by equation: how many transposes it takes
    "abik,abjk->abij": 1,
    "abik,abkj->abij": 0,
    "baik,abjk->abji": 3,
    "ik,jk->ij": 1,
    "ki,kj->ij": 1,
    "aik,ajk->ija": 2,
    "abij,abjk->abik": 0,
}
OTHERS = {
    "aik,ajk->aijk": "'aik,ajk->aijk' is no product of matrices",
    "aik,ak->ai": "'aik,ak->ai' is no product of matrices",
    "aikb,ajkb->aij": "'aikb,ajkb->aij' is no product of matrices",
    "aab,abi->ai": "'aab,abi->ai' repeats an axis of one tensor",
    "aik,ajk": "'aik,ajk' is no product of two tensors with named axes",
    "...ik,...kj->...ij": "'...ik,...kj->...ij' is no product of two tensors with named axes",
}


def case(equation: str, after: dict[str, int] | None, *, reason: str = "") -> Case:
    """Of x and a constant; sizes by the axis' letter."""
    letters = equation.replace("...", "a")
    terms, _, result = letters.partition("->")
    left, right = terms.split(",")
    result = result or "".join(sorted(set(left) ^ set(right)))
    kind = {term: f"float[{','.join(str(SIZES[axis]) for axis in term)}]" for term in (left, result)}
    text = f'y = Einsum<equation="{equation}">(x, w)'
    constants = {"w": some(*(SIZES[axis] for axis in right))}
    return Case(equation, text, kind[result], constants, after, kind[left], reason)


@pytest.mark.parametrize("equation", PRODUCTS)
def test_products(equation: str, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    transposes = {"Transpose": PRODUCTS[equation]} if PRODUCTS[equation] else {}
    check_case(EinsumToMatMul(), case(equation, {"MatMul": 1, **transposes}), build, run)


@pytest.mark.parametrize("equation", OTHERS)
def test_others_stay(equation: str, build: Callable[..., onnx.ModelProto], run: Callable[..., Any]) -> None:
    check_case(EinsumToMatMul(), case(equation, None, reason=OTHERS[equation]), build, run)
