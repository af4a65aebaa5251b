"""Costs of a study's engines: bytes as a build would store them, ratios of times to the first cell's engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from hardtemper.export.graph_packing import pack_graph
from hardtemper.export.lower import lower
from hardtemper.export.quantization.quantize import quantize
from hardtemper.toolchain.study.cell_recipe import Scaled
from hardtemper.toolchain.study.comparison import columns, compare
from hardtemper.toolchain.study.measure_cell import Measure
from hardtemper.toolchain.study.measure_costs import measure_costs
from hardtemper.toolchain.study.read_study import parse_study
from hardtemper.toolchain.study.study_stages import CellRun
from hardtemper.toolchain.study.write_tables import markdown

SHAPE = (1, 16, 16)
MEASURE = Measure(attack="pgd-20", images=8)


@pytest.fixture
def scaled(tiny_settings: dict[str, Any]) -> Scaled:
    settings = tiny_settings | {"costs": True}
    settings["compressions"]["pruned"]["recipe"]["bundle.pack"] = "always"
    return Scaled(study=parse_study("tiny", settings), scale=0.25)


def engine(width: int, path: Path) -> Path:
    network = nn.Sequential(
        nn.Conv2d(1, width, 3),
        nn.ReLU(),
        nn.Conv2d(width, width, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 12 * width, 4),
    )
    images = np.random.default_rng(0).integers(0, 256, (4, *SHAPE), dtype=np.uint8)
    path.write_bytes(quantize(lower(network, input_shape=SHAPE), images).model.SerializeToString())
    return path


@pytest.fixture
def runs(scaled: Scaled, tmp_path: Path) -> list[CellRun]:
    """A narrow and a wide engine, and a network without one."""
    pruned, _, quantized, network = scaled.study.cells
    accuracy = {"clean": {"value": 80.0}, "robust": {"value": 40.0}, "KiB": 1.0}
    made = {"dense": {"cpu_seconds": 1.0}, "cpu_seconds": {"finetune": 1.0}, "parameters": 1, "MACs": 1}
    made |= {"size_bits": {"engine": 8, "network": 8}, "dense_size_bits": 8}
    return [
        CellRun(cell=cell, seed=seed, made=made, measured=dict.fromkeys(measured, accuracy), graphs=graphs)
        for seed in (0, 1)
        for cell, graphs, measured in (
            (
                pruned,
                {"engine": engine(4 + 2 * seed, tmp_path / f"narrow{seed}.onnx")},
                [("network", "pgd-20"), ("engine", "pgd-20")],
            ),
            (quantized, {"engine": engine(64, tmp_path / f"wide{seed}.onnx")}, [("engine", "pgd-20")]),
            (network, {"network": tmp_path / "none.onnx"}, [("network", "pgd-20")]),
        )
    ]


def test_what_is_stored_and_how_long_it_takes(scaled: Scaled, runs: list[CellRun], tmp_path: Path) -> None:
    costs = measure_costs(scaled, runs)
    assert list(costs) == ["clean-pruned-none", "clean-quantized-adversary"]
    narrow, wide = costs.values()
    packed = [len(pack_graph((tmp_path / f"narrow{seed}.onnx").read_bytes())) for seed in (0, 1)]
    assert packed[0] < packed[1]
    assert narrow["stored_KiB"] == sum(packed) / 2 / 1024
    assert wide["stored_KiB"] == (tmp_path / "wide0.onnx").stat().st_size / 1024  # its recipe packs nothing
    assert narrow["latency_ratio"] == 1 < wide["latency_ratio"]
    assert 0 < narrow["latency_ms"] < wide["latency_ms"]


def test_costs_stand_in_the_table_beside_engines(scaled: Scaled, runs: list[CellRun]) -> None:
    costs = {"clean-pruned-none": {"stored_KiB": 123.4, "latency_ms": 0.25, "latency_ratio": 1.5}}
    rows = compare(scaled.study, runs, [MEASURE], with_paper=True, costs=costs)
    assert [(row["subject"], row["stored_KiB"], row["latency_ratio"]) for row in rows] == [
        ("network", None, None),
        ("engine", 123.4, 1.5),
        ("engine", None, None),
        ("network", None, None),
    ]
    assert set(rows[0]) == set(columns([MEASURE]))
    lines = markdown(scaled.study, rows, [MEASURE]).splitlines()
    assert [line.count("| 123 | 0.25 | 1.5 |") for line in lines if line.startswith("| `")] == [0, 1, 0, 0]


def test_a_study_without_engines_costs_nothing(scaled: Scaled, runs: list[CellRun]) -> None:
    assert measure_costs(scaled, runs[2:3]) == {}
