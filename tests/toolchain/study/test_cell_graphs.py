"""A finished cell's graphs and sizes; `test_study_stages.py` carries cells out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hardtemper.runtime.engine import open_onnx
from hardtemper.toolchain.study.cell_recipe import Scaled
from hardtemper.toolchain.study.measure_cell import Measure
from hardtemper.toolchain.study.read_study import parse_study
from hardtemper.toolchain.study.run_study import run_study


def test_masked_network_and_engine_of_one_cell(tiny_settings: dict[str, Any], tmp_path: Path) -> None:
    tiny_settings["compressions"]["pruned"]["measured"] = ["network", "masked", "engine"]
    scaled = Scaled(study=parse_study("tiny", tiny_settings), scale=0.1)
    (run,) = run_study(
        scaled, cells=scaled.study.cells[:1], seeds=(0,), measures=[Measure(attack="fgsm", images=8)], out=tmp_path
    )
    assert set(run.graphs) == {"network", "masked", "engine"}
    assert run.measured["network", "fgsm"]["clean"] == run.measured["masked", "fgsm"]["clean"]
    assert run.graphs["masked"].stat().st_size > 2 * run.graphs["network"].stat().st_size
    sizes = run.made["size_bits"]
    assert sizes["masked"] == sizes["network"] < run.made["dense_size_bits"] / 2
    assert 0 < sizes["engine"] <= sizes["network"] / 4
    assert json.dumps(run.made)
    assert open_onnx(run.graphs["masked"]).input_shape == open_onnx(run.graphs["engine"]).input_shape
