"""Features of networks whose answer is known, and shares of neighbours counted by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.data.load import load_dataset
from hardtemper.export.float_pixels import float_pixels
from hardtemper.export.lower import lower
from hardtemper.export.quantization.quantize import quantize
from hardtemper.runtime.errors import DataError, MissingExtraError
from hardtemper.toolchain.study.pictures import features
from hardtemper.toolchain.study.pictures.features import FeaturePicture
from hardtemper.toolchain.study.pictures.study_picture import Finished, FinishedNetwork

SETTINGS: dict[str, Any] = {
    "kind": "features",
    "title": "Features",
    "label": "1",
    "attack": "pgd-20",
    "pairs": [["clean-none-none", "adversary-none-none"]],
    "layers": 2,
}


@pytest.fixture
def finished(npz: Path, tmp_path: Path) -> Finished:
    """A float network and an integer one, both untrained."""
    data = load_dataset(str(npz), heldout=0, calibration=32)
    graphs = {}
    for number, key in enumerate(SETTINGS["pairs"][0]):
        torch.manual_seed(number)
        net = nn.Sequential(nn.Conv2d(1, 3, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(147, 4)).eval()
        graph = lower(net, input_shape=(1, 16, 16))
        real = float_pixels(graph)
        graphs[key] = tmp_path / f"{key}.onnx"
        graphs[key].write_bytes((real, quantize(graph, data.calibration.images).model)[number].SerializeToString())
    networks = tuple(
        FinishedNetwork(key=key, label=key, seed=0, graphs={"network": path}, threat=ThreatModel.parse("linf:0.1"))
        for key, path in graphs.items()
    )
    return Finished(networks=networks, data=lambda seed: data, images=8)


def test_panels_hold_every_image_once_and_input_has_three_groups(finished: Finished) -> None:
    pytest.importorskip("sklearn")
    figure = pytest.importorskip("matplotlib.figure").Figure()
    picture = FeaturePicture.model_validate(SETTINGS)
    assert picture.cells == ("clean-none-none", "adversary-none-none")
    values = json.loads(json.dumps(picture.find(finished)))
    panels = values["panels"]
    assert [panel["layer"] for panel in panels] == ["input", "layer 1", "layer 2"]
    assert [len(panel["groups"]) for panel in panels] == [3, 4, 4]
    assert {len(group["places"]) for panel in panels for group in panel["groups"]} == {values["images"]} == {8}
    picture.draw(figure, values)
    assert len(figure.axes) == 3
    assert len(picture.tell(values)) == 4


def test_attacked_features_are_those_of_attacked_images(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    seen: list[Any] = []
    monkeypatch.setattr(features, "_alike", lambda clean, attacked: seen.append((clean, attacked)) or 0.5)
    FeaturePicture.model_validate(SETTINGS).find(finished)
    (clean, attacked), (same, other) = seen[:2]  # the input, of both networks
    assert np.array_equal(clean, same)
    assert not np.array_equal(attacked, other)  # each is attacked for itself
    assert 0.05 < np.abs(attacked - clean).max() <= 0.1 + 1e-6
    assert [part.shape[1] for part, _ in seen] == [256, 256, 147, 147, 4, 4]


def test_shares_of_neighbours_by_hand() -> None:
    pytest.importorskip("sklearn")
    clean = np.array([[0.0], [1.0], [5.0]], np.float32)
    assert features._alike(clean, clean + 100) == 1.0
    assert features._alike(clean, clean + 0.1) == 0.0
    assert features._alike(clean, np.array([[0.1], [50.0], [50.5]], np.float32)) == 3 / 6


def test_what_is_missing_is_one_line(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no class 'Bag'"):
        FeaturePicture.model_validate(SETTINGS | {"label": "Bag"}).find(finished)
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(MissingExtraError, match=r"hardtemper\[study\]"):
        FeaturePicture.model_validate(SETTINGS).find(finished)
