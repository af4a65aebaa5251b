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

import hardtemper
from hardtemper.bench.attacks.catalogue import AttackPlan
from hardtemper.bench.attacks.result import AttackResult
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.resume import ResumeStore, package_digest, source_digest
from hardtemper.bench.robustness.case import Case
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


def run(store: ResumeStore | None, *, attacks: Any = None, **changes: Any) -> RobustnessResult:
    given: dict[str, Any] = {"threat": THREAT, "seed": 0, "batch_size": 4, **changes}
    case = Case(engine=engine, twin=None, images=IMAGES, labels=LABELS, store=store, **given)
    return evaluate_robustness(case, attacks or PLANS, sequential=True)


def calls(store: ResumeStore, **changes: Any) -> int:
    CALLS.clear()
    run(store, **changes)
    return len(CALLS)


def assert_same(one: RobustnessResult, other: RobustnessResult) -> None:
    assert np.array_equal(one.robust, other.robust)
    assert np.array_equal(one.adversarial, other.adversarial)
    assert [(o.broken, o.seconds, o.evaluations) for o in one.attacks] == [
        (o.broken, o.seconds, o.evaluations) for o in other.attacks
    ]


@pytest.fixture
def store(tmp_path: Path) -> ResumeStore:
    made = ResumeStore(tmp_path / "work", DIGESTS)
    made.make()
    return made


def test_nothing_is_searched_twice(store: ResumeStore) -> None:
    plain = run(None)
    assert 0 < plain.robust.sum() < plain.clean
    assert calls(store) > 3
    assert calls(store) == 0
    assert_same(run(store), plain)
    store.remove()
    assert not store.folder.exists()


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
def test_what_changes_is_searched_again(store: ResumeStore, changes: dict[str, Any]) -> None:
    calls(store)
    assert calls(store, **changes) > 0


def test_another_graph_is_searched_again(store: ResumeStore) -> None:
    calls(store)
    assert calls(ResumeStore(store.folder, {**DIGESTS, "engine": "c"})) > 3


@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: c[:40] + b"x" + c[41:], lambda _: b""])
def test_a_damaged_file_is_searched_again(store: ResumeStore, damage: Any) -> None:
    plain = run(store)
    path = sorted(store.folder.iterdir())[0]
    path.write_bytes(damage(path.read_bytes()))
    CALLS.clear()
    assert_same(run(store), plain)
    assert len(CALLS) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_killed_and_run_again(tmp_path: Path) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_resume as t; from pathlib import Path; "
    code += "p = t.ResumeStore(Path(sys.argv[2]), t.DIGESTS); p.make(); t.run(p)"
    work = tmp_path / "work"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(work)], env={**os.environ, "WAIT": "0.3"}
    )
    while len(list(work.glob("*.part"))) < 2 and child.poll() is None:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    assert child.wait(60) == -signal.SIGKILL
    finished = len(list(work.glob("*.part")))
    fresh, store = ResumeStore(tmp_path / "fresh", DIGESTS), ResumeStore(work, DIGESTS)
    fresh.make()
    assert calls(store) == calls(fresh) - finished
    assert_same(run(store), run(fresh))


def test_a_run_removes_only_what_it_read_or_wrote(store: ResumeStore) -> None:
    other = ResumeStore(store.folder, DIGESTS)
    plain = run(other, seed=1)
    (store.folder / "notes.txt").write_text("the user's")
    run(store)
    theirs = {path.name for path in other.used}
    (path, *_) = store.used - other.used
    (store.folder / f"{path.name}.123.tmp").write_bytes(b"half of it, of a run that was killed")
    store.remove()
    assert {file.name for file in store.folder.iterdir()} == theirs | {"notes.txt"}
    CALLS.clear()
    assert_same(run(other, seed=1), plain)
    assert not CALLS
    (store.folder / "notes.txt").unlink()
    other.remove()
    assert not store.folder.exists()


def test_a_run_that_is_done_does_not_stop_another_one(store: ResumeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It removes the folder just when the other one is about to write there."""
    from hardtemper.runtime.files import store as module

    write_sealed, times = module.write_sealed, []

    def write(path: Path, content: bytes) -> None:
        if not times:
            path.parent.rmdir()
        times.append(path)
        write_sealed(path, content)

    monkeypatch.setattr(module, "write_sealed", write)
    assert_same(run(store), run(None))
    assert len(times) > 3
    assert times[0] == times[1]
    assert set(times) == set(store.folder.iterdir())


def test_two_runs_write_one_file(store: ResumeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each writes beside it under a name of its own."""
    path, names = store.folder / "x.part", set()
    replace = Path.replace

    def noted(self: Path, target: Path) -> Path:
        names.add(self.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    for process in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        write_sealed(path, b"content")
    assert names == {"x.part.1.tmp", "x.part.2.tmp"}
    assert read_sealed(path) == b"content"


def test_changed_code_is_searched_again(store: ResumeStore) -> None:
    calls(store)
    assert calls(ResumeStore(store.folder, DIGESTS, source="another")) > 3


@pytest.mark.parametrize(
    ("edited", "counts"),
    [
        ("export/twin/twin.py", True),
        ("export/twin/operators/integer.py", True),
        ("bench/attacks/white_box/apgd.py", True),
        ("bench/robustness/criteria.py", True),
        ("runtime/engine.py", True),
        ("toolchain/cli/bench.py", False),
    ],
)
def test_an_edit_of_any_file_that_can_change_a_result_counts(tmp_path: Path, edited: str, counts: bool) -> None:
    package = Path(hardtemper.__file__).parent
    for floor in ("bench", "export", "runtime", "toolchain/cli"):
        for path in (package / floor).rglob("*.py"):
            copy = tmp_path / path.relative_to(package)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    assert source_digest(tmp_path) == package_digest()
    with (tmp_path / edited).open("a") as file:
        file.write("# edited\n")
    assert (source_digest(tmp_path) != package_digest()) == counts


def test_a_file_that_moved_counts(tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "one.py").write_text("")
    before = source_digest(tmp_path)
    (tmp_path / "bench" / "one.py").rename(tmp_path / "bench" / "other.py")
    assert source_digest(tmp_path) != before


def test_stores_for_other_graphs_remove_together(store: ResumeStore) -> None:
    calls(store.for_graphs({**DIGESTS, "engine": "c"}))
    calls(store)
    store.remove()
    assert not store.folder.exists()


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write.*choose another --work"):
        ResumeStore(tmp_path / "file" / "work", DIGESTS).make()
