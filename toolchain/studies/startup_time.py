"""How long the command line takes to answer `--help`, beside Python itself and the import of numpy.

    python -m hardtemper.toolchain.studies.startup_time --json startup.json

Each command runs in a new process, all commands in turns, after one round that is not counted. Seconds of wall clock;
the minimum is what the machine can do, the median what it did.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...bench.measurement import Environment

__all__: list[str] = []

COMMANDS: Mapping[str, Sequence[str]] = {
    "python -c pass": ("-c", "pass"),
    "import numpy": ("-c", "import numpy"),
    "toolchain --help": ("-m", "hardtemper.toolchain", "--help"),
    "toolchain build --help": ("-m", "hardtemper.toolchain", "build", "--help"),
}


def measure(repeats: int) -> dict[str, Any]:
    """JSON values: the environment, and for each command n, minimum and median in seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(repeats + 1):
        for name, arguments in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            if turn:
                seconds[name].append(time.perf_counter() - started)
    rows = [
        {"command": name, "n": repeats, "min_s": min(times), "median_s": statistics.median(times)}
        for name, times in seconds.items()
    ]
    return {"environment": Environment.here().to_dict(), "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="store the figures there")
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    result = measure(arguments.repeats)
    for row in result["rows"]:
        print("{command:24s} min {min_s:.2f} s  median {median_s:.2f} s  n {n}".format(**row))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
