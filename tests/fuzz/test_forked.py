"""The watch itself: whatever a piece does to its process is seen, named, and the next piece is done all the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import json, os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from forked import run_all
from outcome import Outcome

def work(number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 2:
        while True:
            pass
    if number == 3:
        held = b"x" * (1 << 30)
        time.sleep(60)
    if number == 4:
        held = b"x" * (1 << 30)
    if number == 5:
        os._exit(3)
    if number == 6:
        time.sleep(60)
    return Outcome("ok", str(number))

for number, outcome in run_all(range(8), work, seconds=2, mib=900, per_child=5):
    print(json.dumps([number, outcome.kind, outcome.detail]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_what_a_piece_does_to_its_process_is_seen() -> None:
    command = [sys.executable, "-c", CODE, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row[:2] for row in found] == [
        [0, "ok"],
        [1, "signal"],
        [2, "hang"],
        [3, "memory"],
        [4, "memory"],
        [5, "signal"],
        [6, "hang"],
        [7, "ok"],
    ]
    assert found[1][2] == "SIGSEGV"
    assert found[5][2] == "exit 3"


TRIAL = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from forked_trial import fork_trials
from hardtemper.runtime.backends import trial
from hardtemper.runtime.errors import ModelError

fork_trials()
for name in ("many/model.onnx", "data.npz"):
    trial.try_graph((Path(sys.argv[1]) / "corpus" / name).read_bytes(), ["X"], what="x")
trial.TRIAL_BYTES = 1
from hardtemper.runtime.backends import trial_child
trial_child.open_session = lambda *_: sys.exit(3)
try:
    trial.try_graph(b"", ["X"], what="x")
except ModelError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it forks")
def test_a_trial_in_a_fork_ends_as_one_in_a_new_python() -> None:
    command = [sys.executable, "-c", TRIAL, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "expected: a process that ends by itself; got: exit status 1" in done.stdout
