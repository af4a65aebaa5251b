"""The command line: `toolchain build | compile | bench | replay | verify | inspect`.

Errors of this package become one line and an exit code (2: bad input, 1: a failed gate); `--debug` shows the traceback.
"""

from __future__ import annotations

import os
import sys

from ..runtime.errors import HardtemperError, InputError, MissingExtraError

__all__ = ["main"]

_SHELL = ("click", "rich")
"""What the command line itself is made of."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: as on the command line; `sys.argv[1:]` if not given.

    Returns:
        The exit code: 0 done, 1 a gate failed, 2 bad input, 130 interrupted.
    """
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    # OpenMP threads that spin while they wait make training much slower as soon as another process wants a core
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        return _run([argument for argument in given if argument != "--debug"])
    except HardtemperError as error:
        if debug:
            raise
        print("error:", " ".join(str(error).splitlines()), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        command = next((argument for argument in given if not argument.startswith("-")), "")
        goes_on = "; the same command goes on where it stopped" if command in ("build", "bench") else ""
        print(f"interrupted{goes_on}", file=sys.stderr)
        return 130


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
        error.show()
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
