"""Studies: the tables of papers and documents, one command each; `python -m hardtemper.toolchain.studies.NAME`."""

from __future__ import annotations

__all__: list[str] = []
