"""Locks between processes that share a folder: the operating system's, which end with their process in any case."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ...runtime.errors import InputError

__all__ = ["ProcessLock", "holding"]

_POLL_SECONDS = 0.1


class ProcessLock:
    """One lock.

    Args:
        path: its file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(path)

    def take(self, *, wait: bool = False) -> bool:
        """Whether it is this process's now; False where another one has it, unless it waits for that one.

        Raises:
            InputError: the file cannot be made.
        """
        try:
            self._lock.acquire(timeout=-1 if wait else 0, poll_interval=_POLL_SECONDS)
        except Timeout:
            return False
        except OSError as error:
            raise InputError(
                f"{self._path}: cannot be locked", got=error.strerror or str(error), fix="choose another --out"
            ) from None
        return True

    def release(self) -> None:
        """Give it back."""
        self._lock.release()


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
        lock.take(wait=True)
    try:
        yield
    finally:
        lock.release()
