from __future__ import annotations

import pytest
import torch

from hardtemper.export.bfloat16 import PROBES, has_bfloat16
from hardtemper.export.twin.values.levels import gradient_dtype


@pytest.mark.parametrize("answers", [(False, False), (True, False), (False, True)])
def test_any_of_the_units_will_do(monkeypatch: pytest.MonkeyPatch, answers: tuple[bool, bool]) -> None:
    for probe, answer in zip(PROBES, answers, strict=True):
        monkeypatch.setattr(torch.cpu, probe, lambda answer=answer: answer, raising=False)
    assert has_bfloat16() is any(answers)


def test_a_torch_without_the_questions_means_no(monkeypatch: pytest.MonkeyPatch) -> None:
    for probe in PROBES:
        monkeypatch.delattr(torch.cpu, probe, raising=False)
    assert not has_bfloat16()


def test_the_twins_gradients_follow_the_processor() -> None:
    assert gradient_dtype() == (torch.bfloat16 if has_bfloat16() else torch.float32)
