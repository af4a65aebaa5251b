"""The study of speed: every engine times every graph, and the command stores what it prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardtemper.toolchain.studies import integer_speed as study


def test_every_graph_is_timed_on_every_engine() -> None:
    images = np.random.default_rng(0).integers(0, 256, (128, 1, 28, 28), dtype=np.uint8)
    found = study.measure("cnn8", images, batches=(1, 5), repeats=1)
    assert found["input"] == [1, 28, 28]
    graphs = ("float", "INT8", "plain sums")
    expected = [(engine, batch, graph) for engine in study.BACKENDS for batch in (1, 5) for graph in graphs]
    assert [(row["engine"], row["batch"], row["graph"]) for row in found["latency"]] == expected
    assert all(row["median ms"] > 0 and row["n"] >= 1 for row in found["latency"])


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Any] = []

    def measured(name: str, images: Any, **settings: Any) -> dict[str, Any]:
        asked.append((name, images.shape, settings))
        row = {"engine": "openvino", "batch": 32, "graph": "INT8", "median ms": 2.0, "float / this": 1.25, "n": 7}
        return {"network": name, "input": [1, 28, 28], "latency": [row]}

    monkeypatch.setattr(study, "measure", measured)
    path = tmp_path / "speed.json"
    command = ["--only", "resnet50", "vit", "--repeats", "7", "--side", "32", "--batches", "1", "8"]
    study.main([*command, "--json", str(path)])
    vit = "hardtemper.toolchain.studies.trained_networks:vit"
    settings = {"repeats": 7, "batches": [1, 8]}
    assert [(name, given) for name, _, given in asked] == [("resnet50", settings), (vit, settings)]
    assert {shape for _, shape, _ in asked} == {(256, 1, 32, 32)}
    assert [row["network"] for row in json.loads(path.read_text(encoding="utf-8"))["rows"]] == ["resnet50", vit]
    assert "openvino     batch 32  INT8           2.000 ms  x 1.25" in capsys.readouterr().out
