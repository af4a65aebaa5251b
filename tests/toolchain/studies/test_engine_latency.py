"""The study of latencies: its engines are exact and wholly integer, whatever network it is given."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hardtemper.toolchain.studies import engine_latency as study


def small() -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)).eval()


def test_the_engines_are_exact_and_take_turns() -> None:
    found = study.measure(small(), name="small", repeats=1)
    assert (found["integer_share"], found["differing_logits"]) == (1.0, 0)
    (dense_macs, pruned_macs), (dense, pruned) = found["macs"], found["parameters"]
    assert 0 < pruned_macs < dense_macs
    assert 0 < pruned < dense
    assert [(row["batch"], row["engine"]) for row in found["latency"]] == [
        (batch, name) for batch in (1, 64) for name in study.ENGINES
    ]
    assert all(row["median_ms"] > 0 and row["n"] >= 1 for row in found["latency"])
    assert {"onnxruntime", "torch"} <= set(found["environment"]["versions"])


def test_the_command_stores_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"batch": 1, "engine": "dense float", "median_ms": 2.0, "p90_ms": 3.0, "speedup": 1.0, "n": 7}
    result = {"latency": [row], "integer_share": 1.0, "differing_logits": 0}
    asked: list[Any] = []

    def measured(network: nn.Module, **settings: Any) -> dict[str, Any]:
        asked.append((type(network).__name__, settings))
        return result

    path = tmp_path / "results" / "engines.json"
    monkeypatch.setattr(study, "measure", measured)
    monkeypatch.setattr(sys, "argv", ["engine_latency", "--repeats", "7", "--json", str(path)])
    study.main()
    assert asked == [("ResNet", {"name": "resnet18", "repeats": 7})]
    assert json.loads(path.read_text(encoding="utf-8")) == result
    printed = capsys.readouterr().out
    assert "dense float" in printed
    assert "integer share of MACs 100.0%, 0 differing logits" in printed
