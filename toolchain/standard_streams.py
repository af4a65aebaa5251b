"""Standard output and error, which may be closed, full, or a pipe that nobody reads any more.

* A closed one (`>&-`) is opened on the null device: else the next file that is opened takes its number, and what the
  C libraries print goes into that file.
* What an encoding lacks is written escaped: a file's name need not be text.
* At the end both are flushed here. One that fails is put on the null device, or the interpreter would try again at its
  exit and say so in its own words.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO

__all__ = ["finish", "open_streams", "say", "shortened"]

_LONGEST = 400
"""Of a line, in characters: the beginning says what is wrong, and nobody reads a name of five thousand."""


def open_streams() -> None:
    """Make both streams fit to be written to."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # takes the lowest number that is free
        pass
    os.close(number)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - for the process's life
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(line: str) -> None:
    """One line on standard error; where that cannot be written there is no place to say so."""
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def shortened(line: str) -> str:
    """A line that people can read."""
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."


def finish() -> OSError | None:
    """Flush both streams; why standard output could not be written, None where it was."""
    failure = _flush(sys.stdout)
    _flush(sys.stderr)
    return failure


def _flush(stream: TextIO) -> OSError | None:
    try:
        stream.flush()
    except OSError as error:
        with suppress(OSError, ValueError):  # a stream in memory has no number
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
            stream.flush()
        return error
    except ValueError:  # closed by somebody
        return None
    return None
