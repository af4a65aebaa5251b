"""Every error that hardtemper raises on purpose.

* HardtemperError
  + InputError                 something given is wrong; the command line exits with 2
    - RecipeError              a recipe or a flag
    - DataError                a data set: missing, truncated, inconsistent
    - ModelError               a model, checkpoint or ONNX file
      · UnsupportedOperatorError   operators that a stage cannot handle, all of them listed
    - CompressionError         a compression that cannot be carried out (an emptied layer, say)
    - ImageError               images given to an engine
    - BundleError              a bundle's folder or manifest
      · BundleFormatError      unknown format version, or a field that is missing or of the wrong type
      · IntegrityError         a file that is missing, not listed, or differs from its recorded hash
    - MissingExtraError        a package that is not installed; names the install command
  + GateError                  a proof failed its gate: kernels, parity, a replayed verdict, hashes (an IntegrityError
                               that `toolchain verify` finds); the command line exits with 1

Each message says what is wrong and, where known, what was expected, what was got and how to fix it. It may name what
an untrusted file calls itself, so nothing in it but a line break acts on a terminal (`printable.py`), and it has at
most `MOST_CHARACTERS`: of parts that are too long the middle is left out, the same length being left of each of these.
The attributes keep them whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from .printable import printable

__all__ = [
    "MOST_CHARACTERS",
    "BundleError",
    "BundleFormatError",
    "CompressionError",
    "DataError",
    "GateError",
    "HardtemperError",
    "ImageError",
    "InputError",
    "IntegrityError",
    "MissingExtraError",
    "ModelError",
    "RecipeError",
    "UnsupportedOperatorError",
    "first_line",
]


MOST_CHARACTERS = 390
"""Of one message. With "error: " before it, the command line's is below 400."""

_GAP = " ... "


class HardtemperError(Exception):
    """Root of the tree. `exit_code` is what the command line exits with.

    Args:
        what: what is wrong, naming the thing (a path, a field, a layer).
        expected: what would have been right.
        got: what was found instead.
        fix: what to do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, expected: str = "", got: str = "", fix: str = "") -> None:
        self.what = what
        self.expected = expected
        self.got = got
        self.fix = fix
        named = (("", what), ("expected: ", expected), ("got: ", got), ("fix: ", fix))
        parts = [label + "\n".join(map(printable, part.split("\n"))) for label, part in named if part or not label]
        super().__init__("; ".join(_shortened(parts, MOST_CHARACTERS - 2 * (len(parts) - 1))))


class InputError(HardtemperError):
    """Something given is wrong."""

    exit_code = 2


class RecipeError(InputError):
    """A recipe or a flag is wrong."""


class DataError(InputError):
    """A data set is missing, truncated or inconsistent."""


class ModelError(InputError):
    """A model, checkpoint or ONNX file cannot be used."""


class UnsupportedOperatorError(ModelError):
    """A graph holds operators that a stage cannot handle."""


class CompressionError(InputError):
    """A compression cannot be carried out as asked."""


class ImageError(InputError):
    """Images given to an engine have the wrong type, shape or range."""


class BundleError(InputError):
    """A bundle's folder or manifest cannot be used."""


class BundleFormatError(BundleError):
    """Unknown format version, or a field that is missing or of the wrong type; `what` carries the field's path."""


class IntegrityError(BundleError):
    """A file differs from the hash recorded for it."""


class MissingExtraError(InputError):
    """A package that this feature needs is not installed."""

    def __init__(self, package: str, *, extra: str, feature: str) -> None:
        super().__init__(
            f"{feature} needs the package {package!r}, which is not installed",
            fix=f"pip install 'hardtemper[{extra}]'",
        )


class GateError(HardtemperError):
    """A proof failed its gate."""


def _shortened(parts: Sequence[str], room: int) -> list[str]:
    """Parts of `room` characters together at most; what is left of the longest is the same length."""
    most = room
    for left, length in enumerate(sorted(map(len, parts))):
        share = room // (len(parts) - left)
        if length > share:
            most = share
            break
        room -= length
    return [part if len(part) <= most else _without_middle(part, most) for part in parts]


def _without_middle(text: str, most: int) -> str:
    kept = most - len(_GAP)
    return text[: kept - kept // 2] + _GAP + text[len(text) - kept // 2 :]


def first_line(error: Exception) -> str:
    """Of what somebody else's error says; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
