from __future__ import annotations

import numpy as np

from hardtemper.toolchain.study.pictures.stored_weights import layer_weights
from hardtemper.toolchain.study.pictures.study_picture import Finished


def test_float_and_integer_graphs_hold_the_same_weights(small_networks: Finished) -> None:
    graphs = small_networks.network("b").graphs
    real, integers = layer_weights(graphs["network"]), layer_weights(graphs["engine"])
    assert sorted(weights.size for weights in real) == sorted(weights.size for weights in integers) == [27, 588]
    for one, other in zip(real, integers, strict=True):
        step = np.abs(other).max() / 64
        assert np.abs(np.sort(one.ravel()) * 1.0 - np.sort(other.ravel())).max() < max(step, 0.3 * np.abs(one).max())
