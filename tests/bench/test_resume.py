"""An evaluation that is interrupted, even killed, ends in the verdict of one that is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hardtemper.bench.attacks.catalogue import AttackPlan
from hardtemper.bench.attacks.result import AttackResult
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.resume import Pieces
from hardtemper.bench.robustness.evaluate import evaluate_robustness
from hardtemper.bench.robustness.verdict import RobustnessResult
from hardtemper.runtime.errors import InputError
from hardtemper.runtime.files.sealed import read_sealed, write_sealed

THREAT = ThreatModel("linf", 4 / 255)
IMAGES = np.random.default_rng(0).integers(90, 110, (20, 1, 2, 2)).astype(np.uint8)
LABELS = np.ones(20, np.int64)
DIGESTS = {"twin": "a", "engine": "a", "parent": "b"}

CALLS: list[int] = []


def engine(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    bright = pixels.reshape(len(pixels), -1).mean(1) > 99
    return np.stack([~bright, bright], 1).astype(np.float32)


def darken(model: Any, images: NDArray[np.uint8], labels: Any, *, threat: Any, seed: int, by: int) -> AttackResult:
    CALLS.append(len(images))
    if wait := float(os.environ.get("WAIT", "0")):
        time.sleep(wait)
    noise = np.random.default_rng(seed).integers(0, by + 1, images.shape).astype(np.uint8)
    return AttackResult(name="d", settings={}, adversarial=images - noise, seconds=0.5, evaluations=7)


def plan(name: str, by: int, target: str = "engine") -> AttackPlan:
    return AttackPlan(name=name, target=target, search=darken, settings={"by": by})


PLANS = [plan("weak", 1), plan("strong", 4)]


def run(pieces: Pieces | None, **changes: Any) -> RobustnessResult:
    arguments: dict[str, Any] = {"threat": THREAT, "attacks": PLANS, "seed": 0, "batch_size": 4, "sequential": True}
    return evaluate_robustness(engine, None, IMAGES, LABELS, pieces=pieces, **{**arguments, **changes})


def calls(pieces: Pieces, **changes: Any) -> int:
    CALLS.clear()
    run(pieces, **changes)
    return len(CALLS)


def assert_same(one: RobustnessResult, other: RobustnessResult) -> None:
    assert np.array_equal(one.robust, other.robust)
    assert np.array_equal(one.adversarial, other.adversarial)
    assert [(o.broken, o.seconds, o.evaluations) for o in one.attacks] == [
        (o.broken, o.seconds, o.evaluations) for o in other.attacks
    ]


@pytest.fixture
def pieces(tmp_path: Path) -> Pieces:
    made = Pieces(tmp_path / "work", DIGESTS)
    made.make()
    return made


def test_nothing_is_searched_twice(pieces: Pieces) -> None:
    plain = run(None)
    assert 0 < plain.robust.sum() < plain.clean
    assert calls(pieces) > 3
    assert calls(pieces) == 0
    assert_same(run(pieces), plain)
    pieces.remove()
    assert not pieces.folder.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"threat": ThreatModel("linf", 5 / 255)},
        {"batch_size": 5},
        {"attacks": [plan("weak", 2), plan("strong", 4)]},
        {"attacks": [plan("other", 1), plan("strong", 4)]},
    ],
)
def test_what_changes_is_searched_again(pieces: Pieces, changes: dict[str, Any]) -> None:
    calls(pieces)
    assert calls(pieces, **changes) > 0


def test_another_graph_is_searched_again(pieces: Pieces) -> None:
    calls(pieces)
    assert calls(Pieces(pieces.folder, {**DIGESTS, "engine": "c"})) > 3


@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: c[:40] + b"x" + c[41:], lambda _: b""])
def test_a_damaged_piece_is_searched_again(pieces: Pieces, damage: Any) -> None:
    plain = run(pieces)
    path = sorted(pieces.folder.iterdir())[0]
    path.write_bytes(damage(path.read_bytes()))
    CALLS.clear()
    assert_same(run(pieces), plain)
    assert len(CALLS) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_killed_and_run_again(tmp_path: Path) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_pieces as t; from pathlib import Path; "
    code += "p = t.Pieces(Path(sys.argv[2]), t.DIGESTS); p.make(); t.run(p)"
    work = tmp_path / "work"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(work)], env={**os.environ, "WAIT": "0.3"}
    )
    while len(list(work.glob("*.piece"))) < 2 and child.poll() is None:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    assert child.wait(60) == -signal.SIGKILL
    finished = len(list(work.glob("*.piece")))
    fresh, pieces = Pieces(tmp_path / "fresh", DIGESTS), Pieces(work, DIGESTS)
    fresh.make()
    assert calls(pieces) == calls(fresh) - finished
    assert_same(run(pieces), run(fresh))


def test_a_run_removes_only_what_it_read_or_wrote(pieces: Pieces) -> None:
    other = Pieces(pieces.folder, DIGESTS)
    plain = run(other, seed=1)
    (pieces.folder / "notes.txt").write_text("the user's")
    run(pieces)
    theirs = {path.name for path in other.used}
    (path, *_) = pieces.used - other.used
    (pieces.folder / f"{path.name}.123.tmp").write_bytes(b"half of it, of a run that was killed")
    pieces.remove()
    assert {file.name for file in pieces.folder.iterdir()} == theirs | {"notes.txt"}
    CALLS.clear()
    assert_same(run(other, seed=1), plain)
    assert not CALLS
    (pieces.folder / "notes.txt").unlink()
    other.remove()
    assert not pieces.folder.exists()


def test_a_run_that_is_done_does_not_stop_another_one(pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    """It removes the folder just when the other one is about to write there."""
    from hardtemper.runtime.files import store

    write_sealed, times = store.write_sealed, []

    def write(path: Path, content: bytes) -> None:
        if not times:
            path.parent.rmdir()
        times.append(path)
        write_sealed(path, content)

    monkeypatch.setattr(store, "write_sealed", write)
    assert_same(run(pieces), run(None))
    assert len(times) > 3
    assert times[0] == times[1]
    assert set(times) == set(pieces.folder.iterdir())


def test_two_runs_write_one_piece(pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each writes beside it under a name of its own."""
    path, names = pieces.folder / "x.piece", set()
    replace = Path.replace

    def noted(self: Path, target: Path) -> Path:
        names.add(self.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    for process in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        write_sealed(path, b"content")
    assert names == {"x.piece.1.tmp", "x.piece.2.tmp"}
    assert read_sealed(path) == b"content"


def test_changed_code_is_searched_again(pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    from hardtemper.bench import resume as module

    calls(pieces)
    monkeypatch.setattr(module, "_source", lambda: "another")
    assert calls(pieces) > 3


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write.*choose another --work"):
        Pieces(tmp_path / "file" / "work", DIGESTS).make()
