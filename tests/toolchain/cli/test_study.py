"""`toolchain study`: what reaches the study, what is shown, and two processes on one folder."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hardtemper.toolchain.__main__ import main
from hardtemper.toolchain.study.carry_out import StudyResult

Fails = Callable[..., str]


def test_options_and_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    stored = tmp_path / "table.json"
    stored.write_text('{"rows": [1]}')

    def made_up(name: str, **options: Any) -> StudyResult:
        del options["progress"]
        asked.append((name, options))
        return StudyResult(rows=(), text="# Table\n| a |", files={"json": stored}, notes=("no picture: none",))

    monkeypatch.setattr("hardtemper.toolchain.study.carry_out.study", made_up)
    words = ["study", "table3", "--scale", "0.1", "--seeds", "3,1", "--only", "a-*", "--only", "b", "--data", "mnist"]
    words += [
        "--set",
        "model.width=8",
        "--attack",
        "standard",
        "--out",
        str(tmp_path),
        "--json",
        str(tmp_path / "x.json"),
    ]
    assert main(words) == 0
    ((name, options),) = asked
    assert (name, options["scale"], options["seeds"], options["only"]) == ("table3", 0.1, (3, 1), ("a-*", "b"))
    assert options["changes"] == {"data.name": "mnist", "model.width": 8}
    assert (options["attack"], options["attack_images"], options["images"]) == ("standard", 500, None)
    shown = capsys.readouterr().out
    assert "# Table\n| a |" in shown
    assert "no picture: none" in shown
    assert json.loads((tmp_path / "x.json").read_text()) == {"rows": [1]}


def test_errors(fails: Fails, tmp_path: Path) -> None:
    assert "did you mean 'table3'?" in fails("study", "tabel3", "--out", tmp_path)
    assert "--seeds; expected: whole numbers" in fails("study", "table3", "--seeds", "one", "--out", tmp_path)
    assert "scale; expected: above 0" in fails("study", "table3", "--scale", "0", "--out", tmp_path)


@pytest.mark.slow
def test_two_processes_share_a_folder(npz: Path, tmp_path: Path) -> None:
    """A whole study on small images: each stage is carried out by one of the two, and both tell the same table."""
    command = [sys.executable, "-m", "hardtemper.toolchain", "study", "table2", "--data", str(npz), "--seeds", "0"]
    command += ["--out", str(tmp_path / "out"), "--scale", "0.01", "--images", "16"]
    small = {"train.epochs": 1, "finetune.epochs": 1, "model.width": 4, "adversary.steps": 1, "data.calibration": 32}
    for key, value in small.items():
        command += ["--set", f"{key}={value}"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **streams) for _ in range(2)]
    results = [process.communicate(timeout=500) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    done = Counter(re.findall(r"^(\S+: \S+).*: done", "\n".join(errors for _, errors in results), re.MULTILINE))
    stages = {stage for stage in done if "train" in stage or "network" in stage}
    assert len(stages) == 2 + 3  # f_st and f_rb; three networks measured
    assert {done[stage] for stage in stages} == {1}
    assert results[0][0] == results[1][0]
    assert "| `T_ad(f_st)` | none | network |" in results[0][0]
