"""Kills, calls and threads, in numbers.

    python tests/soak/soak.py --kills 100 --disk 1 --writers 20 --concurrent 1000000 --json bench/results/soak.json

    --kills N        N SIGKILLs over builds and N over bench runs, each run resumed until it is done (`kills.py`)
    --disk N         every N-th write of a build and of a bench run fails (`full_disk.py`)
    --writers N      N times two builds at once into one place, and two bench runs (`two_writers.py`)
    --calls N        N calls of one engine, and N / 20 engines opened (`steady.py`)
    --concurrent N   N calls of one engine from --threads threads

Exit code 1 where a result was lost or different, logits were wrong, or memory grew by 5 MiB or more. Numbers of 0 leave
a part out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from steady import Steady, ask, ask_from_threads, open_often

from hardtemper.bench.measurement import Environment

__all__ = ["main"]

BUNDLE = Path(__file__).parents[1] / "data" / "bundles" / "v1" / "linear"
CONVOLUTIONS = Path(__file__).parents[1] / "fuzz" / "corpus" / "conv"

_MOST_GROWTH_MIB = 5.0


def _in_a_child(work: Callable[[], Steady]) -> Steady:
    """Measured in a process that did nothing else before."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(writing, json.dumps(asdict(work())).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = file.read()
    os.waitpid(child, 0)
    return Steady(**json.loads(said))


def _steady(arguments: argparse.Namespace) -> dict[str, Steady]:
    seed, threads, calls, concurrent = arguments.seed, arguments.threads, arguments.calls, arguments.concurrent
    found = {}
    if calls:
        found["calls of one engine"] = _in_a_child(lambda: ask(CONVOLUTIONS, calls=calls, seed=seed))
        found["engines opened"] = _in_a_child(lambda: open_often(CONVOLUTIONS, calls=max(calls // 20, 20), seed=seed))
    if concurrent:
        name = f"calls from {threads} threads"
        found[name] = _in_a_child(lambda: ask_from_threads(BUNDLE, calls=concurrent, threads=threads, seed=seed))
    return found


def _disturbed(arguments: argparse.Namespace) -> dict[str, Any]:
    """Kills, full disks, two writers."""
    # not before the steady parts are done: torch is not what they measure
    from full_disk import fill_disk
    from kills import Kills, bench_part, build_part, kill
    from two_writers import write_twice

    start, found = time.monotonic(), {}

    def say(what: str, found: Kills) -> None:
        if found.rounds % 10 == 0:
            print(f"{what}: {found.kills} kills, {time.monotonic() - start:.0f} s", flush=True)

    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        for make in (build_part, bench_part):
            part = make(Path(name) / make.__name__)
            row: dict[str, Any] = {"writes in a run": part.writes}
            if arguments.kills:
                row["kills"] = asdict(
                    kill(part, kills=arguments.kills, seed=arguments.seed, progress=partial(say, part.name))
                )
            if arguments.disk:
                row["full disk"] = asdict(fill_disk(part, every=arguments.disk))
            if arguments.writers:
                row["two writers"] = asdict(write_twice(part, rounds=arguments.writers, seed=arguments.seed))
            found[part.name] = row
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--disk", type=int, default=5)
    parser.add_argument("--writers", type=int, default=5)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--concurrent", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="store the counts there")
    arguments = parser.parse_args()
    steady = _steady(arguments)
    for name, one in steady.items():
        print(f"{name}: {one.calls}, {one.wrong} wrong, {one.growth_mib} MiB more", flush=True)
    disturbed = _disturbed(arguments) if arguments.kills or arguments.disk or arguments.writers else {}
    for name, rows in disturbed.items():
        print(f"{name}: {json.dumps(rows, indent=1)}", flush=True)
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        result = {
            "command": "python tests/soak/soak.py " + " ".join(sys.argv[1:]),
            "environment": Environment.here().to_dict(),
            "seed": arguments.seed,
            "steady": {name: asdict(one) for name, one in steady.items()},
            "disturbed": disturbed,
        }
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    bad = any(one.wrong or one.growth_mib >= _MOST_GROWTH_MIB for one in steady.values())
    return int(
        bad or any(row.get("bad") for rows in disturbed.values() for row in rows.values() if isinstance(row, dict))
    )


if __name__ == "__main__":
    sys.exit(main())
