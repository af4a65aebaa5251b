"""What counts as right and as broken."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.robustness.criteria import right_answers, withstood


@pytest.mark.parametrize(
    ("logits", "target", "stood"),
    [
        ([0.0, 3.0, 1.0], None, True),
        ([4.0, 3.0, 1.0], None, False),
        ([4.0, 3.0, 1.0], 0, False),
        ([4.0, 3.0, 1.0], 2, True),
        ([np.nan, 3.0, 1.0], None, False),
        ([np.nan, 3.0, 1.0], 0, True),
        ([1.0, np.inf, 1.0], None, False),
        ([np.inf, 3.0, 1.0], 0, True),
        ([-np.inf, 3.0, 1.0], None, True),
    ],
)
def test_what_the_attacker_wants(logits: list[float], target: int | None, stood: bool) -> None:
    threat = ThreatModel("linf", 0.1, target)
    assert withstood(np.array([logits], np.float32), np.array([1]), threat).tolist() == [stood]


@pytest.mark.parametrize(
    ("logits", "right"),
    [
        ([1.0, 2.0], True),
        ([2.0, 1.0], False),
        ([np.nan, 2.0], False),
        ([1.0, np.nan], False),
        ([-np.inf, 2.0], True),
        ([1.0, np.inf], False),
        ([-np.inf, -np.inf], False),
    ],
)
def test_nan_and_overflow_are_no_answer(logits: list[float], right: bool) -> None:
    assert right_answers(np.array([logits], np.float32), np.array([1])).tolist() == [right]


@pytest.mark.parametrize("target", [None, 0, 2])
def test_a_right_answer_is_never_broken_and_broken_means_what_the_attacker_wants(target: int | None) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, 3)).astype(np.float32)
    logits[rng.random(logits.shape) < 0.05] = np.nan
    labels = np.where(np.arange(200) % 2, 1, 1 if target is None else 3 - target - 1)
    right, stood = right_answers(logits, labels), withstood(logits, labels, ThreatModel("linf", 0.1, target))
    assert (right <= stood).all()
    if target is None:
        assert np.array_equal(right, stood)
    else:
        answered = ~np.isnan(logits).any(1)
        assert np.array_equal(~stood, answered & (np.nan_to_num(logits).argmax(1) == target) & (labels != target))


def test_a_verdict_is_judged_without_torch_and_onnx() -> None:
    modules = ("attacks.threat.threat_model", "robustness.criteria", "robustness.archive", "robustness.replay_verdict")
    names = ", ".join(f"hardtemper.bench.{module}" for module in modules)
    code = f"import sys, {names}; print(sorted({{'torch', 'onnx'}} & set(sys.modules)))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"
