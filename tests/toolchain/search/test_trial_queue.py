"""Processes that share a queue: no trial is done twice, and none is lost when one is killed."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hardtemper.runtime.errors import InputError
from hardtemper.toolchain.search.space import Space
from hardtemper.toolchain.search.trial_queue import Outcome, Taken, TrialQueue

Make = Callable[..., Space]

_WORKER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_trial_queue import outcome_of, queue_in
from hardtemper.toolchain.recipe.recipe import Recipe
from hardtemper.toolchain.search.budget import Budget
from hardtemper.toolchain.search.space import Knob, Space
space = Space(recipe=Recipe(), budget=Budget("macs", 1.0), layers=("b",), inner=(),
              knobs=(Knob(name="b", floors={"filters": 0.5}),))
queue = queue_in(Path(sys.argv[2]))
while (taken := queue.take(space, target=(0.5, 1.0), most=8)) is not None:
    print(taken.number, taken.values["rate b"], flush=True)
    time.sleep(float(sys.argv[3]))
    queue.finish(taken, outcome_of(taken))
"""


def queue_in(out: Path, fingerprint: str = "one", storage: str | None = None) -> TrialQueue:
    return TrialQueue(out, storage, fingerprint=fingerprint, seed=3)


def outcome_of(taken: Taken) -> Outcome:
    rate = taken.values["rate b"]
    quantity = taken.values["target"]
    return Outcome(number=taken.number, values=taken.values, scale=1.0, quantity=quantity, clean=1.0, robust=rate)


def worker(out: Path, seconds: float) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", _WORKER, str(Path(__file__).parent), str(out), str(seconds)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def run(queue: TrialQueue, space: Space, *, most: int) -> list[Any]:
    made = []
    while (taken := queue.take(space, target=(0.5, 1.0), most=most)) is not None:
        made.append(taken.values)
        queue.finish(taken, outcome_of(taken))
    return made


def test_two_processes_share_one_queue(tmp_path: Path) -> None:
    workers = [worker(tmp_path, 0.05) for _ in range(2)]
    lines = [line for process in workers for line in process.communicate(timeout=300)[0].splitlines()]
    assert all(process.returncode == 0 for process in workers)
    numbers = Counter(int(line.split()[0]) for line in lines)
    assert numbers == dict.fromkeys(range(8), 1)
    assert [outcome.number for outcome in queue_in(tmp_path).outcomes()] == list(range(8))


def test_the_trial_of_a_killed_process_is_done_by_the_next(tmp_path: Path, space: Make) -> None:
    with worker(tmp_path, 300) as killed:
        assert killed.stdout is not None
        number, rate = killed.stdout.readline().split()
        alive = queue_in(tmp_path)
        assert alive.outcomes() == []
        killed.kill()
    process = worker(tmp_path, 0)
    lines = process.communicate(timeout=300)[0].splitlines()
    assert process.returncode == 0
    assert number == "0"
    assert lines[0].split()[1] == rate  # the same values again
    assert len(lines) == 8
    assert len(queue_in(tmp_path).outcomes()) == 8


def test_a_running_trial_is_left_to_its_process(tmp_path: Path, space: Make) -> None:
    queue = queue_in(tmp_path)
    first = queue.take(space(), target=(0.5, 1.0), most=2)
    second = queue_in(tmp_path).take(space(), target=(0.5, 1.0), most=2)
    assert first is not None
    assert second is not None
    assert (first.number, second.number) == (0, 1)
    assert queue.take(space(), target=(0.5, 1.0), most=2) is None  # both are taken
    queue.finish(first, outcome_of(first))
    second.lock.release()  # as the end of its process does
    again = queue.take(space(), target=(0.5, 1.0), most=2)
    assert again is not None
    assert again.values == second.values


def test_the_same_seed_gives_the_same_trials_interrupted_or_not(tmp_path: Path, space: Make) -> None:
    whole = run(queue_in(tmp_path / "a"), space(), most=14)
    assert len({str(values) for values in whole}) == 14
    parts = run(queue_in(tmp_path / "b"), space(), most=4)
    queue = queue_in(tmp_path / "b")
    cut = queue.take(space(), target=(0.5, 1.0), most=14)
    assert cut is not None
    cut.lock.release()
    parts += run(queue_in(tmp_path / "b"), space(), most=14)
    assert parts == whole
    other = TrialQueue(tmp_path / "c", None, fingerprint="one", seed=4)
    assert run(other, space(), most=2) != whole[:2]


@pytest.mark.parametrize("storage", [None, "journal"])
def test_first_trials_and_facts(tmp_path: Path, space: Make, storage: str | None) -> None:
    place = None if storage is None else f"journal:{tmp_path / 'trials.log'}"
    queue = queue_in(tmp_path / "out", storage=place)
    assert queue.facts is None
    first = {"target": 0.75, "rate a": 0.5, "rate b": 0.25, "method a": "filters"}
    queue.begin({"reference_ms": 0.5}, [first])
    again = queue_in(tmp_path / "out", storage=place)
    assert again.facts == {"reference_ms": 0.5}
    taken = again.take(space(), target=(0.5, 1.0), most=2)
    assert taken is not None
    assert taken.values == first
    again.finish(taken, outcome_of(taken))
    (outcome,) = queue_in(tmp_path / "out", storage=place).outcomes()
    assert outcome == outcome_of(taken)
    assert outcome.accuracy == 0.25
    assert (tmp_path / "out" / "trials.db").exists() is (storage is None)


def test_a_candidate_over_the_budget_is_told_as_infeasible(tmp_path: Path, space: Make) -> None:
    queue = queue_in(tmp_path)
    taken = queue.take(space(), target=(0.5, 1.0), most=1)
    assert taken is not None
    refused = Outcome(number=0, values=taken.values, scale=1.0, quantity=3.0, excess=2.0, reason="over the budget")
    queue.finish(taken, refused)
    (trial,) = queue._trials
    assert trial.constraints == {"excess": 2.0}
    assert trial.values == [3.0, 0.0]
    assert queue.outcomes() == [refused]


def test_a_folder_of_another_search(tmp_path: Path) -> None:
    queue_in(tmp_path)
    with pytest.raises(InputError, match=r"holds another search.*choose another --out"):
        queue_in(tmp_path, fingerprint="two")


def test_a_storage_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="storage cannot be used"):
        queue_in(tmp_path, storage="nosuch://place")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match="cannot be written"):
        queue_in(tmp_path / "file")
