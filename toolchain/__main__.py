"""The command line: `toolchain build | bench | verify | inspect`.

Errors of this package become one line and an exit code (2: bad input, 1: a failed gate); `--debug` shows the traceback.
"""

from __future__ import annotations

import os
import sys

from ..runtime.errors import HardtemperError, MissingExtraError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: as on the command line; `sys.argv[1:]` if not given.

    Returns:
        The exit code: 0 done, 1 a gate failed, 2 bad input, 130 interrupted.
    """
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    # OpenMP threads that spin while they wait make training 20 times slower as soon as another process wants a core
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        return _run([argument for argument in given if argument != "--debug"])
    except HardtemperError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130


def _run(arguments: list[str]) -> int:
    try:
        import click
    except ImportError as error:
        raise MissingExtraError("click", extra="build", feature="the command line") from error
    from .commands import cli

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
    return 0


if __name__ == "__main__":
    sys.exit(main())
