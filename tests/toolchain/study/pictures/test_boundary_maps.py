"""Maps of small networks; components against numpy's singular value decomposition."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hardtemper.runtime.engine import open_onnx
from hardtemper.toolchain.study.pictures.boundary_maps import BoundaryPicture, edge_share, principal_plane
from hardtemper.toolchain.study.pictures.study_picture import Finished


def test_components_are_those_of_the_singular_value_decomposition() -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 3, 3), np.uint8)
    mean, plane, deviations = principal_plane(images)
    flat = images.reshape(40, 9) / 255
    _, values, vectors = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    np.testing.assert_allclose(mean, flat.mean(0))
    np.testing.assert_allclose(np.abs(plane @ vectors[:2].T), np.eye(2), atol=1e-9)
    np.testing.assert_allclose(deviations, values[:2] / np.sqrt(39))


def test_edges_by_hand() -> None:
    assert edge_share(np.array([[0, 0], [0, 1]])) == 2 / 4
    assert edge_share(np.zeros((3, 3), np.int64)) == 0


def test_a_map_is_what_the_engine_says_of_the_grid(small_networks: Finished) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    picture = BoundaryPicture(kind="boundaries", title="t", maps=("a", "b"), points=5)
    values = json.loads(json.dumps(picture.find(small_networks)))
    data = small_networks.data(0)
    mean, _, _ = principal_plane(data.train.images)
    middle = np.rint(255 * mean).astype(np.uint8).reshape(1, 1, 16, 16)
    for key, found in zip("ab", values["maps"], strict=True):
        logits = open_onnx(small_networks.network(key).compared)(middle)[0]
        assert found["class"][2][2] == logits.argmax()
        assert found["sure"][2][2] == pytest.approx(np.exp(logits).max() / np.exp(logits).sum(), abs=1e-3)
        assert (len(found["class"]), len(found["sure"][0])) == (5, 5)
        assert found["edges"] == edge_share(np.array(found["class"]))
    picture.draw(figure, values)
    assert [axes.get_title()[:4] for axes in figure.axes] == ["f_a:", "f_b:"]
    assert len(picture.tell(values)) == 3
