"""One bundle of every released format is kept in tests/data/bundles/vN/ and read for ever.

Beside each bundle NAME stands NAME.json: one image as pixels and the exact logits. Neither is ever written again: a new
format gets a new folder, written by `write_bundle` of the version that introduces it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hardtemper.runtime.bundle.manifest import FORMAT_VERSION
from hardtemper.runtime.bundle.reader import read_bundle
from hardtemper.runtime.engine import load

CORPUS = Path(__file__).parent.parent / "data" / "bundles"
BUNDLES = sorted(path.parent for path in CORPUS.glob("v*/*/manifest.json"))


def test_every_format_is_kept() -> None:
    kept = {path.parent.name for path in BUNDLES}
    assert kept == {f"v{version}" for version in range(1, FORMAT_VERSION + 1)}


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_released_bundle_still_gives_its_logits(path: Path) -> None:
    expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    engine = load(path)
    image = np.array(expected["pixels"], np.uint8).reshape(1, *engine.input_shape)
    logits = np.array([expected["logits"]], np.float32)
    np.testing.assert_array_equal(engine(image), logits)
    np.testing.assert_array_equal(engine((image / 255).astype(np.float32)), logits)
    assert list(engine.labels) == expected["labels"]


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_released_manifest_is_still_written_the_same(path: Path) -> None:
    manifest = read_bundle(path).manifest
    if manifest.format_version == FORMAT_VERSION:
        assert manifest.to_json() == (path / "manifest.json").read_text(encoding="utf-8")
