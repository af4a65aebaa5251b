"""Work in forked children, watched from here: one that dies, hangs or grows too large is a result and not the end.

A child does many pieces one after another and says after each how it ended; this process forked after its imports, so
that a new child costs milliseconds. A piece hangs where it takes more processor time than it may, or six times that
on the clock: a busy machine is no hang. Peak memory is the system's own mark (VmHWM), reset before each piece.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from outcome import Outcome

__all__ = ["run_all"]

_POLL_S = 0.02


def run_all(
    pieces: range,
    work: Callable[[int], Outcome],
    *,
    seconds: float = 20,
    mib: int = 2048,
    per_child: int = 300,
) -> Iterator[tuple[int, Outcome]]:
    """Do every piece, in order.

    Args:
        pieces: their numbers.
        work: does one, in a child.
        seconds: of processor time that one may take.
        mib: resident memory that the process may take.
        per_child: pieces before a new child takes over.
    """
    todo = list(pieces)
    while todo:
        done = 0
        for number, outcome in _one_child(todo[:per_child], work, seconds=seconds, mib=mib):
            done += 1
            yield number, outcome
        todo = todo[done:]


def _one_child(
    numbers: list[int], work: Callable[[int], Outcome], *, seconds: float, mib: int
) -> Iterator[tuple[int, Outcome]]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work_off(numbers, work, writing)
    os.close(writing)
    buffer, waiting = b"", list(numbers)
    started, spent, most, killed = time.monotonic(), 0.0, 0, ""
    try:
        while True:
            ready, _, _ = select.select([reading], [], [], _POLL_S)
            most = max(most, _resident_mib(child))
            if not ready:
                late = _processor_s(child) - spent > seconds or time.monotonic() - started > 6 * seconds
                if (late or most > mib) and not killed:
                    killed = "hang" if late else "memory"
                    os.kill(child, signal.SIGKILL)
                continue
            part = os.read(reading, 1 << 16)
            buffer += part
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                said = Outcome(**json.loads(line))
                yield waiting.pop(0), said if said.mib <= mib else Outcome("memory", said.detail, said.mib)
                started, spent, most = time.monotonic(), _processor_s(child), 0
            if not part:
                break
    finally:
        os.close(reading)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if waiting:
        ended = os.waitstatus_to_exitcode(status)
        detail = (
            f"after {seconds} s" if killed == "hang" else signal.Signals(-ended).name if ended < 0 else f"exit {ended}"
        )
        yield waiting[0], Outcome(killed or "signal", detail, most)


def _work_off(numbers: list[int], work: Callable[[int], Outcome], writing: int) -> None:
    """In the child; never comes back."""
    status = 1
    try:
        for number in numbers:
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
            outcome = asdict(work(number)) | {"mib": _status_mib("VmHWM")}
            os.write(writing, json.dumps(outcome).encode() + b"\n")
        status = 0
    finally:
        os._exit(status)


def _resident_mib(process: int) -> int:
    try:
        pages = Path(f"/proc/{process}/statm").read_text().split()[1]
    except (OSError, IndexError):  # it ended
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE") >> 20


def _processor_s(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it ended
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _status_mib(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) >> 10
    return 0
