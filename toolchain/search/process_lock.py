"""Locks between processes that share a folder. They end with their process, however that ends.

A lock is an SQLite file in an exclusive transaction (sqlite.org/lockingv3.html): the same on every system, and no
clock decides whether a process is still alive.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from ...runtime.errors import InputError

__all__ = ["ProcessLock", "holding"]

_POLL_SECONDS = 0.1


class ProcessLock:
    """One lock.

    Args:
        path: its file; the folder is there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def take(self) -> bool:
        """Whether it is this process's now; False where another one has it.

        Raises:
            InputError: the file cannot be made.
        """
        try:
            connection = sqlite3.connect(self._path, timeout=0, isolation_level=None)
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise InputError(
                    f"{self._path}: cannot be locked", got=str(error), fix="choose another --out"
                ) from None
            connection.close()
            return False
        self._connection = connection
        return True

    def release(self) -> None:
        """Give it back."""
        if self._connection is not None:
            with closing(self._connection), suppress(sqlite3.OperationalError):
                self._connection.execute("ROLLBACK")
            self._connection = None


@contextmanager
def holding(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock at `path` while the block runs.

    Args:
        path: as in `ProcessLock`.
        waiting: called once if another process has it.
    """
    lock = ProcessLock(path)
    if not lock.take():
        waiting()
        while not lock.take():
            time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()
