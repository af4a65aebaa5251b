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
    found = study.measure("cnn8", images, repeats=1)
    assert found["input"] == [1, 28, 28]
    graphs = ("float", "INT8", "plain sums")
    expected = [(engine, batch, graph) for engine in study.BACKENDS for batch in study.BATCHES for graph in graphs]
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
    study.main(["--only", "resnet18", "vit", "--repeats", "7", "--json", str(path)])
    vit = "hardtemper.toolchain.studies.trained_networks:vit"
    assert [(name, settings) for name, _, settings in asked] == [("resnet18", {"repeats": 7}), (vit, {"repeats": 7})]
    assert {shape for _, shape, _ in asked} == {(256, 1, 28, 28)}
    assert [row["network"] for row in json.loads(path.read_text(encoding="utf-8"))["rows"]] == ["resnet18", vit]
    assert "openvino     batch 32  INT8           2.000 ms  x 1.25" in capsys.readouterr().out
