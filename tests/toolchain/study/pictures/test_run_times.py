from __future__ import annotations

import dataclasses
import json

import pytest

from hardtemper.toolchain.study.pictures.run_times import RunTimePicture
from hardtemper.toolchain.study.pictures.study_picture import Finished


def test_a_ratio_for_each_point(small_networks: Finished) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    networks = tuple(
        dataclasses.replace(network, graphs={"network": network.graphs["engine"], "masked": network.graphs["network"]})
        for network in small_networks.networks
    )
    picture = RunTimePicture(kind="run-times", title="t", points={"0.5": "a", "0.9": "b"}, repeats=3)
    values = json.loads(json.dumps(picture.find(dataclasses.replace(small_networks, networks=networks))))
    assert list(values["points"]) == ["0.5", "0.9"]
    assert all(point[name] > 0 for point in values["points"].values() for name in point)
    picture.draw(figure, {"points": {"0.5": {"times_faster": 2.0}, "0.9": {"times_faster": 3.5}}})
    assert list(figure.axes[0].lines[0].get_ydata()) == [2.0, 3.5]
    assert picture.tell({"points": {"0.5": {"times_faster": 2.0}}})[0].endswith("2.00 at 0.5.")
