"""A disk that is full: every n-th write of a tiny build and a tiny bench run fails, for every n.

What fails is announced by Python's audit hooks (making, opening for writing, renaming, removing), as in `kills.py`; a
limit on a file's size (RLIMIT_FSIZE) stops writes in the middle of a file. The run must end in one of hardtemper's own
errors, or go through where the write does not matter; the former bundle stays whole; and with room again the same run
ends as one that was never disturbed.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import kills
from kills import Part

from hardtemper.runtime.errors import HardtemperError

__all__ = ["FullDisk", "fill_disk"]

_REFUSED = 3


@dataclass(kw_only=True, slots=True)
class FullDisk:
    """What was found.

    Attributes:
        writes: how many runs lost a write.
        refused: how many of them ended in an error of hardtemper's.
        bad: those that ended otherwise, lost a bundle, or could not be resumed to the same result.
    """

    writes: int = 0
    refused: int = 0
    bad: list[str] = field(default_factory=list)


def _without_room(work: Callable[[], object], *, fails_at: int = 0, largest: int | None = None) -> int:
    """The exit code of a child whose write `fails_at` fails, or every write beyond a file's `largest` bytes."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        writes = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal writes
            if kills.is_write(event, arguments):
                writes += 1
                if writes == fails_at:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))

        sys.addaudithook(hook)
        if largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        work()
        status = 0
    except HardtemperError as error:
        status = _REFUSED if str(error) else 1
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
    finally:
        os._exit(status)


def fill_disk(part: Part, *, every: int = 1) -> FullDisk:
    """Each `every`-th write of a run fails, and then all beyond a few sizes of files."""
    found = FullDisk()
    for number in range(1, part.writes + 1, every):
        _try(part, found, f"write {number}", partial(_without_room, fails_at=number))
    for largest in (0, 100, 1000, 10_000):
        _try(part, found, f"files of {largest} bytes", partial(_without_room, largest=largest))
    return found


def _try(part: Part, found: FullDisk, name: str, run: Callable[[Callable[[], object]], int]) -> None:
    place = part.folder / "place"
    part.prepare(place)
    ended = run(partial(part.run, place))
    found.writes += 1
    found.refused += ended == _REFUSED
    if ended not in (0, _REFUSED):
        found.bad.append(f"{name}: ended with {ended}")
    if lost := part.lost(place):
        found.bad.append(f"{name}: {lost}")
    if not kills.finish(partial(part.run, place)):
        found.bad.append(f"{name}: cannot be run again")
    elif differs := part.differs(place):
        found.bad.append(f"{name}: {differs} differs")
    shutil.rmtree(place)
