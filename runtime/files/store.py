"""A folder of sealed files by name, where interrupted work goes on.

Rule: the folder is made before anything is computed, so that one that cannot be written is found at once. A file is
replaced whole and opened only if its own hash fits (`sealed.py`). Finished work removes the files that it names and
what killed runs left of them, and nothing else: the folder may be shared.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import HardtemperError
from .sealed import read_sealed, write_sealed

__all__ = ["Store"]

_TRIES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Store:
    """The files of one folder.

    Attributes:
        folder: where they lie.
        error: what is raised where the folder cannot be written.
        what: what cannot be done then, "cannot write checkpoints".
        fix: what the user can do about it.
    """

    folder: Path
    error: type[HardtemperError]
    what: str
    fix: str

    def make(self) -> None:
        """Make the folder.

        Raises:
            error: it cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from None

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where there is none or it is damaged."""
        return read_sealed(self.folder / name)

    def write(self, name: str, content: bytes) -> None:
        """Replace a file.

        Raises:
            error: it cannot be written; what was there still is.
        """
        for tries_left in reversed(range(_TRIES)):
            self.make()
            try:
                write_sealed(self.folder / name, content)
            except OSError as error:
                # another run that was done may just have removed the folder
                if not isinstance(error, FileNotFoundError) or not tries_left:
                    raise self._unwritable(error) from None
            else:
                return

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, and what killed runs left of them; the folder too if nothing else is in it."""
        for name in names:
            for file in (self.folder / name, *self.folder.glob(f"{name}.*.tmp")):
                with suppress(OSError):
                    file.unlink()
        with suppress(OSError):
            self.folder.rmdir()

    def _unwritable(self, error: OSError) -> HardtemperError:
        return self.error(f"{self.folder}: {self.what}", got=error.strerror or str(error), fix=self.fix)
