from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.data.load import load_dataset
from hardtemper.runtime.engine import open_onnx
from hardtemper.toolchain.study.measure_cell import Measure, measure_file


def test_an_engine_on_all_test_images_and_some_under_attack(tiny: Any, npz: Path, tmp_path: Path) -> None:
    path = tmp_path / "engine.onnx"
    onnx.save(onnx.load(str(tiny.path / "model.onnx")), path)
    data = load_dataset(str(npz), heldout=0, calibration=32)
    threat = ThreatModel.parse("linf:0.1")
    row = measure_file(path, data, threat, Measure(attack="pgd-20", images=16))
    right = (open_onnx(path).predict(data.test.images) == data.test.labels).mean()
    assert (row["clean"]["value"], row["clean"]["n"]) == (100 * right, 64)
    assert row["robust"]["n"] == 16
    assert row["robust"]["settings"] == {"attack": "pgd-20", "threat": "linf:0.1"}
    assert 0 <= row["robust"]["value"] <= 100
    assert row["broken on the twin only"] == 0  # one function
    assert row["KiB"] == path.stat().st_size / 1024
    assert row["skipped"] == []
    both = measure_file(path, data, threat, Measure(attack="pgd-20,apgd-ce,transfer", images=16))
    assert both["robust"]["value"] <= row["robust"]["value"]
    assert both["skipped"] == ["transfer"]
