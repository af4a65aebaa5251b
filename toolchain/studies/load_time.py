"""How long `hardtemper.load` of a bundle and `import hardtemper` take, of this version and of another one beside it.

    git worktree add /somewhere/hardtemper COMMIT
    python -m hardtemper.toolchain.studies.load_time BUNDLE --beside /somewhere --json bench/results/load.json

The versions take turns, each turn a new process that imports the package, loads the bundle once uncounted and then
`--loads` times, on one thread. Milliseconds of wall clock and of processor time, which other work on the machine
disturbs less; the minimum is what the machine can do, the median what it did.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from ...bench.measurement import Environment

__all__: list[str] = []

_CHILD = """
import json, sys, time
found = {}
def timed(step, call):
    wall, processor = time.perf_counter(), time.process_time()
    call()
    took = (time.perf_counter() - wall, time.process_time() - processor)
    found.setdefault(step, []).append(took)
def engine():
    from hardtemper import load
timed("import hardtemper", lambda: __import__("hardtemper"))
timed("import of the engine", engine)
from hardtemper import load
load(sys.argv[1], threads=1)
for _ in range(int(sys.argv[2])):
    timed("load", lambda: load(sys.argv[1], threads=1))
print(json.dumps(found))
"""


def measure(bundle: Path, *, beside: Path | None, turns: int, loads: int) -> dict[str, Any]:
    """JSON values: the environment, the bundle's size, and for each version and step n, minimum and median.

    Args:
        bundle: what is loaded.
        beside: a folder that holds another version in its folder `hardtemper`; None for this version alone.
        turns: processes for each version.
        loads: calls of `load` in each.
    """
    versions = {"this": dict(os.environ)}
    if beside is not None:
        versions = {"beside": {**os.environ, "PYTHONPATH": str(beside)}, **versions}
    seconds: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(turns):
        for version, environment in versions.items():
            command = [sys.executable, "-c", _CHILD, str(bundle.resolve()), str(loads)]
            # elsewhere: Python would take a package in this folder before the one on its path
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=sys.prefix)
            for step, times in json.loads(done.stdout).items():
                seconds.setdefault((version, step), []).extend(times)
    rows = [
        {
            "version": version,
            "step": step,
            "n": len(times),
            "min_ms": 1000 * min(wall for wall, _ in times),
            "median_ms": 1000 * statistics.median(wall for wall, _ in times),
            "processor_min_ms": 1000 * min(processor for _, processor in times),
            "processor_median_ms": 1000 * statistics.median(processor for _, processor in times),
        }
        for (version, step), times in sorted(seconds.items(), key=lambda item: item[0][1])
    ]
    size = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())
    return {"environment": Environment.here().to_dict(), "bundle_bytes": size, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--beside", type=Path, help="folder that holds another version in its folder hardtemper")
    parser.add_argument("--turns", type=int, default=20, help="processes for each version")
    parser.add_argument("--loads", type=int, default=20, help="loads in each process")
    parser.add_argument("--json", type=Path, help="store the figures there")
    arguments = parser.parse_args()
    result = measure(arguments.bundle, beside=arguments.beside, turns=arguments.turns, loads=arguments.loads)
    for row in result["rows"]:
        wall = "wall min {min_ms:8.2f} median {median_ms:8.2f} ms".format(**row)
        processor = "processor min {processor_min_ms:8.2f} median {processor_median_ms:8.2f} ms".format(**row)
        print("{step:22s} {version:8s}".format(**row), wall, processor, "n {n}".format(**row), sep="  ")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
