"""Runs one case in this process and says how it ended.

Only "ok" and "refused" are good: a command that ended with 0, or one of hardtemper's own errors (on the command line
one line "error: ..." of at most 400 characters and the exit code 1 or 2). Whatever is printed holds no character that
acts on a terminal, and nothing of ONNX Runtime's own log.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from case import Case
from forked_trial import fork_trials

import hardtemper
from hardtemper.bench import run as bench_run
from hardtemper.bench.measurement import Skip
from hardtemper.runtime.errors import HardtemperError
from hardtemper.runtime.unproved import UnprovedWarning
from hardtemper.toolchain.__main__ import main
from hardtemper.toolchain.pipeline import pipeline

__all__ = ["GOOD", "Outcome", "prepare", "run_case"]

GOOD = ("ok", "refused")

_LONGEST_ERROR = 400
_FOREIGN = re.compile(r"\[[VIWEF]:onnxruntime|Traceback \(most recent|^\S+\.py:\d+: \w*Warning: ", re.MULTILINE)
"""ONNX Runtime's log, Python's tracebacks and warnings."""


class _Reached(BaseException):
    """The build came to its first long stage."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case ended.

    Attributes:
        kind: one of `GOOD`, or "traceback", "output", "accepted" (what had to be refused), "signal", "hang", "memory".
        detail: of a bad one, what came.
        mib: peak resident memory.
    """

    kind: str
    detail: str = ""
    mib: int = 0


def prepare() -> None:
    """Make this process fit for many cases: one thread, no network, builds stop before they train."""
    torch.set_num_threads(1)
    sys.path.insert(0, str(Path(__file__).parent))  # where the factory of the weights' network is

    def stop(*_: Any, **__: Any) -> NoReturn:
        raise _Reached

    def offline(*_: Any, **__: Any) -> NoReturn:
        raise OSError("no network while fuzzing")

    fork_trials()
    pipeline.lower = stop
    socket.socket.connect = offline  # type: ignore[method-assign]
    # a process of its own for each mutant would take most of the time
    bench_run.measure_peak_memory = lambda *_, batch, **__: Skip(what=f"peak memory, batch {batch}", reason="fuzzing")


def run_case(case: Case, folder: Path) -> Outcome:
    """Write a case's files into an empty folder and do its calls there."""
    case.write(folder)
    os.chdir(folder)
    kind = "ok"
    for call in case.calls:
        found = _run_call(call)
        if found.kind not in GOOD:
            return Outcome(found.kind, f"{' '.join(call)[:200]}: {found.detail}")
        kind = found.kind if found.kind != "ok" else kind
    return Outcome(kind)


def _run_call(call: tuple[str, ...]) -> Outcome:
    try:
        with _printed() as lines:
            found = _toolchain(call[1:]) if call[0] == "toolchain" else _load(call[1], refuse=call[0] == "check")
    except _Reached:
        return Outcome("ok")
    except BaseException as error:  # whatever it is, it is what we look for
        return Outcome("traceback", _where(error))
    return found if found.kind not in GOOD else _judge(call, found, lines[0])


def _toolchain(arguments: tuple[str, ...]) -> Outcome:
    code = main(list(arguments))
    return Outcome("ok") if code == 0 else Outcome("refused", str(code))


def _load(path: str, *, refuse: bool) -> Outcome:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnprovedWarning)
        try:
            engine = hardtemper.load(path, threads=1)
            logits = engine(np.zeros((3, *engine.input_shape), np.uint8))
        except HardtemperError as error:
            return _clear(str(error))
    if refuse:
        return Outcome("accepted", "a file that differs from its hash")
    if logits.shape != (3, len(engine.labels)):
        return Outcome("accepted", f"logits {logits.shape} of {len(engine.labels)} labels")
    return Outcome("ok")


def _clear(message: str) -> Outcome:
    if any(not character.isprintable() and character != "\n" for character in message):
        return Outcome("output", f"a message that acts on a terminal: {message[:300]!r}")
    return Outcome("refused")


def _judge(call: tuple[str, ...], found: Outcome, printed: str) -> Outcome:
    """What was printed, and the error line of a command that was refused."""
    acting = [character for character in printed if not character.isprintable() and character not in "\n"]
    if acting:
        at = printed.index(acting[0])
        return Outcome("output", f"prints {acting[0]!r}: {printed[max(0, at - 80) : at + 80]!r}")
    if foreign := _FOREIGN.search(printed):
        at = foreign.start()
        return Outcome("output", f"prints {printed[max(0, at - 150) : at + 250]!r}")
    if call[0] == "toolchain" and found.kind == "refused":
        errors = [line for line in printed.splitlines() if line.startswith(("error: ", "Error: "))]
        if len(errors) != 1 or not printed.endswith(f"{errors[0]}\n"):
            return Outcome("output", f"exit code {found.detail} with {len(errors)} error lines: {printed[-300:]!r}")
        if len(errors[0]) > _LONGEST_ERROR:
            return Outcome("output", f"an error of {len(errors[0])} characters: {errors[0][:300]!r}")
    return Outcome(found.kind)


def _where(error: BaseException) -> str:
    """The exception and the package's last line below it."""
    frames = traceback.extract_tb(error.__traceback__)
    package = str(Path(hardtemper.__file__).parent)
    ours = [frame for frame in frames if frame.filename.startswith(package) and "/tests/" not in frame.filename]
    place = f"{Path(ours[-1].filename).relative_to(package)}:{ours[-1].lineno}" if ours else "?"
    message = (str(error).splitlines() or [""])[0][:200]
    return f"{type(error).__name__} at {place}: {message}"


@contextmanager
def _printed() -> Iterator[list[str]]:
    """Everything that this process, C code too, writes to stdout and stderr in the block; one text, afterwards."""
    found: list[str] = []
    kept = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        try:
            yield found
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, descriptor in zip((1, 2), kept, strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)
            file.seek(0)
            found.append(file.read().decode("utf-8", "replace"))
