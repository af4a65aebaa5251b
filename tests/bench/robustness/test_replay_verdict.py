"""What a verdict's candidates do to an engine, and whether that is what the verdict says."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hardtemper.bench.robustness.archive import Archive
from hardtemper.bench.robustness.replay_verdict import Replay, ReplayedAttack, replay
from hardtemper.runtime.errors import DataError, GateError

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 1, 3, 3)).astype(np.uint8)
HEADER: dict[str, Any] = {
    "threat": {"norm": "linf", "epsilon": 2 / 255, "target": None},
    "classes": 3,
    "attacks": [{"name": name, "target": "twin", "settings": {}} for name in ("pgd-20", "square")],
}


def archive(*, target: int | None = None, labels: tuple[int, ...] = (0, 1, 2, 0)) -> Archive:
    """Images 0 and 1 have candidates; a pixel or two of a candidate are a level off."""
    rows = np.array([0, 1, 1])
    adversarial = IMAGES[rows].copy()
    adversarial[:, 0, 0, 0] ^= 1
    adversarial[2, 0, 0, 1] ^= 1
    return Archive(
        header={**HEADER, "threat": {**HEADER["threat"], "target": target}},
        images=IMAGES,
        labels=np.array(labels),
        indices=np.array([7, 3, 9, 1]),
        adversarial=adversarial,
        rows=rows,
        attacks=np.array([0, 0, 1]),
        on_engine=np.array([True, True, False]),
        on_twin=np.array([True, False, True]),
    )


def lookup(found: Archive, clean: list[int], broken: list[int]) -> Any:
    """An engine that knows the images and the candidates by heart."""
    known = {image.tobytes(): k for image, k in zip(found.images, clean, strict=True)}
    known |= {image.tobytes(): k for image, k in zip(found.adversarial, broken, strict=True)}

    def engine(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.eye(3, dtype=np.float32)[[known[image.tobytes()] for image in pixels]]

    return engine


def test_replay_counts() -> None:
    found = archive()
    result = replay(found, lookup(found, clean=[0, 1, 2, 1], broken=[0, 2, 0]), name="other")
    assert result == Replay(
        engine="other",
        n=4,
        clean=3,
        robust=2,
        attacks=(
            ReplayedAttack(name="pgd-20", stored=2, broken=1, twin_only=0, twin_only_broken=0),
            ReplayedAttack(name="square", stored=0, broken=0, twin_only=1, twin_only_broken=1),
        ),
        same_graph=None,
        stored_clean=None,
        stored_robust=None,
        alarms=(),
        draws=1,
    )
    assert result.to_dict()["attacks"][0] == {
        "name": "pgd-20",
        "stored": 2,
        "broken": 1,
        "twin_only": 0,
        "twin_only_broken": 0,
    }


@pytest.mark.parametrize(
    ("digest", "counts", "same", "gate"),
    [
        ("a", {"clean": 3, "robust": 2}, True, None),
        ("a", {"clean": 3, "robust": 3}, True, "expected: 3 images right as they are, 3 robust; got: 3 and 2; fix: "),
        ("a", {"clean": 2, "robust": 2}, True, "expected: 2 images right as they are, 2 robust; got: 3 and 2"),
        ("a", {"robust": 4}, True, None),  # what is not said is not compared
        ("b", {"clean": 3, "robust": 3}, False, None),
        (None, {"clean": 3, "robust": 3}, None, None),
    ],
)
def test_on_its_own_graph_a_verdict_has_to_be_what_it_says(
    digest: str | None, counts: dict[str, int], same: bool | None, gate: str | None
) -> None:
    found = replace(archive(), header={**HEADER, **counts, "graph_sha256": "a"})
    engine = lookup(found, clean=[0, 1, 2, 1], broken=[0, 2, 0])
    result = replay(found, engine, name="net", graph_sha256=digest)
    assert (result.same_graph, result.differs) == (same, gate is not None)
    with nullcontext() if gate is None else pytest.raises(GateError, match=gate) as caught:
        result.gate()
    if caught is not None:
        assert caught.value.exit_code == 1
        assert "because others may round differently" in str(caught.value)
    assert replay(replace(found, header=HEADER), engine, name="net", graph_sha256="a").same_graph is None


def test_a_targeted_replay_counts_the_target_alone() -> None:
    found = archive(target=2, labels=(0, 1, 1, 0))
    result = replay(found, lookup(found, clean=[0, 1, 1, 1], broken=[1, 2, 0]), name="other")
    assert [attack.broken for attack in result.attacks] == [1, 0]
    assert (result.clean, result.robust) == (3, 2)


def test_nan_is_no_answer() -> None:
    found = archive()
    result = replay(found, lambda pixels: np.full((len(pixels), 3), np.nan, np.float32), name="broken")
    assert (result.clean, result.robust) == (0, 0)
    assert [attack.broken for attack in result.attacks] == [2, 0]


def test_an_engine_of_other_classes_is_refused() -> None:
    with pytest.raises(DataError, match="two: the verdict does not fit; expected: 3 classes; got: 2"):
        replay(archive(), lambda pixels: np.zeros((len(pixels), 2), np.float32), name="two")


def voting(probability: float) -> Any:
    """Class 0 with this probability, else 1."""
    rng = np.random.default_rng(0)

    def engine(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.eye(3, dtype=np.float32)[(rng.random(len(pixels)) > probability).astype(int)]

    return engine


def test_a_random_engine_votes_and_no_gate_holds_what_chance_counts() -> None:
    plain = archive(labels=(0, 0, 0, 0))
    found = replace(plain, header={**plain.header, "draws": 41, "graph_sha256": "a", "clean": 4, "robust": 4})
    result = replay(found, voting(0.8), name="other", graph_sha256="a")
    assert (result.draws, result.clean, result.robust) == (41, 4, 4)
    result = replay(found, voting(0.2), name="other", graph_sha256="a")
    assert (result.clean, result.robust) == (0, 0)
    result.gate()


def test_a_header_does_not_take_an_engine_that_is_not_random_out_of_the_gate() -> None:
    plain = archive()
    found = replace(plain, header={**plain.header, "draws": 41, "graph_sha256": "a", "clean": 3, "robust": 3})
    result = replay(found, lookup(found, [0, 1, 2, 1], [0, 2, 0]), name="other", graph_sha256="a")
    assert result.draws == 1
    with pytest.raises(GateError):
        result.gate()


@pytest.mark.parametrize("draws", [0, -1, 1.5, True, "9", 10**6])
def test_a_header_with_answers_out_of_range_is_refused(draws: Any) -> None:
    with pytest.raises(DataError, match=r"header\.draws"):
        replace(archive(), header={**HEADER, "draws": draws})
