from __future__ import annotations

import json

import pytest

from hardtemper.toolchain.study.pictures.study_picture import Finished
from hardtemper.toolchain.study.pictures.weight_pictures import HistogramPicture, SparsityPicture


def test_zeros_by_layer(small_networks: Finished) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    picture = SparsityPicture(kind="layer-sparsity", title="t", bars=("a", "b"))
    values = json.loads(json.dumps(picture.find(small_networks)))
    assert values == {"zeros": {"f_a": [0.0, 0.0], "f_b": [0.3333, 0.0]}}
    picture.draw(figure, values)
    assert [bar.get_height() for bar in figure.axes[0].patches] == [0.0, 0.0, 0.3333, 0.0]
    assert picture.tell(values)[1] == "Zeros by layer, `f_b`: 33, 0 %."


def test_every_nonzero_weight_is_in_a_bin(small_networks: Finished) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    picture = HistogramPicture(kind="weight-histograms", title="t", networks=("a", "b"), bins=10)
    values = json.loads(json.dumps(picture.find(small_networks)))
    assert [panel["layer"] for panel in values["panels"]] == ["convolution", "linear layer"] * 2
    for panel in values["panels"]:
        assert sum(panel["counts"]) == panel["weights"] >= panel["values"]
    convolution = values["panels"][2]
    assert 0 < convolution["weights"] <= 18
    picture.draw(figure, values)
    assert len(figure.axes) == len(picture.tell(values)) == 4
