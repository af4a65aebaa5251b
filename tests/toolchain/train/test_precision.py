from __future__ import annotations

import pytest
import torch

from hardtemper.export.bfloat16 import PROBES
from hardtemper.toolchain.train.precision import autocast, resolve


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((False, False), "float32"),
        ((True, False), "bfloat16"),
        ((False, True), "bfloat16"),
    ],
)
def test_auto_asks_the_processor(monkeypatch: pytest.MonkeyPatch, answers: tuple[bool, bool], expected: str) -> None:
    for probe, answer in zip(PROBES, answers, strict=True):
        monkeypatch.setattr(torch.cpu, probe, lambda answer=answer: answer, raising=False)
    assert resolve("auto") == expected


def test_a_torch_without_the_questions_means_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    for probe in PROBES:
        monkeypatch.delattr(torch.cpu, probe, raising=False)
    assert resolve("auto") == "float32"


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_products_are_made_as_asked(precision: str, dtype: torch.dtype) -> None:
    assert resolve(precision) == precision
    layer = torch.nn.Linear(4, 4)
    with autocast(precision)():
        assert layer(torch.zeros(1, 4)).dtype == dtype
    assert layer.weight.dtype == torch.float32
