"""The command line: `toolchain build | search | compile | bench | replay | study | verify | inspect | unpack`.

Errors of this package become one line and an exit code (2: bad input, 1: a failed gate); `--debug` shows the traceback.
So do the errors of Python itself that an input alone can cause: a name that no system can hold, a text that is nested
too deep, more memory than there is. A reader that closes the pipe ends the command as SIGPIPE ends others, 128 + 13.
"""

from __future__ import annotations

import io
import os
import sys

from ..runtime.errors import HardtemperError, InputError, MissingExtraError
from ..runtime.printable import printable
from .standard_streams import finish, open_streams, say, shortened

__all__ = ["main"]

_OF_THE_INPUT: dict[type[Exception], str] = {
    OSError: "the system refuses",
    RecursionError: "something given is nested too deep",
    MemoryError: "something given needs more memory than there is",
    OverflowError: "a number is too large",
    UnicodeError: "a text cannot be encoded",
}
"""Errors of Python's own that no file of this package can foresee everywhere, with what they mean."""
_RESUMED = ("build", "search", "bench", "study")
_BROKEN_PIPE = 141

_SHELL = ("click", "rich")
"""What the command line itself is made of."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: as on the command line; `sys.argv[1:]` if not given.

    Returns:
        The exit code: 0 done, 1 a gate failed, 2 bad input, 130 interrupted, 141 nobody reads the output.
    """
    open_streams()
    code = _guarded(arguments)
    failure = finish()
    if isinstance(failure, BrokenPipeError):
        return _BROKEN_PIPE
    if failure is not None and code == 0:
        say(f"error: standard output cannot be written: {failure.strerror}")
        return 2
    return code


def _guarded(arguments: list[str] | None) -> int:
    """Run one command; the exit code, whatever happens."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    # OpenMP threads that spin while they wait make training much slower as soon as another process wants a core
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        return _run([argument for argument in given if argument != "--debug"])
    except HardtemperError as error:
        if debug:
            raise
        say(f"error: {' '.join(str(error).splitlines())}")
        return error.exit_code
    except KeyboardInterrupt:
        command = next((argument for argument in given if not argument.startswith("-")), "")
        goes_on = "; the same command goes on where it stopped" if command in _RESUMED else ""
        say(f"interrupted{goes_on}")
        return 130
    except BrokenPipeError:
        return _BROKEN_PIPE
    except tuple(_OF_THE_INPUT) as error:
        if debug:
            raise
        say(shortened(f"error: {_words(error)}; --debug shows where"))
        return 2


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return printable(error.strerror + ("" if error.filename is None else f": {error.filename}"))
    said = printable(" ".join(str(error).split()))
    return next(words for kind, words in _OF_THE_INPUT.items() if isinstance(error, kind)) + (said and f" ({said})")


def _run(arguments: list[str]) -> int:
    # replay alone needs no extra but these, so that a verdict can be checked without torch
    light = next((argument for argument in arguments if not argument.startswith("-")), "") == "replay"
    try:
        import click

        from .cli import cli
    except ModuleNotFoundError as error:
        raise _missing(error, light=light) from error
    try:
        cli.main(args=arguments, prog_name="toolchain", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(file=shown)
        say("\n".join(map(shortened, shown.getvalue().splitlines())))
        return 2
    except click.Abort:
        raise KeyboardInterrupt from None
    except ModuleNotFoundError as error:  # the commands import their frameworks when they run
        raise _missing(error, light=light) from error
    return 0


def _missing(error: ModuleNotFoundError, *, light: bool) -> InputError:
    package = (error.name or "").partition(".")[0]
    if package in ("", "hardtemper"):
        raise error
    if light and package in _SHELL:
        what = f"toolchain replay needs the package {package!r}, which is not installed"
        return InputError(what, fix=f"pip install {' '.join(_SHELL)}")
    return MissingExtraError(package, extra="build", feature="the command line")


if __name__ == "__main__":
    sys.exit(main())
