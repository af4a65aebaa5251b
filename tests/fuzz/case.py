"""One case: files in a folder and what is done with them there.

A case that failed is kept as a folder of its files, with `case.json` beside them, which also holds the links and holes:
whoever copies or reads the folder must meet neither. `read` gives the case back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Case", "Content", "Link", "Sparse", "files_below"]

_ABOUT = "case.json"


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True, slots=True)
class Sparse:
    """Some bytes and then a hole; it takes no disk."""

    start: bytes
    size: int


Content = bytes | Link | Sparse


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What to write and what to call.

    Attributes:
        kind: what was mutated.
        files: by relative path.
        calls: in order, each a word and its arguments: "load" and a bundle, "check" and a bundle that must be refused,
            or "toolchain" and what follows it on the command line. Paths are relative to the folder.
        note: which mutations were made.
    """

    kind: str
    files: Mapping[str, Content]
    calls: tuple[tuple[str, ...], ...]
    note: str = ""

    def write(self, folder: Path) -> None:
        """Put the files into `folder`."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Link):
                path.symlink_to(content.target)
            elif isinstance(content, Sparse):
                path.write_bytes(content.start)
                os.truncate(path, content.size)
            else:
                path.write_bytes(content)

    def keep(self, folder: Path) -> None:
        """Write it so that `read` gives it back."""
        folder.mkdir(parents=True)
        links = {name: content.target for name, content in self.files.items() if isinstance(content, Link)}
        holes = {name: content for name, content in self.files.items() if isinstance(content, Sparse)}
        plain: dict[str, Content] = {name: content for name, content in self.files.items() if name not in links}
        plain |= {name: content.start for name, content in holes.items()}
        Case(kind=self.kind, files=plain, calls=()).write(folder)
        about = {"kind": self.kind, "calls": self.calls, "note": self.note, "links": links}
        about["sizes"] = {name: content.size for name, content in holes.items()}
        (folder / _ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Case:
        """What `keep` wrote."""
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        files = {name: content for name, content in files_below(folder).items() if name != _ABOUT}
        files |= {name: Link(target) for name, target in about["links"].items()}
        for name, size in about["sizes"].items():
            start = files[name]
            assert isinstance(start, bytes)
            files[name] = Sparse(start, size)
        calls = tuple(tuple(call) for call in about["calls"])
        return cls(kind=about["kind"], files=files, calls=calls, note=about["note"])


def files_below(folder: Path) -> dict[str, Content]:
    """Every file below a folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
