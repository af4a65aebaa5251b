"""Kills, calls and threads, in numbers.

    python tests/soak/soak.py --kills 200 --calls 10000 --concurrent 1000000 --seed 0 --json bench/results/soak.json

    --kills N        N SIGKILLs over builds and N over bench runs, each run resumed until it is done (`kills.py`)
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


def _kills(count: int, seed: int) -> dict[str, Any]:
    import kills  # not before the steady parts are done: torch is not what they measure

    start = time.monotonic()

    def report(what: str) -> Callable[[Any], None]:
        def say(found: Any) -> None:
            if found.rounds % 10 == 0:
                print(f"{what}: {found.kills} of {count} kills, {time.monotonic() - start:.0f} s", flush=True)

        return say

    found = {}
    for what, run in (("build", kills.kill_builds), ("bench", kills.kill_bench)):
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            found[what] = asdict(run(Path(folder), kills=count, seed=seed, progress=report(what)))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--concurrent", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="store the counts there")
    arguments = parser.parse_args()
    steady = _steady(arguments)
    for name, one in steady.items():
        print(f"{name}: {one.calls}, {one.wrong} wrong, {one.growth_mib} MiB more", flush=True)
    killed = _kills(arguments.kills, arguments.seed) if arguments.kills else {}
    for name, row in killed.items():
        print(
            f"{name}: {row['kills']} kills in {row['rounds']} rounds, {row['lost']} lost, {row['different']} different"
        )
        for note in row["notes"]:
            print(f"  {note}")
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        result = {
            "command": "python tests/soak/soak.py " + " ".join(sys.argv[1:]),
            "environment": Environment.here().to_dict(),
            "seed": arguments.seed,
            "steady": {name: asdict(one) for name, one in steady.items()},
            "kills": killed,
        }
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    bad = any(one.wrong or one.growth_mib >= _MOST_GROWTH_MIB for one in steady.values())
    return int(bad or any(row["lost"] or row["different"] for row in killed.values()))


if __name__ == "__main__":
    sys.exit(main())
