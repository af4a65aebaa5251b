"""A campaign: mutants by number, each in a forked child, and how they ended.

    python tests/fuzz/campaign.py --bundles 20000 --inputs 5000 --seed 0 --json bench/results/fuzz.json
    python tests/fuzz/campaign.py --bundles 500 --inputs 0 --first 3000       numbers 3000 to 3499
    python tests/fuzz/campaign.py --again out/fuzz/bundles-0-3141             one that failed

A number and a seed always give the same mutant. One that fails is kept below --kept; what was mended goes, as it is
kept, into tests/fuzz/corpus/found, and is tried in every test run. A campaign with --json that was stopped goes on
behind its last number when it is started again with the same arguments. Exit code 1 where anything failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from case import Case
from forked import run_all
from kinds import kind_of, make_case, sound_cases
from outcome import GOOD, Outcome, prepare, run_case

from hardtemper.bench.measurement import Environment

__all__ = ["main", "try_all", "warm_up"]

_STORE_EVERY = 500


def _scratch() -> Path:
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else Path(tempfile.gettempdir())


def try_all(group: str, *, seed: int, numbers: range) -> Any:
    """(number, kind of the case, outcome), one after another."""
    with tempfile.TemporaryDirectory(dir=_scratch(), prefix="fuzz-") as name:

        def work(number: int) -> Outcome:
            case = make_case(group, seed=seed, index=number)
            folder = Path(name) / str(number)
            folder.mkdir()
            try:
                return run_case(case, folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

        yield from run_all(numbers, work)


def warm_up() -> None:
    """Import what the commands import, here, so that the children need not; what is not mutated must be fine."""
    place = Path.cwd()
    for case in sound_cases():
        with tempfile.TemporaryDirectory() as folder:
            outcome = run_case(case, Path(folder))
            os.chdir(place)
        assert outcome.kind == "ok", f"{case.calls}: {outcome.kind}: {outcome.detail}"


def _tally() -> dict[str, Any]:
    return {"outcomes": {}, "peak_mib": 0, "seconds": 0.0, "failures": []}


def _campaign(group: str, count: int, arguments: argparse.Namespace, result: dict[str, Any]) -> None:
    key = f"{group}, seed {arguments.seed}, from {arguments.first}"
    tally = result["campaigns"].setdefault(key, {"count": 0, **_tally()})
    outcomes = {kind: Counter(counts) for kind, counts in tally["outcomes"].items()}
    start = time.monotonic() - tally["seconds"]
    numbers = range(arguments.first + tally["count"], arguments.first + count)
    for number, outcome in try_all(group, seed=arguments.seed, numbers=numbers):
        kind = kind_of(group, number)
        outcomes.setdefault(kind, Counter())[outcome.kind] += 1
        tally["count"] += 1
        tally["peak_mib"] = max(tally["peak_mib"], outcome.mib)
        if outcome.kind not in GOOD:
            name = f"{group}-{arguments.seed}-{number}"
            case = make_case(group, seed=arguments.seed, index=number)
            print(f"{name} ({kind}; {case.note}): {outcome.kind}: {outcome.detail}", flush=True)
            tally["failures"].append({"name": name, "kind": kind, "outcome": outcome.kind, "detail": outcome.detail})
            if not (arguments.kept / name).exists():
                case.keep(arguments.kept / name)
        if tally["count"] % _STORE_EVERY == 0 or number == numbers[-1]:
            tally["outcomes"] = {kind: dict(sorted(counts.items())) for kind, counts in sorted(outcomes.items())}
            tally["seconds"] = round(time.monotonic() - start, 1)
            print(
                f"{key}: {tally['count']} of {count}, {len(tally['failures'])} failed, {tally['seconds']} s", flush=True
            )
            _store(result, arguments.json)


def _store(result: dict[str, Any], path: Path | None) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _again(folder: Path) -> Outcome:
    case = Case.read(folder)
    with tempfile.TemporaryDirectory(dir=_scratch(), prefix="fuzz-") as name:
        ((_, outcome),) = run_all(range(1), lambda _: run_case(case, Path(name)))
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundles", type=int, default=2000, help="mutated bundles")
    parser.add_argument("--inputs", type=int, default=500, help="mutated recipes, verdicts, data files and checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the first number")
    parser.add_argument("--json", type=Path, help="store the counts there")
    parser.add_argument("--kept", type=Path, default=Path("out/fuzz"), help="what failed is kept below it")
    parser.add_argument("--again", type=Path, nargs="+", help="try kept ones again")
    arguments = parser.parse_args()
    prepare()
    warm_up()
    if arguments.again is not None:
        bad = 0
        for folder in arguments.again:
            outcome = _again(folder)
            bad += outcome.kind not in GOOD
            print(f"{folder.name}: {outcome.kind} {outcome.detail}".rstrip())
        return int(bad > 0)
    command = "python tests/fuzz/campaign.py " + " ".join(sys.argv[1:])
    result = {"command": command, "environment": Environment.here().to_dict(), "campaigns": {}}
    if arguments.json is not None and arguments.json.exists():
        stored = json.loads(arguments.json.read_text(encoding="utf-8"))
        if {key: stored[key] for key in ("command", "environment")} == {
            key: result[key] for key in ("command", "environment")
        }:
            result = stored
    for group, count in (("bundles", arguments.bundles), ("inputs", arguments.inputs)):
        if count:
            _campaign(group, count, arguments, result)
    return int(any(tally["failures"] for tally in result["campaigns"].values()))


if __name__ == "__main__":
    sys.exit(main())
