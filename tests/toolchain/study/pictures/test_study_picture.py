from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.toolchain.study.pictures.study_picture import Finished, FinishedNetwork, Picture


def test_a_network_is_found_by_its_cell_and_compared_by_its_first_graph() -> None:
    networks = [
        FinishedNetwork(
            key=key,
            label=key,
            seed=seed,
            graphs={"network": Path(f"{key}-{seed}.network"), "engine": Path("other")},
            threat=ThreatModel.parse("linf:0.1"),
        )
        for key in ("a", "b")
        for seed in (3, 4)
    ]
    finished = Finished(networks=tuple(networks), data=lambda seed: None, images=1)  # type: ignore[arg-type, return-value]
    assert finished.network("b").seed == 3
    assert finished.network("b").compared == Path("b-3.network")
    with pytest.raises(StopIteration):
        finished.network("c")


def test_a_picture_without_its_methods_is_none() -> None:
    class Half(Picture):
        def tell(self, values: Any) -> list[str]:
            return []

    with pytest.raises(TypeError, match="abstract"):
        Half(title="half")  # type: ignore[abstract]
