"""The command line as a process: exit codes, one line for every error, interruptions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import hardtemper
from hardtemper.runtime.errors import DataError, HardtemperError
from hardtemper.toolchain.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["biuld"], "No such command 'biuld'"),
        (["build", "--epoks", "3"], "No such option"),
        (["build", "--epochs", "three"], "'three' is not a valid integer"),
        (["build", "--scales", "any"], "'any' is not one of 'power-of-two', 'free'"),
        (["verify"], "Missing argument 'BUNDLE'"),
        (["verify", "x", "--images", "-1"], "-1 is not in the range x>=0"),
        (["inspect", "a", "b"], "unexpected extra argument"),
    ],
)
def test_bad_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Usage: toolchain" in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Usage: toolchain" in "".join(capsys.readouterr())


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"toolchain, version {hardtemper.__version__}\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(36, "File name too long", "x" * 3), "File name too long: xxx"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("odd"), "the system refuses (odd)"),
        (RecursionError("maximum recursion depth exceeded"), "something given is nested too deep (maximum recursion "),
        (MemoryError(), "something given needs more memory than there is; --debug shows where"),
        (OverflowError("int too large"), "a number is too large (int too large)"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates"), "a text cannot be encoded ('utf-8' codec can't"),
        (OSError(2, "No such file", "\x1b[2J"), "No such file: \\x1b[2J; "),
        (OSError(36, "File name too long", "x/" * 3000), "File name too long: x/x/x/"),
    ],
)
def test_pythons_own_errors_become_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("hardtemper.toolchain.bundles.verification.verify_bundle", fail)
    assert main(["verify", "x"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {line}")
    assert said.count("\n") == 1
    assert len(said) <= 401
    with pytest.raises(type(error)):
        main(["verify", "x", "--debug"])


def test_a_defect_is_no_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise TypeError("a defect")

    monkeypatch.setattr("hardtemper.toolchain.bundles.verification.verify_bundle", fail)
    with pytest.raises(TypeError):
        main(["verify", "x"])


RELEASED = Path(__file__).parents[1] / "data" / "bundles" / "v1" / "linear"


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
@pytest.mark.parametrize(
    ("redirections", "code", "said"),
    [
        ("> /dev/full", 2, "error: standard output cannot be written; got: No space left on device\n"),
        ("--json > /dev/full", 2, "error: standard output cannot be written; got: No space left on device\n"),
        ("--help > /dev/full", 2, "error: No space left on device; --debug shows where\n"),
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        ("2> /dev/full", 0, ""),
        ("> /dev/null 2>&1", 0, ""),
    ],
)
def test_output_that_cannot_be_written(redirections: str, code: int, said: str) -> None:
    command = f'"{sys.executable}" -m hardtemper.toolchain inspect "{RELEASED}" {redirections}'
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_reader_that_closes_the_pipe_ends_the_command_as_it_ends_others() -> None:
    """128 + SIGPIPE, as `seq 1000000 | true` leaves with in every shell."""
    command = [sys.executable, "-m", "hardtemper.toolchain", "inspect", str(RELEASED)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()  # long before the command has imported what it prints with
        assert process.stderr.read() == ""
    assert process.returncode == 141


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_an_error_that_cannot_be_said_still_has_its_code(tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m hardtemper.toolchain inspect "{tmp_path}" 2> /dev/full'
    assert subprocess.run(["/bin/sh", "-c", command], timeout=120, check=False).returncode == 2


def test_a_usage_error_is_cut_short(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--epochs", "9" * 5000]) == 2
    assert max(map(len, capsys.readouterr().err.splitlines())) < 450


def test_debug_shows_the_traceback(recipe: Path, tmp_path: Path) -> None:
    arguments = ["build", "--recipe", str(recipe), "--out", str(tmp_path / "out"), "--data", "no/such.npz"]
    for debug in (["--debug", *arguments], [*arguments, "--debug"]):
        with pytest.raises(DataError, match=r"no/such\.npz"):
            main(debug)


def test_an_error_of_several_lines_becomes_one(
    capsys: pytest.CaptureFixture[str], recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise HardtemperError("first\nsecond", got="third\n")

    monkeypatch.setattr("hardtemper.toolchain.pipeline.pipeline.build", fail)
    assert main(["build", "--recipe", str(recipe)]) == 1
    assert capsys.readouterr().err == "error: first second; got: third\n"


@pytest.mark.parametrize(
    ("arguments", "function", "message"),
    [
        (["build"], "pipeline.pipeline.build", "interrupted; the same command goes on where it stopped"),
        (["build", "--debug"], "pipeline.pipeline.build", "interrupted; the same command goes on where it stopped"),
        (["verify", "x"], "bundles.verification.verify_bundle", "interrupted"),
    ],
)
def test_ctrl_c(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    function: str,
    message: str,
) -> None:
    def press(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"hardtemper.toolchain.{function}", press)
    assert main(arguments) == 130
    assert capsys.readouterr().err.strip() == message


@pytest.mark.parametrize("package", ["click", "rich", "pydantic", "torch"])
def test_a_package_that_is_not_installed(package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from hardtemper.toolchain.__main__ import main; "
    code += "sys.exit(main(['inspect', 'x']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"error: the command line needs the package '{package}', which is not installed; "
        "fix: pip install 'hardtemper[build]'\n"
    )


def test_errors_leave_a_process_with_their_code(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hardtemper.toolchain", "inspect", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {tmp_path}: not a bundle")
    assert done.stderr.count("\n") == 1
    debug = subprocess.run([*command, "--debug"], capture_output=True, text=True, timeout=120, check=False)
    assert debug.returncode == 1
    assert "Traceback (most recent call last)" in debug.stderr
    assert "BundleError" in debug.stderr
