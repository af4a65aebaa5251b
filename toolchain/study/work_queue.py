"""Work for several processes on one folder: each item is done once, by whoever takes its lock first.

An item is taken by a lock on a file of its own, without waiting. The lock is the operating system's (flock), so it ends
with its process, however that ends: the file that is left behind holds nothing, and the next process goes on with the
item. What is finished is a file too, which the item looks for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["WorkItem", "work_off"]


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkItem:
    """Something to do.

    Attributes:
        name: all different; the lock's file has it.
        needs: names of items that must be finished before.
        finished: looks whether it is done.
        work: does it.
    """

    name: str
    needs: tuple[str, ...] = ()
    finished: Callable[[], bool]
    work: Callable[[], None]


def work_off(items: Sequence[WorkItem], locks: Path, *, poll_seconds: float = 2.0) -> None:
    """Do every item that nobody else does; comes back when all are finished.

    Args:
        items: in the order in which they are taken where they can be.
        locks: the folder of the lock files; made.
        poll_seconds: how long to wait where others hold all that is left.
    """
    locks.mkdir(parents=True, exist_ok=True)
    done: set[str] = set()
    while len(done) < len(items):
        progressed = False
        for item in items:
            if item.name in done or not done.issuperset(item.needs):
                continue
            if item.finished() or _done_here(item, locks):
                done.add(item.name)
                progressed = True
        if not progressed:
            time.sleep(poll_seconds)


def _done_here(item: WorkItem, locks: Path) -> bool:
    """Whether the item could be taken and is finished now."""
    try:
        with FileLock(locks / f"{item.name}.lock").acquire(timeout=0):
            if not item.finished():  # whoever held the lock may have finished it meanwhile
                item.work()
    except Timeout:
        return False
    return True
