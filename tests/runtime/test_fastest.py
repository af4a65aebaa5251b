"""The choice of a backend: what counts as proved, what counts as fast, and what is kept."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hardtemper.runtime import fastest
from hardtemper.runtime.bundle.reader import Bundle, read_bundle
from hardtemper.runtime.cpu import instruction_set
from hardtemper.runtime.fastest import Choice, choose, recall, remember

VERSIONS = {"onnxruntime": "1", "openvino": "2"}


class Timed:
    """An engine that takes some seconds a call of `Timed.now`, and adds `off` to the right logits."""

    now = 0.0

    def __init__(self, classifier: Any, seconds: Iterator[float] | float, off: float = 0.0) -> None:
        self.classifier, self.seconds, self.off, self.calls = classifier, seconds, off, 0

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        Timed.now += self.seconds if isinstance(self.seconds, float) else next(self.seconds)
        self.calls += 1
        logits: NDArray[np.float32] = self.classifier.logits(images) + np.float32(self.off)
        return logits


def pick(bundle: Bundle, **engines: Timed) -> Choice:
    return choose(bundle, engines, clock=lambda: Timed.now)


@pytest.fixture
def bundle(make_bundle: Callable[..., Path], classifier: Any) -> Bundle:
    """A bundle with a proof."""
    images = np.random.default_rng(0).integers(0, 256, (7, 1, 8, 8), np.uint8)
    content = io.BytesIO()
    np.savez(content, images=images, logits=classifier.logits(images))
    stored = content.getvalue()
    entry = {"path": "proof.npz", "sha256": hashlib.sha256(stored).hexdigest(), "bytes": len(stored)}
    folder = make_bundle(files=[entry])
    (folder / "proof.npz").write_bytes(stored)
    return read_bundle(folder)


def test_the_fastest_of_those_that_give_the_stored_logits(bundle: Bundle, classifier: Any) -> None:
    slow, fast = Timed(classifier, 0.2), Timed(classifier, 0.1)
    assert pick(bundle, onnxruntime=slow, openvino=fast) == Choice(backend="openvino", proved=True)
    assert slow.calls == fast.calls > 30  # in turns
    assert pick(bundle, onnxruntime=fast, openvino=slow) == Choice(backend="onnxruntime", proved=True)
    assert pick(bundle, onnxruntime=slow, openvino=Timed(classifier, 0.2)).backend == "onnxruntime"
    wrong = Timed(classifier, 0.01, off=2**-15)
    assert pick(bundle, onnxruntime=slow, openvino=wrong) == Choice(backend="onnxruntime", proved=True)
    assert wrong.calls == 1  # the proof alone
    assert pick(bundle, onnxruntime=wrong, openvino=slow) == Choice(backend="openvino", proved=True)
    assert pick(bundle, onnxruntime=wrong, openvino=wrong) == Choice(backend="onnxruntime", proved=False)


def test_single_slow_calls_do_not_count(bundle: Bundle, classifier: Any) -> None:
    def seconds() -> Iterator[float]:
        while True:
            yield from (0.1, 0.1, 9.0)

    assert pick(bundle, onnxruntime=Timed(classifier, 0.2), openvino=Timed(classifier, seconds())).backend == "openvino"


@pytest.mark.parametrize("listed", [True, False])
def test_without_a_proof_the_manifest_decides(make_bundle: Callable[..., Path], classifier: Any, listed: bool) -> None:
    here = {"version": "1", "instruction_set": instruction_set(), "cpu": "any"}
    places = [here | {"engine": "onnxruntime"}, here | {"engine": "openvino", "instruction_set": "another"}]
    places += [here | {"engine": "openvino"}] if listed else []
    bundle = read_bundle(make_bundle(proofs={"engines": places}))
    found = pick(bundle, onnxruntime=Timed(classifier, 0.2), openvino=Timed(classifier, 0.1))
    assert found == Choice(backend="openvino" if listed else "onnxruntime", proved=True)
    nowhere = read_bundle(make_bundle(proofs={"engines": []}))
    assert pick(nowhere, onnxruntime=Timed(classifier, 0.2)) == Choice(backend="onnxruntime", proved=False)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "hardtemper" / "backends"


def test_a_choice_is_kept(bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert recall(bundle, VERSIONS, None) is None
    choice = Choice(backend="openvino", proved=True)
    remember(choice, bundle, VERSIONS, None)
    assert recall(bundle, VERSIONS, None) == choice
    assert recall(bundle, VERSIONS, 1) is None
    assert recall(bundle, VERSIONS | {"openvino": "3"}, None) is None
    assert recall(bundle, {"onnxruntime": "1"}, None) is None
    monkeypatch.setattr(fastest, "cpu_name", lambda: "another")
    assert recall(bundle, VERSIONS, None) is None


def test_a_cache_that_cannot_be_trusted_is_not_used(bundle: Bundle, cache: Path) -> None:
    remember(Choice(backend="openvino", proved=True), bundle, VERSIONS, None)
    (path,) = cache.iterdir()
    cache.chmod(0o777)
    assert recall(bundle, VERSIONS, None) is None
    cache.chmod(0o700)
    assert recall(bundle, VERSIONS, None) is not None
    path.write_bytes(path.read_bytes()[:-1])
    assert recall(bundle, VERSIONS, None) is None
    remember(Choice(backend="abacus", proved=True), bundle, VERSIONS, None)
    assert recall(bundle, VERSIONS, None) is None


def test_a_cache_that_cannot_be_written_is_no_error(bundle: Bundle, cache: Path) -> None:
    cache.parent.parent.mkdir(parents=True)
    cache.parent.write_text("in the way")
    remember(Choice(backend="openvino", proved=True), bundle, VERSIONS, None)
    assert recall(bundle, VERSIONS, None) is None
