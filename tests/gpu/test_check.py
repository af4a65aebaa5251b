"""The GPU checks themselves on a machine without one: what needs no GPU runs, small; the rest says why it did not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("check.py")
NEEDS_A_GPU = ("cuda", "engines", "parity", "memory", "replay")


def has_driver() -> bool:
    from hardtemper.runtime.backends.cuda.driver import open_driver
    from hardtemper.runtime.errors import InputError

    try:
        open_driver()
    except InputError:
        return False
    return True


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes of gray images: a bright bar at one of four heights, with noise."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 112), ("test", 24)):
        labels = np.arange(count) % 4
        images = rng.integers(0, 60, (count, 16, 16), np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[4 * label : 4 * label + 4] += 150
        arrays |= {f"{part}_images": images, f"{part}_labels": labels}
    path = tmp_path_factory.mktemp("data") / "bars.npz"
    np.savez(path, **arrays)
    return path


def check(out: Path, data: Path, *more: str) -> dict[str, Any]:
    command = [sys.executable, str(SCRIPT), "--out", str(out), "--tiny", "--device", "cpu", "--data", str(data), *more]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, env=one_thread, capture_output=True, text=True, timeout=600, check=False)
    assert (out / "check.json").is_file(), done.stderr
    found: dict[str, Any] = json.loads((out / "check.json").read_text(encoding="utf-8"))["steps"]
    failed = {name: step for name, step in found.items() if step["status"] == "failed"}
    assert not failed, json.dumps(failed, indent=1)
    assert done.returncode == 0, done.stderr
    return found


@pytest.mark.slow
@pytest.mark.skipif(has_driver(), reason="with a GPU the checks are run themselves: make gpu")
def test_every_step_runs_or_says_why_not(data: Path, tmp_path: Path) -> None:
    found = check(tmp_path, data)
    reasons = {name: step["reason"] for name, step in found.items() if step["status"] == "not run"}
    assert set(reasons) == set(NEEDS_A_GPU)
    assert reasons["cuda"].startswith("no NVIDIA driver on this machine")
    assert reasons["engines"].startswith("no NVIDIA driver on this machine")
    assert {reasons[name] for name in ("parity", "replay")} == {"needs the step 'engines'"}

    bundles = found["bundles"]["result"]
    assert set(bundles) == {"cnn8/hardened", "cnn8/dense-int8"}
    before, after = bundles["cnn8/hardened"]["macs"]
    assert after < before
    assert all(bundle["parity"]["exact"] for bundle in bundles.values())
    assert found["torch-parity"]["result"]["cnn8/hardened"] == {"images": 24, "images_differ": 0}

    speed = found["speed"]["result"]["cnn8"]
    assert speed["side_by_side"] == ["torch fp32", "torch half", "torch half graph"]
    assert speed["tensorrt"] == {"not_run": "no engine"}
    rows = [row for row in speed["measurements"] if row["name"] == "device-latency"]
    assert {(row["engine"], row["settings"]["batch"]) for row in rows} == {
        (engine, batch) for engine in speed["side_by_side"] for batch in (1, 4)
    }

    verdict = found["robust"]["result"]["cnn8/hardened"]
    assert verdict["n"] == 24
    assert 0 <= verdict["robust"] <= verdict["clean"] <= 24
    assert verdict["clean"]  # else nothing was attacked
    from hardtemper.bench.robustness.archive import read_archive

    assert len(read_archive(Path(verdict["archive"])).images) == 24

    rows = found["table3"]["result"]["rows"]
    assert len(rows) == 2 * (1 + 3 * 2)

    # nothing that is done is done again, and a step can be asked for by itself
    again = check(tmp_path, data, "--only", "cuda", "bundles")
    assert again["bundles"]["at"] == found["bundles"]["at"]
    assert again["cuda"]["at"] >= found["cuda"]["at"]


@pytest.mark.skipif(has_driver(), reason="this machine has a GPU: every step would run in full")
def test_without_a_gpu_nothing_is_run_for_hours(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stdout.startswith("no GPU that torch can use; nothing was run")
    assert not (tmp_path / "out").exists()
