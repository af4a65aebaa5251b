"""Closed, full and broken streams, as a shell hands them to a process."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hardtemper.toolchain.standard_streams import finish, open_streams, say, shortened

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")

CHILD = "from hardtemper.toolchain.standard_streams import *; import os, sys; open_streams(); "


def shell(code: str, redirections: str) -> subprocess.CompletedProcess[str]:
    line = f'"{sys.executable}" -c "$CODE" {redirections}'
    variables = {**os.environ, "CODE": CHILD + code, "PYTHONUNBUFFERED": ""}
    return subprocess.run(
        ["/bin/sh", "-c", line], env=variables, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_closed_stream_does_not_give_its_number_to_the_next_file(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    code = (
        f"f = open({str(path)!r}, 'w'); assert f.fileno() > 2; print('x'); os.write(1, b'noise'); f.close(); finish()"
    )
    done = shell(code, ">&- 2>&- <&-")
    assert (done.returncode, done.stdout, done.stderr, path.read_text()) == (0, "", "", "")


def test_a_full_stream_is_told_and_not_tried_again_at_the_exit() -> None:
    done = shell("print('x'); say(repr(finish()))", ">/dev/full")
    assert (done.returncode, done.stderr) == (0, "OSError(28, 'No space left on device')\n")
    done = shell("say('x'); sys.stderr.write('x'); print(finish())", "2>/dev/full")
    assert (done.returncode, done.stdout) == (0, "None\n")


def test_a_pipe_that_nobody_reads() -> None:
    done = shell("import time; time.sleep(0.5); print('x' * 100); say(repr(finish()))", "| true")
    assert done.stderr == "BrokenPipeError(32, 'Broken pipe')\n"


def test_names_that_are_no_text_are_written_escaped() -> None:
    done = shell("print('x\\udcff\\u2500'); say('\\udcff'); finish()", "")
    assert done.stdout.startswith("x\\udcff")
    assert done.stderr == "\\udcff\n"


def test_streams_in_memory_and_closed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    open_streams()
    say("line")
    assert finish() is None
    assert (out.getvalue(), err.getvalue()) == ("", "line\n")
    out.close(), err.close()
    say("line")
    assert finish() is None


def test_no_line_is_longer_than_people_read() -> None:
    assert shortened("x" * 400) == "x" * 400
    assert shortened("x" * 401) == "x" * 397 + "..."
