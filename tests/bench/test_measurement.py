from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from hardtemper.bench.measurement import Environment, Measurement, share, wilson
from hardtemper.runtime.errors import InputError


@settings(deadline=None)  # scipy is slow to import
@given(st.integers(1, 20000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_wilson_is_scipys(counts: tuple[int, int], confidence: float) -> None:
    successes, n = counts
    expected = binomtest(successes, n).proportion_ci(confidence_level=confidence, method="wilson")
    low, high = wilson(successes, n, confidence)
    assert low == pytest.approx(expected.low, abs=1e-12)
    assert high == pytest.approx(expected.high, abs=1e-12)
    assert 0 <= low <= successes / n <= high <= 1


@pytest.mark.parametrize(("successes", "end"), [(0, 0), (10, 1)])
def test_wilson_reaches_the_ends_exactly(successes: int, end: int) -> None:
    assert end in wilson(successes, 10)


@pytest.mark.parametrize(
    ("successes", "n", "confidence"), [(-1, 10, 0.95), (11, 10, 0.95), (0, 0, 0.95), (1, 2, 0.0), (1, 2, 1.0)]
)
def test_wilson_refuses(successes: int, n: int, confidence: float) -> None:
    with pytest.raises(InputError, match="successes <= n"):
        wilson(successes, n, confidence)


def test_share_is_in_per_cent_with_its_interval() -> None:
    found = share("robust-accuracy", 315, 500, attack="union")
    low, high = binomtest(315, 500).proportion_ci(method="wilson")
    assert (found.value, found.unit, found.n) == (63.0, "%", 500)
    assert found.spread == (pytest.approx(100 * low), pytest.approx(100 * high))
    assert found.settings == {"attack": "union"}


@pytest.mark.parametrize("spread", [None, (1.0, 2.5)])
def test_measurement_survives_json(spread: tuple[float, float] | None) -> None:
    found = Measurement(
        name="latency", value=1.5, unit="ms", n=3, spread=spread, settings={"batch": 1, "threads": None, "turns": True}
    )
    assert Measurement.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_measurement_refuses_what_json_cannot_say(value: float) -> None:
    with pytest.raises(InputError, match="finite"):
        Measurement(name="latency", value=value, unit="ms", n=1)


def test_environment_survives_json() -> None:
    here = Environment.here()
    assert Environment(**json.loads(json.dumps(here.to_dict()))) == here
    assert here.cores >= 1
    assert here.versions.keys() >= {"python", "hardtemper", "numpy", "onnxruntime"}
    assert here.memory_mib is None or here.memory_mib > 100


def test_environment_names_torch_only_where_it_is_loaded() -> None:
    code = "from hardtemper.bench.measurement import Environment; print(sorted(Environment.here().versions))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "['hardtemper', 'numpy', 'onnxruntime', 'python']"
