"""With power-of-two scales the simulation is the engine; the study counts what moves."""

from __future__ import annotations

from typing import Any

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.data.load import load_dataset
from hardtemper.toolchain.studies.simulation_gap import compare


def test_nothing_moves_with_powers_of_two(tiny: Any, npz: Any) -> None:
    test = load_dataset(str(npz), heldout=0, calibration=0).test
    found = compare(tiny.path, test.images, test.labels, threat=ThreatModel("linf", 0.1), steps=5)
    assert (found["scales"], found["n"]) == ("power-of-two", len(test))
    assert found["images with a logit that differs"] == found["verdicts that move"] == 0
    assert found["largest difference of a logit"] == 0
    assert found["robust on the engine, %"] == found["robust on the simulation, %"]
    assert 0 < found["clean"] <= found["n"]
