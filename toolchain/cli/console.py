"""Where the command line writes: what a command found to stdout, how far it is to stderr.

On a terminal progress is drawn as bars. Anywhere else (a file, a CI log) a task gets one line when it starts and one
when it ends.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ...runtime.errors import InputError
from ...runtime.progress import ProgressCallback

__all__ = ["console", "errors", "progress_bars"]

_FILE_WIDTH = 120


def _width(stream: io.TextIOBase) -> int | None:
    """None lets rich ask the terminal; where there is none it would take 80 columns and break tables."""
    return None if stream.isatty() or "COLUMNS" in os.environ else _FILE_WIDTH


class _Stream(io.TextIOBase):
    """A standard stream of the moment, by name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def write(self, text: str) -> int:
        with self._failing():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._failing():
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def _stream(self) -> TextIO:
        stream: TextIO = getattr(sys, self._name)
        return stream

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """What is found must be written; a log that is full, or that nobody reads, ends no work of hours."""
        try:
            yield
        except OSError as error:
            if self._name == "stderr":
                return
            if isinstance(error, BrokenPipeError):
                raise
            raise InputError("standard output cannot be written", got=error.strerror or str(error)) from error


class _Console(Console):
    """A console on one of the two streams."""

    def __init__(self, name: str) -> None:
        stream = _Stream(name)
        super().__init__(file=stream, width=_width(stream), highlight=False, markup=False, emoji=False)  # type: ignore[arg-type]

    def on_broken_pipe(self) -> None:
        """The command line's own exit code, instead of rich's."""
        raise BrokenPipeError


console = _Console("stdout")
"""Results, on stdout."""

errors = _Console("stderr")
"""Everything else, on stderr. What cannot be written there is dropped."""


@contextmanager
def progress_bars() -> Iterator[ProgressCallback]:
    """A callback for every `progress` argument of this package, drawn on stderr while the block runs."""
    if not errors.is_terminal:
        yield _Lines()
        return
    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[text]}", markup=False),
        console=errors,
    )
    with bars:
        yield _Bars(bars)


class _Bars:
    """One bar a task, made when the task first reports."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, task: str, done: int, total: int, text: str) -> None:
        if task not in self._tasks:
            self._tasks[task] = self._bars.add_task(task, total=total, text=text)
        self._bars.update(self._tasks[task], completed=done, total=total, text=text)


class _Lines:
    """Two lines a task: started, done."""

    def __init__(self) -> None:
        self._running: set[str] = set()

    def __call__(self, task: str, done: int, total: int, text: str) -> None:
        if task not in self._running and done < total:
            self._running.add(task)
            self._print(f"{task}: started ({total} to do)")
        elif done >= total:
            self._running.discard(task)
            self._print(f"{task}: done" + (f", {text}" if text else ""))

    @staticmethod
    def _print(line: str) -> None:
        errors.print(line, markup=False, soft_wrap=True)
