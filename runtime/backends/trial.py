"""A graph whose memory cannot be told from the file is tried in a process of its own before this one opens it.

Rule: the other process opens the graph and runs it on one black image, within limits on memory and time. Where that
ends it with a signal, or breaks a limit, the graph is refused here. What ONNX Runtime refuses by itself passes: it is
refused here too, in the usual way. No size depends on pixels (`graph_check/pixel_sizes.py`), so one image stands for
all. It takes a third of a second, and graphs of ordinary operators are not tried.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence

from ..errors import ModelError

__all__ = ["TRIAL_BYTES", "TRIAL_SECONDS", "try_graph"]

TRIAL_BYTES = 3 * 2**29
"""Memory of a trial, beside four times the file: ONNX Runtime keeps weights in more than one form."""

TRIAL_SECONDS = 15
"""Time of a trial, beside a second for every `_BYTES_A_SECOND` of the file."""

_BYTES_A_SECOND = 20_000_000

_CODE = f"import sys; sys.path[:] = sys.argv[2:]; from {__package__}.trial_child import main; main(int(sys.argv[1]))"


def try_graph(content: bytes, operators: Sequence[str], *, what: str) -> None:
    """Refuse a graph that ends the process that opens it, or takes too much.

    Args:
        content: the ONNX file, with every weight inside.
        operators: those that the trial is for, for the error.
        what: the file, for the error.

    Raises:
        ModelError: it does, or no process can be started here.
    """
    of = f"{what}: tried in a process of its own for its {', '.join(operators[:3])}{' ...' * (len(operators) > 3)}"
    if getattr(sys, "frozen", False) or not sys.executable:
        # the executable of a frozen program is that program, not Python
        fix = "open it with plain Python, or export the network with fixed sizes"
        raise ModelError(of, expected="a Python that starts others", got="none here", fix=fix)
    most, seconds = TRIAL_BYTES + 4 * len(content), TRIAL_SECONDS + len(content) // _BYTES_A_SECOND
    command = [sys.executable, "-I", "-c", _CODE, str(most), *map(str, sys.path)]
    try:
        child = subprocess.run(command, input=content, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise ModelError(of, expected=f"an answer for one image within {seconds} s", got="none") from None
    except OSError as error:
        raise ModelError(of, expected="a process that starts", got=error.strerror or str(error)) from None
    said = child.stdout.decode("utf-8", "replace").strip().partition("\n")[0]
    if child.returncode:
        raise ModelError(of, expected="a process that ends by itself", got=_ending(child.returncode, child.stderr))
    if "alloc" in said.lower() or said.startswith("MemoryError"):
        expected = f"less than {most / 2**30:.1f} GiB for one image or the fixed batch"
        raise ModelError(of, expected=expected, got=said)


def _ending(code: int, stderr: bytes) -> str:
    if code < 0:
        try:
            return f"its end by {signal.Signals(-code).name}"
        except ValueError:
            return f"its end by signal {-code}"
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return f"exit status {code}{': ' + lines[-1] if lines else ''}"
