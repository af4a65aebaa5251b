"""A few rounds of what `make soak` does for hours, and that the soak would see what it looks for."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kills import CORPUS, compare_bundles, is_write
from steady import Steady, ask_from_threads, measured

SCRIPT = Path(__file__).with_name("soak.py")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it forks and reads /proc")


def soak(path: Path, **numbers: int) -> Any:
    given = dict.fromkeys(("kills", "disk", "writers", "calls", "concurrent"), 0) | numbers
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, str(SCRIPT), *words, "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_kills_full_disks_and_two_writers(tmp_path: Path) -> None:
    found = soak(tmp_path / "soak.json", kills=3, disk=12, writers=1)["disturbed"]
    for name in ("build", "bench"):
        rows = found[name]
        assert rows["kills"]["kills"] >= 3
        assert rows["full disk"]["writes"] > 4
        assert rows["full disk"]["refused"] > 0
        assert rows["two writers"]["rounds"] == 1
        assert not any(rows[key]["bad"] for key in ("kills", "full disk", "two writers"))


def test_ten_thousand_calls_and_threads(tmp_path: Path) -> None:
    rows = soak(tmp_path / "soak.json", calls=10_000, concurrent=20_000)["steady"]
    assert {name: row["calls"] for name, row in rows.items()} == {
        "calls of one engine": 10_000,
        "engines opened": 500,
        "calls from 8 threads": 20_000,
    }
    assert all(row["wrong"] == 0 for row in rows.values())
    assert all(row["growth_mib"] < 5 for row in rows.values())


def test_a_leak_is_seen() -> None:
    kept = []

    def leak(numbers: range) -> int:
        kept.extend(b"x" * (2_000_000 + number) for number in numbers)
        return 0

    assert measured(100, leak).growth_mib > 5


def test_wrong_logits_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from hardtemper.runtime.engine import Engine

    answer = Engine._run

    def sometimes(self: Engine, pixels: Any) -> Any:
        return answer(self, pixels) + (pixels.shape[0] == 3)

    monkeypatch.setattr(Engine, "_run", sometimes)
    found = ask_from_threads(CORPUS / "conv", calls=40, threads=4, seed=0)
    assert found == Steady(calls=40, wrong=10, growth_mib=found.growth_mib)


def test_other_bytes_are_seen(tmp_path: Path) -> None:
    copy = tmp_path / "conv"
    shutil.copytree(CORPUS / "conv", copy)
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    manifest["provenance"]["created"] = "2027-01-01T00:00:00Z"
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert compare_bundles(copy, CORPUS / "conv") == ""
    manifest["name"] = "other"
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert compare_bundles(copy, CORPUS / "conv") == "manifest.json"
    (copy / "model.onnx").write_bytes((copy / "model.onnx").read_bytes()[:-1])
    assert compare_bundles(copy, CORPUS / "conv") != ""
    (copy / "more").write_bytes(b"")
    assert compare_bundles(copy, CORPUS / "conv").startswith("files")


@pytest.mark.parametrize(
    ("event", "arguments", "writes"),
    [
        ("open", ("x", "rb", 0), False),
        ("open", ("x", "wb", 1), True),
        ("open", ("x", None, 2), True),
        ("os.rename", ("x", "y", -1, -1), True),
        ("import", ("x",), False),
    ],
)
def test_what_counts_as_a_write(event: str, arguments: tuple[Any, ...], writes: bool) -> None:
    assert is_write(event, arguments) == writes
