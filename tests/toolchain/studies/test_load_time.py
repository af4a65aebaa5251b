"""The benchmark of `load` measures each version as often as it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hardtemper.toolchain.studies.load_time import measure


def test_both_versions_are_measured(tiny: Any, tmp_path: Path) -> None:
    other = tmp_path / "hardtemper"
    other.mkdir()
    (other / "__init__.py").write_text("import time\n\n\ndef load(path, threads):\n    time.sleep(0.001)\n")
    result = measure(tiny.path, beside=tmp_path, turns=2, loads=3)
    counts = {(row["version"], row["step"]): row["n"] for row in result["rows"]}
    steps = {"import hardtemper": 2, "import of the engine": 2, "load": 6}
    assert counts == {(version, step): n for version in ("this", "beside") for step, n in steps.items()}
    assert all(0 < row["min_ms"] <= row["median_ms"] for row in result["rows"])
    assert all(row["processor_min_ms"] <= row["processor_median_ms"] for row in result["rows"])
    assert result["bundle_bytes"] == sum(file.stat().st_size for file in tiny.path.iterdir())
    alone = measure(tiny.path, beside=None, turns=1, loads=1)
    assert {row["version"] for row in alone["rows"]} == {"this"}
